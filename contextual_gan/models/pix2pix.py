"""pix2pix, the baseline: a U-Net that draws one half of a joint image from the other, and a PatchGAN that judges pairs.

Layers, losses and constants follow pix2pix (Isola et al., CVPR 2017, arXiv 1611.07004), adapted to images of 64 pixels.
"""

import hashlib

import numpy as np
import tensorflow as tf
from keras import Input, Model, initializers, layers, optimizers

from contextual_gan.files.images import to_float, to_uint8
from contextual_gan.joint import DIRECTIONS, SIZE, half
from contextual_gan.models.common import apply_gradients, batch_norm, computing_in, over_devices
from contextual_gan.models.dcgan import fake_loss, generator_loss, real_loss

DOWNS = (1, 2, 4, 8, 8, 8)  # channels after each convolution of the U-Net, times ngf
DROPPED = ((2, 8), (4, 8))  # (rows, channels / ngf) of the maps with dropout: the inner decoder
JITTER = 72  # rows and columns after enlarging, before 64 x 64 are cropped


def _kernel():
    return initializers.RandomNormal(0.0, 0.02)


def unet(ngf=64):
    """The generator: known halves (n, 64, 64, 3) in [-1, 1] and the `masks` of dropout -> the other halves.

    Six 4x4 convolutions of stride 2 down to one pixel, with LeakyReLU 0.2 before all but the first; six transposed ones
    back, with ReLU before each and skips between maps of equal size; batch normalization except for the first, the
    innermost and the last; tanh. 29.2 million parameters at the original's `ngf` of 64.
    """
    known = Input((SIZE, SIZE, 3), name="known")
    dropout = [Input((rows, rows, times * ngf), name=f"mask{i}") for i, (rows, times) in enumerate(DROPPED)]
    x, skips = known, []
    for i, times in enumerate(DOWNS):
        if i:
            x = layers.LeakyReLU(0.2, name=f"lrelu{i}")(x)
        x = layers.Conv2D(times * ngf, 4, 2, "same", kernel_initializer=_kernel(), name=f"down{i}")(x)
        if 0 < i < len(DOWNS) - 1:
            x = batch_norm(f"down_bn{i}")(x)
        skips.append(x)
    skips.pop()
    for i, times in enumerate(reversed(DOWNS[:-1])):
        x = layers.ReLU(name=f"relu{i}")(x)
        x = layers.Conv2DTranspose(times * ngf, 4, 2, "same", kernel_initializer=_kernel(), name=f"up{i}")(x)
        x = batch_norm(f"up_bn{i}")(x)
        if i < len(DROPPED):
            x = layers.Multiply(name=f"dropout{i}")([x, dropout[i]])
        x = layers.Concatenate(name=f"skip{i}")([x, skips.pop()])
    x = layers.ReLU(name="relu5")(x)
    last = {"activation": "tanh", "dtype": "float32"}
    x = layers.Conv2DTranspose(3, 4, 2, "same", kernel_initializer=_kernel(), **last, name="up5")(x)
    return Model([known, *dropout], x, name="generator")


def patchgan(ndf=64):
    """The discriminator: known and other halves, (n, 64, 64, 3) each -> logits (n, 6, 6, 1), one per patch."""
    pair = Input((SIZE, SIZE, 3), name="known"), Input((SIZE, SIZE, 3), name="other")
    x = layers.Concatenate(name="pair")(pair)
    for i, times in enumerate((1, 2, 4, 8)):
        stride = 2 if i < 3 else 1
        x = layers.ZeroPadding2D(1, name=f"pad{i}")(x)
        x = layers.Conv2D(times * ndf, 4, stride, kernel_initializer=_kernel(), name=f"conv{i}")(x)
        x = layers.LeakyReLU(0.2, name=f"lrelu{i}")(batch_norm(f"bn{i}")(x) if i else x)
    x = layers.ZeroPadding2D(1, name="pad4")(x)
    logits = layers.Conv2D(1, 4, kernel_initializer=_kernel(), dtype="float32", name="conv4")(x)
    return Model(pair, logits, name="discriminator")


def noise_shapes(generator):
    """Shapes of the dropout noise of one image: the inputs of `unet` after the known half."""
    return [tuple(given.shape[1:]) for given in generator.inputs[1:]]


def masks(noise):
    """Uniform noise in [0, 1) -> factors of dropout with rate one half: 0 or 2."""
    return [2 * tf.cast(part >= 0.5, tf.float32) for part in noise]


# --- one training step ------------------------------------------------------------------------------------------------


class Pix2Pix(tf.Module):
    """The trained state: the U-Net, the PatchGAN, and the optimizer of each."""

    def __init__(self, *, ngf=64, lr=2e-4, beta_1=0.5, precision="float32"):
        super().__init__()
        with computing_in(precision):
            self.generator, self.discriminator = unet(ngf), patchgan(ngf)
        self.g_optimizer, self.d_optimizer = (optimizers.Adam(lr, beta_1, epsilon=1e-8) for _ in range(2))
        self.g_optimizer.build(self.generator.trainable_variables)
        self.d_optimizer.build(self.discriminator.trainable_variables)

    @property
    def variables(self):
        networks = self.generator.weights + self.discriminator.weights
        return networks + self.g_optimizer.variables + self.d_optimizer.variables


