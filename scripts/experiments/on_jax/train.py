"""Train a contextual GAN on an accelerator with JAX; the step is that of `contextual_gan.models.dcgan.train_step`.

    python scripts/experiments/on_jax/train.py --config configs/celeba_pairs.yaml --data data/celeba/train --out RUN

It needs `jax` (not a dependency of this project) and 1 GB of memory for 25,000 joint images. It reads the `train:`
section of a configuration; `train.init_from` is a published name, a .safetensors file, or a folder with
weights.safetensors and state.safetensors, which is also what it writes. Then `train.py --set train.init_from=runs/jax`
continues it, and `complete.py --weights runs/jax/weights.safetensors` uses it. It does not resume: the
optimizers start anew.
"""

import argparse
import functools
import itertools
import json
import time
from pathlib import Path

import cv2
import jax
import networks as net
import numpy as np
import yaml
from jax import numpy as jnp
from safetensors.numpy import load_file, save_file

from contextual_gan import config
from contextual_gan.joint import half
from contextual_gan.models.locations import weights_file

CHUNK = 100  # steps of one call
JUDGED = 64  # fixed z


def initial(settings):
    """{"g", "average", "d", "p"}: weights of a run, from `init_from` or random."""
    keys = jax.random.split(jax.random.key(settings.seed), 3)
    found = {
        "g": net.new_generator(keys[0], settings.width),
        "d": net.new_discriminator(keys[1], 3, 32, settings.width),
        "p": net.new_discriminator(keys[2], 4, 16, settings.pair_width),
    }
    if given := settings.init_from:
        path = Path(given) / "weights.safetensors" if Path(given).is_dir() else weights_file(given)
        held, state = load_file(path), path.with_name("state.safetensors")
        found |= {"g": of(held, "generator"), "average": of(held, "generator"), "d": of(held, "discriminator")}
        if path.name == "weights.safetensors" and state.is_file():
            held = load_file(state)
            found |= {"g": of(held, "generator"), "p": of(held, "pair")}
    found.setdefault("average", found["g"])
    return found


def of(held, network):
    """The arrays of one network in a file, in float32."""
    return {
        name.removeprefix(f"{network}/"): jnp.asarray(value, jnp.float32)
        for name, value in held.items()
        if name.startswith(f"{network}/")
    }


def mean_loss(logits, sign):
    """sign -1: for doubting images; 1: for taking them for real."""
    return jax.nn.softplus(sign * logits).mean()


def judge_step(weights, state, groups, shares, lr, judge, beta_1=0.5):
    """One update of D or P. groups: images taken for real, then those that are not; shares: weights of all groups."""

    def loss(weights_trained):
        now, logits = weights | weights_trained, []
        for images in groups:
            values, new = judge(now, images)
            now, logits = now | new, [*logits, values]
        signs = [-1] + [1] * (len(groups) - 1)
        total = sum(a * mean_loss(b, sign) for a, b, sign in zip(shares, logits, signs, strict=True))
        return total, (now, [jax.nn.sigmoid(values).mean() for values in logits])

    (value, (now, means)), gradients = jax.value_and_grad(loss, has_aux=True)(net.trained(weights))
    new, state = net.adam_step(now, state, gradients, lr, beta_1)
    return new, state, value, means


def fake_losses(fake, nets, settings, judge):
    """G's loss for its joints -> (the weighted sum, (its parts, D and P with new statistics))."""
    logits, new = judge(nets["d"], fake)
    parts, d, p = {"g_loss": mean_loss(logits, -1)}, nets["d"] | new, nets["p"]
    total = parts["g_loss"]
    if settings.pairs:
        logits, new = judge(nets["p"], net.overlaid(fake))
        parts["g_loss_pairs"], p = mean_loss(logits, -1), nets["p"] | new
        total += settings.pairs * parts["g_loss_pairs"]
    if settings.edges:
        own = net.consistency(net.grey(half(fake, "sketch")), net.grey(half(fake, "photo")))
        parts["g_loss_edges"] = (1 - own).mean()
        total += settings.edges * parts["g_loss_edges"]
    return total, (parts, d, p)


