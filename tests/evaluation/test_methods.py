"""The methods that evaluate.py compares with the completion, and the metrics of whole sets."""

import json
import os
import subprocess
import sys
from functools import partial

import keras
import numpy as np
import pytest
from conftest import ROOT, draw_face, run_here, split
from test_evaluate import evaluate, metrics, tree

from contextual_gan.completion.faithful import BY_KIND, of_kinds
from contextual_gan.evaluation import identity, methods, realism
from contextual_gan.evaluation.metrics import diversity, likeness
from contextual_gan.files.images import read_image, to_uint8, write_png
from contextual_gan.joint import join
from contextual_gan.models import pix2pix
from contextual_gan.models.pix2pix import draw_half
from contextual_gan.models.weights import load_pix2pix, save_pix2pix
from contextual_gan.preparation.known import kinds_of
from contextual_gan.preparation.rough import rough

QUICK = ["--iterations", "2", "--n-init", "4"]


@pytest.fixture(scope="module")
def joints(networks, tmp_path_factory):
    """Six joints drawn by the generator."""
    from contextual_gan.models.inference import generate

    folder = tmp_path_factory.mktemp("joints") / "test"
    z = np.random.default_rng(3).uniform(-1, 1, (6, 100)).astype(np.float32)
    for i, joint in enumerate(to_uint8(generate(networks[0], z))):
        write_png(folder / f"{i}.png", joint)
    return folder


