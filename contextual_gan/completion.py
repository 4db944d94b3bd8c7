"""Completion: refined initialization, then gradient descent on z with the networks held fixed (section 4).

    z* = argmin_z  KL(half of G(z) || known half) + lambda * -log D(G(z))

The known half is the sketch when a photo is wanted and the photo when a sketch is wanted; the networks are the same.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import tensorflow as tf
from keras import layers

from contextual_gan.config import PRESETS
from contextual_gan.dcgan import LATENT
from contextual_gan.images import to_float
from contextual_gan.joint import DIRECTIONS, SIZE, half

GREY = (0.2989, 0.5870, 0.1140)  # sum 0.9999: black becomes 5e-5, not 0, which keeps the logarithm finite


@dataclass(frozen=True)
class Completion:
    """What `complete` found for n known halves with K samples each; losses have one entry more than iterations."""

    joints: np.ndarray  # (n, K, 64, 128, 3) float32 in [-1, 1]: G of the best z; the sample of lowest total loss first
    initial_joints: np.ndarray  # the same of the initial z
    z: np.ndarray  # (n, K, 100) float32 in [-1, 1], the iterate of lowest total loss
    initial_z: np.ndarray  # (n, K, 100)
    contextual: np.ndarray  # (n, K, iterations + 1): KL(generated || known) from the start on; NaN once stopped
    total: np.ndarray  # (n, K, iterations + 1): contextual + lambda * perceptual


def distribution(images, epsilon=1e-8):
    """Halves (n, 64, 64, 3) in [-1, 1] -> grey pixels as probabilities: (n, 4096) float64, rows sum to 1."""
    grey = tf.tensordot(tf.cast(images, tf.float64), tf.constant(GREY, tf.float64), 1)
    grey = tf.reshape((grey + 1) / 2 + epsilon, (-1, SIZE * SIZE))
    return grey / tf.reduce_sum(grey, axis=-1, keepdims=True)


def kl_divergence(p, q):
    """KL(p || q) in nats of distributions over the last axis."""
    return tf.reduce_sum(p * (tf.math.log(p) - tf.math.log(q)), axis=-1)


def _directed_kl(direction, known, generated):
    return kl_divergence(known, generated) if direction == "input-generated" else kl_divergence(generated, known)


def perceptual_loss(logits, kind="non-saturating"):
    """The generator's adversarial loss of each logit of D: -log D, or log(1 - D) if `kind` is "saturating"."""
    return tf.nn.softplus(-logits) if kind == "non-saturating" else -tf.nn.softplus(logits)


def _forward(model, x):
    """Run `model`, a chain of layers, in inference mode; the same for a row in any batch.

    TensorFlow splits the long sums of a dense layer according to the batch size, and a difference in the last bit grows
    a thousandfold in 50 iterations. In float64 it is gone before the result is rounded. Convolutions do not have it.
    """
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        if isinstance(layer, layers.Dense):
            wide = tf.cast(x, tf.float64) @ tf.cast(layer.kernel, tf.float64) + tf.cast(layer.bias, tf.float64)
            x = tf.cast(wide, x.dtype)
        else:
            x = layer(x, training=False)
    return x


def draw_candidates(known, n_init, seed):
    """Random z for each known half: (n, 64, 64, 3) float32 -> (n, n_init, 100) float32 from U(-1, 1).

    They are a function of the seed and of the pixels, so that neither the batch nor the order matters.
    """
    z = np.empty((len(known), n_init, LATENT), np.float32)
    for i, image in enumerate(known):
        content = hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
        z[i] = np.random.default_rng([seed, *np.frombuffer(content, "<u4")]).uniform(-1, 1, z.shape[1:])
    return z


def _checked(known):
    """Known halves as float32 in [-1, 1]. Raises ValueError."""
    known = np.asarray(known)
    known = to_float(known) if known.dtype == np.uint8 else known.astype(np.float32)
    if known.shape[1:] != (SIZE, SIZE, 3) or not np.all(np.abs(known) <= 1):
        raise ValueError(f"known halves are (n, {SIZE}, {SIZE}, 3), uint8 or float in [-1, 1]; got {known.shape}")
    return known


