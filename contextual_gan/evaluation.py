"""Evaluate methods on a folder of joint images: predict one half of each from the other, and score the predictions.

OUT/METHOD/NAME.png are the predictions, kept with a manifest of what they were made with, so that an evaluation can be
interrupted, continued and extended; what is scored are these files.
"""

import contextlib
import hashlib
import json
import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np

from contextual_gan import metrics
from contextual_gan.command import printable
from contextual_gan.folders import LONGEST_NAME
from contextual_gan.images import (
    ImageError,
    decode_rgba,
    enlarge,
    grid,
    on_background,
    read_image,
    replace_file,
    write_png,
)
from contextual_gan.joint import DIRECTIONS, SIZE, half
from contextual_gan.manifest import Manifest
from contextual_gan.sources import images_in, output_stems

RESULTS = ("grid.png", "table.md", "metrics.json")  # beside the folders of the methods
ROWS = 12  # of the grid
COLUMNS = {  # of the table: metric -> (title, digits)
    "ssim": ("SSIM", 3),
    "psnr": ("PSNR, dB", 2),
    "consistency": ("sketch consistency", 3),
    "contextual": ("contextual loss", 3),
}


@dataclass(frozen=True)
class Joint:
    """A joint image to predict a half of."""

    name: str  # below the folder of joints, posix
    output: str  # of its predictions, below the folder of the method
    sha256: str  # of the file
    pixels: np.ndarray  # (64, 128, 3) uint8


# --- reading ----------------------------------------------------------------------------------------------------------


def read_joints(location, *, excluded=None, limit=None):
    """Read the joint images of a folder (or zip archive), the first `limit` of them by name -> ([`Joint`], failed).

    failed: [(name, reason)] of those that cannot be used, which count among the first.
    Raises FileNotFoundError, and ValueError as `joint_sources`.
    """
    joints, failed = [], []
    found, refused = joint_sources(location, excluded)
    stems = {source.name: stem for stem, source in output_stems(found).items()}
    reasons, sources = dict(refused), {source.name: source for source in found}
    for name in sorted(reasons.keys() | sources.keys())[:limit]:
        try:
            if name in reasons:
                raise ImageError(reasons[name])
            if max(len(os.fsencode(part)) for part in f"{stems[name]}.png".split("/")) > LONGEST_NAME:
                raise ImageError("its name is too long")
            data = sources[name].read()
            joints.append(Joint(name, f"{stems[name]}.png", hashlib.sha256(data).hexdigest(), decode_joint(data)))
        except ImageError as error:
            failed.append((name, str(error)))
    return joints, failed


def joint_sources(location, excluded=None):
    """`sources.images_in` of one set of joint images. Raises ValueError also for the folder above train/ or test/."""
    if any((Path(location) / part).is_dir() for part in ("train", "test")):
        raise ValueError(f"{location} is not one set of joint images but the folder above: give its train/ or test/")
    return images_in(location, excluded)


def decode_joint(data):
    """Bytes of an image file -> a joint image, (64, 128, 3) uint8. Raises `ImageError`, also for another size."""
    image = on_background(decode_rgba(data))
    if image.shape[:2] != (SIZE, 2 * SIZE):
        raise ImageError(f"{image.shape[1]} x {image.shape[0]} pixels; a joint image has {2 * SIZE} x {SIZE}")
    return image


# --- predicting -------------------------------------------------------------------------------------------------------


def plan(out, parameters, joints, overwrite=False):
    """Read what is in `out`, the folder of a method, write nothing -> (its `Manifest`, the joints left to predict).

    parameters: JSON dict of all that decides the predictions.
    Raises ValueError if the predictions there were made with other parameters, unless `overwrite`.
    """
    manifest = Manifest(out, parameters, overwrite)
    sha256 = {name: entry["sha256"] for name, entry in manifest.entries.items()}
    left = [j for j in joints if sha256.get(j.name) != j.sha256 or not manifest.has(j.name, j.output)]
    return manifest, left


def begin(out, plans, joints):
    """Make the folder `out` ready for what `plans`, of `plan`, leave to do; `joints` are all that are evaluated.

    The results of predictions that are to be replaced are removed. Raises ValueError if files of another origin are in
    the way.
    """
    for manifest, left in plans:
        if left:
            manifest.begin({joint.name: joint.output for joint in joints})
    if any(manifest.outdated or any(joint.name in manifest.entries for joint in left) for manifest, left in plans):
        for name in RESULTS:
            (Path(out) / name).unlink(missing_ok=True)


def predict(manifest, left, predictor, *, direction, batch_size=64, progress=lambda n, note="": None):
    """Write the predictions of the joints that are left, batch by batch.

    predictor, progress: see methods.py.
    """
    for start in range(0, len(left), batch_size):
        batch = left[start : start + batch_size]
        known = np.stack([half(joint.pixels, DIRECTIONS[direction]) for joint in batch])
        for joint, prediction, notes in zip(batch, *predictor(known, progress), strict=True):
            write_png(manifest.out / joint.output, prediction)
            manifest.add({"source": joint.name, "sha256": joint.sha256, "output": joint.output} | notes)
    manifest.finish()


