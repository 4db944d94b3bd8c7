"""The encoder from a known half to the z of a matching joint image, the start of a short search."""

from dataclasses import dataclass

import numpy as np
from keras import Input, Model, layers

from contextual_gan.joint import SIZE
from contextual_gan.models import common  # noqa: F401  before any network is built
from contextual_gan.models.dcgan import LATENT


@dataclass(frozen=True, eq=False)
class Encoder:
    """The encoder and the curvature for one generator and one known half."""

    network: Model  # of `encoder`
    curvature: np.ndarray  # of `curvature`


def encoder(width=32):
    """E: halves (batch, 64, 64, 3) in [-1, 1] -> z (batch, 100) in [-1, 1].

    Four 5x5 convolutions of stride 2 with batch normalization and ReLU, then two dense layers, the last with tanh.
    """
    known = Input((SIZE, SIZE, 3), name="known")
    x = known
    for i, channels in enumerate((width, 2 * width, 4 * width, 8 * width)):
        x = layers.Conv2D(channels, 5, 2, "same", use_bias=False, name=f"conv{i}")(x)
        x = layers.ReLU(name=f"relu{i}")(layers.BatchNormalization(momentum=0.99, name=f"bn{i}")(x))
    x = layers.Flatten(name="flat")(x)
    x = layers.ReLU(name="relu4")(layers.Dense(512, name="hidden")(x))
    return Model(known, layers.Dense(LATENT, activation="tanh", name="dense")(x), name="encoder")
