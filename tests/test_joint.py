"""The joint image: sketch left, photo right, joined and split without changing a value."""

import numpy as np
import pytest
from conftest import split

from contextual_gan.joint import DIRECTIONS, half, join


def halves(*batch, dtype=np.uint8):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, *batch, 64, 64, 3)).astype(dtype)


def test_the_sketch_is_on_the_left_and_the_photo_on_the_right():
    sketch, photo = np.full((64, 64, 3), 10, np.uint8), np.full((64, 64, 3), 20, np.uint8)
    joint = join(sketch, photo)
    assert joint.shape == (64, 128, 3)
    assert (joint[:, :64] == 10).all() and (joint[:, 64:] == 20).all()


@pytest.mark.parametrize("batch", [(), (5,), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_split_is_the_inverse_of_join(batch, dtype):
    sketch, photo = halves(*batch, dtype=dtype)
    joint = join(sketch, photo)
    assert joint.shape == (*batch, 64, 128, 3) and joint.dtype == dtype
    for back, original in zip(split(joint), (sketch, photo), strict=True):
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, original)


@pytest.mark.parametrize("batch", [(), (4,)], ids=str)
def test_half_returns_the_named_half(batch):
    sketch, photo = halves(*batch)
    joint = join(sketch, photo)
    np.testing.assert_array_equal(half(joint, "sketch"), sketch)
    np.testing.assert_array_equal(half(joint, "photo"), photo)


def test_split_and_half_take_tensors():
    import tensorflow as tf

    sketch, photo = halves(3, dtype=np.float32)
    joint = tf.constant(join(sketch, photo))
    assert all(tf.is_tensor(part) for part in split(joint))
    np.testing.assert_array_equal(split(joint)[0], sketch)
    np.testing.assert_array_equal(half(joint[0], "photo"), photo[0])


@pytest.mark.parametrize(
    ("wanted", "known", "columns"), [("photo", "sketch", slice(64)), ("sketch", "photo", slice(64, 128))]
)
def test_each_direction_knows_the_other_half(wanted, known, columns):
    joint = np.zeros((64, 128, 3), np.float32)
    joint[:, columns] = 1
    assert DIRECTIONS[wanted] == known
    assert (half(joint, known) == 1).all() and not half(joint, wanted).any()


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 4), (64, 64, 1), (32, 64, 3), (64, 128, 3), (3,), ()], ids=str)
def test_join_refuses_halves_of_another_shape_and_names_them(shape):
    good, bad = np.zeros((64, 64, 3)), np.zeros(shape)
    with pytest.raises(ValueError, match="sketch half"):
        join(bad, good)
    with pytest.raises(ValueError, match="photo half"):
        join(good, bad)


def test_join_refuses_batches_of_different_sizes():
    with pytest.raises(ValueError):
        join(np.zeros((2, 64, 64, 3)), np.zeros((3, 64, 64, 3)))


def test_unknown_names_are_refused():
    with pytest.raises(KeyError, match="left"):
        half(np.zeros((64, 128, 3)), "left")
