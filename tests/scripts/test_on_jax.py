"""The trainings in JAX take the same steps as those of the library. Skipped where JAX is not installed."""

import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, draw_face, draw_photo

from contextual_gan.completion.search import complete
from contextual_gan.config import PRESETS, Pix2PixSettings, TrainSettings
from contextual_gan.evaluation import metrics
from contextual_gan.files.images import to_float
from contextual_gan.joint import half
from contextual_gan.models import dcgan
from contextual_gan.models import pix2pix as library
from contextual_gan.models.dcgan import DCGAN, train_step
from contextual_gan.models.tensors import named_variables
from contextual_gan.models.weights import load_pix2pix
from contextual_gan.preparation import rough as rough_library

jax = pytest.importorskip("jax", reason="JAX is not installed")


@pytest.fixture(scope="module")
def on_jax():
    sys.path.insert(0, str(ROOT / "scripts/experiments/on_jax"))
    import networks
    import train

    yield networks, train
    sys.path.pop(0)


@pytest.fixture(scope="module")
def on_jax_pix2pix(on_jax):
    import pix2pix

    return pix2pix


def arrays(network):
    return {name.partition("/")[2]: jax.numpy.array(value.numpy()) for name, value in named_variables(network).items()}


def test_a_training_step_equals_the_library(on_jax):
    networks, train = on_jax
    keras.utils.set_random_seed(0)
    settings = TrainSettings(width=8, pairs=1.0, pair_width=8, edges=5.0, g_updates=1)
    model = DCGAN(width=8, pair_width=8)
    random = np.random.default_rng(0)
    real = random.uniform(-1, 1, (4, 64, 128, 3)).astype(np.float32)
    z = random.uniform(-1, 1, (4, 100)).astype(np.float32)
    found = (model.generator, model.average, model.discriminator, model.pair_discriminator)
    nets = dict(zip(("g", "average", "d", "p"), map(arrays, found), strict=True))
    states = {name: networks.adam(nets[name]) for name in ("g", "d", "p")}
    (nets, _), losses = train.train_step((nets, states), real, z, 2e-4, 0.9, settings, np.float32)
    numbers = {"g_updates": 1, "pairs": 1.0, "mismatched": 0.5, "edges": 5.0}
    others = tf.roll(half(real, "photo"), 1, axis=0)
    expected = train_step(model, tf.constant(real), tf.constant(z), decay=0.9, lr=2e-4, others=others, **numbers)
    for name, value in losses.items():
        assert float(value) == pytest.approx(float(expected[name]), rel=1e-3, abs=1e-4), name
    for name, network in zip(("g", "average", "d", "p"), found, strict=True):
        for key, value in arrays(network).items():
            if key.endswith("bias"):  # most have no effect before batch normalization, so their gradient is rounding
                continue
            # Adam's first step is the sign of the gradient, which rounding decides where the gradient is near 0
            assert np.mean(np.abs(np.asarray(nets[name][key]) - value) > 1e-4) < 0.02, (name, key)


def test_random_networks_have_the_shapes_of_the_library(on_jax):
    networks, _ = on_jax
    model, key = DCGAN(width=8, pair_width=8), jax.random.key(0)
    made = (
        (model.generator, networks.new_generator(key, 8)),
        (model.discriminator, networks.new_discriminator(key, 3, 32, 8)),
        (model.pair_discriminator, networks.new_discriminator(key, 4, 16, 8)),
    )
    for network, new in made:
        assert {k: v.shape for k, v in new.items()} == {k: v.shape for k, v in arrays(network).items()}


def test_rough_sketches_and_disturbed_photos_equal_those_of_the_library(on_jax):
    import rough

    level = np.array([0, 0.3, 0.7, 1], np.float32)
    sketches = np.stack([draw_face(i) for i in range(4)]).astype(np.float32) / 127.5 - 1
    photos = np.stack([draw_photo(i) for i in range(4)]).astype(np.float32) / 127.5 - 1
    for name in ("CONTRAST", "THICKER", "THINNER"):  # these few draws do not show a small difference
        assert getattr(rough, name) == getattr(rough_library, name)
    normal, uniform = tf.random.stateless_normal, tf.random.stateless_uniform
    for seed in ((1, 2), (3, 4)):
        seeds = tf.random.split(seed, 5)
        draws = {
            "field": normal((4, 8, 8, 2), seeds[0]),
            "shift": normal((4, 1, 1, 2), seeds[1]),
            "chance": uniform((4, 1, 1, 1), seeds[2]),
            "missing": uniform((4, 8, 8, 1), seeds[3]),
            "contrast": uniform((4, 1, 1, 1), seeds[4], *rough_library.CONTRAST),
        }
        found = rough.roughened(sketches, level, {name: draw.numpy() for name, draw in draws.items()})
        differences = np.abs(found - rough_library.roughen(sketches, level, seed))
        assert np.mean(differences > 1e-3) < 1e-3  # rounding may decide whether a pixel is missing
        seeds = tf.random.split(seed, 7)
        one = (4, 1, 1, 1)
        shapes = {"cut": (4, 1), "middle": (4, 2), "blur": one, "exponent": one, "light": (4, 1, 1, 3)}
        shapes |= {"strength": one, "noise": photos.shape}
        draws = {
            name: (uniform if name in ("blur", "strength") else normal)(shape, seeds[i]).numpy()
            for i, (name, shape) in enumerate(shapes.items())
        }
        found = rough.disturbed(photos, level, draws)
        np.testing.assert_allclose(found, rough_library.disturb(photos, level, seed), atol=1e-4)


