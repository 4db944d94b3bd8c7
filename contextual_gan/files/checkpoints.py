"""Checkpoints of a training run: written atomically, verified on writing and reading; the newest few are kept.

A checkpoint is a folder `step-000250/` with the files of tf.train.Checkpoint and `sha256.json`, their hashes. It is
written under another name and renamed when complete; hashes reveal a damaged one, which is skipped. Finding and
checking one needs no TensorFlow.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

CHECKPOINT = re.compile(r"step-(\d{6,})")
HASHES = "sha256.json"  # in a checkpoint: {file: SHA-256}


class WeightsError(ValueError):
    """Weights that cannot be used. The message is one line: the file, the problem, and the remedy."""


def file_sha256(path):
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_stats(path):
    """The lines of a stats.jsonl as dicts, up to an incomplete line; [] if there is no file."""
    path, lines = Path(path), []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def found(folder):
    """The checkpoints of a folder, newest first, including damaged ones."""
    paths = [path for path in Path(folder).glob("step-*") if CHECKPOINT.fullmatch(path.name)]
    return sorted(paths, key=step_of, reverse=True)


def step_of(checkpoint):
    """The number of steps after which a checkpoint was written."""
    return int(CHECKPOINT.fullmatch(Path(checkpoint).name)[1])


def opened(checkpoint):
    """(SHA-256 of its list of hashes, {name: open file}) of a checkpoint. Raises ValueError naming the damage."""
    files = {}
    try:
        if not (checkpoint / HASHES).is_file():
            raise ValueError(f"{HASHES} is missing")
        listed = (checkpoint / HASHES).read_bytes()
        for name, sha256 in json.loads(listed).items():
            if os.path.basename(name) != name or not (checkpoint / name).is_file():  # the list is untrusted
                raise ValueError(f"{name} is missing or damaged")
            files[name] = open(checkpoint / name, "rb")  # noqa: SIM115  read later
            if hashlib.file_digest(files[name], "sha256").hexdigest() != sha256:
                raise ValueError(f"{name} is damaged")
    except (OSError, AttributeError, json.JSONDecodeError) as error:
        path = getattr(error, "filename", None) or HASHES
        raise ValueError(f"{path} is missing or damaged") from error
    if "state.index" not in files:
        raise ValueError("state.index is missing")
    return hashlib.sha256(listed).hexdigest(), files


def damage(checkpoint):
    """The damage of a checkpoint, or None if it is complete."""
    try:
        opened(checkpoint)
    except ValueError as error:
        return str(error)
    return None


def open_newest(folder, warn=lambda line: None):
    """(path, *`opened`) of the newest complete checkpoint of a folder; warn(line) is called for damaged newer ones.

    The run may still be training: the files stay readable if it removes the checkpoint. Raises `WeightsError`.
    """
    for _ in range(100):
        checkpoints = found(folder)
        for checkpoint in checkpoints:
            try:
                return checkpoint, *opened(checkpoint)
            except ValueError as reason:
                if not checkpoint.exists():  # the run has just removed it, so there is a newer one
                    break
                warn(f"{checkpoint} cannot be used ({reason}); using the previous one")
        else:
            break
    what = f"none of the {len(checkpoints)} checkpoints can be read" if checkpoints else "there is no checkpoint"
    raise WeightsError(f"{folder}: {what}")


def newest(folder):
    """The newest complete checkpoint of a folder. Raises `WeightsError`."""
    return open_newest(folder)[0]


# --- writing and reading, with TensorFlow -----------------------------------------------------------------------------


def save(folder, state, step, keep=3):
    """Write all variables of `state` (a tf.Module) -> the checkpoint's folder.

    Once the new checkpoint is verified, all older than the newest `keep` complete ones are removed.
    Raises OSError if the disk is full or the verification fails; earlier checkpoints are kept then.
    """
    import tensorflow as tf

    folder, name = Path(folder), f"step-{step:06}"
    beside = folder / f".{name}.part"
    for left in folder.glob(".step-*.part"):  # left by a process killed while writing or removing
        shutil.rmtree(left)
    beside.mkdir(parents=True)
    try:
        tf.train.Checkpoint(state=state).write(str(beside / "state"))
        hashes = {path.name: file_sha256(path) for path in sorted(beside.iterdir())}
        (beside / HASHES).write_text(json.dumps(hashes, indent=1) + "\n")
        if (folder / name).exists():  # damaged, as it is being written again
            _remove(folder / name)
        os.replace(beside, folder / name)
    except (OSError, tf.errors.OpError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise OSError(getattr(error, "errno", None) or 28, _reason(error), str(folder / name)) from error
    if reason := _known_damage(folder / name):
        raise OSError(5, f"the new checkpoint cannot be read back ({reason})", str(folder / name))
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
    """`damage` of a checkpoint; its files are read again only if they have changed since the last call."""
    states = [(path.name, path.stat()) for path in sorted(checkpoint.iterdir())]
    return _damage(checkpoint, tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in states))


@lru_cache(maxsize=1000)
def _damage(checkpoint, states):
    return damage(checkpoint)


def _reason(error):
    """TensorFlow's errors are long; the reason is at the end, before the name of the operation."""
    return error.strerror if isinstance(error, OSError) else error.message.rpartition("; ")[2].partition(" [Op:")[0]


def restore(folder, state, warn):
    """Set `state` to the newest complete checkpoint -> its number of steps; warn(line) reports damaged newer ones.

    Raises `WeightsError` if none is complete, or if it belongs to other networks or holds non-finite values.
    """
    checkpoint, _, files = open_newest(folder, warn)
    read(checkpoint, files, state)
    return step_of(checkpoint)


def read(checkpoint, files, state):
    """Set `state` to a checkpoint, given its `opened` files. Raises `WeightsError` like `restore`."""
    import tensorflow as tf

    with readable(files) as prefix:
        try:
            tf.train.Checkpoint(state=state).read(prefix).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise of_others(checkpoint) from error
    for variable in state.variables:
        if not np.isfinite(variable.numpy()).all():
            raise WeightsError(f"{checkpoint}: {variable.name} holds non-finite values")


def of_others(checkpoint):
    """The error for a checkpoint that holds other networks."""
    return WeightsError(f"{checkpoint} does not match the networks of the configuration")


@contextmanager
def readable(files):
    """A path for TensorFlow to the open files of a checkpoint.

    TensorFlow treats [ ] * ? and \\ in a path as a pattern, and the run may have removed the checkpoint.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, file in files.items():
            os.symlink(f"/dev/fd/{file.fileno()}", os.path.join(folder, name))
        yield os.path.join(folder, "state")