def jittered(joints, seed):
    """Jitter joints (n, 64, 128, 3): enlarge to 72 rows and crop 64 of them, the same crop for both halves."""
    n = tf.shape(joints)[0]
    both = tf.concat([half(joints, "sketch"), half(joints, "photo")], axis=-1)
    corner = tf.cast(tf.random.stateless_uniform((n, 2), seed, 0, JITTER - SIZE + 1, tf.int32), tf.float32)
    boxes = tf.concat([corner, corner + SIZE - 1], axis=1) / (JITTER - 1)
    cut = tf.image.crop_and_resize(both, boxes, tf.range(n), (SIZE, SIZE))
    return tf.concat([cut[..., :3], cut[..., 3:]], axis=2)


def train_step(model, joints, noise, *, direction, l1=100.0, plain=None, lr=None):
    """Update D once, then G once -> {name: scalar}.

    joints: (n, 64, 128, 3) in [-1, 1]; noise: uniform, with the shapes of `noise_shapes`; plain: the joints before
    jitter, if they are jittered; lr: learning rate of both, None uses the optimizers'. The loss of D is halved; that of
    G is the adversarial loss plus `l1` times the mean absolute error. With a tf.distribute strategy, see
    `dcgan.train_step`.
    """
    G, D = model.generator, model.discriminator
    known, truth = half(joints, DIRECTIONS[direction]), half(joints, direction)
    dropout = masks(noise)
    devices = tf.distribute.get_replica_context().num_replicas_in_sync

    def mean(values):
        return tf.reduce_mean(values) / devices  # shares of the batch are equal, and gradients are summed over devices

    before = [tf.identity(statistic) for statistic in G.non_trainable_variables]
    with tf.GradientTape() as g_tape:
        fake = G([known, *dropout], training=True)
        with g_tape.stop_recording():
            with tf.GradientTape() as d_tape:
                real_logits, fake_logits = D([known, truth], training=True), D([known, fake], training=True)
                d_loss_real, d_loss_fake = mean(real_loss(real_logits)), mean(fake_loss(fake_logits))
                d_loss = (d_loss_real + d_loss_fake) / 2
            d_norm = apply_gradients(d_tape, d_loss, D, model.d_optimizer, lr)
        g_loss, error = mean(generator_loss(D([known, fake], training=True))), mean(tf.abs(fake - truth))
        loss = g_loss + l1 * error
    if plain is not None:
        _take_statistics(G, [half(plain, DIRECTIONS[direction]), *dropout], before)
    g_norm = apply_gradients(g_tape, loss, G, model.g_optimizer, lr)
    statistics = G.non_trainable_variables + D.non_trainable_variables  # those of batch normalization
    for statistic, average in zip(statistics, over_devices("MEAN", statistics), strict=True):
        statistic.assign(average)
    parts = {
        "d_loss": d_loss,
        "d_loss_real": d_loss_real,
        "d_loss_fake": d_loss_fake,
        "g_loss": g_loss,
        "l1": error,
        "D(x)": mean(tf.sigmoid(real_logits)),
        "D(G(x))": mean(tf.sigmoid(fake_logits)),
    }
    return over_devices("SUM", parts) | {"d_gradient": d_norm, "g_gradient": g_norm}


def _take_statistics(generator, given, before):
    """Move the statistics of batch normalization from `before` to those of images without jitter.

    Jitter blurs: enlarged strokes have half the local contrast. With the statistics of jittered images, G would draw
    far too bright an image for a sharp input.
    """
    for statistic, old in zip(generator.non_trainable_variables, before, strict=True):
        statistic.assign(old)
    generator(given, training=True)


# --- drawing with trained networks ------------------------------------------------------------------------------------

BATCH = 16  # images drawn at once


def draw_half(generator, known, *, dropout=True, seed=0, progress=lambda n: None):
    """Draw the other halves of known ones, each (n, 64, 64, 3) uint8, with dropout, as the original does, or without.

    Dropout depends only on the seed and the pixels, and all batches have the same size (TensorFlow's order of summation
    depends on it), so results do not depend on the order or on the other images. progress(n): after each n images.
    """
    found = np.empty_like(known)
    shapes = noise_shapes(generator)
    for start in range(0, len(known), BATCH):
        rows = slice(start, start + BATCH)
        given = known[rows]
        padded = np.concatenate([given, np.zeros_like(given, shape=(BATCH - len(given), *given.shape[1:]))])
        kept = [tf.ones((BATCH, *shape)) for shape in shapes]
        if dropout:
            noise = zip(*(_noise(image, shapes, seed) for image in padded), strict=True)
            kept = masks([tf.stack(parts) for parts in noise])
        drawn = generator([tf.constant(to_float(padded)), *kept], training=False).numpy()[: len(given)]
        if not np.isfinite(drawn).all():
            raise FloatingPointError("pix2pix produced non-finite values: its weights are damaged")
        found[rows] = to_uint8(drawn)
        progress(len(given))
    return found


def _noise(image, shapes, seed):
    content = hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
    rng = np.random.default_rng([seed, *np.frombuffer(content, "<u4")])
    return [rng.random(shape, np.float32) for shape in shapes]
