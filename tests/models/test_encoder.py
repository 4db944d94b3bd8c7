"""The encoder: its training on samples of a tiny generator, its file, and the commands that start from it."""

import json
import subprocess
import sys
from functools import partial
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, draw_face, run_here

from contextual_gan import joint
from contextual_gan.completion import initialization
from contextual_gan.completion.losses import distribution, kl_divergence
from contextual_gan.config import EncoderSettings
from contextual_gan.evaluation.metrics import sketch_consistency
from contextual_gan.files.checkpoints import WeightsError, file_sha256
from contextual_gan.files.images import read_image, to_float, to_uint8, write_png
from contextual_gan.joint import half
from contextual_gan.models import dcgan, inference
from contextual_gan.models.locations import encoder_file
from contextual_gan.models.weights import load_encoder, save_weights
from contextual_gan.training import encoder

TINY = ["--width", "2", "--batch-size", "4", "--log-every", "2", "--save-every", "4"]
STEPS = 12


def arguments(weights, out, *more):
    return ["scripts/train_encoder.py", "--weights", weights, "--out", out, "--steps", STEPS, *TINY, *more]


def train(*words):
    return run_here(*arguments(*words))


def train_apart(*words):
    """In a process of its own."""
    script, *more = map(str, arguments(*words))
    return subprocess.run([sys.executable, str(ROOT / script), *more], capture_output=True, text=True, timeout=180)


@pytest.fixture(scope="module", autouse=True)
def few_points():
    """The curvature at 2 points: at 64, it takes longer than everything else here."""
    with mock.patch.object(encoder, "curvature", partial(encoder.curvature, points=2)):
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Tiny weights, and the result of training their encoder."""
    folder = tmp_path_factory.mktemp("encoder")
    save_weights(folder / "tiny.safetensors", dcgan.generator(2), dcgan.discriminator(2))
    return folder / "tiny.safetensors", train(folder / "tiny.safetensors", folder / "run")


def strong_generator(width):
    """A generator whose z shows in its images."""
    generator = dcgan.generator(width)
    for variable in generator.trainable_variables:
        if variable.name == "kernel":
            variable.assign(8 * variable)
    return generator


@pytest.mark.parametrize("direction", ["photo", "sketch"])
def test_training_lowers_all_losses(direction):
    keras.utils.set_random_seed(0)
    generator = strong_generator(4)
    settings = EncoderSettings(width=8, batch_size=16, lr=5e-3, own=0.25, rough=0.3)
    truth = inference.generate(generator, np.random.default_rng(0).uniform(-0.3, 0.3, (16, 100)).astype(np.float32))
    state = encoder.Training(settings, 80)
    maps = encoder.hidden(dcgan.discriminator(4))
    update = encoder.update_function(state, generator, maps, settings, direction)
    values = [update(tf.constant(truth), tf.constant(step, tf.int64)) for step in range(80)]
    for name in ("contextual", "l1", "features"):
        first, last = (np.mean([float(value[name]) for value in part]) for part in (values[:1], values[-10:]))
        assert last < 0.85 * first, name
    assert values[0].keys() == {"contextual", "l1", "edges", "features", "z_error", "gradient"}


def test_losses_match_numpy_and_are_zero_for_the_truth(networks):
    z = np.random.default_rng(0).uniform(-1, 1, (2, 3, 100)).astype(np.float32)
    made, truth = inference.generate(networks[0], z)
    for direction, known in joint.DIRECTIONS.items():
        found = encoder.losses(tf.constant(made), tf.constant(truth), direction)
        error = np.abs(half(made, direction) - half(truth, direction)).mean()
        assert float(found["l1"]) == pytest.approx(error, rel=1e-5)
        p, q = (distribution(half(x, known)).numpy() for x in (made, truth))
        assert float(found["contextual"]) == pytest.approx(np.mean(np.sum(p * np.log(p / q), axis=1)), rel=1e-5)
        pairs = {known: half(truth, known), direction: half(made, direction)}
        expected = sketch_consistency(*(to_uint8(pairs[name]) for name in ("sketch", "photo")))
        assert float(found["edges"]) == pytest.approx(1 - expected.mean(), abs=0.02)
        same = encoder.losses(tf.constant(truth), tf.constant(truth), direction)
        assert float(same["l1"]) == 0 and abs(float(same["contextual"])) < 1e-6


def test_features_are_the_maps_of_the_discriminator_and_their_loss_is_relative(networks):
    joints = inference.generate(networks[0], np.random.default_rng(0).uniform(-1, 1, (2, 100)).astype(np.float32))
    maps = encoder.hidden(networks[1])(joints, training=False)
    logits = networks[1].get_layer("dense")(tf.reshape(maps[-1], (2, -1)))
    assert np.allclose(logits, networks[1](joints, training=False), atol=1e-5)
    assert len(maps) == 3 and float(encoder.features_loss(maps, maps)) == 0
    assert float(encoder.features_loss([3 * x for x in maps], maps)) == pytest.approx(6, rel=1e-5)


def test_three_of_four_known_halves_are_disturbed_depending_on_the_seed(sketches):
    known, settings = tf.repeat(to_float(sketches)[:1], 400, axis=0), EncoderSettings()
    for direction in ("photo", "sketch"):
        found = encoder.given_for(known, direction, settings, tf.constant([0, 1], tf.int64)).numpy()
        same = (found == known.numpy()).all(axis=(1, 2, 3))
        assert 0.18 < same.mean() < 0.32 and np.abs(found).max() <= 1
        again = encoder.given_for(known, direction, settings, tf.constant([0, 1], tf.int64)).numpy()
        assert np.array_equal(found, again)
        other = encoder.given_for(known, direction, settings, tf.constant([0, 2], tf.int64)).numpy()
        assert not np.array_equal(found, other)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small data set: 12 joint images of drawn faces."""
    folder = tmp_path_factory.mktemp("data")
    for i in range(12):
        write_png(folder / "train" / f"{i:02}.png", joint.join(draw_face(i), 255 - draw_face(i)))
    return folder


