"""`contextual_gan.preparation.rough` in JAX: rough sketches and disturbed photos, with the same constants.

Each effect takes its random draws as an argument, so that it can be compared with TensorFlow's; the draws of a key are
others than those of a TensorFlow seed.
"""

import jax
from jax import lax
from jax import numpy as jnp

from contextual_gan.joint import SIZE

FIELD = 8
DISPLACEMENT, SHIFT = 2.0, 1.0
THICKER = THINNER = 0.25
MISSING = 0.22
CONTRAST = (-0.5, 1.5)
ZOOM, OFF_CENTRE = 0.12, 0.06
LIGHT, GAMMA = 0.25, 0.35
NOISE = 0.1


def levels(key, n, largest, clean):
    """Random levels of roughness (n,) from U(0, largest), but 0 for the share `clean`."""
    keys = jax.random.split(key)
    found = largest * jax.random.uniform(keys[0], (n,))
    return jnp.where(jax.random.uniform(keys[1], (n,)) < clean, 0.0, found)


def roughen(key, sketches, roughness):
    """Rougher sketches: (n, 64, 64, 3) in [-1, 1] with equal channels; roughness: (n,) from 0 to 1."""
    n, keys = len(sketches), jax.random.split(key, 5)
    draws = {
        "field": jax.random.normal(keys[0], (n, FIELD, FIELD, 2)),
        "shift": jax.random.normal(keys[1], (n, 1, 1, 2)),
        "chance": jax.random.uniform(keys[2], (n, 1, 1, 1)),
        "missing": jax.random.uniform(keys[3], (n, FIELD, FIELD, 1)),
        "contrast": jax.random.uniform(keys[4], (n, 1, 1, 1), minval=CONTRAST[0], maxval=CONTRAST[1]),
    }
    return roughened(sketches, roughness, draws)


def roughened(sketches, roughness, draws):
    """`roughen` with given draws."""
    level = roughness.reshape(-1, 1, 1, 1)
    ink = (1 - sketches[..., :1]) / 2
    moves = level * DISPLACEMENT * smooth(draws["field"]) + level * SHIFT * draws["shift"]
    ink = moved(ink, moves)
    thick = lax.reduce_window(ink, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
    thin = lax.reduce_window(ink, jnp.inf, lax.min, (1, 2, 2, 1), (1, 1, 1, 1), "SAME")
    chance = draws["chance"]
    ink = jnp.where(chance < THICKER * level, thick, jnp.where(chance > 1 - THINNER * level, thin, ink))
    ink = jnp.where(smooth(draws["missing"]) < MISSING * level, 0.0, ink)
    gain = jnp.exp(draws["contrast"]) * level
    light = jnp.tanh(gain * (1 - 2 * ink)) / jnp.where(gain > 0, jnp.tanh(gain), 1)
    return jnp.where(level > 0, jnp.repeat(jnp.clip(light, -1, 1), 3, axis=-1), sketches)


def smooth(field):
    """A field on (n, 8, 8, c) points -> (n, 64, 64, c)."""
    shape = (len(field), SIZE, SIZE, field.shape[-1])
    return jax.image.resize(field, shape, "cubic", antialias=False, precision=lax.Precision.HIGHEST)


def moved(images, moves):
    """Images (n, 64, 64, 1), each pixel taken from an offset of `moves` (n, 64, 64, 2), with replicated borders."""
    grid = jnp.stack(jnp.meshgrid(jnp.arange(SIZE), jnp.arange(SIZE), indexing="ij"), axis=-1)
    where = jnp.clip(grid + moves, 0, SIZE - 1)
    first = jnp.minimum(where.astype(jnp.int32), SIZE - 2)
    rows, columns = jnp.split(where - first, 2, axis=-1)
    flat, corner = images.reshape(len(images), -1), (first[..., 0] * SIZE + first[..., 1]).reshape(len(images), -1)

    def at(row, column):
        return jnp.take_along_axis(flat, corner + row * SIZE + column, axis=1).reshape(images.shape)

    upper = at(0, 0) * (1 - columns) + at(0, 1) * columns
    lower = at(1, 0) * (1 - columns) + at(1, 1) * columns
    return upper * (1 - rows) + lower * rows


def disturb(key, photos, amount):
    """Photos as by other people and cameras: (n, 64, 64, 3) in [-1, 1]; amount: (n,) from 0 to 1."""
    n, keys = len(photos), jax.random.split(key, 7)
    draws = {
        "cut": jax.random.normal(keys[0], (n, 1)),
        "middle": jax.random.normal(keys[1], (n, 2)),
        "blur": jax.random.uniform(keys[2], (n, 1, 1, 1)),
        "exponent": jax.random.normal(keys[3], (n, 1, 1, 1)),
        "light": jax.random.normal(keys[4], (n, 1, 1, 3)),
        "strength": jax.random.uniform(keys[5], (n, 1, 1, 1)),
        "noise": jax.random.normal(keys[6], photos.shape),
    }
    return disturbed(photos, amount, draws)


def disturbed(photos, amount, draws):
    """`disturb` with given draws."""
    level = amount[:, None]
    reach = 0.5 - jnp.abs(draws["cut"]) * ZOOM / 2 * level
    middle = 0.5 + OFF_CENTRE / 2 * draws["middle"] * level
    found = cropped(photos, jnp.clip(middle - reach, 0, 1), jnp.clip(middle + reach, 0, 1))
    level = amount[:, None, None, None]
    window = (1, 3, 3, 1), (1, 1, 1, 1), "SAME"
    count = lax.reduce_window(jnp.ones((1, SIZE, SIZE, 1)), 0.0, lax.add, *window)
    blurred = lax.reduce_window(found, 0.0, lax.add, *window) / count
    found += level * draws["blur"] * (blurred - found)
    exponent = jnp.exp(level * GAMMA * draws["exponent"])
    found = 2 * jnp.clip((found + 1) / 2, 1e-4, 1) ** exponent - 1
    found += level * LIGHT * draws["light"] / 2 + NOISE * level * draws["strength"] * draws["noise"]
    return jnp.where(level > 0, jnp.clip(found, -1, 1), photos)


def cropped(images, first, last):
    """`tf.image.crop_and_resize` to 64x64 of the boxes from `first` to `last` (n, 2): row and column in [0, 1]."""
    share = jnp.linspace(0, 1, SIZE)
    where = (SIZE - 1) * (first[..., None] + (last - first)[..., None] * share)
    matrix = jnp.maximum(0, 1 - jnp.abs(where[..., None] - jnp.arange(SIZE)))  # (n, 2, 64, 64)
    return jnp.einsum(
        "nij,njkc,nlk->nilc", matrix[:, 0], images, matrix[:, 1], precision=lax.Precision.HIGHEST, optimize=True
    )
