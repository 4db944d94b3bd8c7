"""The metrics against second implementations and known answers."""

import cv2
import numpy as np
import pytest
from conftest import WANG, draw_face, draw_photo
from skimage.filters import gaussian
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from contextual_gan.evaluation.metrics import bootstrap, diversity, json_value, psnr, sketch_consistency, ssim, summary
from contextual_gan.preparation.sketches import xdog


def even(level, size=64):
    return np.full((size, size, 3), level, np.uint8)


def pairs(height=64, width=64):
    """Image pairs: another picture, added noise, shifted brightness, noise alone, nearly black."""
    rng = np.random.default_rng(0)
    a, b, noise = draw_photo(1, height, width), draw_photo(2, height, width), rng.integers(0, 256, (height, width, 3))
    noisy = np.clip(a + rng.normal(0, 20, a.shape), 0, 255).astype(np.uint8)
    others = [b, noisy, cv2.add(a, (40, 40, 40, 0)), noise.astype(np.uint8), a // 64]
    return np.stack(others), np.stack([a] * len(others))


# --- SSIM and PSNR ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (11, 11), (40, 97)])
def test_ssim_and_psnr_match_scikit_image(size):
    images, truths = pairs(*size)
    expected = [structural_similarity(a, b, **WANG) for a, b in zip(images, truths, strict=True)]
    assert np.allclose(ssim(images, truths), expected, rtol=0, atol=1e-10) and np.ptp(expected) > 0.5
    expected = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(images, truths, strict=True)]
    assert np.allclose(psnr(images, truths), expected, rtol=0, atol=1e-10)


def test_ssim_and_psnr_match_tensorflow():
    import tensorflow as tf

    images, truths = pairs()
    assert np.allclose(ssim(images, truths), tf.image.ssim(images, truths, 255), rtol=0, atol=1e-4)
    assert np.allclose(psnr(images, truths), tf.image.psnr(images, truths, 255), rtol=0, atol=1e-4)


def test_ssim_of_constant_images_depends_on_their_means():
    for a, b in ((0, 255), (100, 130), (0, 0), (255, 255)):
        c1 = (0.01 * 255) ** 2
        expected = (2 * a * b + c1) / (a * a + b * b + c1)
        assert ssim([even(a)], [even(b)]) == pytest.approx([expected], abs=1e-9)


def test_psnr_with_known_answers():
    assert psnr([even(0)], [even(255)]) == [0]
    one_off = draw_photo(0)
    one_off[5, 7, 1] ^= 1
    assert psnr([one_off], [draw_photo(0)]) == pytest.approx([10 * np.log10(255**2 * 64 * 64 * 3)])
    assert psnr(np.full((1, 1, 1, 3), 7, np.uint8), np.full((1, 1, 1, 3), 8, np.uint8))[0] == pytest.approx(48.1308036)


def test_a_brightness_shift_alone_gives_a_high_ssim_at_9_db():
    """Section 8 of the specification: about 9 dB is a shift by 90 levels, which hardly changes the SSIM."""
    photo = draw_photo(3) // 2 + 30
    assert psnr([photo + 90], [photo])[0] == pytest.approx(20 * np.log10(255 / 90))
    assert ssim([photo + 90], [photo])[0] > 0.6


def test_identical_images_score_exactly_1_and_infinity():
    images = np.stack([draw_photo(0), draw_face(0), even(0), even(255), even(128)])
    assert np.array_equal(ssim(images, images), np.ones(5)) and np.array_equal(psnr(images, images), [np.inf] * 5)


def test_values_do_not_depend_on_batch_order_or_memory_layout():
    images, truths = pairs()
    for metric in (ssim, psnr, sketch_consistency):
        whole = metric(images, truths)
        assert whole.shape == (5,) and whole.dtype == np.float64
        assert np.array_equal(metric(images[::-1], truths[::-1]), whole[::-1])
        assert np.array_equal([metric(images[i : i + 1], truths[i : i + 1])[0] for i in range(5)], whole)
        joints = np.concatenate([images, truths], axis=2)
        assert np.array_equal(metric(joints[:, :, :64], joints[:, :, 64:]), whole)


@pytest.mark.parametrize("metric", [ssim, psnr, sketch_consistency])
def test_invalid_images_are_refused_in_one_line(metric):
    good = np.zeros((2, 64, 64, 3), np.uint8)
    for bad in (good[..., :1], good[..., 0], good.astype(np.float32), good[:0], good[0]):
        with pytest.raises(ValueError, match=r"images must be \(n, height, width, 3\) uint8, got \("):
            metric(bad, good)
    with pytest.raises(ValueError, match="images and truths differ"):
        metric(good, good[:1])
    if metric is ssim:
        with pytest.raises(ValueError, match="at least 11 x 11 pixels, got 64 x 10"):
            metric(good[:, :10], good[:, :10])


