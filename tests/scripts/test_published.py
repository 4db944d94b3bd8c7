"""Every command takes both published weights."""

import json
import runpy
import sys

import numpy as np
import pytest
from conftest import ROOT, draw_face, draw_photo, run_here, split
from safetensors.numpy import load_file

from contextual_gan.evaluation.metrics import ssim
from contextual_gan.files.checkpoints import WeightsError
from contextual_gan.files.images import to_uint8, write_png
from contextual_gan.joint import join
from contextual_gan.models.inference import generate
from contextual_gan.models.locations import PRETRAINED, pin, pin_pix2pix, weights_file
from contextual_gan.models.pix2pix import draw_half
from contextual_gan.models.weights import load_pix2pix

COMMANDS = {  # words that each requires besides --weights
    "complete.py": ["drawings", "--out", "out"],
    "compare.py": ["drawings", "--out", "out"],
    "evaluate.py": ["--data", "joints", "--method", "contextual", "--out", "out"],
    "train_encoder.py": ["--out", "out"],
    "web.py": [],
    "experiments/ablate.py": ["--data", "joints", "--out", "out"],
    "experiments/oracle.py": ["--data", "joints", "--out", "out"],
    "experiments/benchmark.py": ["search", "--data", "joints"],
}


def sha256(name):
    return json.loads((PRETRAINED / f"{name}.json").read_text())["sha256"]


@pytest.mark.parametrize("name", ["celeba", "celeba_paper"])
@pytest.mark.parametrize("script", COMMANDS)
def test_every_command_takes_both(script, name, monkeypatch):
    parse = runpy.run_path(str(ROOT / "scripts" / script))["parse"]
    monkeypatch.setattr(sys, "argv", [script, *COMMANDS[script], "--weights", name])
    assert pin(parse().weights).sha256 == sha256(name)
    if script != "train_encoder.py":  # which has no default
        monkeypatch.setattr(sys, "argv", [script, *COMMANDS[script]])
        assert parse().weights == "celeba"


@pytest.mark.parametrize("name", ["celeba", "celeba_paper"])
def test_a_drawing_is_completed_by_both_beside_the_same_pix2pix(name, tmp_path):
    write_png(face := tmp_path / "face.png", draw_face(0))
    ask = (face, "--out", tmp_path / "out", "--iterations", 2)
    result = run_here("scripts/compare.py", *ask, "--weights", name)
    assert result.returncode == 0, result.stderr
    settings = json.loads((tmp_path / "out/results.json").read_text())["settings"]
    assert settings["weights_sha256"] == sha256(name) and settings["start"] == "encoder"
    again = run_here("scripts/complete.py", *ask, "--samples", 3)
    assert (again.returncode == 0) == (name == "celeba"), again.stderr  # results of two weights are never mixed


def test_evaluate_takes_celeba_paper_and_names_the_pix2pix_that_there_is(tmp_path):
    for i in range(2):
        write_png(tmp_path / f"joints/{i}.png", join(draw_face(i), draw_photo(i)))
    ask = ("--data", tmp_path / "joints", "--method", "initialization,pix2pix", "--weights", "celeba_paper")
    result = run_here("scripts/evaluate.py", *ask, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    result = run_here("scripts/evaluate.py", *ask, "--out", tmp_path / "other", "--pix2pix", "celeba_paper")
    assert result.returncode == 2 and not (tmp_path / "other").exists()
    reason = "celeba_paper has no pix2pix that draws a photo: use celeba or celeba_rough"
    assert reason in result.stderr.splitlines()[-1]
    with pytest.raises(WeightsError, match="celeba_rough has no pix2pix that draws a sketch: use celeba,"):
        pin_pix2pix("celeba_rough", "sketch")


def test_the_pix2pix_for_rough_sketches_is_its_own(networks):
    z = np.random.default_rng(0).uniform(-1, 1, (8, 100)).astype(np.float32)
    sketches, photos = split(to_uint8(generate(networks[0], z)))
    ours, rough = (load_pix2pix(name, "photo") for name in ("celeba", "celeba_rough"))
    assert not np.array_equal(ours.get_weights()[0], rough.get_weights()[0])
    assert ssim(draw_half(rough, sketches), photos).mean() > 0.5


def test_celeba_paper_is_exported(tmp_path):
    copy = tmp_path / "copy.safetensors"
    result = run_here("scripts/export.py", "celeba_paper", copy)
    assert result.returncode == 0, result.stderr
    ours, theirs = load_file(copy), load_file(weights_file("celeba_paper"))
    assert all(np.array_equal(ours[key], tensor) for key, tensor in theirs.items())
