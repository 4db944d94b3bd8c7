"""The DCGAN over joint images: generator and discriminator (section 2 of the specification).

The layers, widths and initialisers are those of DCGAN-tensorflow, for images of 64 rows and 128 columns.
"""

from keras import Input, Model, initializers, layers

LATENT = 100  # length of z, drawn from U(-1, 1)


def _normal(mean=0.0):
    return initializers.RandomNormal(mean, 0.02)


def _truncated():
    return initializers.TruncatedNormal(0.0, 0.02)


def _batch_norm(name):
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, gamma_initializer=_normal(1.0), name=name)


def generator(width=64):
    """G: z (batch, 100) in [-1, 1] -> joint images (batch, 64, 128, 3) in [-1, 1].

    A dense layer to 4 x 8 x 8*width, then four 5x5 transposed convolutions of stride 2; batch normalization and ReLU
    after all but the last, which ends in tanh. 5,962,755 trainable parameters at the specified `width` of 64 (gf).
    """
    z = Input((LATENT,), name="z")
    x = layers.Dense(4 * 8 * 8 * width, kernel_initializer=_normal(), name="dense")(z)
    x = layers.Reshape((4, 8, 8 * width), name="map")(x)
    x = layers.ReLU(name="relu0")(_batch_norm("bn0")(x))
    for i, channels in enumerate((4 * width, 2 * width, width), start=1):
        x = layers.Conv2DTranspose(channels, 5, 2, "same", kernel_initializer=_normal(), name=f"up{i}")(x)
        x = layers.ReLU(name=f"relu{i}")(_batch_norm(f"bn{i}")(x))
    x = layers.Conv2DTranspose(3, 5, 2, "same", activation="tanh", kernel_initializer=_normal(), name="up4")(x)
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
        x = layers.LeakyReLU(0.2, name=f"lrelu{i}")(_batch_norm(f"bn{i}")(x))
    logit = layers.Dense(1, kernel_initializer=_normal(), name="dense")(layers.Flatten(name="flat")(x))
    return Model(joint, logit, name="discriminator")
