"""The DCGAN over joint images: generator and discriminator.

The layers, widths and initialisers are those of DCGAN-tensorflow, for images of 64 rows and 128 columns.
"""

import tensorflow as tf
from keras import Input, Model, config, initializers, layers

from contextual_gan.joint import SIZE, half
from contextual_gan.models.common import apply_gradients, batch_norm, computing_in, over_devices
from contextual_gan.models.consistency import consistency, grey
from contextual_gan.models.kernels import Adam, Conv2D, Conv2DTranspose

LATENT = 100  # length of z, drawn from U(-1, 1)


def _normal(mean=0.0):
    return initializers.RandomNormal(mean, 0.02)


def _truncated():
    return initializers.TruncatedNormal(0.0, 0.02)


def _full_precision():
    """The type of the last layer: that of the weights, even where the other layers compute with less precision."""
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
        x = Conv2DTranspose(channels, 5, 2, "same", kernel_initializer=_normal(), name=f"up{i}")(x)
        x = layers.ReLU(name=f"relu{i}")(batch_norm(f"bn{i}")(x))
    last = {"activation": "tanh", "dtype": _full_precision()}
    x = Conv2DTranspose(3, 5, 2, "same", kernel_initializer=_normal(), **last, name="up4")(x)
    return Model(z, x, name="generator")


def discriminator(width=64):
    """D: joint images (batch, 64, 128, 3) in [-1, 1] -> logits (batch, 1), positive for real.

    Four 5x5 convolutions of stride 2 with LeakyReLU 0.2, batch normalization in all but the first, then a dense layer.
    4,324,737 trainable parameters at the specified `width` of 64 (df).
    """
    return _judge(Input((SIZE, 2 * SIZE, 3), name="joint"), width, "discriminator")


def pair_discriminator(width=64):
    """P: `overlaid` halves (batch, 64, 64, 4) in [-1, 1] -> logits (batch, 1), positive if both show the same face.

    It has the layers of D. Its first convolution sees corresponding points of the two halves together; in D they lie 64
    columns apart and never meet.
    """
    return _judge(Input((SIZE, SIZE, 4), name="overlaid"), width, "pair")


def _judge(images, width, name):
    x = Conv2D(width, 5, 2, "same", kernel_initializer=_truncated(), name="conv0")(images)
    x = layers.LeakyReLU(0.2, name="lrelu0")(x)
    for i, channels in enumerate((2 * width, 4 * width, 8 * width), start=1):
        x = Conv2D(channels, 5, 2, "same", kernel_initializer=_truncated(), name=f"conv{i}")(x)
        x = layers.LeakyReLU(0.2, name=f"lrelu{i}")(batch_norm(f"bn{i}")(x))
    x = layers.Flatten(name="flat")(x)
    logit = layers.Dense(1, kernel_initializer=_normal(), dtype=_full_precision(), name="dense")(x)
    return Model(images, logit, name=name)


def overlaid(sketches, photos):
    """Stack halves as channels: (n, 64, 64, 3) twice -> (n, 64, 64, 4), the grey sketch before the photo."""
    return tf.concat([tf.reduce_mean(sketches, axis=-1, keepdims=True), photos], axis=-1)


# --- losses: pure functions of logits, one number per image -----------------------------------------------------------


def real_loss(logits):
    """-log D(x) of real images: the loss of D for doubting them. Logits of any shape and magnitude, up to +-1e4."""
    return tf.nn.softplus(-logits)


def fake_loss(logits):
    """-log(1 - D(G(z))): the loss of D for taking generated images for real."""
    return tf.nn.softplus(logits)


def generator_loss(logits):
    """-log D(G(z)): the loss of G if D doubts its images; the non-saturating form."""
    return tf.nn.softplus(-logits)


# --- one training step ------------------------------------------------------------------------------------------------


class DCGAN(tf.Module):
    """The trained state: G, its moving average (or None), D, the pair discriminator P, and their optimizers.

    precision: "float32" or "bfloat16", in which G, D and P compute; their weights are always float32.
    pair_width: feature maps of P's first convolution; None: no P.
    """

    def __init__(self, *, width=64, lr=2e-4, beta_1=0.5, ema=True, precision="float32", pair_width=None):
        super().__init__()
        with computing_in(precision):
            self.generator, self.discriminator = generator(width), discriminator(width)
        self.average = generator(width) if ema else None
        if ema:
            self.average.set_weights(self.generator.get_weights())
        self.pair_discriminator = None
        if pair_width:
            with computing_in(precision):
                self.pair_discriminator = pair_discriminator(pair_width)
        self.g_optimizer, self.d_optimizer = (Adam(lr, beta_1, epsilon=1e-8) for _ in range(2))
        self.g_optimizer.build(self.generator.trainable_variables)
        self.d_optimizer.build(self.discriminator.trainable_variables)
        if pair_width:
            self.p_optimizer = Adam(lr, beta_1, epsilon=1e-8)
            self.p_optimizer.build(self.pair_discriminator.trainable_variables)

    @property
    def variables(self):
        networks = (self.generator, self.average, self.discriminator, self.pair_discriminator)
        weights = [variable for network in networks if network is not None for variable in network.weights]
        slots = self.g_optimizer.variables + self.d_optimizer.variables
        return weights + slots + (self.p_optimizer.variables if self.pair_discriminator is not None else [])


