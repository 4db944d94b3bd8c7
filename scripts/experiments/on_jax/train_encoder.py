"""Train an encoder on a GPU without TensorFlow: `contextual_gan.training.encoder` in JAX, with further losses to try.

  PYTHONPATH=. python scripts/experiments/on_jax/train_encoder.py --weights weights.safetensors \
      --state state.safetensors --data data/celeba/train --direction photo --out encoder.safetensors --steps 3000 \
      --set batch_size=256 --set lr=1e-3 --discriminator 0.01 --pairs 0.01 --features 0.3

The joints stay on the device as uint8; 100 steps are one call of it. The file written holds "encoder/NAME" in float16.
"""

import argparse
import dataclasses
import json
import os
import time
from functools import partial
from pathlib import Path

import jax
import networks
import numpy as np
import rough
from jax import numpy as jnp
from safetensors.numpy import load_file, save_file

from contextual_gan import yaml_reader
from contextual_gan.config import CHOOSING, EncoderSettings
from contextual_gan.fields import converted
from contextual_gan.joint import DIRECTIONS, SIZE, half

EXTRA = ("discriminator", "pairs", "features", "pair_features")  # further losses, of weight 0 by default


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="safetensors with generator/ and discriminator/")
    parser.add_argument("--state", help="safetensors with pair/, for --pairs and --pair-features")
    parser.add_argument("--data", required=True, help="folder of joint PNGs")
    parser.add_argument("--direction", choices=DIRECTIONS, default="photo", help="half to generate")
    parser.add_argument("--out", required=True, help="safetensors file to write, also every 10 calls of the device")
    parser.add_argument("--steps", type=int, default=3000, help="up to --call, or a multiple of it")
    parser.add_argument("--call", type=int, default=100, help="steps in one call of the device; 1 is faster on a CPU")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="field of EncoderSettings")
    parser.add_argument("--compute", choices=("bfloat16", "float32"), default="bfloat16", help="of G, D and P")
    parser.add_argument("--encoder-compute", choices=("bfloat16", "float32"), help="of E; default: as --compute")
    parser.add_argument("--discriminator", type=float, default=0.0, help="weight of softplus(-D(G(E(s))))")
    parser.add_argument("--pairs", type=float, default=0.0, help="weight of softplus(-P) of the generated pair")
    parser.add_argument("--features", type=float, default=0.0, help="weight of the difference of D's activations")
    parser.add_argument("--pair-features", type=float, default=0.0, help="the same of P")
    parser.add_argument("--eval", type=int, default=CHOOSING, metavar="N", help="choosing images to report on; 0: none")
    parser.add_argument("--limit", type=int, metavar="N", help="read only N training images, for tests")
    args = parser.parse_args()
    if min(args.steps, args.call) < 1 or (args.steps > args.call and args.steps % args.call):
        parser.error(f"--steps {args.steps}: up to {args.call}, or a multiple of it")
    if (args.pairs or args.pair_features) and not args.state:
        parser.error("--pairs and --pair-features need --state")
    if not 0 <= args.eval <= CHOOSING:
        parser.error(f"--eval {args.eval}: it must be from 0 to {CHOOSING}")
    return args


def settings_of(texts):
    """`EncoderSettings` changed by texts of the form NAME=VALUE."""
    kinds, given = {f.name: f.type for f in dataclasses.fields(EncoderSettings)}, {}
    for text in texts:
        name, _, value = text.removeprefix("encoder.").partition("=")
        if name not in kinds:
            raise SystemExit(f"--set {text}: unknown; valid: {', '.join(kinds)}")
        given[name] = converted(yaml_reader.parse(value, f"--set {text}"), kinds[name])
    return dataclasses.replace(EncoderSettings(), **given)


def networks_of(weights, state):
    """{"generator": {name: array}, "discriminator": ..., "pair": ...}; only the last comes from the state."""
    held = load_file(weights)
    if state:
        held |= {name: value for name, value in load_file(state).items() if name.startswith("pair/")}
    found = {}
    for name, value in held.items():
        network, _, variable = name.partition("/")
        found.setdefault(network, {})[variable] = jnp.asarray(value, jnp.float32)
    return found


# --- losses -----------------------------------------------------------------------------------------------------------


def activations(weights, images, compute):
    """D or P in inference mode -> (logits (n,), [activations of conv1, conv2, conv3])."""
    x, hidden = images, []
    for i in range(4):
        x = networks.conv(x, weights[f"conv{i}.kernel"], compute) + weights[f"conv{i}.bias"].astype(compute)
        if i:
            x, _ = networks.batch_norm(x, weights, f"bn{i}", training=False)
        x = jax.nn.leaky_relu(x, 0.2)
        hidden += [x] if i else []
    x = x.reshape(len(x), -1).astype(jnp.float32)
    return (x @ weights["dense.kernel"] + weights["dense.bias"])[:, 0], hidden


