"""An experiment, not a method: a search for z that also sees the true photo, to show what limits the methods.

z* = argmin_z  weight of the sketch * KL(sketch of G(z) || sketch) + weight of the photo * mean squared error
"""

from dataclasses import replace

import numpy as np
import tensorflow as tf

from contextual_gan.completion import initialization, search
from contextual_gan.completion.candidates import draw_candidates
from contextual_gan.completion.losses import distribution, kl_divergence
from contextual_gan.config import PRESETS
from contextual_gan.files import images
from contextual_gan.joint import SIZE, half
from contextual_gan.models import inference
from contextual_gan.models.dcgan import LATENT


def searcher(generator, encoder, balance, iterations):
    """The search of the preset `edges` with another loss, and without a prior.

    balance: weights of sketch and photo, None for random z. Returns a function find(joints, progress) from joint images
    (n, 64, 128, 3) uint8 to the generated joints of lowest loss.
    """
    settings = replace(PRESETS["edges"], iterations=iterations)

    def make_losses():
        network = inference.folded(generator)

        def losses(z, joints):
            made = network(z)
            divergence = kl_divergence(*(distribution(half(x, "sketch")) for x in (made, joints)))
            error = tf.reduce_mean(((half(made, "photo") - half(joints, "photo")) / 2) ** 2, axis=(1, 2, 3))
            total = balance[0] * divergence + balance[1] * tf.cast(error, tf.float64)
            return total, divergence, total

        return losses

    advance = search.compiled(make_losses, tf.TensorSpec((None, SIZE, 2 * SIZE, 3)), settings, encoder.curvature)

    def find(joints, progress):
        joints = images.to_float(joints)
        if balance is None:
            z = draw_candidates(half(joints, "sketch"), (1, LATENT), seed=0)[:, 0]
            return images.to_uint8(inference.generate(generator, z))
        options = {"n_init": settings.n_init, "encoder": encoder, "spread": settings.spread}
        z, divergences = initialization.initialize(generator, half(joints, "sketch"), **options)
        first = z[range(len(z)), divergences.argmin(axis=1)]
        best = np.empty_like(first)
        for rows in inference.groups(len(first), len(first)):
            best[rows], *_ = search.descend(advance, joints[rows], first[rows], settings, progress)
        return images.to_uint8(inference.generate(generator, best))

    return find