def initialize(
    generator, known, *, direction="photo", n_init=30, kl="input-generated", epsilon=1e-8, seed=0, batch_size=64
):
    """Refined initialization: draw `n_init` z for each known half and rate them by KL divergence.

    `known`: (n, 64, 64, 3), uint8 or float in [-1, 1]. Returns z (n, n_init, 100) in the order drawn, and the
    divergences (n, n_init); the start of the search is the z of the lowest.
    """
    known = _checked(known)
    z = draw_candidates(known, n_init, seed)
    divergences = np.empty(z.shape[:2], np.float32)
    rate = _compiled_rating(generator, direction, kl, epsilon)
    owner = np.repeat(np.arange(len(known)), n_init)
    for rows in _batches(len(owner), 4 * batch_size):  # more fit than in the search: no gradients are kept
        divergences.reshape(-1)[rows] = rate(z.reshape(-1, LATENT)[rows], known[owner[rows]])
    return z, divergences


def _batches(n, size):
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


@lru_cache(maxsize=8)
def _compiled_rating(generator, direction, kl, epsilon):
    @tf.function(reduce_retracing=True)
    def rate(z, known):
        generated = half(_forward(generator, z), DIRECTIONS[direction])
        return _directed_kl(kl, distribution(known, epsilon), distribution(generated, epsilon))

    return rate


@lru_cache(maxsize=8)
def _compiled_search(generator, discriminator, direction, settings):
    """The loop over iterations as one TensorFlow graph: (state, known, steps) -> (state, losses)."""

    def losses(z, known):
        """The objective to descend, and the two losses to report, each (batch,)."""
        joint = _forward(generator, z)
        p = distribution(half(joint, DIRECTIONS[direction]), settings.epsilon)
        contextual = kl_divergence(p, known)
        perceptual = tf.zeros_like(contextual)
        if settings.lambda_:
            perceptual = perceptual_loss(tf.cast(_forward(discriminator, joint)[:, 0], tf.float64), settings.perceptual)
        objective = _directed_kl(settings.search_kl, known, p) + settings.lambda_ * perceptual
        return objective, contextual, contextual + settings.lambda_ * perceptual

    def update(v, gradient):
        """The new velocity and the step of z."""
        m = settings.momentum
        new = m * v - settings.lr * gradient
        return new, (new if settings.update == "momentum" else -m * v + (1 + m) * new)

    row = tf.TensorSpec((None, LATENT), tf.float32)
    one = tf.TensorSpec((None,), tf.float64)
    flag = tf.TensorSpec((None,), tf.bool)

    @tf.function(
        input_signature=[
            (row, row, row, one, flag),
            tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32),
            tf.TensorSpec((), tf.int32),
        ]
    )
    def advance(state, known, steps):
        z, v, best_z, best_total, alive = state
        known = distribution(known, settings.epsilon)
        history = tf.TensorArray(tf.float64, steps)
        for i in tf.range(steps):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(z)
                objective, contextual, total = losses(z, known)
            gradient = tape.gradient(objective, z)  # of the sum over the batch: each z sees its own loss only
            alive &= tf.math.is_finite(total) & tf.reduce_all(tf.math.is_finite(gradient), axis=1)
            better = alive & (total < best_total)
            best_z = tf.where(better[:, None], z, best_z)
            best_total = tf.where(better, total, best_total)
            history = history.write(
                i, tf.where(alive[:, None], tf.stack([contextual, total], axis=1), tf.constant(np.nan, tf.float64))
            )
            new_v, step = update(v, gradient)
            v = tf.where(alive[:, None], new_v, v)
            z = tf.where(alive[:, None], tf.clip_by_value(z + step, -1, 1), z)  # the clip leaves the velocity alone
        return (z, v, best_z, best_total, alive), history.stack()

    return advance


