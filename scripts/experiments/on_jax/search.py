"""The search of the paper on an accelerator with JAX: `contextual_gan.completion.search` for "readme" and "coauthor".

    python scripts/experiments/on_jax/search.py --weights celeba --preset coauthor --data data/celeba/test --out z.npz

It needs `jax` (not a dependency of this project). The arithmetic is that of the library: float32 for the networks,
float64 for the losses. For each image, the file holds the SHA-256 of the known half, the start, the best z
and its losses; finish_search.py makes them the predictions of an evaluation.
"""

import argparse
import functools
import hashlib
import time
from pathlib import Path

import jax
import networks as net
import numpy as np
from jax import lax
from jax import numpy as jnp
from safetensors.numpy import load_file
from train import of

from contextual_gan.completion.candidates import draw_candidates
from contextual_gan.config import PRESETS
from contextual_gan.files.images import to_float
from contextual_gan.joint import DIRECTIONS, half
from contextual_gan.models.locations import weights_file

CHUNK = 100  # iterations of one call


def directed(direction, known, generated, epsilon):
    """KL(known || generated) if `direction` is "input-generated", else KL(generated || known), of halves -> (n,)."""
    pair = (known, generated) if direction == "input-generated" else (generated, known)
    return net.divergence(*pair, epsilon)


@functools.partial(jax.jit, static_argnames=("name", "settings"))
def rated(g, z, known, name, settings):
    """The divergences of candidates z (n, 100) from known halves (n, 64, 64, 3)."""
    return directed(settings.init_kl, known, half(net.generator(g, z)[0], name), settings.epsilon)


def starts(g, known, name, settings, seed):
    """The candidate nearest to each known half: (n, 100)."""
    z = draw_candidates(known, (settings.n_init, net.LATENT), seed)
    found = [rated(g, z[:, i], known, name, settings) for i in range(settings.n_init)]
    return z[np.arange(len(z)), np.argmin(found, axis=0)]


def iteration(nets, known, name, settings, state, _):
    """One evaluation and one update of z -> (the new state, (contextual, total))."""
    z, v, best, lowest = state

    def losses(z):
        joints, _ = net.generator(nets["g"], z)
        logits, _ = net.discriminator(nets["d"], joints, training=False)
        found = directed(settings.search_kl, known, half(joints, name), settings.epsilon)
        total = found + settings.lambda_ * jax.nn.softplus(-logits.astype(jnp.float64))
        return total.sum(), (found, total)

    gradient, (found, total) = jax.grad(losses, has_aux=True)(z)
    better = total < lowest
    best, lowest = jnp.where(better[:, None], z, best), jnp.minimum(total, lowest)
    m, old = settings.momentum, v
    v = m * old - settings.lr * gradient
    move = (1 + m) * v - m * old if settings.update == "nesterov" else v
    return (jnp.clip(z + move, -1, 1), v, best, lowest), (found, total)


@functools.partial(jax.jit, static_argnames=("name", "settings", "n"))
def advance(nets, known, state, name, settings, n):
    return lax.scan(functools.partial(iteration, nets, known, name, settings), state, None, n)


def search(nets, known, direction, settings, seed=0):
    """Search for n known halves (n, 64, 64, 3) in [-1, 1] -> (start, best z, its contextual and total loss)."""
    name = DIRECTIONS[direction]
    z = starts(nets["g"], known, name, settings, seed)
    state = jnp.asarray(z), jnp.zeros_like(z), jnp.asarray(z), jnp.full(len(z), jnp.inf)
    history, left = [], settings.iterations + 1  # the last evaluation is that of the last z
    while left:
        state, losses = advance(nets, known, state, name, settings, min(CHUNK, left))
        history.append(np.asarray(losses))
        left -= min(CHUNK, left)
    contextual, total = np.concatenate(history, axis=1)
    lowest = total.argmin(axis=0), np.arange(len(z))
    return z, np.asarray(state[2]), contextual[lowest], total[lowest]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="celeba", help="a published name, or a .safetensors file")
    parser.add_argument("--preset", default="coauthor", choices=("readme", "coauthor"))
    parser.add_argument("--direction", default="photo", choices=DIRECTIONS, help="half to generate")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder of joint images")
    parser.add_argument("--out", required=True, metavar="FILE", help=".npz to write")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images by name")
    parser.add_argument("--batch-size", type=int, default=500, metavar="B", help="images searched at once")
    args = parser.parse_args()
    held = load_file(weights_file(args.weights))
    nets = {"g": of(held, "generator"), "d": of(held, "discriminator")}
    files = sorted(args.data.glob("*.png"))[: args.limit]
    known = half(net.read_joints(list(map(str, files))), DIRECTIONS[args.direction])
    found, began = [], time.monotonic()
    for first in range(0, len(known), args.batch_size):
        images = to_float(known[first : first + args.batch_size])
        found.append(search(nets, images, args.direction, PRESETS[args.preset]))
        print(f"{first + len(images)} of {len(known)}, {time.monotonic() - began:.0f} s", flush=True)
    names = ("start", "z", "contextual", "total")
    arrays = {name: np.concatenate(parts) for name, parts in zip(names, zip(*found, strict=True), strict=True)}
    asked = {name: getattr(args, name) for name in ("preset", "direction")}
    sha256 = [hashlib.sha256(image.tobytes()).hexdigest() for image in known]
    np.savez(args.out, sha256=sha256, **asked, **arrays)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")  # a GPU would round float32 to 10 bits
    main()
