"""Presets of the search on the same sketches: their losses compared with the first preset, and their time."""

import hashlib
import io
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from contextual_gan import command, joint
from contextual_gan.completion import search
from contextual_gan.config import PRESETS, resolved
from contextual_gan.evaluation import metrics, predictions
from contextual_gan.files.images import replace_file, to_uint8
from contextual_gan.files.progress import progress
from contextual_gan.models.locations import encoder_sha256, pin
from contextual_gan.models.weights import load_encoder, load_networks


def main(args):
    """Run or read each preset, print the table, draw the plot."""
    if not args.data:
        raise command.UserError("search needs --data, a folder of joint images such as data/celeba/test")
    names = args.presets.split(",")
    if unknown := set(names) - set(PRESETS):
        raise command.UserError(f"no preset {', '.join(unknown)}; available: {', '.join(PRESETS)}")
    with command.mistakes():
        args.weights = pin(args.weights)
        joints, failed = predictions.usable_joints(args.data, limit=args.limit)
        networks = load_networks(args.weights)
        for name in names:  # before the first search, which takes longer
            if PRESETS[name].start == "encoder":
                load_encoder(args.weights, args.direction)
            if args.samples > PRESETS[name].n_init:
                raise ValueError(f"--samples {args.samples}, but {name} has {PRESETS[name].n_init} initializations")
    command.report_failed(failed)
    pixels = np.stack([found.pixels for found in joints])
    known = joint.half(pixels, joint.DIRECTIONS[args.direction])
    results = {name: kept_result(name, networks, known, args) for name in names}
    reference = results[names[0]]
    for name, result in results.items():
        print_result(name, result, names[0], reference)
        if args.samples > 1:
            print(f"  two of its {args.samples} samples differ by {result['diversity'].mean():.1f} levels of 255")
        if args.metrics:
            print_metrics(result, reference, pixels, args.direction)
    if args.plot:
        plot(results, args.plot)
    return 1 if failed else 0


def kept_result(name, networks, known, args):
    """{"seconds" per sketch, "contextual" and "total" (n, iterations + 1), "made" uint8 halves} of a preset.

    Results are stored under a hash of everything that determines them.
    """
    content = {
        "weights": args.weights.sha256,
        "known": hashlib.sha256(known.tobytes()).hexdigest(),
        "direction": args.direction,
        "batch_size": args.batch_size,
        "samples": args.samples,
        "search": resolved(PRESETS[name]),
        "encoder": encoder_sha256(args.weights, args.direction, PRESETS[name]),
    }
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    path = Path(args.out) / f"{name}_{key}.npz"
    if path.is_file() and not args.again:
        print(f"{name}: measured before, {path}")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    settings = PRESETS[name]
    encoder = load_encoder(args.weights, args.direction) if settings.start == "encoder" else None
    with progress(len(known) * args.samples * (settings.iterations + 1), name, "iterations") as advance:
        start = time.perf_counter()
        found = search.complete(
            *networks,
            known,
            encoder=encoder,
            direction=args.direction,
            batch_size=args.batch_size,
            samples=args.samples,
            progress=lambda n, loss: advance(n, f"contextual loss {loss:.3f}"),
            **asdict(settings),
        )
        seconds = (time.perf_counter() - start) / len(known)
    result = {
        "seconds": np.float64(seconds),
        "contextual": found.contextual[:, 0],
        "total": found.total[:, 0],
        "made": to_uint8(joint.half(found.joints[:, 0], args.direction)),
        "diversity": metrics.diversity(to_uint8(joint.half(found.joints, args.direction))) if args.samples > 1 else [],
    }
    buffer = io.BytesIO()
    np.savez(buffer, **result)
    replace_file(path, buffer.getvalue())
    return result


def final(result, name="contextual"):
    """The loss of the selected z of each sketch."""
    return result[name][np.arange(len(result["total"])), np.nanargmin(result["total"], axis=1)]


def print_result(name, result, against, reference):
    """Time and losses, compared with the reference, the preset named `against`."""
    losses, seconds = final(result), float(result["seconds"])
    iterations = result["contextual"].shape[1] - 1
    medians = np.nanmedian(result["contextual"], axis=0)
    reached = np.flatnonzero(medians <= np.median(final(reference)))
    when = f"after {reached[0]} iterations, {seconds * reached[0] / iterations:.2f} s" if len(reached) else "not"
    print(
        f"{name}: {seconds:.3f} s per sketch, {float(reference['seconds']) / seconds:.1f} times as fast, {iterations} "
        f"iterations\n  contextual loss {medians[0]:.3f} at the start, {np.median(losses):.3f} in the end; total "
        f"{np.median(final(result, 'total')):.3f} (medians)\n  as low as {against}'s: "
        f"{np.mean(losses <= final(reference)):.0%} of the sketches; the median {when}"
    )


def print_metrics(result, reference, pixels, direction):
    """SSIM, PSNR and sketch consistency of the results, and their differences from the reference."""
    for metric in ("ssim", "psnr", "consistency"):
        values, of_reference = (score(metric, x["made"], pixels, direction) for x in (result, reference))
        value, difference = metrics.summary(values), metrics.summary(values - of_reference)
        print(
            f"  {metric} {value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f}), difference "
            f"{difference['mean']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f})"
        )


def score(metric, made, pixels, direction):
    """A metric of each generated half."""
    if metric == "consistency":
        pair = {joint.DIRECTIONS[direction]: joint.half(pixels, joint.DIRECTIONS[direction]), direction: made}
        return metrics.sketch_consistency(pair["sketch"], pair["photo"])
    return getattr(metrics, metric)(made, joint.half(pixels, direction))


def plot(results, out):
    """Median contextual loss over seconds per sketch."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise command.UserError("plots need matplotlib: pip install -e '.[plots]'") from error
    figure = Figure((8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, result in results.items():
        medians = np.nanmedian(result["contextual"], axis=0)
        axes.plot(np.linspace(0, float(result["seconds"]), len(medians))[1:], medians[1:], label=name)
    axes.set(xscale="log", xlabel="seconds per sketch", ylabel="median contextual loss")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format=Path(out).suffix.removeprefix(".") or "png")
    replace_file(out, buffer.getvalue())
    print(f"wrote {out}")
