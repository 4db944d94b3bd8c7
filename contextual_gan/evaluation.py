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
from contextual_gan.identity import distances, embeddings, verification
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
from contextual_gan.realism import hog_features, inception_features, kernel_summary
from contextual_gan.sources import images_in, output_stems

RESULTS = ("grid.png", "table.md", "metrics.json")  # beside the folders of the methods
ROWS = 12  # of the grid
COLUMNS = {  # of the table: metric -> (title, digits)
    "ssim": ("SSIM", 3),
    "psnr": ("PSNR, dB", 2),
    "consistency": ("sketch consistency", 3),
    "identity": ("identity distance", 3),
    "verification": ("verification", 3),
    "hog_distance": ("HOG distance", 3),
    "kid": ("KID", 3),
    "diversity": ("diversity", 1),
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


@dataclass(frozen=True)
class Truth:
    """The true halves, and what is computed of them once for all methods."""

    joints: list
    direction: str
    known: np.ndarray  # (n, 64, 64, 3) uint8
    wanted: np.ndarray  # the same
    features: dict  # {metric: function of images -> (n, d)}, of which kernel distances are made
    real: dict  # {metric: these of `wanted`}
    faces: np.ndarray | None  # embeddings of `wanted`, None if identity is not asked for


def truth(joints, direction, *, inception=None, identity=False, progress=lambda n: None):
    """The `Truth` of joints. inception: weights for real KID; identity: whether faces are to be recognised.

    Raises ValueError for bad weights, FileNotFoundError if dlib's models are not installed.
    """
    pixels = np.stack([joint.pixels for joint in joints])
    wanted = half(pixels, direction)
    features = {"hog_distance": hog_features} | ({"kid": inception_features(inception)} if inception else {})
    real = {name: function(wanted) for name, function in features.items()}
    faces = embeddings(wanted, progress) if identity else None
    return Truth(joints, direction, half(pixels, DIRECTIONS[direction]), wanted, features, real, faces)


def score(predicted, truth, notes=({},), progress=lambda n: None):
    """Score predictions (n, 64, 64, 3) uint8 of the halves that were wanted -> what metrics.json says of a method.

    {metric: {"mean", "low", "high"}} with 95% intervals, of those metrics of COLUMNS that there are, and "images": the
    values of each image. notes: a dict for each image, with "contextual" and "diversity" of methods that have them (or
    None in them). Kernel distances and verification are of the whole set, of at least 4 images.
    PSNR of a prediction identical to the truth is "inf", not in the mean, and counted as "identical".
    """
    pair = {DIRECTIONS[truth.direction]: truth.known, truth.direction: predicted}
    values = {
        "ssim": metrics.ssim(predicted, truth.wanted),
        "psnr": metrics.psnr(predicted, truth.wanted),
        "consistency": metrics.consistency(pair["sketch"], pair["photo"]),
    }
    for name in ("contextual", "diversity"):
        if name in notes[0]:
            values[name] = np.array([note[name] for note in notes], np.float64)  # None becomes NaN
    faces = None if truth.faces is None else embeddings(predicted, progress)
    if faces is not None:
        values["identity"] = distances(faces, truth.faces)
    found = {name: metrics.summary(numbers) for name, numbers in values.items()}
    if len(predicted) >= 4:
        found |= {name: kernel_summary(f(predicted), truth.real[name]) for name, f in truth.features.items()}
        found |= {"verification": _verification(faces, truth.faces)} if faces is not None else {}
    found["psnr"]["identical"] = int(np.isinf(values["psnr"]).sum())
    if "contextual" in values:
        finite = values["contextual"][np.isfinite(values["contextual"])]
        found["contextual"]["median"] = float(np.median(finite)) if len(finite) else None
    rows = zip(*(map(metrics.json_value, numbers) for numbers in values.values()), strict=True)
    found["images"] = [
        {"name": joint.name, **dict(zip(values, row, strict=True))}
        for joint, row in zip(truth.joints, rows, strict=True)
    ]
    return found


def _verification(made, true):
    """Accuracy of `identity.verification`, as a summary with its threshold."""
    found = verification(made, true)
    return metrics.summary(found["correct"]) | {"threshold": metrics.json_value(found["threshold"])}


def table(scores, title="method", shown=COLUMNS):
    """{row: what `score` returned} -> a Markdown table of some metrics, aligned for reading as it is."""
    columns = [metric for metric in shown if any(metric in found for found in scores.values())]
    lines = [[title, *(COLUMNS[metric][0] for metric in columns)]]
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
    write_json(out, scores, settings, failed)


def write_json(out, scores, settings, failed):
    """Write metrics.json into the folder `out`; the arguments are those of `write`."""
    failures = [{"name": name, "reason": reason} for name, reason in failed]
    record = {**scores, "settings": settings, "failed": failures, "versions": _versions()}
    replace_file(Path(out) / "metrics.json", (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())


def _versions():
    versions = {"python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__}
    for package in ("contextual_gan", "tensorflow", "keras"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)  # imports nothing
    return versions
