"""Train pix2pix on an accelerator with JAX; the step is that of `contextual_gan.models.pix2pix.train_step`.

    python scripts/experiments/on_jax/pix2pix.py --config configs/pix2pix.yaml --set pix2pix.jitter=false \\
        --data data/celeba/train --out runs/jax_pix2pix

It needs `jax` (not a dependency of this project) and 1 GB of memory for 25,000 joint images. The images for choosing
settings (`config.CHOOSING`) are not trained on, as in the library; every 2,000 steps, G is scored on 256 of them
without dropout. `evaluate.py --pix2pix OUT/weights.safetensors` uses the weights. Runs cannot be resumed.
"""

import argparse
import functools
import hashlib
import json
import time
from pathlib import Path

import jax
import networks as net
import numpy as np
import rough
import train
import yaml
from jax import lax
from jax import numpy as jnp
from safetensors.numpy import load

from contextual_gan import config
from contextual_gan.evaluation.metrics import likeness
from contextual_gan.files.images import to_uint8
from contextual_gan.joint import DIRECTIONS, half
from contextual_gan.models.locations import pin_pix2pix
from contextual_gan.models.weights import save_described

DOWNS = (1, 2, 4, 8, 8, 8)
DROPPED = ((2, 8), (4, 8))
JUDGE_EVERY = 2000  # steps, a multiple of train.CHUNK
JUDGED = 256  # images


# --- networks ---------------------------------------------------------------------------------------------------------


def unet(weights, known, masks, training=False, compute=jnp.float32):
    """G: halves (n, 64, 64, 3) in [-1, 1] and masks of dropout -> (the other halves, new statistics)."""
    x, skips, found = known, [], {}

    def normalized(x, name):
        x, new = net.batch_norm(x, weights, name, training)
        found.update(new)
        return x

    for i in range(len(DOWNS)):
        x = jax.nn.leaky_relu(x, 0.2) if i else x
        x = net.conv(x, weights[f"down{i}.kernel"], compute) + weights[f"down{i}.bias"].astype(compute)
        x = normalized(x, f"down_bn{i}") if 0 < i < len(DOWNS) - 1 else x
        skips.append(x)
    skips.pop()
    for i in range(len(DOWNS) - 1):
        x = jax.nn.relu(x)
        x = net.conv_transpose(x, weights[f"up{i}.kernel"], compute) + weights[f"up{i}.bias"].astype(compute)
        x = normalized(x, f"up_bn{i}")
        x = x * masks[i].astype(x.dtype) if i < len(DROPPED) else x
        x = jnp.concatenate([x, skips.pop()], -1)
    x = net.conv_transpose(jax.nn.relu(x), weights["up5.kernel"], jnp.float32) + weights["up5.bias"]
    return jnp.tanh(x), found


def patchgan(weights, pair, compute=jnp.float32):
    """D in training: known and other halves (n, 64, 64, 6) -> (logits (n, 6, 6, 1), new statistics)."""
    x, found, numbers = pair, {}, ("NHWC", "HWIO", "NHWC")
    for i in range(5):
        kind, stride = compute if i < 4 else jnp.float32, 2 if i < 3 else 1
        x, kernel = x.astype(kind), weights[f"conv{i}.kernel"].astype(kind)
        x = lax.conv_general_dilated(x, kernel, (stride, stride), 2 * [(1, 1)], dimension_numbers=numbers)
        x = x + weights[f"conv{i}.bias"].astype(kind)
        if 0 < i < 4:
            x, new = net.batch_norm(x, weights, f"bn{i}", True)
            found |= new
        x = jax.nn.leaky_relu(x, 0.2) if i < 4 else x
    return x, found


def new_unet(key, ngf=64):
    shapes, before = {}, 3
    for i, times in enumerate(DOWNS):
        shapes |= {f"down{i}.kernel": (4, 4, before, times * ngf), f"down{i}.bias": (times * ngf,)}
        shapes |= net.norm_shapes(f"down_bn{i}", times * ngf) if 0 < i < len(DOWNS) - 1 else {}
        before = times * ngf
    for i, times in enumerate([*reversed(DOWNS[:-1]), None]):
        channels = times * ngf if times else 3
        shapes |= {f"up{i}.kernel": (4, 4, channels, before), f"up{i}.bias": (channels,)}
        shapes |= net.norm_shapes(f"up_bn{i}", channels) if times else {}
        before = 2 * channels  # with those of the skip
    return net.drawn(key, shapes, lambda at, name, shape: 0.02 * jax.random.normal(at, shape))


def new_patchgan(key, ndf=64):
    shapes, widths = {}, [6, ndf, 2 * ndf, 4 * ndf, 8 * ndf, 1]
    for i in range(5):
        shapes |= {f"conv{i}.kernel": (4, 4, widths[i], widths[i + 1]), f"conv{i}.bias": (widths[i + 1],)}
        shapes |= net.norm_shapes(f"bn{i}", widths[i + 1]) if 0 < i < 4 else {}
    return net.drawn(key, shapes, lambda at, name, shape: 0.02 * jax.random.normal(at, shape))


