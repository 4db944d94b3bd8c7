"""How far a set of images is from a set of real ones.

The unbiased kernel distance is that of KID (Binkowski et al. 2018, arXiv 1801.01401): the squared maximum mean
discrepancy with the kernel (x . y / d + 1)^3. KID takes features of Inception, which must be downloaded; here, without
them, they are histograms of oriented gradients, which see edges and know nothing of colours: the numbers compare with
each other, not with those of papers.
"""

import numpy as np
from skimage.feature import hog

CELL = 8  # pixels of a histogram
HALVES = 100  # random ones, of which the interval is made


def hog_features(images):
    """Images (n, H, W, 3) uint8 -> (n, d) float64: histograms of 9 orientations in cells of 8 pixels, blocks of 2 x 2.

    They are scaled so that x . y / d is the mean, over the blocks, of their cosine similarity.
    """
    options = {"orientations": 9, "pixels_per_cell": (CELL, CELL), "cells_per_block": (2, 2), "channel_axis": -1}
    return np.sqrt(9 * 4) * np.stack([hog(image, **options) for image in images])


def inception_features(weights):
    """A function: images (n, H, W, 3) uint8 -> (n, 2048), the pooled features of Keras's InceptionV3, for real KID.

    weights: a file of that network's weights without its top. Raises ValueError for another file.
    """
    import tensorflow as tf
    from keras.applications import InceptionV3

    try:
        network = InceptionV3(include_top=False, weights=str(weights), pooling="avg", input_shape=(299, 299, 3))
    except (OSError, ValueError) as error:
        raise ValueError(f"{weights} does not hold the weights of Keras's InceptionV3 without top: {error}") from error

    def features(images):
        parts = [images[i : i + 32].astype(np.float32) for i in range(0, len(images), 32)]
        wide = (tf.image.resize(part, (299, 299)) / 127.5 - 1 for part in parts)
        return np.concatenate([network(part, training=False).numpy() for part in wide]).astype(np.float64)

    return features


def kernel_distance(a, b):
    """The unbiased squared maximum mean discrepancy of features (n, d) and (m, d); near 0 for samples of one kind.

    Raises ValueError for less than two of either.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a kernel distance needs at least two images of each kind, got {len(a)} and {len(b)}")
    return _unbiased(_kernel(a, a), _kernel(b, b), _kernel(a, b))


def _unbiased(same_a, same_b, between):
    """The estimate from the kernel of all pairs, without that of a row with itself."""
    within = [(same.sum() - np.trace(same)) / (len(same) * (len(same) - 1)) for same in (same_a, same_b)]
    return float(sum(within) - 2 * between.mean())


def _kernel(a, b):
    return (a @ b.T / a.shape[1] + 1) ** 3


def kernel_summary(a, b, seed=0):
    """{"mean", "low", "high"}: the kernel distance and its 95% interval.

    The interval is that of the normal distribution with the deviation over random halves of both sets, drawn without
    replacement: of a mean, that is the standard error of the whole. The order of the rows does not matter.
    """
    a, b = (np.stack(sorted(x, key=lambda row: row.tobytes())) for x in (a, b))
    same = _kernel(a, a), _kernel(b, b), _kernel(a, b)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(HALVES):
        i, j = (rng.permutation(len(x))[: max(len(x) // 2, 2)] for x in (a, b))
        values.append(_unbiased(same[0][np.ix_(i, i)], same[1][np.ix_(j, j)], same[2][np.ix_(i, j)]))
    centre, error = _unbiased(*same), np.std(values)
    return {"mean": centre, "low": centre - 1.96 * error, "high": centre + 1.96 * error}