def test_it_learns_from_joint_images_and_a_resumed_run_gives_the_same_encoder(trained, data, tmp_path):
    weights = tmp_path / "tiny.safetensors"
    weights.write_bytes(trained[0].read_bytes())
    result = train(weights, tmp_path / "run", "--data", data)
    assert result.returncode == 0, result.stderr
    written = encoder_file(weights, "photo")
    whole = written.read_bytes()
    assert load_encoder(weights, "photo") and whole != encoder_file(trained[0], "photo").read_bytes()
    first_line = (tmp_path / "run/config.yaml").read_text().splitlines()[0]
    assert "11 joint images" in first_line  # one of twelve is reserved for choosing settings
    subprocess.run(["rm", "-r", tmp_path / "run/checkpoints/step-000012"], check=True)
    resumed = train(weights, tmp_path / "run", "--data", data, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert written.read_bytes() == whole
    other = train(weights, tmp_path / "run", "--resume")
    assert other.returncode == 2 and "another" in other.stderr and len(other.stderr.splitlines()) == 1
    nowhere = train_apart(weights, tmp_path / "other", "--data", tmp_path / "nowhere")
    assert nowhere.returncode == 2 and len(nowhere.stderr.splitlines()) == 1 and not (tmp_path / "other").exists()


def test_the_command_writes_an_encoder_beside_the_weights(trained):
    weights, result = trained
    assert result.returncode == 0, result.stderr
    path = weights.with_name("tiny_encoder_photo.safetensors")
    assert str(path) in result.stdout
    model = load_encoder(weights, "photo")
    known = np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
    z = inference.encode(model.network, known)
    assert z.shape == (3, 100) and np.abs(z).max() <= 1
    assert np.array_equal(inference.encode(model.network, known[1:2])[0], z[1])
    assert read_image(weights.parent / "run/samples/step-000012_encoded.png").ndim == 3


@pytest.mark.full
def test_the_command_makes_the_same_encoder_in_a_process_of_its_own(trained, tmp_path):
    weights = tmp_path / "tiny.safetensors"
    weights.write_bytes(trained[0].read_bytes())
    result = train_apart(weights, tmp_path / "run")
    assert result.returncode == 0, result.stderr
    networks = (load_encoder(path, "photo").network.get_weights() for path in (weights, trained[0]))
    assert all(np.array_equal(a, b) for a, b in zip(*networks, strict=True))


def test_a_second_run_has_nothing_to_do_and_a_resumed_one_gives_the_same_encoder(trained, tmp_path):
    weights, _ = trained
    again = train(weights, weights.parent / "run", "--resume")
    assert again.returncode == 0 and "nothing to do" in again.stdout
    written = weights.with_name("tiny_encoder_photo.safetensors")
    whole = written.read_bytes()
    written.unlink()
    run = weights.parent / "run"
    subprocess.run(["cp", "-r", run, tmp_path / "cut"], check=True)
    subprocess.run(["rm", "-r", tmp_path / "cut/checkpoints/step-000012"], check=True)
    resumed = train(weights, tmp_path / "cut", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert written.read_bytes() == whole
    other = train_apart(weights, tmp_path / "cut", "--resume", "--direction", "sketch")
    assert other.returncode == 2 and len(other.stderr.splitlines()) == 1


def test_a_damaged_encoder_or_one_of_another_generator_is_refused_in_one_line(trained, tmp_path):
    weights, _ = trained
    other = tmp_path / "other.safetensors"
    save_weights(other, dcgan.generator(2), dcgan.discriminator(2))
    path = encoder_file(other, "photo")
    path.write_bytes(encoder_file(weights, "photo").read_bytes())
    renamed = encoder_file(weights, "sketch")
    renamed.write_bytes(path.read_bytes())
    with pytest.raises(WeightsError, match="the direction sketch"):
        load_encoder(weights, "sketch")
    renamed.unlink()
    write_png(face := tmp_path / "face.png", draw_face(0))
    ask = ("scripts/complete.py", face, "--out", tmp_path / "run", "--weights", other, "--edges", 0)
    result = run_here(*ask)
    assert result.returncode == 2 and "was not made" in result.stderr and len(result.stderr.splitlines()) == 1
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    result = run_here(*ask)
    assert result.returncode == 2 and "not a readable" in result.stderr and len(result.stderr.splitlines()) == 1
    path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    with pytest.raises(WeightsError, match="damaged"):
        load_encoder(other, "photo")
    assert not list((tmp_path / "run").rglob("*.png"))


def test_without_an_encoder_the_search_starts_from_random_z_and_a_line_reports_it(trained, tmp_path):
    weights, _ = trained
    write_png(face := tmp_path / "face.png", draw_face(0))
    ask = ("scripts/complete.py", face, "--weights", weights, "--direction", "sketch", "--iterations", 2)
    result = run_here(*ask, "--edges", 0, "--out", tmp_path / "run")
    assert result.returncode == 0 and "no encoder at" in result.stderr and "random" in result.stderr
    settings = json.loads((tmp_path / "run/results.json").read_text())["settings"]
    assert settings["start"] == "random" and settings["n_init"] == 30 and settings["encoder_sha256"] is None
    result = run_here(*ask, "--faithful", 0.5, "--out", tmp_path / "dial")
    assert result.returncode == 0 and "random starts, 30 each, and --faithful has no effect" in result.stderr
    assert json.loads((tmp_path / "dial/results.json").read_text())["settings"]["faithful"] is None
    result = run_here(*ask, "--start", "encoder", "--out", tmp_path / "other")
    assert result.returncode == 2 and "train_encoder.py" in result.stderr


def test_the_search_with_an_encoder_records_it(trained, tmp_path):
    weights, _ = trained
    write_png(tmp_path / "face.png", draw_face(0))
    ask = ("scripts/complete.py", tmp_path / "face.png", "--weights", weights, "--edges", 0, "--iterations", 2)
    result = run_here(*ask, "--out", tmp_path / "run", "--show-initializations")
    assert result.returncode == 0, result.stderr
    settings = json.loads((tmp_path / "run/results.json").read_text())["settings"]
    assert settings["start"] == "encoder"
    assert settings["encoder_sha256"] == file_sha256(encoder_file(weights, "photo"))


def test_curvature_matches_the_divergence():
    generator = dcgan.generator(4)
    for variable in generator.trainable_variables:
        if variable.name == "kernel":
            variable.assign(8 * variable)
    z = np.random.default_rng(0).uniform(-1, 1, (1, 1, 100)).astype(np.float32)[0]  # the only point for points=1
    fisher = encoder.curvature(generator, "photo", points=1)
    move = np.random.default_rng(1).normal(size=(1, 100)).astype(np.float32)

    def pixels(z):
        return distribution(half(inference.forward(generator, z), "sketch"))

    for direction in (move, np.linalg.eigh(fisher)[1][:, -1:].T):
        step = 0.02 * direction / np.linalg.norm(direction)
        divergence = float(kl_divergence(pixels(z + step.astype(np.float32)), pixels(z))[0])
        assert divergence == pytest.approx((step @ fisher @ step.T).item() / 2, rel=0.1)


@pytest.mark.parametrize("direction", ["photo", "sketch"])
def test_the_published_encoders_start_nearer_than_random_z(networks, direction):
    z = np.random.default_rng(5).uniform(-1, 1, (4, 100)).astype(np.float32)
    known = half(inference.generate(networks[0], z), joint.DIRECTIONS[direction])
    found = [
        initialization.initialize(networks[0], known, direction=direction, n_init=n, encoder=start)[1].min(axis=1)
        for n, start in ((1, load_encoder("celeba", direction)), (30, None))
    ]
    assert (found[0] < 0.5 * found[1]).all()
