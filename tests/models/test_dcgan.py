import numpy as np
import pytest
import tensorflow as tf
from conftest import needs_bfloat16
from keras import layers

from contextual_gan.models import common
from contextual_gan.models.dcgan import discriminator, generator


@pytest.fixture(scope="module")
def models():
    return generator(), discriminator()


def trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_parameter_counts_match_the_paper(models):
    assert [trainable(model) for model in models] == [5_962_755, 4_324_737]


def test_maps_have_the_specified_shapes(models):
    g, d = models
    maps = [layer.output.shape[1:] for layer in g.layers if layer.name.startswith(("map", "up"))]
    assert maps == [(4, 8, 512), (8, 16, 256), (16, 32, 128), (32, 64, 64), (64, 128, 3)]
    maps = [layer.output.shape[1:] for layer in d.layers if layer.name.startswith("conv")]
    assert maps == [(32, 64, 64), (16, 32, 128), (8, 16, 256), (4, 8, 512)]
    assert d.output.shape == (None, 1)


def test_batch_normalization_matches_the_specification(models):
    for model, count, others in zip(models, (4, 3), ("up4", "conv0"), strict=True):
        norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
        assert len(norms) == count
        assert all(norm.momentum == 0.9 and norm.epsilon == 1e-5 for norm in norms)
        after = model.layers[model.layers.index(model.get_layer(others)) + 1 :]
        assert not after or not isinstance(after[0], layers.BatchNormalization)


def test_initial_values_have_the_specified_distributions(models):
    g, d = models
    for layer in (*g.layers, *d.layers):
        for variable in layer.weights:
            values = np.asarray(variable)
            if variable.name in ("bias", "beta", "moving_mean"):
                assert not values.any()
            elif variable.name == "moving_variance":
                assert (values == 1).all()
            else:
                mean = 1 if variable.name == "gamma" else 0
                assert abs(values.mean() - mean) < 0.02 / np.sqrt(values.size) * 6
                truncated = layer.name.startswith("conv")  # at two standard deviations, which narrows the rest
                assert values.std() == pytest.approx(0.02 * (0.88 if truncated else 1), rel=0.2)
                assert not truncated or np.abs(values).max() <= 0.0401 or variable.name == "gamma"
    assert not np.array_equal(g.get_layer("bn0").gamma, generator().get_layer("bn0").gamma)


def test_output_of_g_is_in_range_and_d_gives_logits(models):
    g, d = models
    z = np.random.default_rng(0).uniform(-1, 1, (2, 100)).astype(np.float32)
    joint = np.asarray(g(z))
    assert joint.shape == (2, 64, 128, 3) and np.abs(joint).max() <= 1
    assert d.layers[-1].activation.__name__ == "linear"
    assert g.layers[-1].activation.__name__ == "tanh"


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_fused_batch_normalization_matches_keras(policy):
    if policy == "mixed_bfloat16":
        needs_bfloat16()
    ours, theirs = (
        layer(momentum=0.9, epsilon=1e-5, dtype=policy)
        for layer in (common._BatchNormalization, layers.BatchNormalization)
    )
    x = tf.constant(np.random.default_rng(0).normal(3, 2, (4, 6, 5, 8)), tf.float32)
    outputs, gradients = [], []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs.append(tf.cast(layer(x, training=True), tf.float32))
            loss = tf.reduce_sum(outputs[-1] ** 3)
        gradients.append(tape.gradient(loss, [x, layer.gamma, layer.beta]))
    scale = 1 if policy == "float32" else 1e3  # results are rounded to 8 bits
    np.testing.assert_allclose(*outputs, atol=1e-5 * scale)
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * scale * np.abs(b).max())
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5 * scale, atol=1e-6 * scale)
    np.testing.assert_allclose(ours(x, training=False), theirs(x, training=False), atol=1e-4 * scale)
