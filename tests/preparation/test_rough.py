"""rough.py: its effects on strokes, against known answers and its own constants."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from contextual_gan.files.images import to_float
from contextual_gan.models.consistency import correlation
from contextual_gan.preparation import rough
from contextual_gan.preparation.rough import disturb, roughen

KEY = tf.constant([3, 4])


def columns(n, positions=(20, 21)):
    """n sketches with one vertical stroke of two pixels."""
    page = np.full((n, 64, 64, 3), 255, np.uint8)
    page[:, :, list(positions)] = 0
    return page


def likeness(a, b):
    a, b = (tf.constant(x[..., 0], tf.float64) / 255 for x in (a, b))
    return float(tf.reduce_mean(correlation(a, b)))


def test_at_0_a_sketch_stays_as_it_is(sketches):
    noisy = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1), np.uint8).repeat(3, axis=-1)
    for given in (sketches, noisy):
        assert np.array_equal(rough.rough(given, 0), given)
    assert np.array_equal(rough.rough(sketches, [0, 1, 0, 1, 0])[::2], sketches[::2])


def test_the_rougher_the_less_alike(sketches):
    many = sketches.repeat(8, axis=0)
    many[:, 0, 0] = np.arange(40, dtype=np.uint8)[:, None]  # so that each differs
    found = [likeness(many, rough.rough(many, level)) for level in (0, 0.25, 0.5, 0.75, 1)]
    assert found[0] == pytest.approx(1) and (np.diff(found) < -0.02).all() and 0.2 < found[-1] < 0.75


def test_a_result_is_a_function_of_sketch_roughness_and_seed(sketches):
    together = rough.rough(sketches, 0.7)
    assert together.dtype == np.uint8 and (together[..., :1] == together).all()
    assert np.array_equal(together[::-1], rough.rough(sketches[::-1], 0.7))
    assert np.array_equal(together[2], rough.rough(sketches[2:3], [0.7])[0])
    for other in (rough.rough(sketches, 0.7, seed=1), rough.rough(sketches, 0.7, seed=2**40)):
        assert all(not np.array_equal(a, b) for a, b in zip(together, other, strict=True))


def test_strokes_move_by_two_pixels_and_all_by_one():
    given = to_float(columns(200, range(20, 30)))
    ink = (1 - roughen(given, tf.ones(200), KEY).numpy()[..., 0]) / 2
    middle = (ink * np.arange(64)).sum(axis=2) / np.maximum(ink.sum(axis=2), 1e-6)  # (200, 64): of each row
    middle = np.where(ink.sum(axis=2) > 5, middle, np.nan)
    together = np.nanmean(middle, axis=1)
    assert 0.9 < np.nanstd(together) < 1.8  # the shift, and what is left of the field
    assert 1.0 < np.nanmean(np.nanstd(middle, axis=1)) < 2.2
    bends = np.nanstd(np.diff(middle, axis=1))
    assert bends < 0.8, "smooth"


@pytest.mark.parametrize(("thicker", "thinner", "width"), [(0, 0, 6), (1, 0, 8), (0, 1, 5)])
def test_strokes_become_thicker_or_thinner(monkeypatch, thicker, thinner, width):
    numbers = {"DISPLACEMENT": 0, "SHIFT": 0, "MISSING": -1, "THICKER": thicker, "THINNER": thinner}
    for name, value in numbers.items():
        monkeypatch.setattr(rough, name, value)
    ink = (1 - roughen(to_float(columns(20, range(28, 34))), tf.ones(20), KEY).numpy()[..., 0]) / 2
    assert ((ink > 0.5).sum(axis=2) == width).all()


def test_a_quarter_is_thicker_a_quarter_thinner_and_pieces_are_missing(monkeypatch):
    monkeypatch.setattr(rough, "DISPLACEMENT", 0)
    ink = (1 - roughen(to_float(columns(400, range(28, 34))), tf.ones(400), KEY).numpy()[..., 0]) / 2
    width = (ink > 0.5).sum(axis=2)
    assert 0.02 < (width == 0).mean() < 0.2
    typical = np.median(width, axis=1)
    assert 0.18 < (typical >= 7.5).mean() < 0.32 and 0.18 < (typical <= 5).mean() < 0.32


def test_blank_paper_stays_blank():
    blank = np.full((4, 64, 64, 3), 255, np.uint8)
    assert np.array_equal(rough.rough(blank, 1), blank)


@pytest.mark.parametrize("level", [-0.1, 1.1, float("nan")])
def test_a_roughness_out_of_range_is_refused(sketches, level):
    with pytest.raises(ValueError, match="from 0 to 1"):
        rough.rough(sketches, level)


def test_photos_are_disturbed_by_the_amount():
    photo = cv2.resize(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8), (64, 64))
    photos = to_float(np.repeat(photo[None], 100, axis=0))
    assert np.array_equal(disturb(photos, tf.zeros(100), KEY), photos)
    away = []
    for amount in (0.25, 0.5, 1):
        found = disturb(photos, tf.fill([100], amount), KEY).numpy()
        assert np.abs(found).max() <= 1 and len(np.unique(found.mean(axis=(1, 2, 3)))) > 90
        away.append(np.abs(found - photos).mean())
    assert 0 < away[0] < away[1] < away[2] < 0.5
    assert np.array_equal(found, disturb(photos, tf.ones(100), KEY))
