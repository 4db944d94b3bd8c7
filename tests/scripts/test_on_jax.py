"""The trainings in JAX take the same steps as those of the library. Skipped where JAX is not installed."""

import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from contextual_gan.completion.search import complete
from contextual_gan.config import PRESETS, TrainSettings
from contextual_gan.files.images import to_float
from contextual_gan.joint import half
from contextual_gan.models import dcgan
from contextual_gan.models.dcgan import DCGAN, train_step
from contextual_gan.models.tensors import named_variables

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
