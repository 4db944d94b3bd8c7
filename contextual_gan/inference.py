"""The networks held fixed: forward in inference mode, the same for a row in any batch."""

import numpy as np
import tensorflow as tf
from keras import layers

from contextual_gan.dcgan import LATENT
from contextual_gan.joint import HALVES, SIZE

CONVOLUTIONS = (layers.Conv2D, layers.Conv2DTranspose)  # of "same" padding here


def forward(model, x, spans=()):
    """Run `model`, a chain of layers.

    spans: columns (first, last) that each transposed convolution gets, and the last one gives; all if there are none.

    TensorFlow splits the long sums of a dense layer according to the batch size, and a difference in the last bit grows
    a thousandfold in 50 iterations. In float64 it is gone before the result is rounded. Convolutions do not have it.
    """
    first, normalised = 0, None  # the column of the whole map that x begins with; the layer that has been folded
    for layer, following in zip(model.layers, [*model.layers[1:], None], strict=True):
        if isinstance(layer, layers.InputLayer) or layer is normalised:
            continue
        if isinstance(layer, layers.Dense):
            x = _dense(layer, x)
            continue
        if isinstance(layer, layers.Conv2DTranspose) and spans:
            (start, stop), *spans = spans
            x, first = x[:, :, start - first : stop - first], 2 * start
        if isinstance(following, layers.BatchNormalization) and isinstance(layer, CONVOLUTIONS):
            x, normalised = _convolution(layer, following, x), following
        else:
            x = layer(x, training=False)
    for start, stop in spans:
        x = x[:, :, start - first : stop - first]
    return x


def _dense(layer, x):
    """In float64: see `forward`."""
    wide = tf.cast(x, tf.float64) @ tf.cast(layer.kernel, tf.float64) + tf.cast(layer.bias, tf.float64)
    return layer.activation(tf.cast(wide, x.dtype))


def _convolution(layer, norm, x):
    """A convolution and the batch normalization after it as one convolution."""
    scale = norm.gamma * tf.math.rsqrt(norm.moving_variance + norm.epsilon)
    bias = norm.beta - scale * norm.moving_mean
    if layer.use_bias:
        bias += scale * layer.bias
    x, bias = tf.cast(x, layer.compute_dtype), tf.cast(bias, layer.compute_dtype)
    if isinstance(layer, layers.Conv2D):
        return tf.nn.conv2d(x, tf.cast(layer.kernel * scale, x.dtype), layer.strides, "SAME") + bias
    rows, columns = (stride * size for stride, size in zip(layer.strides, x.shape[1:3], strict=True))
    shape = tf.shape(x)[0], rows, columns, layer.filters
    return tf.nn.conv2d_transpose(x, tf.cast(layer.kernel * scale[:, None], x.dtype), shape, layer.strides) + bias


def generate_half(generator, z, name):
    """One half, "sketch" or "photo", of G(z): z (n, 100) -> (n, 64, 64, 3), without most of what only the other needs.

    A column of a 5x5 transposed convolution of stride 2 is made of two or three of its input, so that half of the last
    map needs 33 of 64 columns of the one before, and so on. Odd numbers of columns are slow: it takes one more.
    """
    widths = [layer.input.shape[2] for layer in generator.layers if isinstance(layer, layers.Conv2DTranspose)]
    spans = [HALVES[name].indices(2 * SIZE)[:2]]
    for width in reversed(widths):
        first, last = spans[0]
        spans.insert(0, (max(first - 2, 0) // 4 * 2, min(last // 4 * 2 + 2, width)))
    return forward(generator, z, spans)


def generate(generator, z, batch_size=64):
    """Joints of z (..., 100) -> (..., 64, 128, 3) float32 in [-1, 1]."""
    flat = np.reshape(z, (-1, LATENT))
    joints = np.empty((len(flat), SIZE, 2 * SIZE, 3), np.float32)
    for rows in batches(len(flat), batch_size):
        joints[rows] = forward(generator, flat[rows])
    return joints.reshape(*z.shape[:-1], *joints.shape[1:])


def encode(encoder, known, batch_size=64):
    """z (n, 100) float32 in [-1, 1] that an encoder gives for known halves (n, 64, 64, 3) in [-1, 1]."""
    return np.concatenate([forward(encoder, known[rows]) for rows in batches(len(known), batch_size)])


def batches(n, size):
    """Slices of at most `size` that cover n rows."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
