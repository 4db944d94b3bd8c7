"""Networks as TensorFlow's SavedModels: both of them in one folder, complete or not there."""

import os
import shutil
from pathlib import Path

NETWORKS = ("generator", "discriminator")


def check(out):
    """Raise ValueError if `out` is there and is not a folder of what `write` writes."""
    out = Path(out)
    if os.path.lexists(out) and not out.is_dir():
        raise ValueError(f"{out} is a file: give the name of a folder")
    others = sorted(path.name for path in out.iterdir() if path.name not in NETWORKS) if out.is_dir() else []
    if others:
        raise ValueError(f"{out} holds other files than SavedModels of this command ({others[0]}): give another name")


def write(out, generator, discriminator):
    """Write OUT/generator and OUT/discriminator, in place of those that are there. Raises ValueError as `check`."""
    check(out)
    out = Path(out)
    beside, old = (out.with_name(f".{out.name}{end}") for end in (".part", ".old.part"))
    for left in (beside, old):  # of a process that was killed
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
