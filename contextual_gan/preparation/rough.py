"""Rough sketches: clean sketches made to look as if drawn by people, with more or less skill.

A network that has only seen sketches computed from photos treats every stroke of a drawing as correct. A network
trained on rough sketches, with the clean sketch and the photo as targets, learns which strokes to trust. The changes of
the strokes follow published methods:

- they are displaced smoothly, as in Deep Plastic Surgery (Yang et al. 2020, arXiv 2001.02890), which roughens sketches
  this way for its refinement, and DeepFacePencil (Li et al. 2020, arXiv 2008.13343), which moves the control points of
  strokes. Here a random field on 8x8 points moves them by a standard deviation of 2 pixels at roughness 1, and all of
  them together move by another 1 pixel;
- they are drawn thicker or thinner, like the scribbles of ControlNet (Zhang et al. 2023, arXiv 2302.05543): the darkest
  of 3x3 or the lightest of 2x2 pixels, each with a probability of 1/4 at roughness 1;
- some are missing: where a random field on 8x8 points is in the lowest 22% of its range, at roughness 1;
- their contrast varies: ink becomes tanh(g ink) / tanh(g), about its middle, with ln g from -0.5 to 1.5.

The constants were chosen for sketches of 64 pixels. All effects grow with the roughness; at 0, a sketch is unchanged.
"""

import hashlib

import numpy as np
import tensorflow as tf

from contextual_gan.joint import SIZE

FIELD = 8  # points of a random field, in rows and columns
DISPLACEMENT, SHIFT = 2.0, 1.0  # pixels, standard deviations
THICKER = THINNER = 0.25  # probabilities
MISSING = 0.22  # of the range of the field
CONTRAST = (-0.5, 1.5)  # range of the logarithm of the gain


def levels(n, largest, clean, seed):
    """Random levels of roughness for training: (n,) from U(0, largest), but 0 for the share `clean`; seed: (2,)."""
    seeds = tf.random.split(seed, 2)
    found = largest * tf.random.stateless_uniform((n,), seeds[0])
    return tf.where(tf.random.stateless_uniform((n,), seeds[1]) < clean, 0.0, found)


def roughen(sketches, roughness, seed):
    """Make sketches rougher, eagerly or in a TensorFlow graph.

    sketches: (n, 64, 64, 3) float in [-1, 1] with equal channels, dark strokes on white; roughness: (n,) from 0, which
    changes nothing, to 1; seed: (2,) integers. Returns sketches of the same shape and range.
    """
    n, level = tf.shape(sketches)[0], tf.reshape(tf.cast(roughness, tf.float32), (-1, 1, 1, 1))
    seeds = tf.random.split(seed, 5)
    ink = (1 - sketches[..., :1]) / 2
    moves = level * DISPLACEMENT * _smooth(tf.random.stateless_normal((n, FIELD, FIELD, 2), seeds[0]))
    moves += level * SHIFT * tf.random.stateless_normal((n, 1, 1, 2), seeds[1])
    ink = _moved(ink, moves)
    chance = tf.random.stateless_uniform((n, 1, 1, 1), seeds[2])
    thick, thin = tf.nn.max_pool2d(ink, 3, 1, "SAME"), -tf.nn.max_pool2d(-ink, 2, 1, "SAME")
    ink = tf.where(chance < THICKER * level, thick, tf.where(chance > 1 - THINNER * level, thin, ink))
    field = _smooth(tf.random.stateless_uniform((n, FIELD, FIELD, 1), seeds[3]))
    ink = tf.where(field < MISSING * level, 0.0, ink)
    gain = tf.exp(tf.random.stateless_uniform((n, 1, 1, 1), seeds[4], *CONTRAST)) * level
    light = tf.math.divide_no_nan(tf.tanh(gain * (1 - 2 * ink)), tf.tanh(gain))
    return tf.where(level > 0, tf.repeat(tf.clip_by_value(light, -1, 1), 3, axis=-1), sketches)


def _smooth(field):
    """A field on (n, 8, 8, c) points -> (n, 64, 64, c)."""
    return tf.image.resize(field, (SIZE, SIZE), "bicubic")


