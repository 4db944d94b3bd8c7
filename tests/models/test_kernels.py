"""`contextual_gan/models/kernels.py` against the Keras originals."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import needs_bfloat16
from keras import layers, optimizers

from contextual_gan.models import kernels


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["Conv2D", "Conv2DTranspose"])
@pytest.mark.parametrize("filters", [3, 8])
@pytest.mark.parametrize(("rows", "columns"), [(8, 16), (8, 8), (12, 24)])
def test_convolutions_match_keras(name, filters, rows, columns, policy):
    """With few and many channels on both sides, and small and large maps."""
    if policy == "mixed_bfloat16":
        needs_bfloat16()
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    ours, theirs = (getattr(module, name)(filters, 5, 2, "same", dtype=policy) for module in (kernels, layers))
    x = tf.constant(rng.normal(size=(4, rows, columns, 11 - filters)), tf.float32)
    ours.build(x.shape)
    theirs.build(x.shape)
    ours.bias.assign(rng.normal(size=filters))
    theirs.set_weights(ours.get_weights())
    found = []
    for layer in (ours, theirs):

        @tf.function
        def run(layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.cast(layer(x, training=True), tf.float32)
                loss = tf.reduce_sum(tf.sin(3 * y))
            return [y, *tape.gradient(loss, [x, layer.kernel.value, layer.bias.value])]

        found.append(run())
    for a, b in zip(*found, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=(1e-5 if policy == "float32" else 4e-2) * np.abs(b).max())
    np.testing.assert_array_equal(ours(x, training=False), theirs(x, training=False))


def test_adam_matches_keras():
    rng = np.random.default_rng(0)
    first = [rng.normal(size=(5, 7)).astype(np.float32), rng.normal(size=3).astype(np.float32)]
    found = []
    for cls in (kernels.Adam, optimizers.Adam):
        variables, optimizer = [tf.Variable(value) for value in first], cls(1e-2, 0.5, epsilon=1e-3)
        optimizer.build(variables)
        for step in range(5):
            optimizer.apply([np.float32(step - 1.5) * np.cos(value) for value in first])
        found.append([*variables, *optimizer.variables])
    assert [v.shape for v in found[0]] == [v.shape for v in found[1]]
    for a, b, start in zip(*found, first + [None] * (len(found[0]) - 2), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
        assert start is None or np.abs(a - start).max() > 1e-4
