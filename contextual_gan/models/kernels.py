"""Keras's convolutions and Adam, computed in training by faster TensorFlow kernels for CPUs.

All results equal Keras's up to rounding; outside of training, the convolutions are Keras's own. They are 5x5, with
stride 2 and "same" padding, for maps with even numbers of rows and columns.
"""

import numpy as np
import tensorflow as tf
from keras import Variable, layers, ops, optimizers

SMALL = 32  # positions of a map; below this, the kernel of the convolution's weight gradient is slow
FEW = 4  # channels; fewer than the kernel of the transposed convolution processes at a time


class Conv2D(layers.Conv2D):
    """A convolution (n, 2 h, 2 w, c) -> (n, h, w, filters)."""

    def call(self, inputs, training=None):
        if not training:
            return super().call(inputs)
        return self.activation(
            tf.nn.bias_add(_down(inputs, tf.identity(ops.convert_to_tensor(self.kernel))), self.bias)
        )


class Conv2DTranspose(layers.Conv2DTranspose):
    """A transposed convolution (n, h, w, c) -> (n, 2 h, 2 w, filters)."""

    def call(self, inputs, training=None):
        if not training:
            return super().call(inputs)
        return self.activation(tf.nn.bias_add(_up(inputs, tf.identity(ops.convert_to_tensor(self.kernel))), self.bias))


@tf.custom_gradient
def _down(images, kernel):
    """conv2d: images (n, 2 h, 2 w, a), kernel (5, 5, a, b) -> maps (n, h, w, b)."""

    def gradients(maps):
        return _transposed(maps, kernel), _kernel_gradient(images, kernel, maps)

    return tf.nn.conv2d(images, kernel, 2, "SAME"), gradients


@tf.custom_gradient
def _up(maps, kernel):
    """conv2d_transpose: maps (n, h, w, b), kernel (5, 5, a, b) -> images (n, 2 h, 2 w, a)."""

    def gradients(images):
        return tf.nn.conv2d(images, kernel, 2, "SAME"), _kernel_gradient(images, kernel, maps)

    return _transposed(maps, kernel), gradients


def _transposed(maps, kernel):
    """The transposed convolution; for few channels, a convolution that computes 2x2 positions at once.

    Row 2p + d of the images is the sum over j of row p + j of the maps times row 1 + d - 2j of the kernel.
    """
    (n, h, w, _), (_, _, a, b) = tf.unstack(tf.shape(maps)), kernel.shape
    if a > FEW:
        return tf.nn.conv2d_transpose(maps, kernel, (n, 2 * h, 2 * w, a), 2)
    kernel = tf.reshape(tf.pad(kernel, [[1, 0], [1, 0], [0, 0], [0, 0]]), (3, 2, 3, 2, a, b))
    kernel = tf.transpose(tf.reverse(kernel, [0, 2]), (0, 2, 5, 1, 3, 4))
    return tf.nn.depth_to_space(tf.nn.conv2d(maps, tf.reshape(kernel, (3, 3, b, 4 * a)), 1, "SAME"), 2)


def _kernel_gradient(images, kernel, maps):
    """Gradient of the kernel, given the gradient (n, h, w, b) of conv2d(images); for small maps, a matrix product."""
    if maps.shape[1] * maps.shape[2] > SMALL:
        return tf.raw_ops.Conv2DBackpropFilter(
            input=images, filter_sizes=kernel.shape, out_backprop=maps, strides=[1, 2, 2, 1], padding="SAME"
        )
    patches, maps = (
        tf.reshape(values, (-1, values.shape[-1] * k)) for values, k in ((_patches(images), 25), (maps, 1))
    )
    return tf.reshape(tf.matmul(patches, maps, transpose_a=True), kernel.shape)


def _patches(images):
    """The input patch of each position of conv2d: (n, 2 h, 2 w, c) -> (n, 25 h w, c).

    tf.image.extract_patches computes the same in one thread and takes six times as long.
    """
    _, rows, columns, channels = images.shape
    (y, x), (i, j) = np.ogrid[1:rows:2, 1:columns:2], np.ogrid[-1:4, -1:4]
    places = (y[..., None, None] + i) * (columns + 3) + x[..., None, None] + j
    padded = tf.pad(images, [[0, 0], [1, 2], [1, 2], [0, 0]])
    return tf.gather(tf.reshape(padded, (-1, (rows + 3) * (columns + 3), channels)), places.ravel(), axis=1)


class Adam(optimizers.Adam):
    """Adam with one multithreaded kernel instead of a dozen operations."""

    def update_step(self, gradient, variable, learning_rate):
        index, step = self._get_variable_index(variable), tf.cast(self.iterations + 1, tf.float32)
        slots = variable, self._momentums[index], self._velocities[index]
        var, m, v = ((slot.value if isinstance(slot, Variable) else slot).handle for slot in slots)
        tf.raw_ops.ResourceApplyAdam(
            var=var,
            m=m,
            v=v,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, tf.float32),
        )
