"""Score predictions against the true halves, and write metrics.json, table.md and grid.png."""

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

from contextual_gan.evaluation import metrics
from contextual_gan.evaluation.identity import distances, embeddings, finds_faces, verification
from contextual_gan.evaluation.predictions import predictions
from contextual_gan.evaluation.realism import hog_features, inception_features, kernel_summary
from contextual_gan.files.images import ImageError, enlarge, grid, read_bytes, read_image, replace_file, write_png
from contextual_gan.files.manifest import LARGEST_RECORD, parse_json
from contextual_gan.joint import DIRECTIONS, half
from contextual_gan.terminal import printable

ROWS = 12  # of the grid
COLUMNS = {  # of the table: metric -> (title, digits)
    "ssim": ("SSIM", 3),
    "psnr": ("PSNR, dB", 2),
    "consistency": ("sketch consistency", 3),
    "identity": ("identity distance", 3),
    "verification": ("verification", 3),
    "hog_distance": ("HOG distance", 3),
    "faces": ("faces found", 3),
    "kid": ("KID", 3),
    "diversity": ("diversity", 1),
    "contextual": ("contextual loss", 3),
}


@dataclass(frozen=True)
class Truth:
    """The true halves, and the values derived from them once for all methods."""

    joints: list
    direction: str
    known: np.ndarray  # (n, 64, 64, 3) uint8
    wanted: np.ndarray  # the same
    features: dict  # {metric: function of images -> (n, d)}, for the kernel distances
    real: dict  # {metric: features of `wanted`}
    faces: np.ndarray | None  # embeddings of `wanted`, None without --identity


def truth(joints, direction, inception=None, identity=False, progress=lambda n: None):
    """The `Truth` of joints. inception: weights file of InceptionV3, for KID; identity: whether to recognise faces.

    Raises ValueError for bad weights, FileNotFoundError if dlib's models are not installed.
    """
    pixels = np.stack([joint.pixels for joint in joints])
    wanted = half(pixels, direction)
    features = {"hog_distance": hog_features} | ({"kid": inception_features(inception)} if inception else {})
    real = {name: function(wanted) for name, function in features.items()}
    faces = embeddings(wanted, progress) if identity else None
    return Truth(joints, direction, half(pixels, DIRECTIONS[direction]), wanted, features, real, faces)


def score(predicted, truth, notes=({},), progress=lambda n: None):
    """Score predictions (n, 64, 64, 3) uint8 of the wanted halves -> the entry of a method in metrics.json.

    {metric: {"mean", "low", "high"}} with 95% intervals, for the available metrics of COLUMNS, and "images": the values
    of each image. notes: a dict for each image, with "contextual" and "diversity" from methods that have them (None if
    missing). Kernel distances and verification describe the whole set, of at least 4 images.
    The PSNR of a prediction identical to the truth is "inf"; it is counted as "identical" and left out of the mean.
    """
    pair = {DIRECTIONS[truth.direction]: truth.known, truth.direction: predicted}
    values = metrics.likeness(predicted, truth.wanted)
    values["consistency"] = metrics.sketch_consistency(pair["sketch"], pair["photo"])
    for name in ("contextual", "diversity"):
        if name in notes[0]:
            values[name] = np.array([note.get(name) for note in notes], np.float64)  # None becomes NaN
    faces = None if truth.faces is None else embeddings(predicted, progress)
    if faces is not None:
        values["identity"] = distances(faces, truth.faces)
        values["faces"] = finds_faces(predicted).astype(np.float64)
    found = metrics.summaries(values)
    if len(predicted) >= 4:
        found |= {name: kernel_summary(f(predicted), truth.real[name]) for name, f in truth.features.items()}
        found |= {"verification": _verification(faces, truth.faces)} if faces is not None else {}
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
    """{row: result of `score`} -> a Markdown table of some metrics, with aligned columns."""
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
    text = mean if mean == "inf" else f"{mean} ({low} to {high})"
    if values.get("identical"):
        text += f", {values['identical']} identical"
    return text if "median" not in values else f"{text}, median {values['median']:.{digits}f}"