def mask_shapes(n, ngf):
    return [(n, rows, rows, times * ngf) for rows, times in DROPPED]


def initial(settings):
    """(G, D) of a run: random, or G from `init_from`, a published name or a file."""
    keys = jax.random.split(jax.random.key(settings.seed % 2**32), 2)
    g, d = new_unet(keys[0], settings.ngf), new_patchgan(keys[1], settings.ngf)
    if given := settings.init_from:
        pinned = pin_pix2pix(given, settings.direction)
        if pinned.data is None:
            raise ValueError(f"pix2pix.init_from {given} is a run; give a published name or a .safetensors file")
        held = train.of(load(pinned.data), "generator")
        if {k: v.shape for k, v in held.items()} != {k: v.shape for k, v in g.items()}:
            raise ValueError(f"pix2pix.init_from {given} does not hold a network of pix2pix.ngf {settings.ngf}")
        g = held
    return g, d


# --- training ---------------------------------------------------------------------------------------------------------


def train_step(carry, joints, masks, lr, settings, compute):
    """`contextual_gan.models.pix2pix.train_step` -> (the new carry, {name: loss}). joints: in [-1, 1]."""
    (g, d), (of_g, of_d) = carry
    known, truth = half(joints, DIRECTIONS[settings.direction]), half(joints, settings.direction)
    judge = functools.partial(patchgan, compute=compute)

    def draw(weights):
        return unet(g | weights, known, masks, training=True, compute=compute)

    def loss(fake):
        logits, new = judge(d, jnp.concatenate([known, fake], -1))
        parts = {"g_loss": train.mean_loss(logits, -1), "l1": jnp.abs(fake - truth).mean()}
        return parts["g_loss"] + settings.l1 * parts["l1"], (parts, d | new)

    fake, back, new_g = jax.vjp(draw, net.trained(g), has_aux=True)
    pairs = tuple(jnp.concatenate([known, other], -1) for other in (truth, fake))
    d, of_d, d_loss, means = train.judge_step(d, of_d, pairs, (0.5, 0.5), lr, judge, settings.beta_1)
    slopes, (parts, d) = jax.grad(loss, has_aux=True)(fake)  # with the new weights of D
    g, of_g = net.adam_step(g | new_g, of_g, back(slopes)[0], lr, settings.beta_1)
    return ((g, d), (of_g, of_d)), parts | {"d_loss": d_loss, "D(x)": means[0], "D(G(x))": means[1]}


def chunk_function(settings, compute):
    """chunk(carry, data, rows (k, n), first, steps) -> (the new carry, {name: mean loss}): k of all steps."""
    key = jax.random.key((settings.seed + 1) % 2**32)

    def one(data, steps, carry, given):
        rows, t = given
        keys = jax.random.split(jax.random.fold_in(key, t), 3 + len(DROPPED))
        joints = train.batch(data, rows, settings.flip, keys[0])
        if settings.rough and settings.direction == "photo":
            amount = rough.levels(keys[1], len(rows), settings.rough, settings.clean)
            sketches = rough.roughen(keys[2], half(joints, "sketch"), amount)
            joints = jnp.concatenate([sketches, half(joints, "photo")], 2)
        shapes = mask_shapes(len(rows), settings.ngf)
        masks = [2.0 * jax.random.bernoulli(at, shape=shape) for at, shape in zip(keys[3:], shapes, strict=True)]
        return train_step(carry, joints, masks, train.learning_rate(settings, t, steps), settings, compute)

    @functools.partial(jax.jit, donate_argnums=0)
    def chunk(carry, data, rows, first, steps):
        carry, values = lax.scan(functools.partial(one, data, steps), carry, (rows, first + jnp.arange(len(rows))))
        return carry, jax.tree.map(jnp.mean, values)

    return chunk


# --- scores -----------------------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames="direction")
@jax.default_matmul_precision("float32")
def halves(g, joints, roughness, direction):
    """What G draws without dropout for joints (n, 64, 128, 3) uint8, and the true halves, both in [-1, 1].

    roughness: of the known halves, if these are sketches.
    """
    joints = joints.astype(jnp.float32) / 127.5 - 1
    known, truth = half(joints, DIRECTIONS[direction]), half(joints, direction)
    if direction == "photo":
        known = rough.roughen(jax.random.key(0), known, jnp.full(len(known), roughness))
    masks = [jnp.ones(shape) for shape in mask_shapes(len(known), g["down0.bias"].size)]
    return unet(g, known, masks)[0], truth


def scores(g, joints, roughness, direction):
    """Mean {"ssim", "psnr", "l1"} of `halves`; the l1 is that of values in [-1, 1]."""
    made, truth = jax.device_get(halves(g, joints, roughness, direction))
    found = likeness(to_uint8(made), to_uint8(truth)) | {"l1": np.abs(made - truth)}
    return {name: float(values.mean()) for name, values in found.items()}