def train_step(carry, real, z, lr, decay, settings, compute):
    """`contextual_gan.models.dcgan.train_step` -> (the new carry, {name: loss}). real: (n, 64, 128, 3) in [-1, 1]."""
    nets, states = dict(carry[0]), dict(carry[1])
    judge = functools.partial(net.discriminator, training=True, compute=compute)

    def draw(weights):
        return net.generator(nets["g"] | weights, z, training=True, compute=compute)

    fake, back, new_g = jax.vjp(draw, net.trained(nets["g"]), has_aux=True)
    nets["d"], states["d"], d_loss, of_d = judge_step(nets["d"], states["d"], (real, fake), (1, 1), lr, judge)
    values = {"d_loss": d_loss, "D(x)": of_d[0], "D(G(z))": of_d[1]}
    if settings.pairs:
        photos = jnp.roll(half(real, "photo"), 1, axis=0)
        strangers = jnp.concatenate([half(real, "sketch"), photos], axis=2)
        groups = tuple(net.overlaid(joints) for joints in (real, fake, strangers))
        shares = (1, 1 - settings.mismatched, settings.mismatched)
        nets["p"], states["p"], p_loss, of_p = judge_step(nets["p"], states["p"], groups, shares, lr, judge)
        names = ("P(x)", "P(G(z))", "P(mismatched)")
        values |= {"p_loss": p_loss} | dict(zip(names, of_p, strict=True))
    for update in range(settings.g_updates):
        if update:
            fake, back, new_g = jax.vjp(draw, net.trained(nets["g"]), has_aux=True)
        slopes, (parts, nets["d"], nets["p"]) = jax.grad(fake_losses, has_aux=True)(fake, nets, settings, judge)
        nets["g"] = nets["g"] | new_g
        nets["g"], states["g"] = net.adam_step(nets["g"], states["g"], back(slopes)[0], lr)
    nets["average"] = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, nets["average"], nets["g"])
    return (nets, states), values | parts


def batch(data, rows, flip, key):
    """Joints (n, 64, 128, 3) uint8 of these rows in [-1, 1]; with `flip`, half of them have mirrored halves."""
    joints = data[rows].astype(jnp.float32) / 127.5 - 1
    if not flip:
        return joints
    mirrored = jnp.concatenate([half(joints, name)[:, :, ::-1] for name in ("sketch", "photo")], 2)
    return jnp.where(jax.random.bernoulli(key, shape=(len(rows), 1, 1, 1)), mirrored, joints)


def learning_rate(settings, step, steps):
    """`contextual_gan.training.loop.learning_rate`, but settings.lr if it does not fall."""
    left = (steps - step) / (settings.lr_decay * steps) if settings.lr_decay else 1.0
    return settings.lr * jnp.minimum(left, 1.0)


def chunk_function(settings, continues, compute):
    """chunk(carry, data, rows (k, n), first, steps) -> (the new carry, {name: (k,) losses}): k of all steps."""
    key = jax.random.key(settings.seed + 1)

    def one(data, steps, carry, given):
        rows, t = given
        keys = jax.random.split(jax.random.fold_in(key, t), 2)
        real = batch(data, rows, settings.flip, keys[0])
        z = jax.random.uniform(keys[1], (len(rows), net.LATENT), minval=-1, maxval=1)
        lr = learning_rate(settings, t, steps)
        decay = settings.ema if continues else jnp.minimum(settings.ema, (1 + t) / (10 + t))
        return train_step(carry, real, z, lr, decay, settings, compute)

    @functools.partial(jax.jit, donate_argnums=0)
    def chunk(carry, data, rows, first, steps):
        return jax.lax.scan(functools.partial(one, data, steps), carry, (rows, first + jnp.arange(len(rows))))

    return chunk


def row_chunks(n, settings, steps):
    """The images of each step, in chunks (k, batch_size); every epoch has a new order."""
    orders = (np.random.default_rng([settings.seed, epoch]).permutation(n) for epoch in itertools.count())
    indices = itertools.chain.from_iterable(orders)
    for first in range(0, steps, CHUNK):
        k = min(CHUNK, steps - first)
        found = np.fromiter(itertools.islice(indices, k * settings.batch_size), np.int32)
        yield first, found.reshape(k, settings.batch_size)


