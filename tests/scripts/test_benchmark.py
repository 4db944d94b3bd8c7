"""`scripts/experiments/benchmark.py` as a user runs it, and the FLOP that it counts."""

import argparse
import functools
import importlib
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, needs_bfloat16

from contextual_gan import config
from contextual_gan.models import dcgan

SCRIPTS = ROOT / "scripts" / "experiments"


def benchmark(*args):
    command = [sys.executable, SCRIPTS / "benchmark.py", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def training():
    """scripts/experiments/benchmarks/training.py"""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        yield importlib.import_module("benchmarks.training")


def test_flop_of_a_layer_match_a_count_by_hand(training):
    g, d = dcgan.generator(), dcgan.discriminator()
    # D, conv1: each of 16 x 32 places and 128 channels is a sum over 5 x 5 places and 64 channels
    assert training.layer_flop(d.get_layer("conv1")) == 2 * (16 * 32 * 128) * (5 * 5 * 64)
    # G, up1: each of 4 x 8 places and 512 channels is spread over 5 x 5 places and 256 channels
    assert training.layer_flop(g.get_layer("up1")) == 2 * (4 * 8 * 512) * (5 * 5 * 256)
    assert training.layer_flop(g.get_layer("dense")) == 2 * 100 * (4 * 8 * 512)
    assert training.layer_flop(d.get_layer("bn1")) == 0


@pytest.mark.parametrize(("g_updates", "gflop"), [(1, 7.15), (2, 10.4)])
def test_flop_of_a_step_match_the_specification(training, g_updates, gflop):
    counted = training.step_flop(dcgan.generator(), dcgan.discriminator(), g_updates) / 1e9
    assert counted == pytest.approx(gflop, abs=0.05)


def test_a_step_with_its_log_line_counts_once(training):
    assert training.with_log(np.array([[1.0, 1, 9, 5], [2, 2, 2, 2]])).tolist() == [2, 2]


NAMES = [
    "images/s of the step alone",
    "GFLOP/s at 7.104 each",
    "GFLOP/s of a 2048x2048 product",
    "ratio",
    "images/s of train.py's loop",
    "% for reading data and logging",
    "images/s of the plain loop",
    "times the plain loop",
]


def check(printed, names=NAMES):
    first, *table = printed.splitlines()
    assert first == "a training step is 7.104 GFLOP per image, multiply-adds counted twice"
    medians = {line[:32].strip(): float(line[32:41]) for line in table}
    assert list(medians) == names
    assert all(value > 0 for name, value in medians.items() if not name.startswith("%"))


def test_training_is_measured(training, monkeypatch, capsys):
    needs_bfloat16()
    small = functools.partial(config.TrainSettings, width=4, log_every=4)
    monkeypatch.setattr(training, "JOINTS", 3)
    monkeypatch.setattr(training.config, "TrainSettings", small)
    args = argparse.Namespace(
        batch_size=2, repeats=2, precision="bfloat16", g_updates=1, data=None, deterministic=False, pairs=True
    )
    assert training.main(args) == 0
    check(capsys.readouterr().out, [*NAMES, "step with pairs / step without"])


@pytest.mark.full
def test_training_is_measured_by_the_command():
    done = benchmark("training", "--batch-size", "2", "--repeats", "1", "--g-updates", "1")
    assert done.returncode == 0 and "Traceback" not in done.stderr
    check(done.stdout)


def test_the_search_is_measured_by_the_command():
    done = benchmark("completion", "--batch-size", "2", "--iterations", "2", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    medians = {line[:32].strip(): float(line[32:41]) for line in done.stdout.splitlines()}
    assert {"sketch-iterations/s", "ratio"} < set(medians) and min(medians.values()) > 0


def test_help_responds_at_once_and_names_all_subjects():
    start = time.monotonic()
    done = benchmark("--help")
    assert done.returncode == 0 and time.monotonic() - start < 1.5  # 0.15 s on an idle machine
    assert all(f"benchmark.py {subject}" in done.stdout for subject in ("completion", "training", "data"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("training", "--direction", "photo"), "--direction does not apply to training"),
        (("completion", "--g-updates", "1"), "--g-updates does not apply to completion"),
        (("data", "--precision", "bfloat16"), "--precision does not apply to data"),
        (("training", "--batch-size", "1"), "batch_size is 1; it must be from 2 to 65536"),
        (("training", "--data", "no/such"), "no such folder: no/such/train"),
    ],
)
def test_mistakes_are_refused_in_one_line(args, message):
    done = benchmark(*args)
    assert done.returncode == 2 and not done.stdout.count("images/s")
    assert message in done.stderr and done.stderr.count("\n") == 1