def judged(g, joints, settings):
    """{"psnr@0": value, ...} at each roughness: 0.5 and 1 only if the run trains with rough sketches."""
    found = {}
    for amount in (0.0, 0.5, 1.0) if settings.rough and settings.direction == "photo" else (0.0,):
        values = scores(g, joints, amount, settings.direction)
        found |= {f"{name}@{amount:g}": value for name, value in values.items()}
    return found


# --- the run ----------------------------------------------------------------------------------------------------------


def save(path, g, settings, data, steps):
    """Write G like `contextual_gan.models.weights.save_pix2pix`, with the description of `training.pix2pix.card`."""
    named = {f"generator/{name}": np.asarray(value, np.float16) for name, value in g.items()}
    seen = {"steps": steps, "images_seen": steps * settings.batch_size}
    about = {"direction": settings.direction, "data": data, **seen, "training": config.resolved(settings)}
    save_described(path, named, about)


def steps_of(settings, images, joints):
    """The number of steps: whole calls of the device, if there are several, since another length compiles again."""
    size = settings.batch_size
    steps = images // size if images else round(settings.epochs * joints / size)
    return max(steps - steps % train.CHUNK if steps > train.CHUNK else steps, 1)


def run(args, settings, nets, files, chosen, data):
    """Train the networks (G, D), and fill the folder `args.out`."""
    size, began = settings.batch_size, time.monotonic()
    steps = steps_of(settings, args.images, len(files))
    joints = jnp.asarray(net.read_joints(files))
    kept = jnp.asarray(net.read_joints(chosen))
    print(f"{jax.devices()[0]}: {data}, {steps} steps of {size}, read in {time.monotonic() - began:.0f} s", flush=True)
    carry = jax.tree.map(jnp.array, (nets, tuple(map(net.adam, nets))))  # copies, which are donated
    chunk = chunk_function(settings, jnp.dtype(settings.precision))
    with open(args.out / "stats.jsonl", "w") as stats:
        counted, since = 0, time.monotonic()
        for first, rows in train.row_chunks(len(files), settings, steps):
            carry, values = chunk(carry, joints, rows, first, steps)
            done = first + len(rows)
            line = {"step": done, "images": done * size} | {k: float(v) for k, v in jax.device_get(values).items()}
            if not all(np.isfinite(list(line.values()))):
                raise SystemExit(f"losses are no longer finite before step {done}: {line}")
            judges = done % JUDGE_EVERY == 0 or done == steps
            if judges or first == 0:
                line["images/s"] = (done - counted) * size / (time.monotonic() - since)
                line |= judged(carry[0][0], kept, settings) if judges and len(kept) else {}
                note = "" if first else " with compilation"
                print(json.dumps({k: round(v, 4) for k, v in line.items()}) + note, flush=True)
                save(args.out / "weights.safetensors", carry[0][0], settings, data, done)
                counted, since = done, time.monotonic()  # the rate counts only the time of the steps
            stats.write(json.dumps(line) + "\n")
            stats.flush()
            at = done * size
            if args.snapshots and at // args.snapshots > first * size // args.snapshots and done < steps:
                save(args.out / f"weights_{at}.safetensors", carry[0][0], settings, data, done)
    print(f"wrote {args.out / 'weights.safetensors'}; {time.monotonic() - began:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="pix2pix.KEY=VALUE")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder of joint images")
    parser.add_argument("--out", required=True, type=Path, help="new folder")
    parser.add_argument("--images", type=int, help="images to see, instead of pix2pix.epochs")
    parser.add_argument("--snapshots", type=int, metavar="N", help="also keep the weights after every N images")
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N images only")
    args = parser.parse_args()
    files = sorted(map(str, args.data.glob("*.png")))[: args.limit]
    try:
        settings = config.load(args.config, "pix2pix", config.Pix2PixSettings, args.set)
        if settings.jitter:
            raise ValueError("pix2pix.jitter is not supported here: give --set pix2pix.jitter=false")
        if not files:
            raise ValueError(f"no joint images (*.png) in {args.data}")
        if args.out.exists():
            raise ValueError(f"{args.out} exists: give another --out")
        nets = initial(settings)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    kept = min(config.CHOOSING, len(files) // 10)  # as in `batches.without_choosing`
    chosen, files = files[:kept][:JUDGED], files[kept:]
    names = "\n".join(Path(path).name for path in files)  # and as in `training.run.about`
    data = f"{len(files)} joint images, SHA-256 of their names {hashlib.sha256(names.encode()).hexdigest()[:16]}"
    args.out.mkdir(parents=True)
    text = yaml.safe_dump({"pix2pix": config.resolved(settings)}, sort_keys=False)
    (args.out / "config.yaml").write_text(f"# {data}\n{text}")
    run(args, settings, nets, files, chosen, data)


if __name__ == "__main__":
    main()
