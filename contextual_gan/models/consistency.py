"""Sketch consistency with a gradient, for the search: `metrics.sketch_consistency` in TensorFlow."""

import cv2
import numpy as np
import tensorflow as tf

from contextual_gan.joint import SIZE
from contextual_gan.preparation.sketches import INK_SIGMA, parameters_of

GREY = (0.299, 0.587, 0.114)  # OpenCV's weights, as in the filters
XDOG = parameters_of("xdog")  # of the filter that drew the training sketches


def consistency(sketches, photos):
    """Correlation of blurred sketches with the blurred edges of photos: grey, (n, 64, 64) float in [0, 1] -> (n,).

    The edges are those of `sketches.xdog`, not rounded to levels. 0 if either image is blank.
    """
    return correlation(sketches, _xdog(photos))


def correlation(sketches, others):
    """Correlation of the blurred strokes of two sketches: grey, (n, 64, 64) float in [0, 1] -> (n,)."""
    a, b = _ink(sketches), _ink(others)
    scale = tf.sqrt(tf.reduce_mean(a * a, (1, 2)) * tf.reduce_mean(b * b, (1, 2)) + 1e-18)
    return tf.reduce_mean(a * b, (1, 2)) / scale


def grey(images):
    """Images (..., 3) in [-1, 1] -> (...) in [0, 1], with the weights of `GREY`."""
    return tf.tensordot((images + 1) / 2, tf.constant(GREY, images.dtype), 1)


def _xdog(grey):
    difference = _blur(grey, XDOG["sigma"]) - XDOG["tau"] * _blur(grey, XDOG["k"] * XDOG["sigma"]) - XDOG["eps"]
    return 0.5 + 0.5 * tf.tanh(XDOG["phi"] * difference)


def _ink(sketch):
    blurred = _blur(sketch, INK_SIGMA)
    return blurred - tf.reduce_mean(blurred, (1, 2), keepdims=True)


def _blur(grey, sigma):
    """The matrix of a Gaussian blur with replicated borders: one product blurs the rows, one the columns."""
    reach = round(4 * sigma)  # as in OpenCV for floats
    matrix = np.zeros((SIZE, SIZE))
    for shift, weight in zip(range(-reach, reach + 1), cv2.getGaussianKernel(2 * reach + 1, sigma)[:, 0], strict=True):
        matrix[np.arange(SIZE), np.clip(np.arange(SIZE) + shift, 0, SIZE - 1)] += weight
    matrix = tf.constant(matrix, grey.dtype)
    return matrix @ grey @ tf.transpose(matrix)
