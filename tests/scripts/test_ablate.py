"""`scripts/experiments/ablate.py`: every row is a valid evaluation, and the table matches the runs."""

import json
import os
import runpy
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from conftest import ROOT, draw_face

from contextual_gan import config, flags
from contextual_gan.files.images import write_png
from contextual_gan.joint import join

SCRIPT = ROOT / "scripts/experiments/ablate.py"


@pytest.fixture(scope="module")
def rows():
    return runpy.run_path(str(SCRIPT))["ROWS"]


def run(*arguments):
    words = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=180, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def test_every_row_is_a_valid_search_and_all_differ(rows):
    parse = runpy.run_path(str(ROOT / "scripts/evaluate.py"))["parse"]
    found, whole = {}, {}
    for name, row in rows.items():
        words = ["evaluate.py", "--data", "x", "--out", "y", "--method", "contextual", *row.split()]
        with mock.patch.object(sys, "argv", words):
            args = parse()
        found[name] = flags.search_settings(args)
        whole[name] = found[name], args.faithful
    default = found["default"]
    assert {found[f"N = {n}"].n_init for n in (1, 10, 30, 100)} == {1, 10, 30, 100}
    assert [found[f"lambda = {x}"].lambda_ for x in (0, 0.001, 0.01, 0.1, 1)] == [0, 0.001, 0.01, 0.1, 1]
    assert [whole[f"faithful = {x}"][1] for x in (0, 0.25, 0.5, 0.75, 1)] == [0, 0.25, 0.5, 0.75, 1]
    assert [found[f"contextual loss: {kind}"].contextual for kind in ("L1", "L2")] == ["l1", "l2"]
    pairs = {(a, b) for a in whole for b in whole if a < b and whole[a] == whole[b]}
    assert pairs == {("default", "lambda = 0"), ("coauthor, 1000 iterations", "initialization only")}
    assert default == config.PRESETS[config.DEFAULT_PRESET]
    assert found["coauthor, 1000 iterations"].iterations == found["readme, 1000 iterations"].iterations == 1000


def test_the_table_matches_the_runs_and_a_second_run_computes_nothing(tmp_path):
    for i in range(2):
        write_png(tmp_path / "data" / f"{i}.png", join(draw_face(i), 255 - draw_face(i)))
    done = run("--data", tmp_path / "data", "--out", tmp_path / "out", "--rows", "N = 1,", "--limit", "2")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out/N___1__random_start/metrics.json").read_text())
    table = (tmp_path / "out/ablations.md").read_text()
    assert table in done.stdout and "| N = 1, random start | " in table
    assert f"{metrics['contextual']['ssim']['mean']:.3f} (" in table and metrics["settings"]["n_init"] == 1
    again = run("--data", tmp_path / "data", "--out", tmp_path / "out", "--rows", "N = 1,", "--limit", "2")
    assert "nothing to do" in again.stdout and (tmp_path / "out/ablations.md").read_text() == table


def test_mistakes_are_reported_in_one_line(tmp_path):
    for arguments in (("--rows", "M"), ("--data", "nowhere")):
        done = run("--data", tmp_path, "--out", tmp_path / "out", *arguments)
        assert done.returncode == 2 and not (tmp_path / "out").exists()
        assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


def test_the_search_descends_l1_and_l2(networks):
    """One small step of plain gradient descent, recomputed with the whole generator and numpy's definitions."""
    import tensorflow as tf

    from contextual_gan import config
    from contextual_gan.completion.losses import target
    from contextual_gan.completion.search import _compiled_search, begin

    known = np.stack([draw_face(i) for i in range(2)]).astype(np.float32) / 127.5 - 1
    z = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 100)).astype(np.float32)
    settings = {"update": "momentum", "momentum": 0.0, "lr": 0.5, "iterations": 1, "lambda_": 0.0}
    weights = np.array([0.2989, 0.5870, 0.1140])
    for kind, loss in (("l1", tf.abs), ("l2", tf.square)):
        search = config.SearchSettings(contextual=kind, **settings)
        variable = tf.Variable(z)
        with tf.GradientTape() as tape:
            sketch = (networks[0](variable, training=False)[:, :, :64] + 1) / 2
            difference = tf.tensordot(tf.cast(sketch, tf.float64) - (known + 1) / 2, weights, 1)
            objective = tf.reduce_sum(tf.reduce_mean(loss(difference), axis=(1, 2)))
        expected = z - 0.5 * tape.gradient(objective, variable).numpy()
        state = begin(z, search)
        advance = _compiled_search(*networks, "photo", search)
        (found, *_), _ = advance(state, target(known, search), tf.constant(1))
        np.testing.assert_allclose(found.numpy() - z, expected - z, atol=2e-5, rtol=2e-2)
        assert np.abs(expected - z).max() > 1e-3
