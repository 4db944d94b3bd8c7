"""Predict one half of each joint image in a folder from the other; scores.py scores the predictions.

The predictions are OUT/METHOD/NAME.png, with a manifest of their settings, so an evaluation can be interrupted,
continued and extended. The scores are computed from these files.
"""

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contextual_gan.files.apply import Item, impossible, unfinished
from contextual_gan.files.images import ImageError, decode_rgba, encode_png, on_background, read_image, remove_parts
from contextual_gan.files.lock import was_interrupted
from contextual_gan.files.manifest import Manifest
from contextual_gan.files.sources import images_in, output_stems
from contextual_gan.joint import DIRECTIONS, SIZE, half

RESULTS = ("grid.png", "table.md", "metrics.json")  # beside the folders of the methods
LONGEST_METHOD = "nearest-sketch"


@dataclass(frozen=True)
class Joint:
    """A joint image, one half of which is to be predicted."""

    name: str  # path below the folder of joints, posix
    output: str  # path of its prediction below the folder of the method
    sha256: str  # of the file
    pixels: np.ndarray  # (64, 128, 3) uint8


# --- reading ----------------------------------------------------------------------------------------------------------


def load_joints(location, *, excluded=None, limit=None):
    """Read the joint images of a folder (or zip archive), the first `limit` of them by name -> ([`Joint`], failed).

    failed: [(name, reason)] of unusable images, which count towards the limit.
    Raises FileNotFoundError, and ValueError like `joint_sources`.
    """
    joints, failed = [], []
    found, refused = joint_sources(location, excluded)
    stems = {source.name: stem for stem, source in output_stems(found).items()}
    reasons, sources = dict(refused), {source.name: source for source in found}
    reasons |= dict(
        impossible(
            [Item(name, f"{stem}.png", ()) for name, stem in stems.items()], Path(excluded or "") / LONGEST_METHOD
        )
    )
    for name in sorted(reasons.keys() | sources.keys())[:limit]:
        try:
            if name in reasons:
                raise ImageError(reasons[name])
            data = sources[name].read()
            joints.append(Joint(name, f"{stems[name]}.png", hashlib.sha256(data).hexdigest(), decode_joint(data)))
        except ImageError as error:
            failed.append((name, str(error)))
    return joints, failed


def usable_joints(location, **options):
    """Like `load_joints`, but also raises ValueError if no image can be used."""
    joints, failed = load_joints(location, **options)
    if not joints:
        name, reason = failed[0]
        raise ValueError(f"none of the {len(failed)} images in {location} can be used ({name}: {reason})")
    return joints, failed


def joint_sources(location, excluded=None):
    """`sources.images_in` for one set of joint images. Also raises ValueError for the folder above train/ or test/."""
    if any((Path(location) / part).is_dir() for part in ("train", "test")):
        raise ValueError(f"{location} contains several sets of joint images: give its train/ or test/")
    return images_in(location, excluded)


def decode_joint(data):
    """Bytes of an image file -> a joint image, (64, 128, 3) uint8. Raises `ImageError`, also for the wrong size."""
    image = on_background(decode_rgba(data))
    if image.shape[:2] != (SIZE, 2 * SIZE):
        raise ImageError(f"{image.shape[1]} x {image.shape[0]} pixels; a joint image has {2 * SIZE} x {SIZE}")
    return image


# --- predicting -------------------------------------------------------------------------------------------------------


def plan(out, parameters, joints, overwrite=False):
    """Read `out`, the folder of a method, without writing -> (its `Manifest`, the joints still to predict).

    parameters: JSON dict of everything that determines the predictions.
    Raises ValueError if the predictions there were made with other parameters, unless `overwrite`. Predictions with
    these parameters are kept even then, so that the same command continues after an interruption.
    """
    if overwrite:
        with contextlib.suppress(ValueError):  # made with other parameters
            overwrite = not Manifest(out, parameters).entries
    manifest = Manifest(out, parameters, overwrite)
    sha256 = {name: entry["sha256"] for name, entry in manifest.entries.items()}
    left = [j for j in joints if sha256.get(j.name) != j.sha256 or not manifest.has(j.name, j.output)]
    return manifest, left


def begin(out, plans, joints, overwrite=False):
    """Prepare the folder `out` for the remaining work of `plans`, as `plan` returned it; `joints` are all images.

    Removes the results of predictions that will be replaced. Raises ValueError if foreign files are in the way, unless
    `overwrite`.
    """
    for manifest, left in plans:
        if left:
            manifest.begin({joint.name: joint.output for joint in joints}, replace=overwrite)
    if any(manifest.outdated or any(joint.name in manifest.entries for joint in left) for manifest, left in plans):
        for name in RESULTS:
            (Path(out) / name).unlink(missing_ok=True)


def batches_to_predict(joints, left, size):
    """The batches of `apply.unfinished` over all joints; left: those without a prediction."""
    names = {joint.name for joint in left}
    return unfinished(joints, size, lambda joint: joint.name in names)


def close(out, plans):
    """Finish `out` if the process was killed after the last prediction: merge journals, remove temporary files."""
    if was_interrupted(out) or any(not manifest.is_unknown for manifest, _ in plans):
        remove_parts(Path(out) / name for name in RESULTS)
    for manifest, left in plans:
        if not left and manifest.is_open:
            manifest.begin({})
            manifest.finish()


def refuse_foreign(out, record, plans=()):
    """Raise ValueError if files in `out` have the names of results but do not come from an evaluation.

    record: the content of metrics.json there, {} if it is not ours. A folder with predictions also counts as ours.
    """
    if record or any(not manifest.is_unknown for manifest, _ in plans):
        return
    for name in RESULTS:
        if os.path.lexists(Path(out) / name):
            raise ValueError(
                f"{Path(out) / name} already exists and is not from an evaluation; give another --out, or --overwrite"
            )


def predict(manifest, left, batches, predictor, *, direction, rough=0.0, seed=0, progress=lambda n, note="": None):
    """Predict the batches of joints, and write the missing predictions.

    predictor, progress: see methods.py. rough: how rough the sketches are made beforehand, see `preparation.rough`.
    """
    names = {joint.name for joint in left}
    for batch in batches:
        known = np.stack([half(joint.pixels, DIRECTIONS[direction]) for joint in batch])
        if rough:
            known = _made_rough(known, rough, seed)
        for joint, prediction, notes in zip(batch, *predictor(known, progress), strict=True):
            if joint.name not in names:
                continue
            entry = {"source": joint.name, "sha256": joint.sha256, "output": joint.output}
            manifest.add(entry | notes, [encode_png(prediction)])
    manifest.finish()


def _made_rough(sketches, rough, seed):
    from contextual_gan.preparation import rough as roughening  # late: a finished evaluation needs no TensorFlow

    return roughening.rough(sketches, rough, seed)


def predictions(folder, joints, width=SIZE):
    """The predictions of joints in the folder of a method -> (n, 64, width, 3) uint8.

    Raises ValueError naming the first file that is missing or has the wrong size.
    """
    found = np.empty((len(joints), SIZE, width, 3), np.uint8)
    for i, joint in enumerate(joints):
        path = Path(folder) / joint.output
        try:
            image = read_image(path)
            if image.shape != found.shape[1:]:
                raise ImageError(f"{image.shape[1]} x {image.shape[0]} pixels; a prediction has {width} x {SIZE}")
        except ImageError as error:
            raise ValueError(f"{path}: {error}; remove it and make it again with the same command") from error
        found[i] = image
    return found