def difference(found, truth):
    """The sum over layers of the mean absolute difference, relative to the mean absolute activation of the truth."""
    total = 0.0
    for a, b in zip(found, truth, strict=True):
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
        total += jnp.abs(a - b).mean() / jnp.abs(b).mean()
    return total


def losses(frozen, joints, truth, direction, compute, extra):
    """Unweighted losses {name: scalar} of generated joints against true ones; extra: names of `EXTRA`."""
    known = DIRECTIONS[direction]
    pair = {known: networks.grey(half(truth, known)), direction: networks.grey(half(joints, direction))}
    parts = {
        "contextual": networks.divergence(half(joints, known), half(truth, known)).mean(),
        "l1": jnp.abs(half(joints, direction) - half(truth, direction)).mean(),
        "edges": (1 - networks.consistency(pair["sketch"], pair["photo"])).mean(),
    }
    judges = (
        ("discriminator", "discriminator", "features", lambda x: x),
        ("pair", "pairs", "pair_features", networks.overlaid),
    )
    for network, verdict, features, view in judges:
        if verdict in extra or features in extra:
            logits, hidden = activations(frozen[network], view(joints), compute)
            if verdict in extra:
                parts[verdict] = jax.nn.softplus(-logits).mean()
            if features in extra:
                parts[features] = difference(hidden, activations(frozen[network], view(truth), compute)[1])
    return parts


def objective(weights, frozen, given, truth, z, options):
    """The loss of E -> (weighted sum, (parts, the new statistics of E)); z: of the first of `truth`."""
    guess, statistics = networks.encoder(weights, given, training=True, compute=options["encoder_compute"])
    joints, _ = networks.generator(frozen["generator"], guess, compute=options["compute"])
    parts = losses(frozen, joints, truth, options["direction"], options["compute"], options["extra"])
    parts["z_error"] = ((guess - jnp.pad(z, ((0, len(guess) - len(z)), (0, 0)))) ** 2).mean()
    settings = options["settings"]
    weighted = {"contextual": 1.0, "l1": settings.l1, "edges": settings.edges, "z_error": settings.pull}
    weighted |= options["extra"]
    return sum(weight * parts[name] for name, weight in weighted.items()), (parts, statistics)


# --- training ---------------------------------------------------------------------------------------------------------


def to_float(joints):
    return (joints.astype(jnp.float32) - 127.5) / 127.5


def mirrored(joints, which):
    """Mirror the joints where `which` (n,), each half in place."""
    flipped = joints.reshape(len(joints), SIZE, 2, SIZE, 3)[:, :, :, ::-1].reshape(joints.shape)
    return jnp.where(which[:, None, None, None], flipped, joints)


def batch_of(key, frozen, data, options):
    """(known halves, roughened or disturbed; true joints; z of the first of them, which G made)."""
    settings, direction = options["settings"], options["direction"]
    own = round(settings.own * settings.batch_size)
    keys = jax.random.split(key, 5)
    z = jax.random.uniform(keys[0], (own, networks.LATENT), minval=-1, maxval=1)
    chosen = jax.random.randint(keys[1], (settings.batch_size - own,), 0, len(data))
    truth = data[chosen]
    if settings.flip:
        truth = mirrored(truth, jax.random.bernoulli(keys[2], shape=chosen.shape))
    truth = to_float(truth)
    if own:
        made, _ = networks.generator(frozen["generator"], z, compute=options["compute"])
        truth = jnp.concatenate([made, truth])
    known = half(truth, DIRECTIONS[direction])
    amount = rough.levels(keys[3], len(known), settings.rough, settings.clean)
    given = (rough.roughen if direction == "photo" else rough.disturb)(keys[4], known, amount)
    return given, truth, z


def step_of(state, frozen, data, options, steps):
    """One step of training -> (the new state, {name: scalar})."""
    weights, optimizer = state
    settings, step = options["settings"], optimizer[0]
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(settings.seed % 2**32), 1), step)
    given, truth, z = batch_of(key, frozen, data, options)
    learn, fixed = networks.trained(weights), {k: v for k, v in weights.items() if k.endswith(networks.STATISTICS)}

    def loss(learned):
        return objective(learned | fixed, frozen, given, truth, z, options)

    (total, (parts, statistics)), gradients = jax.value_and_grad(loss, has_aux=True)(learn)
    rate = settings.lr * 0.5 * (1 + jnp.cos(jnp.pi * step / steps))
    new, optimizer = networks.adam_step(weights, optimizer, gradients, rate, beta_1=0.9, epsilon=1e-7)
    norm = jnp.sqrt(sum((value**2).sum() for value in gradients.values()))
    return (new | statistics, optimizer), parts | {"loss": total, "gradient": norm}