# --- scoring ----------------------------------------------------------------------------------------------------------


def predictions(manifest, joints):
    """The predictions of joints as they are on disk -> (n, 64, 64, 3) uint8. Raises ValueError naming the file."""
    found = np.empty((len(joints), SIZE, SIZE, 3), np.uint8)
    for i, joint in enumerate(joints):
        path = manifest.out / joint.output
        try:
            image = read_image(path)
            if image.shape != found.shape[1:]:
                raise ImageError(f"{image.shape[1]} x {image.shape[0]} pixels, it has been changed")
        except ImageError as error:
            raise ValueError(f"{path}: {error}; remove it and run the same command again") from error
        found[i] = image
    return found


def score(predicted, joints, direction, notes=None):
    """Score predictions (n, 64, 64, 3) uint8 of a half of n joints -> what metrics.json says of a method.

    {"ssim", "psnr", "consistency", "contextual"}: mean, low and high (95% bootstrap interval); "images": the values of
    each. notes: a dict with "contextual" (or None in it) for each, of methods that have that loss.
    PSNR of a prediction identical to the truth is "inf", not in the mean, and counted as "identical".
    """
    pixels = np.stack([joint.pixels for joint in joints])
    known, truth = half(pixels, DIRECTIONS[direction]), half(pixels, direction)
    pair = {DIRECTIONS[direction]: known, direction: predicted}
    values = {
        "ssim": metrics.ssim(predicted, truth),
        "psnr": metrics.psnr(predicted, truth),
        "consistency": metrics.consistency(pair["sketch"], pair["photo"]),
    }
    if notes and "contextual" in notes[0]:
        values["contextual"] = np.array([note["contextual"] for note in notes], np.float64)  # None becomes NaN
    found = {name: metrics.summary(numbers) for name, numbers in values.items()}
    found["psnr"]["identical"] = int(np.isinf(values["psnr"]).sum())
    if "contextual" in values:
        finite = values["contextual"][np.isfinite(values["contextual"])]
        found["contextual"]["median"] = float(np.median(finite)) if len(finite) else None
    rows = zip(*(map(metrics.json_value, numbers) for numbers in values.values()), strict=True)
    found["images"] = [
        {"name": joint.name, **dict(zip(values, row, strict=True))} for joint, row in zip(joints, rows, strict=True)
    ]
    return found


def table(scores):
    """{method: what `score` returned} -> a Markdown table, aligned for reading as it is."""
    columns = [metric for metric in COLUMNS if any(metric in found for found in scores.values())]
    lines = [["method", *(COLUMNS[metric][0] for metric in columns)]]
    lines += [[method, *(_cell(found, metric) for metric in columns)] for method, found in scores.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "".join(f"| {' | '.join(map(str.ljust, line, widths))} |\n" for line in lines)


def _cell(found, metric):
    if found.get(metric, {"mean": None})["mean"] is None:
        return ""
    digits, values = COLUMNS[metric][1], found[metric]
    mean, low, high = (v if v == "inf" else f"{v:.{digits}f}" for v in map(values.get, ("mean", "low", "high")))
    text = f"{mean} ({low} to {high})"
    if values.get("identical"):
        text += f", {values['identical']} identical"
    return text if "median" not in values else f"{text}, median {values['median']:.{digits}f}"


def write(out, scores, settings, failed, joints, predicted):
    """Write grid.png, table.md and metrics.json into the folder `out`.

    scores: {method: what `score` returned}; settings: a dict of JSON values; failed: as of `read_joints`;
    predicted: {method: predictions of the joints}.
    """
    rows = []
    for i, joint in enumerate(joints[:ROWS]):
        cells = half(joint.pixels, "sketch"), half(joint.pixels, "photo"), *(p[i] for p in predicted.values())
        rows.append([enlarge(cell, 2) for cell in cells])
    names = [printable(joint.name) for joint in joints[:ROWS]]
    write_png(Path(out) / "grid.png", grid(rows, ["true sketch", "true photo", *predicted], names))
    notes = (
        f"\nThe {settings['direction']} half of {len(joints)} joint images: means over the images, with their 95% "
        "bootstrap intervals. The numbers of each image and all settings are in `metrics.json`.\n"
    )
    replace_file(Path(out) / "table.md", (table(scores) + notes).encode())
    failures = [{"name": name, "reason": reason} for name, reason in failed]
    record = {**scores, "settings": settings, "failed": failures, "versions": _versions()}
    replace_file(Path(out) / "metrics.json", (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())


def _versions():
    versions = {"python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__}
    for package in ("contextual_gan", "tensorflow", "keras"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)  # imports nothing
    return versions