def train_step(model, real, z, *, g_updates=2, decay=0.999, lr=None, pairs=0.0, others=None, mismatched=0.5, edges=0.0):
    """Update D once, then P once, if there is one, then G `g_updates` times, then the average -> {name: scalar}.

    real: (n, 64, 128, 3) joints in [-1, 1]; z: (n, 100) in [-1, 1]. decay: of the moving average. lr: of all three
    networks; None uses that of each optimizer. pairs, edges: weights, in G's loss, of P's verdict and of 1 - the
    consistency of the generated halves. others: (n, 64, 64, 3), for each of `real` the photo of another face;
    mismatched: the share of these photos among P's false pairs.
    The fakes of the updates of D and P serve the first G update too; further updates make their own from the same z. D
    sees real and generated images separately, as their batch statistics differ; so does P.
    With a tf.distribute strategy, each device calls this with its share of the batch. The results and the gradients are
    those of the whole batch; batch normalization sees only the share.
    """
    G, D, P = model.generator, model.discriminator, model.pair_discriminator
    size = tf.cast(tf.shape(real)[0] * tf.distribute.get_replica_context().num_replicas_in_sync, tf.float32)

    def mean(values):
        return tf.reduce_sum(values) / size

    with tf.GradientTape() as g_tape:
        fake = G(z, training=True)
        with g_tape.stop_recording():
            with tf.GradientTape() as d_tape:
                real_logits, fake_logits = D(real, training=True), D(fake, training=True)
                d_loss_real, d_loss_fake = mean(real_loss(real_logits)), mean(fake_loss(fake_logits))
                d_loss = d_loss_real + d_loss_fake
            d_norm = apply_gradients(d_tape, d_loss, D, model.d_optimizer, lr)
            p_parts, p_norm = {}, {}
            if P is not None:
                with tf.GradientTape() as p_tape:
                    p_parts = pair_losses(P, real, fake, others, mismatched, mean)
                p_norm = {"p_gradient": apply_gradients(p_tape, p_parts["p_loss"], P, model.p_optimizer, lr)}
        g_loss, g_parts = generator_losses(model, fake, mean, pairs, edges)
    g_norm = apply_gradients(g_tape, g_loss, G, model.g_optimizer, lr)

    for _ in range(g_updates - 1):
        with tf.GradientTape() as g_tape:
            g_loss, g_parts = generator_losses(model, G(z, training=True), mean, pairs, edges)
        g_norm = apply_gradients(g_tape, g_loss, G, model.g_optimizer, lr)

    _end(model, decay)
    parts = {
        "d_loss": d_loss,
        "d_loss_real": d_loss_real,
        "d_loss_fake": d_loss_fake,
        **g_parts,
        "D(x)": mean(tf.sigmoid(real_logits)),
        "D(G(z))": mean(tf.sigmoid(fake_logits)),
        **p_parts,
    }
    return over_devices("SUM", parts) | {"d_gradient": d_norm, "g_gradient": g_norm} | p_norm


def pair_losses(P, real, fake, others, mismatched, mean):
    """P's loss and outputs: {"p_loss": ..., "P(x)", "P(G(z))", "P(mismatched)"}, all as means over the batch.

    True pairs are those of `real`. A share `mismatched` of the false pairs joins real sketches with `others`; the rest
    are fake.
    """
    sketch, photo = half(real, "sketch"), half(real, "photo")
    logits = {"P(x)": (sketch, photo), "P(G(z))": (half(fake, "sketch"), half(fake, "photo"))}
    logits |= {"P(mismatched)": (sketch, others)} if mismatched else {}
    logits = {name: P(overlaid(*halves), training=True) for name, halves in logits.items()}
    loss = mean(real_loss(logits["P(x)"])) + (1 - mismatched) * mean(fake_loss(logits["P(G(z))"]))
    if mismatched:
        loss += mismatched * mean(fake_loss(logits["P(mismatched)"]))
    return {"p_loss": loss} | {name: mean(tf.sigmoid(values)) for name, values in logits.items()}


def generator_losses(model, fake, mean, pairs, edges):
    """The loss of G for its joints -> (the weighted sum, its parts before weighting)."""
    parts = {"g_loss": mean(generator_loss(model.discriminator(fake, training=True)))}
    total, (sketch, photo) = parts["g_loss"], (half(fake, name) for name in ("sketch", "photo"))
    if model.pair_discriminator is not None:
        parts["g_loss_pairs"] = mean(generator_loss(model.pair_discriminator(overlaid(sketch, photo), training=True)))
        total += pairs * parts["g_loss_pairs"]
    if edges:
        parts["g_loss_edges"] = mean(1 - consistency(grey(sketch), grey(photo)))
        total += edges * parts["g_loss_edges"]
    return total, parts


def _end(model, decay):
    """After the updates: set the statistics of batch normalization and the average of G."""
    networks = [
        network for network in (model.generator, model.discriminator, model.pair_discriminator) if network is not None
    ]
    statistics = [statistic for network in networks for statistic in network.non_trainable_variables]
    for statistic, mean in zip(statistics, over_devices("MEAN", statistics), strict=True):
        statistic.assign(mean)
    if model.average is not None:
        for average, weight in zip(model.average.weights, model.generator.weights, strict=True):
            average.assign(decay * average + (1 - decay) * weight)
