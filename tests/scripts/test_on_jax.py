"""The trainings in JAX take the same steps as those of the library. Skipped where JAX is not installed."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, draw_face, draw_photo

from contextual_gan.config import TrainSettings
from contextual_gan.joint import half
from contextual_gan.models.dcgan import DCGAN, train_step
from contextual_gan.models.tensors import named_variables
from contextual_gan.preparation import rough as library

jax = pytest.importorskip("jax", reason="JAX is not installed")


@pytest.fixture(scope="module")
def on_jax():
    sys.path.insert(0, str(ROOT / "scripts/experiments/on_jax"))
    import networks
    import train

    yield networks, train
    sys.path.pop(0)


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
        assert getattr(rough, name) == getattr(library, name)
    normal, uniform = tf.random.stateless_normal, tf.random.stateless_uniform
    for seed in ((1, 2), (3, 4)):
        seeds = tf.random.split(seed, 5)
        draws = {
            "field": normal((4, 8, 8, 2), seeds[0]),
            "shift": normal((4, 1, 1, 2), seeds[1]),
            "chance": uniform((4, 1, 1, 1), seeds[2]),
            "missing": uniform((4, 8, 8, 1), seeds[3]),
            "contrast": uniform((4, 1, 1, 1), seeds[4], *library.CONTRAST),
        }
        found = rough.roughened(sketches, level, {name: draw.numpy() for name, draw in draws.items()})
        differences = np.abs(found - library.roughen(sketches, level, seed))
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
        np.testing.assert_allclose(found, library.disturb(photos, level, seed), atol=1e-4)