def train(frozen, data, options, steps, call, save):
    """Train E -> {name: array}; save(weights) is called every 10 calls of the device, of `call` steps each."""
    settings, call = options["settings"], min(call, steps)

    @partial(jax.jit, donate_argnums=0)
    def run(state, frozen, data):
        state, parts = jax.lax.scan(lambda s, _: step_of(s, frozen, data, options, steps), state, None, length=call)
        return state, jax.tree.map(jnp.mean, parts)

    weights = networks.new_encoder(jax.random.key(settings.seed % 2**32), settings.width)
    state = jax.tree.map(jnp.copy, (weights, networks.adam(weights)))  # a buffer is donated only once
    waiting, began, shown = [], time.perf_counter(), 0
    for done in range(call, steps + 1, call):
        state, parts = run(state, frozen, data)
        waiting.append(parts)
        if done in (call, steps) or done % (10 * call) == 0:
            parts = jax.device_get(waiting)
            means = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
            now, note = time.perf_counter(), " with compilation" if done == call else ""
            speed = (done - shown) * settings.batch_size / (now - began)
            text = " ".join(f"{name} {value:.4f}" for name, value in means.items())
            print(f"step {done}: {text}; {speed:.0f} images/s{note}", flush=True)
            if not np.isfinite(means["loss"]):
                raise SystemExit("the loss is not finite")
            save(state[0])
            began, shown, waiting = time.perf_counter(), done, []
    return state[0]


def write(path, weights):
    """Write E in float16, atomically."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    named = {f"encoder/{name}": np.asarray(value).astype(np.float16) for name, value in weights.items()}
    save_file(named, f"{path}.part")
    os.replace(f"{path}.part", path)


# --- report -----------------------------------------------------------------------------------------------------------


def report(weights, frozen, joints, options, batch=100):
    """Losses on the choosing images, in float32, for known halves as they are and at roughness 0.5."""
    direction, extra = options["direction"], options["extra"]

    @partial(jax.jit, static_argnames="amount")
    @jax.default_matmul_precision("float32")
    def of(weights, frozen, joints, key, amount):
        truth = to_float(joints)
        known = half(truth, DIRECTIONS[direction])
        make = rough.roughen if direction == "photo" else rough.disturb
        given = make(key, known, jnp.full(len(known), amount)) if amount else known
        made, _ = networks.generator(frozen["generator"], networks.encoder(weights, given)[0])
        parts = losses(frozen, made, truth, direction, jnp.float32, extra)
        levels = [half(jnp.round((images + 1) * 127.5), direction) for images in (made, truth)]
        error = ((levels[0] - levels[1]) ** 2).mean((1, 2, 3))
        return parts | {"psnr": (10 * jnp.log10(255**2 / error)).mean()}

    for amount in (0.0, 0.5):
        found = []
        for first in range(0, len(joints), batch):
            some = joints[first : first + batch]
            parts = of(weights, frozen, some, jax.random.key(first), amount)
            found.append({name: float(value) * len(some) for name, value in parts.items()})
        means = {name: round(sum(part[name] for part in found) / len(joints), 5) for name in found[0]}
        print(json.dumps({"roughness": amount, "images": len(joints)} | means), flush=True)


def main(args):
    settings = settings_of(args.set)
    compute = jnp.dtype(args.compute)
    extra = {name: getattr(args, name) for name in EXTRA if getattr(args, name)}
    options = {"settings": settings, "direction": args.direction, "compute": compute, "extra": extra}
    options["encoder_compute"] = jnp.dtype(args.encoder_compute or args.compute)
    frozen = networks_of(args.weights, args.state)
    began = time.perf_counter()
    files = sorted(str(path) for path in Path(args.data).iterdir() if path.suffix == ".png")
    chosen, files = files[: args.eval], files[CHOOSING:][: args.limit]
    joints = networks.read_joints(files)
    print(f"{jax.devices()[0]}: {len(files)} images read in {time.perf_counter() - began:.1f} s; {settings}; {extra}")
    weights = train(frozen, jax.device_put(joints), options, args.steps, args.call, partial(write, args.out))
    held = load_file(args.out)  # as others will read it
    weights = {name.partition("/")[2]: jnp.asarray(value, jnp.float32) for name, value in held.items()}
    if chosen:
        report(weights, frozen, networks.read_joints(chosen), options)
    print(f"wrote {args.out}; {len(files)} joint images; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(parse())
