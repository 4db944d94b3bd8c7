"""The DCGAN over joint images: generator and discriminator.

The layers, widths and initialisers are those of DCGAN-tensorflow, for images of 64 rows and 128 columns.
"""

import tensorflow as tf
from keras import Input, Model, config, initializers, layers, optimizers

from contextual_gan.models import common  # noqa: F401  before any network is built
from contextual_gan.models.common import apply_gradients, batch_norm, computing_in, over_devices

LATENT = 100  # length of z, drawn from U(-1, 1)


def _normal(mean=0.0):
    return initializers.RandomNormal(mean, 0.02)


def _truncated():
    return initializers.TruncatedNormal(0.0, 0.02)


def _full_precision():
    """What the last layer computes with: the type of the weights, where the others may compute with less."""
    return config.dtype_policy().variable_dtype


def generator(width=64):
    """G: z (batch, 100) in [-1, 1] -> joint images (batch, 64, 128, 3) in [-1, 1].

    A dense layer to 4 x 8 x 8*width, then four 5x5 transposed convolutions of stride 2; batch normalization and ReLU
    after all but the last, which ends in tanh. 5,962,755 trainable parameters at the specified `width` of 64 (gf).
    """
    z = Input((LATENT,), name="z")
    x = layers.Dense(4 * 8 * 8 * width, kernel_initializer=_normal(), name="dense")(z)
    x = layers.Reshape((4, 8, 8 * width), name="map")(x)
    x = layers.ReLU(name="relu0")(batch_norm("bn0")(x))
    for i, channels in enumerate((4 * width, 2 * width, width), start=1):
        x = layers.Conv2DTranspose(channels, 5, 2, "same", kernel_initializer=_normal(), name=f"up{i}")(x)
        x = layers.ReLU(name=f"relu{i}")(batch_norm(f"bn{i}")(x))
    last = {"activation": "tanh", "dtype": _full_precision()}
    x = layers.Conv2DTranspose(3, 5, 2, "same", kernel_initializer=_normal(), **last, name="up4")(x)
    return Model(z, x, name="generator")


def discriminator(width=64):
    """D: joint images (batch, 64, 128, 3) in [-1, 1] -> logits (batch, 1), positive for real.

    Four 5x5 convolutions of stride 2 with LeakyReLU 0.2, batch normalization in all but the first, then a dense layer.
    4,324,737 trainable parameters at the specified `width` of 64 (df).
    """
    joint = Input((64, 128, 3), name="joint")
    x = layers.Conv2D(width, 5, 2, "same", kernel_initializer=_truncated(), name="conv0")(joint)
    x = layers.LeakyReLU(0.2, name="lrelu0")(x)
    for i, channels in enumerate((2 * width, 4 * width, 8 * width), start=1):
        x = layers.Conv2D(channels, 5, 2, "same", kernel_initializer=_truncated(), name=f"conv{i}")(x)
        x = layers.LeakyReLU(0.2, name=f"lrelu{i}")(batch_norm(f"bn{i}")(x))
    x = layers.Flatten(name="flat")(x)
    logit = layers.Dense(1, kernel_initializer=_normal(), dtype=_full_precision(), name="dense")(x)
    return Model(joint, logit, name="discriminator")


# --- losses: pure functions of logits, one number per image -----------------------------------------------------------


def real_loss(logits):
    """-log D(x) of real images: what D pays for doubting them. Logits of any shape and size, also +-1e4."""
    return tf.nn.softplus(-logits)


def fake_loss(logits):
    """-log(1 - D(G(z))): what D pays for believing in generated images."""
    return tf.nn.softplus(logits)


def generator_loss(logits):
    """-log D(G(z)): what G pays when D doubts its images; the non-saturating form."""
    return tf.nn.softplus(-logits)


# --- one training step ------------------------------------------------------------------------------------------------


class DCGAN(tf.Module):
    """What is trained: G, its moving average (None without), D, and the optimizer of each.

    precision: of what G and D compute with, "float32" or "bfloat16"; their weights are float32 always.
    """

    def __init__(self, *, width=64, lr=2e-4, beta_1=0.5, ema=True, precision="float32"):
        super().__init__()
        with computing_in(precision):
            self.generator, self.discriminator = generator(width), discriminator(width)
        self.average = generator(width) if ema else None
        if ema:
            self.average.set_weights(self.generator.get_weights())
        self.g_optimizer, self.d_optimizer = (optimizers.Adam(lr, beta_1, epsilon=1e-8) for _ in range(2))
        self.g_optimizer.build(self.generator.trainable_variables)
        self.d_optimizer.build(self.discriminator.trainable_variables)

    @property
    def variables(self):
        networks = (self.generator, self.average, self.discriminator)
        weights = [variable for network in networks if network is not None for variable in network.weights]
        return weights + self.g_optimizer.variables + self.d_optimizer.variables


def train_step(model, real, z, *, g_updates=2, decay=0.999):
    """Update D once, then G `g_updates` times, then the average of G -> {name: scalar}.

    real: (n, 64, 128, 3) joints in [-1, 1]; z: (n, 100) in [-1, 1]. decay: of the moving average.
    The fakes of the D update serve the first G update too; further ones make their own, from the same z. D sees real
    and generated images separately, as their batch statistics differ.
    With a tf.distribute strategy, each device calls this with its share of the batch. What is returned, and the
    gradients, are those of the whole batch; batch normalization sees the share.
    """
    G, D = model.generator, model.discriminator
    size = tf.cast(tf.shape(real)[0] * tf.distribute.get_replica_context().num_replicas_in_sync, tf.float32)

    with tf.GradientTape() as g_tape:
        fake = G(z, training=True)
        with g_tape.stop_recording():
            with tf.GradientTape() as d_tape:
                real_logits, fake_logits = D(real, training=True), D(fake, training=True)
                d_loss_real = tf.reduce_sum(real_loss(real_logits)) / size
                d_loss_fake = tf.reduce_sum(fake_loss(fake_logits)) / size
                d_loss = d_loss_real + d_loss_fake
            d_norm = apply_gradients(d_tape, d_loss, D, model.d_optimizer)
        g_loss = tf.reduce_sum(generator_loss(D(fake, training=True))) / size
    g_norm = apply_gradients(g_tape, g_loss, G, model.g_optimizer)

    for _ in range(g_updates - 1):
        with tf.GradientTape() as g_tape:
            g_loss = tf.reduce_sum(generator_loss(D(G(z, training=True), training=True))) / size
        g_norm = apply_gradients(g_tape, g_loss, G, model.g_optimizer)

    statistics = G.non_trainable_variables + D.non_trainable_variables  # of batch normalization
    for statistic, mean in zip(statistics, over_devices("MEAN", statistics), strict=True):
        statistic.assign(mean)
    if model.average is not None:
        for average, weight in zip(model.average.weights, G.weights, strict=True):
            average.assign(decay * average + (1 - decay) * weight)
    parts = {
        "d_loss": d_loss,
        "d_loss_real": d_loss_real,
        "d_loss_fake": d_loss_fake,
        "g_loss": g_loss,
        "D(x)": tf.reduce_sum(tf.sigmoid(real_logits)) / size,
        "D(G(z))": tf.reduce_sum(tf.sigmoid(fake_logits)) / size,
    }
    return over_devices("SUM", parts) | {"d_gradient": d_norm, "g_gradient": g_norm}
