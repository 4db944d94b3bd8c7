"""Checkpoints of a training run: complete or not there, verified when read, the newest few kept.

A checkpoint is a folder `step-000250/` with what tf.train.Checkpoint writes and `sha256.json`, the hashes of these
files. It is written beside and renamed when complete; a damaged one is noticed by its hashes and passed over.
"""

import json
import os
import shutil
from pathlib import Path

import tensorflow as tf

from contextual_gan.checkpoints import HASHES, WeightsError, file_sha256, found, newest, step_of


def save(folder, state, step, keep=3):
    """Write all variables of `state` (a tf.Module) -> the checkpoint's folder; all but the newest `keep` are removed.

    Raises OSError if there is no room; the checkpoints that were there before still are then.
    """
    folder, name = Path(folder), f"step-{step:06}"
    beside = folder / f".{name}.part"
    for left in folder.glob(".step-*.part"):  # of a process that was killed while it wrote
        shutil.rmtree(left)
    beside.mkdir(parents=True)
    try:
        tf.train.Checkpoint(state=state).write(str(beside / "state"))
        hashes = {path.name: file_sha256(path) for path in sorted(beside.iterdir())}
        (beside / HASHES).write_text(json.dumps(hashes, indent=1) + "\n")
        if (folder / name).exists():  # a damaged one, or it would not be written again
            shutil.rmtree(folder / name)
        os.replace(beside, folder / name)
    except (OSError, tf.errors.OpError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise OSError(getattr(error, "errno", None) or 28, _reason(error), str(folder / name)) from error
    for old in found(folder)[keep:]:
        shutil.rmtree(old)
    return folder / name


def _reason(error):
    """TensorFlow's errors are long: what happened comes last, before the name of the operation."""
    return error.strerror if isinstance(error, OSError) else error.message.rpartition("; ")[2].partition(" [Op:")[0]


def restore(folder, state, warn):
    """Set `state` to the newest whole checkpoint -> its number of steps; warn(line) of each damaged one before.

    Raises `WeightsError` if there is no whole one, or if it is of other networks.
    """
    checkpoint = newest(folder, warn)
    try:
        tf.train.Checkpoint(state=state).read(str(checkpoint / "state")).assert_consumed()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise WeightsError(f"{checkpoint} is of other networks than the configuration's") from error
    return step_of(checkpoint)