def search(generator, discriminator, known, z, *, direction, settings, progress=None):
    """Descend from `z` (n, 100) with all n known halves (n, 64, 64, 3) in one batch.

    Returns the best z (n, 100), contextual and total losses (n, iterations + 1). A row whose loss or gradient becomes
    non-finite stops there, its later losses are NaN. `progress(evaluations, contextual)` is called after each chunk of
    iterations with the evaluations done in it and the median loss; there are n * (iterations + 1) in all.
    """
    advance = _compiled_search(generator, discriminator, direction, settings)
    n = len(z)
    chunk = max(1, 128 // n)  # about as long for every batch size: a second or two on two cores
    state = (z, tf.zeros_like(z), z, tf.fill([n], np.float64(np.inf)), tf.fill([n], True))
    history = []
    remaining = settings.iterations + 1  # the last evaluation rates the last z
    while remaining:
        steps = min(chunk, remaining)
        state, losses = advance(state, known, steps)
        history.append(losses.numpy())
        remaining -= steps
        if progress:
            latest = history[-1][-1, :, 0]
            progress(n * steps, float(np.median(latest[np.isfinite(latest)] if np.isfinite(latest).any() else latest)))
    contextual, total = np.concatenate(history).transpose(2, 1, 0)
    return state[2].numpy(), contextual, total


def generate(generator, z, batch_size=64):
    """Joints of z (..., 100) -> (..., 64, 128, 3) float32 in [-1, 1]."""
    flat = np.reshape(z, (-1, LATENT))
    joints = np.empty((len(flat), SIZE, 2 * SIZE, 3), np.float32)
    for rows in _batches(len(flat), batch_size):
        joints[rows] = _forward(generator, flat[rows])
    return joints.reshape(*z.shape[:-1], *joints.shape[1:])


def complete(
    generator,
    discriminator,
    known,
    *,
    direction="photo",
    preset="coauthor",
    seed=0,
    samples=1,
    batch_size=64,
    progress=None,
    **numbers,
):
    """Complete known halves: sketches to joints with photos, or with `direction="sketch"` the other way.

    known: (n, 64, 64, 3) uint8, or float32 in [-1, 1]: the half that `direction` does not ask for.
    preset: "readme" or "coauthor"; `numbers` override its fields (see `config.Search`): n_init, lambda_, update, lr,
    momentum, iterations, epsilon, init_kl, search_kl, perceptual.
    samples: K results for each, from the K best of the n_init initializations.
    batch_size: rows searched at once; neither it nor the order nor the company changes a result.
    progress: see `search`.
    Returns a `Completion`. Raises ValueError for shapes and numbers out of range.
    """
    if preset not in PRESETS or direction not in DIRECTIONS:
        raise ValueError(f"no preset {preset!r} or direction {direction!r}: {', '.join((*PRESETS, *DIRECTIONS))}")
    settings = replace(PRESETS[preset], **numbers)
    known = _checked(known)
    if not 1 <= samples <= settings.n_init:
        raise ValueError(f"{samples} samples need as many initializations, n_init is {settings.n_init}")
    n = len(known)
    z, divergences = initialize(
        generator,
        known,
        direction=direction,
        n_init=settings.n_init,
        kl=settings.init_kl,
        epsilon=settings.epsilon,
        seed=seed,
        batch_size=batch_size,
    )
    chosen = np.argsort(divergences, axis=1, kind="stable")[:, :samples]
    initial = np.take_along_axis(z, chosen[..., None], axis=1).reshape(-1, LATENT)
    best = np.empty_like(initial)
    contextual, total = np.empty((2, len(initial), settings.iterations + 1), np.float32)
    for rows in _batches(len(initial), batch_size):
        best[rows], contextual[rows], total[rows] = search(
            generator,
            discriminator,
            known[np.arange(rows.start, rows.stop) // samples],
            initial[rows],
            direction=direction,
            settings=settings,
            progress=progress,
        )
    best, initial, contextual, total = (x.reshape(n, samples, -1) for x in (best, initial, contextual, total))
    rank = np.argsort(np.fmin.reduce(total, axis=2), axis=1, kind="stable")[..., None]
    best, initial, contextual, total = (np.take_along_axis(x, rank, axis=1) for x in (best, initial, contextual, total))
    return Completion(generate(generator, best), generate(generator, initial), best, initial, contextual, total)