def test_the_search_ends_where_that_of_the_library_ends(on_jax):
    import search

    keras.utils.set_random_seed(0)
    tiny = dcgan.generator(8), dcgan.discriminator(8)
    known = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    settings = replace(PRESETS["coauthor"], iterations=10)
    expected = complete(*tiny, known, preset="coauthor", iterations=10)
    nets = dict(zip("gd", map(arrays, tiny), strict=True))
    with jax.enable_x64(True):
        start, z, contextual, total = search.search(nets, to_float(known), "photo", settings)
    assert np.array_equal(start, expected.initial_z[:, 0])
    assert z == pytest.approx(expected.z[:, 0], abs=1e-3)
    assert contextual == pytest.approx(expected.contextual[:, 0].min(axis=1), rel=1e-3)
    assert total == pytest.approx(expected.total[:, 0].min(axis=1), rel=1e-3)


@pytest.mark.parametrize("direction", ["photo", "sketch"])
def test_a_training_step_of_pix2pix_equals_the_library(on_jax, on_jax_pix2pix, direction):
    networks, _ = on_jax
    keras.utils.set_random_seed(0)
    settings = Pix2PixSettings(ngf=4, direction=direction)
    model, random = library.Pix2Pix(ngf=4), np.random.default_rng(0)
    joints = random.uniform(-1, 1, (4, 64, 128, 3)).astype(np.float32)
    noise = [random.random((4, *shape), np.float32) for shape in library.noise_shapes(model.generator)]
    masks = [np.float32(2) * (part >= 0.5) for part in noise]
    nets = arrays(model.generator), arrays(model.discriminator)
    carry = nets, tuple(map(networks.adam, nets))
    for step in range(2):  # the second has moments of Adam
        carry, losses = on_jax_pix2pix.train_step(carry, joints, masks, 2e-4, settings, np.float32)
        expected = library.train_step(model, tf.constant(joints), list(map(tf.constant, noise)), direction=direction)
        for name, value in losses.items():
            assert float(value) == pytest.approx(float(expected[name]), rel=2e-3, abs=1e-4), (step, name)
    for made, network in zip(carry[0], (model.generator, model.discriminator), strict=True):
        for key, value in arrays(network).items():
            off = np.abs(np.asarray(made[key]) - value)
            if key.endswith(networks.STATISTICS):
                assert off.max() < 1e-3 * np.abs(value).max() + 1e-4, key
            elif not key.endswith("bias"):  # see above, also for the share
                assert np.mean(off > 1e-4) < 0.02, key


def test_random_pix2pix_has_the_shapes_of_the_library(on_jax_pix2pix):
    model, key = library.Pix2Pix(ngf=8), jax.random.key(0)
    made = (
        (model.generator, on_jax_pix2pix.new_unet(key, 8)),
        (model.discriminator, on_jax_pix2pix.new_patchgan(key, 8)),
    )
    for network, new in made:
        assert {k: v.shape for k, v in new.items()} == {k: v.shape for k, v in arrays(network).items()}
    shapes = [(1, *shape) for shape in library.noise_shapes(model.generator)]
    assert on_jax_pix2pix.mask_shapes(1, 8) == shapes


def test_saved_pix2pix_draws_the_same_in_the_library(on_jax_pix2pix, tmp_path):
    random = np.random.default_rng(0)
    weights = {k: np.float16(v) for k, v in on_jax_pix2pix.new_unet(jax.random.key(0), 4).items()}
    settings, path = Pix2PixSettings(ngf=4, direction="sketch"), tmp_path / "weights.safetensors"
    on_jax_pix2pix.save(path, weights, settings, "8 joint images", 5)
    known = random.integers(0, 256, (3, 64, 64, 3), np.uint8)
    drawn = library.draw_half(load_pix2pix(path, "sketch"), known, dropout=False)
    masks = [np.ones(shape, np.float32) for shape in on_jax_pix2pix.mask_shapes(3, 4)]
    made, _ = on_jax_pix2pix.unet({k: np.float32(v) for k, v in weights.items()}, known / np.float32(127.5) - 1, masks)
    assert np.abs((np.asarray(made) + 1) * 127.5 - drawn).max() < 0.51


def test_scores_are_those_of_what_the_library_draws(on_jax_pix2pix):
    random = np.random.default_rng(0)
    model = library.Pix2Pix(ngf=4)
    joints = random.integers(0, 256, (3, 64, 128, 3), np.uint8)
    found = on_jax_pix2pix.scores(arrays(model.generator), jax.numpy.asarray(joints), 0.0, "sketch")
    drawn = library.draw_half(model.generator, half(joints, "photo"), dropout=False)
    expected = metrics.likeness(drawn, half(joints, "sketch"))
    assert {name: found[name] for name in expected} == pytest.approx(
        {name: values.mean() for name, values in expected.items()}, rel=1e-3
    )
