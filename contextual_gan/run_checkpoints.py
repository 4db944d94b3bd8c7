"""What a training run leaves in its folder, as far as it can be told without TensorFlow: its log, its checkpoints.

A checkpoint is a folder `step-000250/`, which training_state.py writes and reads.
"""

import hashlib
import json
import os
import re
from pathlib import Path

from contextual_gan.tensors import WeightsError

CHECKPOINT = re.compile(r"step-(\d{6,})")
HASHES = "sha256.json"  # in a checkpoint: {file: SHA-256}


def read_stats(path):
    """The lines of a stats.jsonl as dicts, up to one that was cut off or is being written; [] if there is no file."""
    path, lines = Path(path), []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def found(folder):
    """The checkpoints of a folder, the newest first, damaged ones included."""
    paths = [path for path in Path(folder).glob("step-*") if CHECKPOINT.fullmatch(path.name)]
    return sorted(paths, key=step_of, reverse=True)


def step_of(checkpoint):
    """The number of steps after which a checkpoint was written."""
    return int(CHECKPOINT.fullmatch(Path(checkpoint).name)[1])


def opened(checkpoint):
    """(SHA-256 of its list of hashes, {name: open file}) of a checkpoint. Raises ValueError with what is damaged."""
    files = {}
    try:
        if not (checkpoint / HASHES).is_file():
            raise ValueError(f"{HASHES} is missing")
        listed = (checkpoint / HASHES).read_bytes()
        for name, sha256 in json.loads(listed).items():
            if os.path.basename(name) != name or not (checkpoint / name).is_file():  # others may have written the list
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
    """What is wrong with a checkpoint, or None if it is whole."""
    try:
        opened(checkpoint)
    except ValueError as error:
        return str(error)
    return None


def open_newest(folder, warn=lambda line: None):
    """(path, *`opened`) of the newest whole checkpoint of a folder; warn(line) of each damaged one before.

    The run may still be training: its files stay readable when the checkpoint is removed. Raises `WeightsError`.
    """
    for _ in range(100):
        checkpoints = found(folder)
        for checkpoint in checkpoints:
            try:
                return checkpoint, *opened(checkpoint)
            except ValueError as reason:
                if not checkpoint.exists():  # the run has just removed it, so there is a newer one
                    break
                warn(f"{checkpoint} cannot be used ({reason}); taking the one before")
        else:
            break
    what = f"none of the {len(checkpoints)} checkpoints can be read" if checkpoints else "there is no checkpoint"
    raise WeightsError(f"{folder}: {what}")


def newest(folder):
    """The newest whole checkpoint of a folder. Raises `WeightsError`."""
    return open_newest(folder)[0]
