"""Checkpoints of a training run: complete or not there, verified when written and read, the newest few kept.

A checkpoint is a folder `step-000250/` with what tf.train.Checkpoint writes and `sha256.json`, the hashes of these
files. It is written beside and renamed when complete; a damaged one is noticed by its hashes and passed over.
"""

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import tensorflow as tf

from contextual_gan import tensors
from contextual_gan.checkpoints import file_sha256
from contextual_gan.run_checkpoints import HASHES, damage, found, open_newest, step_of
from contextual_gan.tensors import WeightsError


def save(folder, state, step, keep=3):
    """Write all variables of `state` (a tf.Module) -> the checkpoint's folder.

    Once the new checkpoint has been read back, those older than the newest `keep` whole ones are removed.
    Raises OSError if there is no room or it cannot be read back; the checkpoints that were there before still are then.
    """
    folder, name = Path(folder), f"step-{step:06}"
    beside = folder / f".{name}.part"
    for left in folder.glob(".step-*.part"):  # of a process that was killed while it wrote or removed
        shutil.rmtree(left)
    beside.mkdir(parents=True)
    try:
        tf.train.Checkpoint(state=state).write(str(beside / "state"))
        hashes = {path.name: file_sha256(path) for path in sorted(beside.iterdir())}
        (beside / HASHES).write_text(json.dumps(hashes, indent=1) + "\n")
        if (folder / name).exists():  # a damaged one, or it would not be written again
            _remove(folder / name)
        os.replace(beside, folder / name)
    except (OSError, tf.errors.OpError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise OSError(getattr(error, "errno", None) or 28, _reason(error), str(folder / name)) from error
    if reason := _known_damage(folder / name):
        raise OSError(5, f"what was just written cannot be read back ({reason})", str(folder / name))
    whole = 0
    for checkpoint in found(folder):
        if whole >= keep:
            _remove(checkpoint)
        elif not _known_damage(checkpoint):
            whole += 1
    return folder / name


def _remove(checkpoint):
    """Remove a checkpoint in one step: others may be reading the run."""
    gone = checkpoint.with_name(f".{checkpoint.name}.old.part")
    os.replace(checkpoint, gone)
    shutil.rmtree(gone)


def _known_damage(checkpoint):
    """`damage` of a checkpoint, whose files are read again only if they have changed since the last time."""
    states = [(path.name, path.stat()) for path in sorted(checkpoint.iterdir())]
    return _damage(checkpoint, tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in states))


@lru_cache(maxsize=1000)
def _damage(checkpoint, states):
    return damage(checkpoint)


def _reason(error):
    """TensorFlow's errors are long: what happened comes last, before the name of the operation."""
    return error.strerror if isinstance(error, OSError) else error.message.rpartition("; ")[2].partition(" [Op:")[0]


def restore(folder, state, warn):
    """Set `state` to the newest whole checkpoint -> its number of steps; warn(line) of each damaged one before.

    Raises `WeightsError` if there is no whole one, or if it is of other networks or holds values that are not finite.
    """
    checkpoint, _, files = open_newest(folder, warn)
    _read(checkpoint, files, state)
    return step_of(checkpoint)


def load(pinned, build, width):
    """build(width), a tf.Module, set to a `checkpoints.Pinned` checkpoint. Raises `WeightsError` as `restore`.

    The shapes in the checkpoint are compared with those of that width before anything of that width is built.
    """
    expected = sorted(tensors.widened(variable.shape, width) for variable in build(tensors.NARROW).variables)
    with _readable(pinned.files) as prefix:
        try:
            held = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
        except (ValueError, tf.errors.OpError) as error:
            raise _of_others(pinned.path) from error
    if sorted(tuple(shape) for name, shape in held.items() if name != "_CHECKPOINTABLE_OBJECT_GRAPH") != expected:
        raise _of_others(pinned.path)
    state = build(width)
    _read(pinned.path, pinned.files, state)
    return state


def _read(checkpoint, files, state):
    with _readable(files) as prefix:
        try:
            tf.train.Checkpoint(state=state).read(prefix).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise _of_others(checkpoint) from error
    for variable in state.variables:
        if not np.isfinite(variable.numpy()).all():
            raise WeightsError(f"{checkpoint}: {variable.name} holds values that are not finite")


def _of_others(checkpoint):
    return WeightsError(f"{checkpoint} is of other networks than the configuration's")


@contextmanager
def _readable(files):
    """A path for TensorFlow to the open files of a checkpoint.

    It takes [ ] * ? and \\ in a path for a pattern, and the run may have removed the checkpoint.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, file in files.items():
            os.symlink(f"/dev/fd/{file.fileno()}", os.path.join(folder, name))
        yield os.path.join(folder, "state")