@jax.jit
def drawn(g, average):
    """The joints of fixed z, as uint8, by G and by its average."""
    z = jax.random.uniform(jax.random.key(-1 % 2**32), (JUDGED, net.LATENT), minval=-1, maxval=1)
    return [jnp.round((net.generator(weights, z)[0] + 1) * 127.5).clip(0, 255) for weights in (g, average)]


@jax.jit
def own_pairs(joints):
    """The mean consistency of the halves of joints (n, 64, 128, 3) from 0 to 255."""
    images = joints / 127.5 - 1
    return net.consistency(net.grey(half(images, "sketch")), net.grey(half(images, "photo"))).mean()


def save(folder, nets, name="weights"):
    """Write the average of G and D, and the rest of the state if the name is "weights"; float16 each."""

    def narrow(**by_network):
        return {
            f"{network}/{key}": np.asarray(value, np.float16)
            for network, weights in by_network.items()
            for key, value in weights.items()
        }

    save_file(narrow(generator=nets["average"], discriminator=nets["d"]), folder / f"{name}.safetensors")
    if name == "weights":
        save_file(narrow(generator=nets["g"], pair=nets["p"]), folder / "state.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="train.KEY=VALUE")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder of joint images")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--images", type=int, help="images to see, instead of train.epochs")
    parser.add_argument("--snapshots", type=int, metavar="N", help="also keep the weights after every N images")
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N images only")
    args = parser.parse_args()
    settings = config.load(args.config, "train", config.TrainSettings, args.set)
    args.out.mkdir(parents=True)
    text = yaml.safe_dump({"train": config.resolved(settings)}, sort_keys=False)
    (args.out / "config.yaml").write_text(text)
    joints = net.read_joints(sorted(map(str, args.data.glob("*.png")))[: args.limit])
    size = settings.batch_size
    steps = (args.images or round(settings.epochs * len(joints))) // size
    nets = initial(settings)
    carry = nets, {name: net.adam(nets[name]) for name in ("g", "d", "p")}
    carry = jax.tree.map(jnp.array, carry)  # copies: G and its average may be the same arrays, and are donated
    chunk = chunk_function(settings, bool(settings.init_from), jnp.dtype(settings.precision))
    data, began = jnp.asarray(joints), time.monotonic()
    with open(args.out / "stats.jsonl", "w") as stats:
        for first, rows in row_chunks(len(joints), settings, steps):
            carry, values = chunk(carry, data, rows, first, steps)
            done = first + len(rows)
            line = {"step": done, "images": done * size} | {k: float(v.mean()) for k, v in values.items()}
            if not all(np.isfinite(list(line.values()))):
                raise SystemExit(f"losses are no longer finite before step {done}: {line}")
            if done % 500 == 0 or done == steps or first == 0:
                shown = drawn(carry[0]["g"], carry[0]["average"])
                line |= dict(zip(("own_pairs_g", "own_pairs_average"), map(float, map(own_pairs, shown)), strict=True))
                now, began = time.monotonic(), began if first else time.monotonic()  # without compilation
                line["images/s"] = round((done - CHUNK) * size / max(now - began, 1e-9), 1) if first else None
                print(json.dumps({k: round(v, 3) if v else v for k, v in line.items()}), flush=True)
            stats.write(json.dumps(line) + "\n")
            stats.flush()
            at = done * size
            if args.snapshots and at // args.snapshots > first * size // args.snapshots and done < steps:
                save(args.out, carry[0], f"weights_{at}")
    save(args.out, carry[0])
    shown = np.asarray(shown[1], np.uint8).reshape(8, 8, 64, 128, 3).transpose(0, 2, 1, 3, 4).reshape(512, 1024, 3)
    cv2.imwrite(str(args.out / "samples.png"), shown[..., ::-1])


if __name__ == "__main__":
    main()
