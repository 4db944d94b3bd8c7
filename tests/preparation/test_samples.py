"""`datasets/samples/draw.py`: the drawn samples of the repository."""

import subprocess
import sys

import numpy as np
from conftest import ROOT

from contextual_gan.files.images import read_image

SAMPLES = ROOT / "datasets" / "samples"


def drawn(out):
    """{path below `out`: file} of the samples that draw.py writes there."""
    done = subprocess.run(
        [sys.executable, str(SAMPLES / "draw.py"), "--out", str(out)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return {path.relative_to(out): path for path in out.rglob("*.png")}


def test_two_runs_draw_the_same_bytes_and_the_samples_of_the_repository(tmp_path):
    first, second = drawn(tmp_path / "first"), drawn(tmp_path / "second")
    assert first.keys() == second.keys() == {path.relative_to(SAMPLES) for path in SAMPLES.rglob("*.png")}
    assert [sum(name.parent.name == folder for name in first) for folder in ("sketches", "more")] == [12, 12]
    for name, path in first.items():
        assert path.read_bytes() == second[name].read_bytes(), name
        mine, theirs = read_image(path).astype(int), read_image(SAMPLES / name).astype(int)
        # on other processors, the grain of paper may be rounded differently
        assert mine.shape == theirs.shape and np.abs(mine - theirs).mean() < 0.1, name
