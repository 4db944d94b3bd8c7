"""The networks with fixed weights, in inference mode; the result of a row does not depend on its batch."""

from functools import partial

import numpy as np
import tensorflow as tf
from keras import layers

from contextual_gan.joint import HALVES, SIZE
from contextual_gan.models.dcgan import LATENT

CONVOLUTIONS = (layers.Conv2D, layers.Conv2DTranspose)  # here always with "same" padding


def forward(model, x, spans=()):
    """Run `model`, a chain of layers, like `folded(model)(x, spans)`."""
    return folded(model)(x, spans)


def folded(model):
    """`model`, a chain of layers, as a function of (x, spans), with batch normalization folded into the convolutions.

    spans: column ranges (first, last) of the input of each transposed convolution and of the last output; empty for
    all columns. A loop folds its networks once, before it begins.
    """
    steps, normalised = [], None  # the batch normalization just folded
    for layer, following in zip(model.layers, [*model.layers[1:], None], strict=True):
        if isinstance(layer, layers.InputLayer) or layer is normalised:
            continue
        if isinstance(layer, layers.Dense):
            steps.append((layer, _dense(layer)))
        elif isinstance(following, layers.BatchNormalization) and isinstance(layer, CONVOLUTIONS):
            steps.append((layer, _convolution(layer, following)))
            normalised = following
        else:
            steps.append((layer, partial(layer, training=False)))

    def run(x, spans=()):
        first = 0  # the column of the whole map at which x begins
        for layer, function in steps:
            if isinstance(layer, layers.Conv2DTranspose) and spans:
                (start, stop), *spans = spans
                x, first = x[:, :, start - first : stop - first], 2 * start
            x = function(x)
        for start, stop in spans:
            x = x[:, :, start - first : stop - first]
        return x

    return run


def _dense(layer):
    """A dense layer in float64.

    TensorFlow splits its long sums according to the batch size, and a difference in the last bit grows a thousandfold
    in 50 iterations of a search. In float64, rounding the result removes it.
    """
    kernel, bias = tf.cast(layer.kernel, tf.float64), tf.cast(layer.bias, tf.float64)
    return lambda x: layer.activation(tf.cast(tf.cast(x, tf.float64) @ kernel + bias, x.dtype))


def _convolution(layer, norm):
    """A convolution and the batch normalization after it, folded into one convolution."""
    scale = norm.gamma * tf.math.rsqrt(norm.moving_variance + norm.epsilon)
    bias = norm.beta - scale * norm.moving_mean
    if layer.use_bias:
        bias += scale * layer.bias
    is_transposed = isinstance(layer, layers.Conv2DTranspose)
    kernel = layer.kernel * (scale[:, None] if is_transposed else scale)
    bias, kernel = tf.cast(bias, layer.compute_dtype), tf.cast(kernel, layer.compute_dtype)

    def run(x):
        x = tf.cast(x, layer.compute_dtype)
        if not is_transposed:
            return tf.nn.conv2d(x, kernel, layer.strides, "SAME") + bias
        rows, columns = (stride * size for stride, size in zip(layer.strides, x.shape[1:3], strict=True))
        return tf.nn.conv2d_transpose(x, kernel, (tf.shape(x)[0], rows, columns, layer.filters), layer.strides) + bias

    return run


def generate_half(generator, z, name):
    """One half, "sketch" or "photo", of G(z), skipping most of the other half: z (n, 100) -> (n, 64, 64, 3)."""
    return forward(generator, z, half_spans(generator, name))


def half_spans(generator, name):
    """The `spans` argument of `folded` for one half of G(z), "sketch" or "photo".

    Each output column of a 5x5 transposed convolution of stride 2 depends on two or three input columns, so half of the
    last map needs 33 of the 64 columns before it, and so on. An odd number of columns is slow, so one more is computed.
    """
    widths = [layer.input.shape[2] for layer in generator.layers if isinstance(layer, layers.Conv2DTranspose)]
    spans = [HALVES[name].indices(2 * SIZE)[:2]]
    for width in reversed(widths):
        first, last = spans[0]
        spans.insert(0, (max(first - 2, 0) // 4 * 2, min(last // 4 * 2 + 2, width)))
    return spans


def generate(generator, z, batch_size=64):
    """Joints of z (..., 100) -> (..., 64, 128, 3) float32 in [-1, 1]."""
    flat = np.reshape(z, (-1, LATENT))
    joints = np.empty((len(flat), SIZE, 2 * SIZE, 3), np.float32)
    network = folded(generator)
    for rows in groups(len(flat), batch_size):
        joints[rows] = network(padded(flat[rows]))[: rows.stop - rows.start]
    return joints.reshape(*z.shape[:-1], *joints.shape[1:])


def encode(encoder, known, batch_size=64):
    """z (n, 100) float32 in [-1, 1] by an encoder from known halves (n, 64, 64, 3) in [-1, 1]."""
    z = np.empty((len(known), LATENT), np.float32)
    network = folded(encoder)
    for rows in groups(len(known), batch_size):
        z[rows] = network(padded(known[rows]))[: rows.stop - rows.start]
    return z


# --- batches of powers of two -----------------------------------------------------------------------------------------
#
# TensorFlow chooses its CPU kernels by the shape of a batch, and each kernel has its own order of summation. A row gets
# the same result in batches of 2, 4, 8, ... rows; batches of 3 and 5 differ in the last bits on processors with AMX,
# and a batch of 1 on those without AVX-512. So every input of a frozen network goes through `groups` and `padded`.

OVERHEAD = 2  # the fixed cost of each group of a search, in rows


def groups(n, size):
    """Slices that cover n rows, each of a power of two up to `size` rows, or padded to one by `padded`."""
    ends = np.cumsum([0, *_sizes(n, _power_of_two_below(max(size, 2)))]).tolist()
    return [slice(*ends[i : i + 2]) for i in range(len(ends) - 1)]


def _sizes(n, size):
    """Group sizes for n rows: a remainder is split further if that is faster than padding it."""
    if n >= size:
        return [size] * (n // size) + _sizes(n % size, size)
    if n < 2:
        return [1] * n
    whole = _power_of_two_below(n)
    cut = [whole, *_sizes(n - whole, size)]
    return min([n], cut, key=lambda sizes: sum(map(_power_of_two_above, sizes)) + OVERHEAD * len(sizes))


def padded(rows):
    """Rows (n, ...), n at least 1, padded with copies of the last one to 2, 4, 8, ... rows."""
    missing = _power_of_two_above(len(rows)) - len(rows)
    return tf.concat([rows, tf.repeat(rows[-1:], missing, axis=0)], axis=0) if missing else rows


def _power_of_two_below(n):
    """The largest power of two not above n, for n at least 1."""
    return 1 << (n.bit_length() - 1)


def _power_of_two_above(n):
    """The smallest power of two that is at least n and at least 2."""
    return max(2, 1 << (n - 1).bit_length())
