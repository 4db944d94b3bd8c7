"""Refined initialization: the starts of the searches for z.

The candidates are N random z, or an encoder's z and others around it. The starts are the candidates whose generated
half is nearest to the known half by KL divergence.
"""

from functools import lru_cache

import numpy as np
import tensorflow as tf

from contextual_gan.completion.candidates import draw_candidates
from contextual_gan.completion.losses import directed_kl, distribution
from contextual_gan.files.images import to_float
from contextual_gan.joint import DIRECTIONS, SIZE
from contextual_gan.models.dcgan import LATENT
from contextual_gan.models.inference import encode, generate_half, groups, padded


def initialize(
    generator,
    known,
    *,
    direction="photo",
    n_init=30,
    kl="input-generated",
    epsilon=1e-8,
    seed=0,
    batch_size=64,
    encoder=None,
    spread=0.0,
):
    """Refined initialization: draw `n_init` z for each known half and rank them by KL divergence.

    `known`: (n, 64, 64, 3), uint8 or float in [-1, 1]. With an encoder, the first z is its output, and the others
    differ from it by `spread` times a random z. Returns z (n, n_init, 100) in the order drawn, and the divergences
    (n, n_init); `chosen` selects the starts of the searches.
    """
    known = checked(known)
    z = draw_candidates(known, (n_init, LATENT), seed)
    if encoder is not None:
        z[:, 0] = 0
        z = np.clip(encode(encoder.network, known, batch_size)[:, None] + np.float32(spread) * z, -1, 1)
    divergences = np.empty(z.shape[:2], np.float32)
    rate = _compiled_rating(generator, direction, kl, epsilon)
    owner = np.repeat(np.arange(len(known)), n_init)
    for rows in groups(len(owner), 4 * batch_size):  # larger than in the search, as no gradients are kept
        rated = rate(padded(z.reshape(-1, LATENT)[rows]), padded(known[owner[rows]]))
        divergences.reshape(-1)[rows] = rated[: rows.stop - rows.start]
    return z, divergences


def chosen(divergences, samples, encoder=None):
    """The initializations with the lowest divergence, from which the searches start -> (n, samples) indices.

    With an encoder, its output is always the first.
    """
    divergences = np.array(divergences)
    if encoder is not None:
        divergences[:, 0] = -np.inf
    return np.argsort(divergences, axis=1, kind="stable")[:, :samples]


@lru_cache(maxsize=8)
def _compiled_rating(generator, direction, kl, epsilon):
    known = tf.TensorSpec((None, SIZE, SIZE, 3))

    @tf.function(input_signature=[tf.TensorSpec((None, LATENT)), known], autograph=False)
    def rate(z, known):
        generated = generate_half(generator, z, DIRECTIONS[direction])
        return directed_kl(kl, distribution(known, epsilon), distribution(generated, epsilon))

    return rate


def checked(known):
    """Known halves as float32 in [-1, 1]. Raises ValueError."""
    known = np.asarray(known)
    known = to_float(known) if known.dtype == np.uint8 else known.astype(np.float32)
    if known.shape[1:] != (SIZE, SIZE, 3) or not np.all(np.abs(known) <= 1):
        raise ValueError(f"known halves must be (n, {SIZE}, {SIZE}, 3), uint8 or float in [-1, 1]; got {known.shape}")
    return known
