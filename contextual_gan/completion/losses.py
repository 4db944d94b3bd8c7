"""The losses of the search: how far G(z) is from the known half, and how far from looking real.

The contextual loss of one generated half and one known half, images (64, 64, 3) in [-1, 1], in plain NumPy:

    def distribution(image):
        grey = 0.2989 * image[..., 0] + 0.5870 * image[..., 1] + 0.1140 * image[..., 2]
        pixels = (grey + 1) / 2 + 1e-8
        return pixels / pixels.sum()

    p, q = distribution(generated), distribution(known)
    loss = (p * np.log(p / q)).sum()                      # KL(generated || known)

This module computes the same in TensorFlow, in float64, separately for each row of a batch.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from contextual_gan.joint import DIRECTIONS, SIZE, half
from contextual_gan.models.consistency import consistency
from contextual_gan.models.dcgan import LATENT
from contextual_gan.models.inference import folded, half_spans

GREY = (0.2989, 0.5870, 0.1140)  # sum 0.9999: black becomes 5e-5, not 0, so the logarithm stays finite


def grey_pixels(images, epsilon=1e-8):
    """Halves (n, 64, 64, 3) in [-1, 1] -> (n, 4096) float64 from epsilon to 1 + epsilon."""
    grey = tf.tensordot(tf.cast(images, tf.float64), tf.constant(GREY, tf.float64), 1)
    return tf.reshape((grey + 1) / 2 + epsilon, (-1, SIZE * SIZE))


def normalised(grey):
    """Rows normalised to probabilities."""
    return grey / tf.reduce_sum(grey, axis=-1, keepdims=True)


def distribution(images, epsilon=1e-8):
    """Halves (n, 64, 64, 3) in [-1, 1] -> grey pixels as probabilities: (n, 4096) float64, rows sum to 1."""
    return normalised(grey_pixels(images, epsilon))


def kl_divergence(p, q):
    """KL(p || q) in nats of distributions over the last axis."""
    return tf.reduce_sum(p * (tf.math.log(p) - tf.math.log(q)), axis=-1)


def directed_kl(direction, known, generated):
    """KL(known || generated) if `direction` is "input-generated", else KL(generated || known)."""
    return kl_divergence(known, generated) if direction == "input-generated" else kl_divergence(generated, known)


def perceptual_loss(logits, kind="non-saturating"):
    """The generator's adversarial loss for each logit of D: -log D, or log(1 - D) if `kind` is "saturating"."""
    return tf.nn.softplus(-logits) if kind == "non-saturating" else -tf.nn.softplus(logits)


class Target(NamedTuple):
    """The target of n searches."""

    grey: tf.Tensor  # (n, 4096) float64: `grey_pixels` of the known halves
    centre: tf.Tensor  # (n, 100) float32, of the prior
    prior: tf.Tensor  # (n,) float64, its weight


def target(known, settings, centre=None, prior=None):
    """The `Target` of known halves (n, 64, 64, 3) in [-1, 1].

    centre: centre of the prior (n, 100), default 0; prior: its weights (n,), default from the settings.
    """
    centre = np.zeros((len(known), LATENT)) if centre is None else centre
    prior = np.full(len(known), settings.prior) if prior is None else prior
    return Target(grey_pixels(known, settings.epsilon), tf.cast(centre, tf.float32), tf.cast(prior, tf.float64))


TARGET = Target(  # the types of the fields, for a graph
    tf.TensorSpec((None, SIZE * SIZE), tf.float64), tf.TensorSpec((None, LATENT)), tf.TensorSpec((None,), tf.float64)
)


def objective(generator, discriminator, direction, settings):
    """make_losses() -> losses(z, `Target`), for `compiled`: objective, contextual and total loss.

    Without lambda and edges, only the compared half of G(z) is computed.
    """
    name = DIRECTIONS[direction]
    needs_both = settings.lambda_ or settings.edges
    spans = () if needs_both else half_spans(generator, name)

    def descended(p, q, grey, known):
        if settings.contextual == "kl":
            return directed_kl(settings.search_kl, q, p)
        difference = grey - known
        return tf.reduce_mean(tf.abs(difference) if settings.contextual == "l1" else difference**2, axis=1)

    def make_losses():
        g, d = folded(generator), folded(discriminator) if settings.lambda_ else None

        def losses(z, target):
            joint = g(z, spans)  # the whole joint without spans, else the half
            generated = half(joint, name) if needs_both else joint
            grey = grey_pixels(generated, settings.epsilon)
            p, q = normalised(grey), normalised(target.grey)
            contextual, rest = kl_divergence(p, q), tf.zeros_like(p[:, 0])
            if settings.lambda_:
                logits = tf.cast(d(joint)[:, 0], tf.float64)
                rest = settings.lambda_ * perceptual_loss(logits, settings.perceptual)
            if settings.edges:
                pair = {name: target.grey, direction: grey_pixels(half(joint, direction), settings.epsilon)}
                fit = consistency(*(tf.reshape(pair[key], (-1, SIZE, SIZE)) for key in ("sketch", "photo")))
                rest += settings.edges * (1 - fit)
            rest += target.prior * tf.cast(tf.reduce_mean((z - target.centre) ** 2, axis=1), tf.float64)
            return descended(p, q, grey, target.grey) + rest, contextual, contextual + rest

        return losses

    return make_losses