@pytest.mark.filterwarnings("error")
def test_no_value_is_ever_nan():
    checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    page = even(255)
    page[30, 30] = 254
    odd = [even(0), even(255), even(1), checkers[..., None].repeat(3, axis=2), page, draw_face(0), draw_photo(0)]
    odd += [np.stack([even(9)[..., 0], even(200)[..., 0], checkers], axis=-1)]
    for a in odd:
        for b in odd:
            assert (
                -1 <= ssim([a], [b])[0] <= 1 and psnr([a], [b])[0] >= 0 and -1 <= sketch_consistency([a], [b])[0] <= 1
            )


# --- sketch consistency -----------------------------------------------------------------------------------------------


def test_consistency_is_the_correlation_of_blurred_sketches():
    sketches, photos = np.stack([draw_face(i) for i in range(4)]), np.stack([draw_photo(i) for i in range(4)])
    blurred = [
        [gaussian(image[..., 0].astype(float), sigma=1, mode="nearest", truncate=4) for image in (sketch, xdog(photo))]
        for sketch, photo in zip(sketches, photos, strict=True)
    ]
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in blurred]
    assert np.allclose(sketch_consistency(sketches, photos), expected, rtol=0, atol=1e-9)


def test_consistency_with_known_answers():
    photo = draw_photo(5)
    sketch = xdog(photo)
    assert sketch_consistency([sketch], [photo])[0] == pytest.approx(1)
    assert sketch_consistency([255 - sketch], [photo])[0] == pytest.approx(-1)
    assert sketch_consistency([128 + sketch // 3], [photo])[0] > 0.999, "paler strokes score the same"
    for blank in (even(0), even(255), even(128)):
        assert sketch_consistency([blank], [photo]) == 0 and sketch_consistency([sketch], [blank]) == 0


def test_consistency_tolerates_moved_and_thick_strokes_but_not_another_picture():
    photos = np.stack([draw_photo(i) for i in range(8)])
    sketches = np.stack([xdog(photo) for photo in photos])
    moved = [sketch_consistency(np.roll(sketches, by, axis=2), photos).mean() for by in range(4)]
    assert moved == sorted(moved, reverse=True) and moved[1] > 0.8
    thick = np.stack([cv2.erode(sketch, np.ones((2, 2))) for sketch in sketches])
    others = sketch_consistency(np.roll(sketches, 1, axis=0), photos).mean()
    assert sketch_consistency(thick, photos).mean() > 0.8 and others < 0.3 < moved[2]


# --- intervals --------------------------------------------------------------------------------------------------------


def test_bootstrap_depends_only_on_the_values_and_the_seed():
    values = np.random.default_rng(0).normal(3, 2, 400)
    mean, low, high = bootstrap(values)
    assert mean == pytest.approx(values.mean()) and low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.06), "the width of the normal interval"
    assert bootstrap(values) == bootstrap(values[::-1]) == bootstrap(list(values)) != bootstrap(values, seed=1)
    assert bootstrap([*values, np.inf, np.nan]) == bootstrap(values)
    assert bootstrap([5]) == (5, 5, 5) and all(type(bound) is float for bound in bootstrap([5]))


def test_95_percent_of_the_intervals_contain_the_true_mean():
    samples = np.random.default_rng(0).gamma(4, size=(300, 60))
    held = [low <= 4 <= high for _, low, high in (bootstrap(values, resamples=300) for values in samples)]
    assert 0.9 <= np.mean(held) <= 0.98


def test_without_a_finite_value_bootstrap_raises_and_json_holds_none():
    for values in ([], [np.inf], [np.nan]):
        with pytest.raises(ValueError, match="at least one finite value"):
            bootstrap(values)
    assert summary([np.inf, np.inf]) == {"mean": "inf", "low": "inf", "high": "inf"}
    assert summary([np.nan]) == summary([]) == {"mean": None, "low": None, "high": None}
    assert summary([2, np.inf]) == {"mean": 2, "low": 2, "high": 2}
    assert [json_value(value) for value in (np.inf, np.nan, np.float64(0.5))] == ["inf", None, 0.5]


def test_diversity_is_the_mean_difference_of_sample_pairs():
    samples = np.stack([[even(0), even(0), even(30)], [even(255), even(0), even(255)], [even(9)] * 3])
    assert np.allclose(diversity(samples), [20, 170, 0])
    for bad in (samples[:, :1], samples[0], samples.astype(float)):
        with pytest.raises(ValueError, match="samples"):
            diversity(bad)
