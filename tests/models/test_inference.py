import numpy as np
import pytest

from contextual_gan.joint import half
from contextual_gan.models import inference


@pytest.mark.parametrize("name", ["sketch", "photo"])
def test_a_half_alone_equals_that_half_of_the_joint(networks, name):
    z = np.random.default_rng(0).uniform(-1, 1, (3, 100)).astype(np.float32)
    alone = inference.generate_half(networks[0], z, name)
    assert alone.shape == (3, 64, 64, 3)
    assert np.allclose(alone, half(inference.forward(networks[0], z), name), atol=2e-5)


def test_forward_matches_keras(networks):
    z = np.random.default_rng(0).uniform(-1, 1, (3, 100)).astype(np.float32)
    joints = inference.forward(networks[0], z)
    assert np.allclose(joints, networks[0](z, training=False), atol=2e-5)
    assert np.allclose(inference.forward(networks[1], joints), networks[1](joints, training=False), atol=2e-3)


def test_generate_keeps_the_leading_axes_and_the_order(networks):
    z = np.random.default_rng(0).uniform(-1, 1, (2, 3, 100)).astype(np.float32)
    joints = inference.generate(networks[0], z, batch_size=4)
    assert joints.shape == (2, 3, 64, 128, 3) and joints.dtype == np.float32
    assert np.array_equal(joints[1, 2], inference.generate(networks[0], z[1, 2]))