@pytest.fixture(scope="module")
def pixels(joints):
    return np.stack([read_image(joints / f"{i}.png") for i in range(6)])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Pix2pix weights with two feature maps and a visible effect of dropout."""
    keras.utils.set_random_seed(0)
    generator = pix2pix.unet(2)
    for variable in generator.trainable_variables:
        if variable.name == "kernel":
            variable.assign(10 * variable)
    path = tmp_path_factory.mktemp("pix2pix") / "tiny.safetensors"
    save_pix2pix(path, generator, {"direction": "photo"}, "float32")
    return path


@pytest.fixture(scope="module")
def done(joints, weights, tmp_path_factory):
    """An evaluation with every method and metric."""
    out = tmp_path_factory.mktemp("run") / "out"
    arguments = ["--method", "contextual,initialization,pix2pix", "--samples", "3", "--identity", *QUICK]
    return evaluate("--data", joints, "--pix2pix", weights, "--out", out, *arguments), out


def test_the_nearest_sketch_matches_plain_loops(tmp_path, joints, pixels):
    rng = np.random.default_rng(0)
    halves = np.stack([draw_face(i) for i in range(9)])
    known = np.clip(halves[[4, 0, 7]] + rng.normal(0, 20, (3, 64, 64, 3)), 0, 255).astype(np.uint8)
    plain = [min(range(9), key=lambda j: ((k.astype(int) - halves[j]) ** 2).sum()) for k in known]
    assert methods.nearest_rows(halves, known, chunk=4).tolist() == plain == [4, 0, 7]
    for i, photo in enumerate(split(pixels)[1]):  # a training set with the same sketches but other photos
        write_png(tmp_path / "train" / f"{5 - i}.png", join(split(pixels)[0][i], 255 - photo))
    arguments = ("--method", "nearest-sketch", "--train-data", tmp_path / "train", "--out", tmp_path / "out")
    result = evaluate("--data", joints, *arguments)
    assert result.returncode == 0, result.stderr
    found = np.stack([read_image(tmp_path / f"out/nearest-sketch/{i}.png") for i in range(6)])
    assert np.array_equal(found, 255 - split(pixels)[1])
    assert "nothing to do" in evaluate("--data", joints, *arguments).stdout


def test_pix2pix_draws_with_dropout_unless_told_not_to(done, joints, pixels, weights, tmp_path):
    result, out = done
    assert result.returncode == 0, result.stderr
    generator, sketches = load_pix2pix(weights, "photo"), split(pixels)[0]
    made = np.stack([read_image(out / f"pix2pix/{i}.png") for i in range(6)])
    assert np.array_equal(made, draw_half(generator, sketches))
    ask = ("--data", joints, "--method", "pix2pix", "--pix2pix", weights, "--no-dropout", "--batch-size", "4")
    assert evaluate(*ask, "--out", tmp_path / "plain").returncode == 0
    plain = np.stack([read_image(tmp_path / f"plain/pix2pix/{i}.png") for i in range(6)])
    assert np.array_equal(plain, draw_half(generator, sketches, dropout=False))
    other = evaluate(*ask, "--out", out)
    assert other.returncode == 2 and "dropout" in other.stderr and len(other.stderr.splitlines()) == 1
    other = evaluate(*ask, "--out", tmp_path / "other", "--direction", "sketch")
    assert other.returncode == 2 and "draws a photo, not a sketch" in other.stderr


def test_diversity_matches_the_samples(done, networks, encoder, pixels):
    from contextual_gan.completion.search import complete, encoder_fit

    found = metrics(done[1])
    sketches = split(pixels)[0]
    faithful = of_kinds(BY_KIND, kinds_of(sketches, "photo"), sketches, partial(encoder_fit, networks[0], encoder))
    options = {"faithful": faithful, "iterations": 2, "n_init": 4, "samples": 3}
    whole = complete(*networks, sketches, encoder=encoder, preset="edges", **options)
    expected = diversity(split(to_uint8(whole.joints).reshape(-1, 64, 128, 3))[1].reshape(6, 3, 64, 64, 3))
    np.testing.assert_allclose([image["diversity"] for image in found["contextual"]["images"]], expected)
    assert found["pix2pix"]["diversity"]["mean"] > 0 and found["initialization"]["diversity"]["mean"] > 0
    assert "| diversity" in done[0].stdout


def test_sketches_are_made_rough_and_the_truth_is_unchanged(joints, pixels, weights, tmp_path):
    sketches, photos = split(pixels)
    ask = ["--data", joints, "--method", "initialization,pix2pix", "--pix2pix", weights, "--out", tmp_path / "out"]
    result = evaluate(*ask, "--rough", "0.5,0")
    assert result.returncode == 0, result.stderr
    generator = load_pix2pix(weights, "photo")
    for level, given in (("0", sketches), ("0.5", rough(sketches, 0.5))):
        made = np.stack([read_image(tmp_path / f"out/{level}/pix2pix/{i}.png") for i in range(6)])
        assert np.array_equal(made, draw_half(generator, given))
        found = metrics(tmp_path / "out" / level)["pix2pix"]
        assert found["ssim"]["mean"] == pytest.approx(likeness(made, photos)["ssim"].mean())
    table = (tmp_path / "out/robustness.md").read_text()
    rows = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert rows == ["initialization, 0", "initialization, 0.5", "pix2pix, 0", "pix2pix, 0.5"]
    assert f"{found['ssim']['mean']:.3f} (" in table.splitlines()[-1]
    assert read_image(tmp_path / "out/robustness.png").ndim == 3
    assert evaluate(*ask, "--rough", "0.5,0").stdout.count("nothing to do") == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--rough", "0.5", "--direction", "sketch"), "the inputs of --direction sketch are photos"),
        (("--rough", "0.5,1.5"), "1.5 is not from 0 to 1"),
        (("--rough", "0.5,0.50"), "twice"),
    ],
)
def test_an_invalid_roughness_is_refused_in_one_line(joints, tmp_path, words, reason):
    result = evaluate("--data", joints, "--method", "initialization", "--out", tmp_path / "out", *words)
    assert result.returncode == 2 and reason in result.stderr and len(result.stderr.splitlines()) == 1
    assert not list((tmp_path / "out").rglob("*.png"))


def test_identity_and_realism_match_the_predictions(done, pixels):
    _, out = done
    found, photos = metrics(out), split(pixels)[1]
    for method in ("contextual", "pix2pix"):
        made = np.stack([read_image(out / method / f"{i}.png") for i in range(6)])
        faces, true = identity.embeddings(made), identity.embeddings(photos)
        values = [image["identity"] for image in found[method]["images"]]
        np.testing.assert_allclose(values, identity.distances(faces, true))
        assert found[method]["faces"]["mean"] == identity.finds_faces(made).mean()
        accuracy = identity.verification(faces, true)
        assert found[method]["verification"]["mean"] == pytest.approx(accuracy["correct"].mean())
        distance = realism.kernel_summary(realism.hog_features(made), realism.hog_features(photos))["mean"]
        assert found[method]["hog_distance"]["mean"] == pytest.approx(distance)
        assert found[method]["hog_distance"]["low"] < distance < found[method]["hog_distance"]["high"]


def test_numbers_do_not_depend_on_batches_or_interruptions(done, joints, weights, tmp_path):
    _, out = done
    arguments = ["--data", str(joints), "--pix2pix", str(weights), "--samples", "3", "--identity", *QUICK]
    arguments += ["--method", "contextual,initialization,pix2pix", "--batch-size", "2"]
    first = evaluate(*arguments, "--limit", "2", "--out", tmp_path / "out")
    assert first.returncode == 0, first.stderr
    assert evaluate(*arguments, "--out", tmp_path / "out").returncode == 0
    for method in ("contextual", "initialization", "pix2pix"):
        pictures = [tree(folder / method) for folder in (out, tmp_path / "out")]
        names = [name for name in pictures[0] if name.endswith(".png")]
        assert names and all(pictures[0][name] == pictures[1][name] for name in names)
        whole, parts = (metrics(folder)[method] for folder in (out, tmp_path / "out"))
        for metric in ("ssim", "psnr", "consistency", "identity", "verification", "hog_distance", "diversity"):
            assert whole[metric] == parts[metric], (method, metric)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "nearest-sketch"], "--train-data"),
        (["--method", "pix2pix", "--pix2pix", "nowhere"], "nowhere"),
        (["--method", "contextual", "--samples", "9"], "add --n-init 9"),
        (["--method", "initialization", "--identity", "--direction", "sketch"], "--identity is for photos"),
        (["--method", "contextual", "--inception", "nowhere.h5", *QUICK], "nowhere.h5 does not hold"),
    ],
)
def test_mistakes_are_reported_in_one_line(joints, tmp_path, flags, message):
    result = evaluate("--data", joints, "--limit", "2", "--out", tmp_path / "out", *flags)
    assert result.returncode == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_compare_shows_the_completion_beside_pix2pix(weights, tmp_path):
    for i in range(2):
        write_png(tmp_path / "in" / f"{i}.png", draw_face(i))
    (tmp_path / "in/bad.png").write_bytes(b"no image")
    arguments = [*QUICK, "--pix2pix", weights, tmp_path / "in", "--out", tmp_path / "out", "--samples", "2"]
    command = [sys.executable, str(ROOT / "scripts/compare.py"), *map(str, arguments)]
    options = {"capture_output": True, "text": True, "timeout": 180, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    result = subprocess.run(command, **options)
    assert result.returncode == 1 and "bad.png" in result.stderr and "Traceback" not in result.stderr
    assert len(json.loads((tmp_path / "out/results.json").read_text())["results"]) == 2
    figure = read_image(tmp_path / "out/compare.png")
    assert figure.shape[1] == 4 * (128 + 6) + 6
    again = run_here("scripts/compare.py", *arguments)
    assert "0 completed, 2 already done" in again.stdout
    assert np.array_equal(read_image(tmp_path / "out/compare.png"), figure)
    missing = run_here("scripts/compare.py", *arguments, "--pix2pix", "nowhere")
    assert missing.returncode == 2 and "nowhere" in missing.stderr and len(missing.stderr.splitlines()) == 1
