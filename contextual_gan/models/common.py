"""Shared parts of the networks and their training steps, and the configuration of Keras.

Keras is configured here, whatever ~/.keras/keras.json says; import this module before building any network. The
backend is set in __init__.py of the package, before Keras is imported.
"""

from contextlib import contextmanager

import tensorflow as tf
from keras import config, initializers, layers

if config.backend() != "tensorflow":  # Keras was imported before this package
    raise ImportError("Keras runs on another backend: set KERAS_BACKEND=tensorflow, or import contextual_gan first")

config.set_image_data_format("channels_last")
config.set_floatx("float32")
config.set_epsilon(1e-7)


class _BatchNormalization(layers.BatchNormalization):
    """Keras's layer with TensorFlow's fused kernel in training: 2% of a step on a CPU; Keras's own takes 7%."""

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=self.gamma, offset=self.beta, mean=[], variance=[], epsilon=self.epsilon, is_training=True
        )
        n = tf.cast(tf.size(inputs) / tf.size(mean), variance.dtype)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance * (n - 1) / n)):  # as Keras's
            moving.assign(self.momentum * moving + (1 - self.momentum) * value)
        return y


def batch_norm(name):
    """Batch normalization as in DCGAN: momentum 0.9, epsilon 1e-5, gamma from N(1, 0.02)."""
    gamma = initializers.RandomNormal(1.0, 0.02)
    return _BatchNormalization(momentum=0.9, epsilon=1e-5, gamma_initializer=gamma, name=name)


@contextmanager
def computing_in(precision):
    """Layers created in this context compute with this precision."""
    before = config.dtype_policy()
    config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        config.set_dtype_policy(before)


def apply_gradients(tape, loss, network, optimizer, lr=None):
    """One step of the optimizer -> the norm of the gradient, summed over all devices.

    lr: learning rate; None uses the optimizer's.
    """
    lr = optimizer.learning_rate if lr is None else lr
    gradients = over_devices("SUM", tape.gradient(loss, network.trainable_variables))
    for gradient, variable in zip(gradients, network.trainable_variables, strict=True):
        optimizer.update_step(gradient, variable, lr)  # apply() would sum the gradients again
    optimizer.iterations.assign_add(1)
    return tf.linalg.global_norm(gradients)


def over_devices(operation, values):
    """The "SUM" or "MEAN" of each value over all devices; on one device, the values themselves."""
    values = tf.nest.map_structure(tf.identity, values)  # all_reduce() over several workers refuses variables
    return tf.distribute.get_replica_context().all_reduce(operation, values) if values else values
