"""The kernel distance of sets of images against plain loops and known answers."""

import itertools

import numpy as np
import pytest
from conftest import draw_face

from contextual_gan.evaluation import realism


def plain_distance(a, b):
    """The estimate of Binkowski et al. 2018, equation 4, pair by pair."""

    def k(x, y):
        return (sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    n, m = len(a), len(b)
    within_a = sum(k(a[i], a[j]) for i, j in itertools.permutations(range(n), 2)) / (n * (n - 1))
    within_b = sum(k(b[i], b[j]) for i, j in itertools.permutations(range(m), 2)) / (m * (m - 1))
    return within_a + within_b - 2 * sum(k(x, y) for x in a for y in b) / (n * m)


def plain_hog(image, cell=8, bins=9):
    """Dalal and Triggs 2005: the channel of steepest gradient, hard bins, blocks of 2 x 2 cells, L2-Hys."""
    wide = image.astype(float)
    gradient = np.zeros((2, *wide.shape))
    gradient[0, 1:-1] = wide[2:] - wide[:-2]
    gradient[1, :, 1:-1] = wide[:, 2:] - wide[:, :-2]
    steepest = np.hypot(*gradient).argmax(axis=-1)[..., None]
    dy, dx = (np.take_along_axis(part, steepest, axis=-1)[..., 0] for part in gradient)
    angle = np.rad2deg(np.arctan2(dy, dx)) % 180
    rows, columns = (size // cell for size in angle.shape)
    cells = np.zeros((rows, columns, bins))
    for y, x in np.ndindex(rows * cell, columns * cell):
        cells[y // cell, x // cell, int(angle[y, x] // (180 / bins)) % bins] += np.hypot(dy, dx)[y, x] / cell**2
    blocks = []
    for y, x in np.ndindex(rows - 1, columns - 1):
        block = cells[y : y + 2, x : x + 2].ravel()
        block = np.minimum(block / np.sqrt((block**2).sum() + 1e-10), 0.2)
        blocks.append(block / np.sqrt((block**2).sum() + 1e-10))
    return np.concatenate(blocks)


def test_the_distance_matches_plain_loops():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 5)), rng.normal(0.5, 2, size=(6, 5))
    assert realism.kernel_summary(a, b)["mean"] == pytest.approx(plain_distance(a, b), rel=1e-12)


def test_samples_of_one_distribution_have_distance_0_within_the_interval():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(40):
        found = realism.kernel_summary(rng.normal(size=(60, 8)), rng.normal(size=(60, 8)))
        inside += found["low"] <= 0 <= found["high"]
    assert inside >= 34
    far = realism.kernel_summary(rng.normal(size=(60, 8)), rng.normal(0.5, 1, size=(60, 8)))
    assert far["low"] > 0


def test_the_interval_of_similar_pairs_is_as_wide_as_their_variation():
    rng = np.random.default_rng(1)
    centres, errors = [], []
    for _ in range(60):
        true = rng.normal(size=(80, 8))
        found = realism.kernel_summary(0.8 * true + rng.normal(0.3, 0.3, true.shape), true)
        centres.append(found["mean"])
        errors.append((found["high"] - found["low"]) / 2 / 1.96)
    assert 0.7 < np.mean(errors) / np.std(centres) < 1.5


def test_the_interval_matches_the_jackknife():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(7, 3))
    found = realism.kernel_summary(a, b)
    others = [plain_distance(np.delete(a, i, axis=0), np.delete(b, i, axis=0)) for i in range(7)]
    error = np.sqrt(6 / 7 * np.square(others - np.mean(others)).sum())
    assert (found["high"] - found["mean"]) / 1.96 == pytest.approx(error, rel=1e-9)
    assert (found["mean"] - found["low"]) / 1.96 == pytest.approx(error, rel=1e-9)


def test_the_distance_does_not_depend_on_order_or_batch():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(20, 5)), rng.normal(size=(20, 5))
    order = rng.permutation(20)
    moved = realism.kernel_summary(a[order], b[order])
    assert moved == realism.kernel_summary(a, b)
    images = rng.integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    assert np.array_equal(realism.hog_features(images)[2:3], realism.hog_features(images[2:3]))


def test_features_are_histograms_of_gradients_scaled_to_cosines():
    image = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = realism.hog_features(np.stack([image, draw_face(0)]))
    assert found.shape == (2, 7 * 7 * 4 * 9)
    np.testing.assert_allclose(found[0], 6 * plain_hog(image), atol=1e-6)
    assert found[0] @ found[0] / found.shape[1] == pytest.approx(1, abs=1e-3)


def test_too_few_images_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"at least three pairs.*got 1 and 3"):
        realism.kernel_summary(np.zeros((1, 4)), np.zeros((3, 4)))


def test_inception_features_use_the_weights_in_the_file(tmp_path):
    from keras.applications import InceptionV3

    network = InceptionV3(include_top=False, weights=None, pooling="avg", input_shape=(299, 299, 3))
    network.save_weights(tmp_path / "inception.weights.h5")
    images = np.random.default_rng(4).integers(0, 256, (2, 299, 299, 3), dtype=np.uint8)
    found = realism.inception_features(tmp_path / "inception.weights.h5")(images)
    np.testing.assert_allclose(found, network(images / 127.5 - 1.0, training=False), rtol=1e-4, atol=1e-5)
    (tmp_path / "bad.h5").write_bytes(b"no weights")
    for name in ("bad.h5", "missing.h5"):
        with pytest.raises(ValueError, match="does not hold the weights"):
            realism.inception_features(tmp_path / name)