def write(out, scores, settings, failed, joints, predicted):
    """Write grid.png, table.md and metrics.json into the folder `out`.

    scores: {method: result of `score`}; settings: a dict of JSON values; failed: from `load_joints`;
    predicted: {method: predictions of the joints}. For each method, metrics.json also holds the hash of its numbers and
    of its prediction files, which `read_scores` checks.
    """
    write_png(Path(out) / "grid.png", _grid(joints, predicted))
    replace_file(Path(out) / "table.md", _text(scores, settings, joints))
    hashed = {name: found | {"sha256": _sha256(found, Path(out) / name, joints)} for name, found in scores.items()}
    write_json(out, hashed, settings, failed)


def _grid(joints, predicted):
    rows = []
    for i, joint in enumerate(joints[:ROWS]):
        cells = half(joint.pixels, "sketch"), half(joint.pixels, "photo"), *(p[i] for p in predicted.values())
        rows.append([enlarge(cell, 2) for cell in cells])
    names = [printable(joint.name) for joint in joints[:ROWS]]
    return grid(rows, ["true sketch", "true photo", *predicted], names)


def _text(scores, settings, joints):
    """The content of table.md."""
    notes = (
        f"\nThe {settings['direction']} half of {len(joints)} joint images: means over the images, with their 95% "
        "bootstrap intervals; kernel distances are over the whole set, with jackknife intervals; verification is over "
        "one half of it. The numbers of each image and all settings are in `metrics.json`.\n"
    )
    return (table(scores) + notes).encode()


def _sha256(found, folder, joints):
    """The hash of a method's numbers and of the files they were computed from."""
    numbers = {key: value for key, value in found.items() if key != "sha256"}
    sha256 = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode())
    for joint in joints:
        sha256.update(read_bytes(folder / joint.output))
    return sha256.hexdigest()


def write_json(out, scores, settings, failed, **more):
    """Write metrics.json into the folder `out`; the arguments are those of `write`, plus further entries."""
    record = {**scores, **_circumstances(settings, failed), **more}
    replace_file(Path(out) / "metrics.json", (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())


def _circumstances(settings, failed):
    failures = [{"name": name, "reason": reason} for name, reason in failed]
    return {"settings": settings, "failed": failures, "versions": _versions()}


def read_json(out, of_folders):
    """The content of metrics.json in the folder `out`; {} if it is missing or unreadable.

    of_folders: whether two folders are scored. Raises ValueError if the file is of the other kind.
    """
    path = Path(out) / "metrics.json"
    if not os.path.lexists(path):
        return {}
    try:
        record = parse_json(read_bytes(path, LARGEST_RECORD))
        is_of_folders = "folder" in {**record["settings"]}
    except ImageError as error:  # no file, or too large
        raise ValueError(f"{path}: {error}; move it away, or give another --out") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if is_of_folders != of_folders:
        what = "of two folders" if is_of_folders else "of an evaluation with --data"
        raise ValueError(f"{out} holds the results {what}; give another --out")
    return record


def read_scores(out, plans, settings, failed, joints):
    """The scores of a finished evaluation that are still valid, else None.

    plans: {method: (manifest, ...)}, no prediction missing. All files are checked: numbers and predictions must be
    unchanged, and the table and the grid must belong to them.
    """
    record, out = read_json(out, of_folders=False), Path(out)
    scores = {method: record.get(method) for method in plans}
    now = {**dict.fromkeys(plans), **json.loads(json.dumps(_circumstances(settings, failed)))}
    if {**record, **dict.fromkeys(plans)} != now or not all(isinstance(found, dict) for found in scores.values()):
        return None
    try:
        if any(found.get("sha256") != _sha256(found, out / name, joints) for name, found in scores.items()):
            return None
        predicted = {name: predictions(out / name, joints[:ROWS]) for name in plans}
        if read_bytes(out / "table.md") != _text(scores, settings, joints):
            return None
        return scores if np.array_equal(read_image(out / "grid.png"), _grid(joints, predicted)) else None
    except (OSError, ValueError):  # a file is missing or damaged
        return None


def _versions():
    versions = {"python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__}
    for package in ("contextual_gan", "tensorflow", "keras", "scikit-image", "dlib-bin", "dlib"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)  # imports nothing
    return versions