def _moved(images, moves):
    """Images (n, 64, 64, 1), each pixel taken from an offset of `moves` (n, 64, 64, 2), with replicated borders."""
    grid = tf.stack(tf.meshgrid(tf.range(SIZE), tf.range(SIZE), indexing="ij"), axis=-1)
    where = tf.clip_by_value(tf.cast(grid, tf.float32) + moves, 0, SIZE - 1)
    first = tf.minimum(tf.cast(where, tf.int32), SIZE - 2)
    rows, columns = tf.split(where - tf.cast(first, tf.float32), 2, axis=-1)

    def at(row, column):
        return tf.gather_nd(images, first + tf.constant([row, column]), batch_dims=1)

    upper = at(0, 0) * (1 - columns) + at(0, 1) * columns
    lower = at(1, 0) * (1 - columns) + at(1, 1) * columns
    return upper * (1 - rows) + lower * rows


@tf.function(autograph=False)
def _roughen(sketch, roughness, seed):
    return roughen(sketch, roughness, seed)


def rough(sketches, roughness, seed=0):
    """Rough versions of sketches (n, 64, 64, 3) uint8 with equal channels, of the same shape and type.

    roughness: one number or (n,), from 0 to 1. Each result depends only on its sketch, its roughness and the seed; at
    roughness 0, it is the sketch itself. Raises ValueError for a roughness out of range.
    """
    roughness = np.broadcast_to(np.asarray(roughness, np.float32), len(sketches))
    if not np.all((roughness >= 0) & (roughness <= 1)):
        raise ValueError(f"roughness is {roughness}; it must be from 0 to 1")
    found = np.empty_like(sketches)
    for i, sketch in enumerate(sketches):
        content = hashlib.sha256(np.ascontiguousarray(sketch).tobytes()).digest()
        key = np.frombuffer(content[:8], "<i4") ^ np.array([seed, seed >> 32], np.int64).astype("<i4")
        given = tf.constant(sketch[None], tf.float32) / 127.5 - 1
        made = _roughen(given, roughness[i : i + 1], tf.constant(key, tf.int32))[0].numpy()
        found[i] = np.round((made + 1) * 127.5)
    return found


# --- photos, for the other direction ----------------------------------------------------------------------------------

ZOOM, OFF_CENTRE = 0.12, 0.06  # largest zoom and shift of the crop, as shares of the side
LIGHT, GAMMA = 0.25, 0.35  # standard deviations: of levels in [-1, 1], and of the exponent's logarithm
NOISE = 0.1  # of [-1, 1]


def disturb(photos, amount, seed):
    """Make photos look as if taken by other people and cameras: cropped differently, lighter or darker, blurred, noisy.

    photos: (n, 64, 64, 3) float in [-1, 1]; amount: (n,) from 0, which changes nothing, to 1; seed: (2,) integers.
    """
    n, level = tf.shape(photos)[0], tf.cast(amount, tf.float32)
    seeds = tf.random.split(seed, 7)
    cut = tf.abs(tf.random.stateless_normal((n, 1), seeds[0])) * ZOOM / 2
    middle = 0.5 + OFF_CENTRE / 2 * tf.random.stateless_normal((n, 2), seeds[1]) * level[:, None]
    reach = 0.5 - cut * level[:, None]
    boxes = tf.clip_by_value(tf.concat([middle - reach, middle + reach], axis=1), 0, 1)
    found = tf.image.crop_and_resize(photos, boxes, tf.range(n), (SIZE, SIZE))
    level = level[:, None, None, None]
    blurred = tf.nn.avg_pool2d(found, 3, 1, "SAME")
    found += level * tf.random.stateless_uniform((n, 1, 1, 1), seeds[2]) * (blurred - found)
    exponent = tf.exp(level * GAMMA * tf.random.stateless_normal((n, 1, 1, 1), seeds[3]))
    found = 2 * tf.clip_by_value((found + 1) / 2, 1e-4, 1) ** exponent - 1
    found += level * LIGHT * tf.random.stateless_normal((n, 1, 1, 3), seeds[4]) / 2
    strength = NOISE * level * tf.random.stateless_uniform((n, 1, 1, 1), seeds[5])
    found += strength * tf.random.stateless_normal(tf.shape(found), seeds[6])
    return tf.where(level > 0, tf.clip_by_value(found, -1, 1), photos)
