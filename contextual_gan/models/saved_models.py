"""Networks as TensorFlow SavedModels: both in one folder, written together or not at all."""

import os
import shutil
from pathlib import Path

NETWORKS = ("generator", "discriminator")


def check(out):
    """Raise ValueError if `out` exists and is not a folder written by `write`."""
    out = Path(out)
    if os.path.lexists(out) and not out.is_dir():
        raise ValueError(f"{out} is a file: give the name of a folder")
    others = sorted(path.name for path in out.iterdir() if path.name not in NETWORKS) if out.is_dir() else []
    if others:
        raise ValueError(f"{out} holds files that are not SavedModels of this command ({others[0]}): give another name")


def write(out, generator, discriminator):
    """Write OUT/generator and OUT/discriminator, replacing existing ones. Raises ValueError like `check`."""
    check(out)
    out = Path(out)
    beside, old = (out.with_name(f".{out.name}{end}") for end in (".part", ".old.part"))
    for left in (beside, old):  # left by a killed process
        shutil.rmtree(left, ignore_errors=True)
    try:
        for network in (generator, discriminator):
            network.export(beside / network.name, verbose=False)
        if out.exists():
            os.replace(out, old)
        os.replace(beside, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
