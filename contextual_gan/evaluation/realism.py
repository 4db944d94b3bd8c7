"""Distance of a set of images from a set of real ones.

The unbiased kernel distance is that of KID (Binkowski et al. 2018, arXiv 1801.01401): the squared maximum mean
discrepancy with the kernel (x . y / d + 1)^3. KID uses Inception features, whose weights the user must supply; without
them, the features here are histograms of oriented gradients, which see edges but no colours. Compare these numbers only
with each other, not with published ones.
"""

from pathlib import Path

import numpy as np
from skimage.feature import hog

CELL = 8  # pixels, the width of a histogram's cell


def hog_features(images):
    """Images (n, H, W, 3) uint8 -> (n, d) float64: histograms of 9 orientations in cells of 8 pixels, blocks of 2 x 2.

    They are scaled so that x . y / d is the mean cosine similarity of the blocks.
    """
    options = {"orientations": 9, "pixels_per_cell": (CELL, CELL), "cells_per_block": (2, 2), "channel_axis": -1}
    return np.sqrt(9 * 4) * np.stack([hog(image, **options) for image in images])


def inception_features(weights):
    """A function from images (n, H, W, 3) uint8 to the pooled features (n, 2048) of Keras's InceptionV3.

    weights: weights file of that network without its top. Raises ValueError for any other file. Published KIDs use an
    older Inception with similar but different features: compare these values only with each other.
    """
    import tensorflow as tf
    from keras.applications import InceptionV3

    from contextual_gan.models import common  # noqa: F401

    if not Path(weights).is_file():
        raise ValueError(f"{weights} does not hold the weights of Keras's InceptionV3 without its top: no such file")
    try:
        network = InceptionV3(
            include_top=False, weights=str(Path(weights).absolute()), pooling="avg", input_shape=(299, 299, 3)
        )
    except Exception as error:  # of many types, depending on the content of the file
        raise ValueError(
            f"{weights} does not hold the weights of Keras's InceptionV3 without its top: {str(error)[:200]}"
        ) from error

    def features(images):
        parts = [images[i : i + 32].astype(np.float32) for i in range(0, len(images), 32)]
        wide = (tf.image.resize(part, (299, 299)) / 127.5 - 1 for part in parts)
        return np.concatenate([network(part, training=False).numpy() for part in wide]).astype(np.float64)

    return features


def kernel_summary(made, true):
    """{"mean", "low", "high"}: the kernel distance of paired features, (n, d) twice with n at least 3.

    "mean" is the unbiased squared maximum mean discrepancy, near 0 for samples of one distribution. The 95% interval is
    normal, with the standard error of the jackknife over pairs. The order of the pairs does not matter.
    Raises ValueError for fewer than 3.
    """
    n = len(made)
    if len(true) != n or n < 3:
        raise ValueError(f"a kernel distance needs at least three pairs of images, got {n} and {len(true)}")
    order = sorted(range(n), key=lambda row: (true[row].tobytes(), made[row].tobytes()))
    made, true = made[order], true[order]
    within, between = [_without_diagonal(_kernel(x, x)) for x in (made, true)], _kernel(made, true)
    centre = sum(kernel.sum() for kernel in within) / (n * (n - 1)) - 2 * between.mean()
    rest = sum(kernel.sum() - 2 * kernel.sum(axis=1) for kernel in within) / ((n - 1) * (n - 2))
    others = between.sum() - between.sum(axis=0) - between.sum(axis=1) + np.diag(between)
    left_out = rest - 2 * others / (n - 1) ** 2  # the estimates without one pair
    error = np.sqrt((n - 1) / n * np.square(left_out - left_out.mean()).sum())
    return {"mean": float(centre), "low": float(centre - 1.96 * error), "high": float(centre + 1.96 * error)}


def _kernel(a, b):
    return (a @ b.T / a.shape[1] + 1) ** 3


def _without_diagonal(kernel):
    """The kernel of all pairs of different rows."""
    return kernel - np.diag(np.diag(kernel))
