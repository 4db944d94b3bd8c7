"""`contextual_gan/models/consistency.py`, and the effect of the setting `edges` on the search."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_photo

from contextual_gan.completion.search import complete
from contextual_gan.evaluation.metrics import sketch_consistency
from contextual_gan.files.images import to_uint8
from contextual_gan.joint import half
from contextual_gan.models import consistency
from contextual_gan.preparation.sketches import xdog


@pytest.mark.parametrize("direction", ["photo", "sketch"])
def test_edges_equal_the_sketch_consistency_of_the_result(networks, sketches, direction):
    known = sketches if direction == "photo" else np.stack([draw_photo(i) for i in range(5)])
    options = {"direction": direction, "update": "lbfgs", "lr": 0.3, "lambda_": 0.0, "n_init": 2, "iterations": 20}
    found = complete(*networks, known, edges=0.5, **options)
    made = to_uint8(half(found.joints[:, 0], direction))
    fit = sketch_consistency(*((known, made) if direction == "photo" else (made, known)))
    best = found.total[:, 0].argmin(axis=1)
    charged = (found.total - found.contextual)[np.arange(5), 0, best]
    np.testing.assert_allclose(charged, 0.5 * (1 - fit), atol=5e-3)
    without = to_uint8(half(complete(*networks, known, **options).joints[:, 0], direction))
    unforced = sketch_consistency(*((known, without) if direction == "photo" else (without, known)))
    assert fit.mean() > unforced.mean() + 0.01  # not by much, as the halves of G(z) fit each other anyway


def test_consistency_with_a_gradient_matches_the_metric():
    photos = np.stack([draw_photo(i) for i in range(4)])
    sketch = np.stack([xdog(photo) for photo in photos[[0, 2, 1, 3]]] + [np.full((64, 64, 3), 255, np.uint8)])
    photos = np.concatenate([photos, photos[:1]])
    grey = [tf.constant(images @ [0.299, 0.587, 0.114] / 255) for images in (sketch, photos)]
    with tf.GradientTape() as tape:
        tape.watch(grey)
        found = consistency.consistency(*grey)
    np.testing.assert_allclose(found, sketch_consistency(sketch, photos), atol=3e-3)
    assert found[0] > 0.99 and abs(found[4]) < 1e-6  # a blank page
    assert all(np.isfinite(gradient).all() for gradient in tape.gradient(found, grey))


def test_blank_and_black_halves_stay_finite(networks):
    known = np.stack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)])
    for direction in ("photo", "sketch"):
        found = complete(*networks, known, direction=direction, edges=0.5, lambda_=0.0, iterations=10, n_init=2)
        assert np.isfinite(found.total).all() and np.isfinite(found.joints).all()
