"""Completion: the z whose G(z) has the known half, by refined initialization and descent with the networks held fixed.

    z* = argmin_z  KL(half of G(z) || known half) + lambda * -log D(G(z))
                   + edges * (1 - consistency of sketch and photo) + prior * mean(z^2)

Of one sketch, as in the paper (Lu et al. 2018, section 3):

    candidates = 30 random z                                              # refined initialization: `initialize`
    z = the candidate whose G(z) has the sketch nearest to the given one by KL divergence
    for each iteration:                                                   # the search: `descend`
        loss = KL(sketch of G(z) || given sketch) + lambda * -log D(G(z))     # losses.py
        remember z if its loss is the lowest so far
        v = momentum * v - learning rate * (d loss / d z)                     # descent.py; or Nesterov's, or L-BFGS
        z = clip(z + v, -1, 1)
    the answer is the photo half of G(z) for the z of the lowest loss

A photo is completed in the same way, with the halves exchanged. Edges, prior and the start from an encoder are ours,
and off in the presets of others; the total loss that is reported is without the prior.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from contextual_gan.completion import descent
from contextual_gan.completion.losses import directed_kl, distribution, grey_pixels, objective
from contextual_gan.config import PRESETS
from contextual_gan.files.images import to_float
from contextual_gan.joint import DIRECTIONS, SIZE
from contextual_gan.models.dcgan import LATENT
from contextual_gan.models.inference import encode, generate, generate_half, groups, padded


@dataclass(frozen=True)
class Completion:
    """What `complete` found for n known halves with K samples each; losses have one entry more than iterations."""

    joints: np.ndarray  # (n, K, 64, 128, 3) float32 in [-1, 1]: G of the best z; the sample of lowest total loss first
    initial_joints: np.ndarray  # the same of the initial z
    z: np.ndarray  # (n, K, 100) float32 in [-1, 1], the iterate of lowest total loss
    initial_z: np.ndarray  # (n, K, 100)
    contextual: np.ndarray  # (n, K, iterations + 1): KL(generated || known) from the start on; NaN once stopped
    total: np.ndarray  # (n, K, iterations + 1): contextual + lambda * perceptual + edges * (1 - consistency)


def complete(
    generator,
    discriminator,
    known,
    *,
    encoder=None,
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
    encoder: of `weights.load_encoder`, for settings that start from it, as those of "fast" and "edges" do.
    preset: "readme", "coauthor", "fast" or "edges"; `numbers` override its fields, those of `config.SearchSettings`.
    samples: K results for each, from the K best of the n_init initializations.
    batch_size: rows searched at once, rounded down to a power of two. Results do not depend on it, on the order or on
    the other inputs.
    progress: see `descend`.
    Returns a `Completion`. Raises ValueError for shapes and numbers out of range.
    """
    if preset not in PRESETS or direction not in DIRECTIONS:
        raise ValueError(f"no preset {preset!r} or direction {direction!r}: {', '.join((*PRESETS, *DIRECTIONS))}")
    settings = replace(PRESETS[preset], **numbers)
    known = _checked(known)
    if settings.start == "random":
        encoder = None
    elif encoder is None:
        raise ValueError("the search is to start from an encoder, but none is given")
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
        encoder=encoder,
        spread=settings.spread,
    )
    chosen = np.argsort(divergences, axis=1, kind="stable")[:, :samples]
    initial = np.take_along_axis(z, chosen[..., None], axis=1).reshape(-1, LATENT)
    best = np.empty_like(initial)
    contextual, total = np.empty((2, len(initial), settings.iterations + 1), np.float32)
    for rows in groups(len(initial), batch_size):
        best[rows], contextual[rows], total[rows] = search(
            generator,
            discriminator,
            known[np.arange(rows.start, rows.stop) // samples],
            initial[rows],
            direction=direction,
            settings=settings,
            encoder=encoder,
            progress=progress,
        )
    found = (x.reshape(n, samples, -1) for x in (best, initial, contextual, total))
    best, initial, contextual, total = _best_first(*found)
    return Completion(generate(generator, best), generate(generator, initial), best, initial, contextual, total)


def _best_first(best, initial, contextual, total):
    """The samples (n, K, ...) of each input in the order of their lowest total loss."""
    rank = np.argsort(np.fmin.reduce(total, axis=2), axis=1, kind="stable")[..., None]
    return [np.take_along_axis(x, rank, axis=1) for x in (best, initial, contextual, total)]


def _checked(known):
    """Known halves as float32 in [-1, 1]. Raises ValueError."""
    known = np.asarray(known)
    known = to_float(known) if known.dtype == np.uint8 else known.astype(np.float32)
    if known.shape[1:] != (SIZE, SIZE, 3) or not np.all(np.abs(known) <= 1):
        raise ValueError(f"known halves are (n, {SIZE}, {SIZE}, 3), uint8 or float in [-1, 1]; got {known.shape}")
    return known


# --- refined initialization -------------------------------------------------------------------------------------------


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
    """Refined initialization: draw `n_init` z for each known half and rate them by KL divergence.

    `known`: (n, 64, 64, 3), uint8 or float in [-1, 1]. With an encoder, the first z is what it gives, and the others
    are `spread` times a random z away from it. Returns z (n, n_init, 100) in the order drawn, and the divergences
    (n, n_init); the start of the search is the z of the lowest.
    """
    known = _checked(known)
    z = draw_candidates(known, n_init, seed)
    if encoder is not None:
        z[:, 0] = 0
        z = np.clip(encode(encoder.network, known, batch_size)[:, None] + np.float32(spread) * z, -1, 1)
    divergences = np.empty(z.shape[:2], np.float32)
    rate = _compiled_rating(generator, direction, kl, epsilon)
    owner = np.repeat(np.arange(len(known)), n_init)
    for rows in groups(len(owner), 4 * batch_size):  # more fit than in the search: no gradients are kept
        rated = rate(padded(z.reshape(-1, LATENT)[rows]), padded(known[owner[rows]]))
        divergences.reshape(-1)[rows] = rated[: rows.stop - rows.start]
    return z, divergences


def draw_candidates(known, n_init, seed):
    """Random z for each known half: (n, 64, 64, 3) float32 -> (n, n_init, 100) float32 from U(-1, 1).

    They are a function of the seed and of the pixels, so that neither the batch nor the order matters.
    """
    z = np.empty((len(known), n_init, LATENT), np.float32)
    for i, image in enumerate(known):
        content = hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
        z[i] = np.random.default_rng([seed, *np.frombuffer(content, "<u4")]).uniform(-1, 1, z.shape[1:])
    return z


@lru_cache(maxsize=8)
def _compiled_rating(generator, direction, kl, epsilon):
    known = tf.TensorSpec((None, SIZE, SIZE, 3))

    @tf.function(input_signature=[tf.TensorSpec((None, LATENT)), known], autograph=False)
    def rate(z, known):
        generated = generate_half(generator, z, DIRECTIONS[direction])
        return directed_kl(kl, distribution(known, epsilon), distribution(generated, epsilon))

    return rate


# --- the search -------------------------------------------------------------------------------------------------------


def search(generator, discriminator, known, z, *, direction, settings, encoder=None, progress=None):
    """Descend from `z` (n, 100) to the loss of n known halves (n, 64, 64, 3) in [-1, 1]: as `descend`."""
    advance = _compiled_search(generator, discriminator, direction, settings, encoder)
    return descend(advance, grey_pixels(known, settings.epsilon), z, settings, progress)


def search_in_steps(generator, discriminator, known, z, *, direction, settings, encoder=None, chunk=5):
    """As `search`, of at most one batch, as a generator: as `descend_in_steps`."""
    advance = _compiled_search(generator, discriminator, direction, settings, encoder)
    yield from descend_in_steps(advance, grey_pixels(known, settings.epsilon), z, settings, chunk)


@lru_cache(maxsize=8)
def _compiled_search(generator, discriminator, direction, settings, encoder=None):
    make_losses = objective(generator, discriminator, direction, settings)
    known = tf.TensorSpec((None, SIZE * SIZE), tf.float64)
    return compiled(make_losses, known, settings, encoder and encoder.curvature)


def descend(advance, known, z, settings, progress=None):
    """Descend from `z` (n, 100) in one batch, `padded`, with `advance` of `compiled`; known: what its losses are given.

    Returns the best z (n, 100), reported and total losses (n, iterations + 1). A row whose loss or gradient becomes
    non-finite stops there, its later losses are NaN. `progress(evaluations, reported)` is called after each chunk of
    iterations with the evaluations done in it and the median loss; there are n * (iterations + 1) in all.
    """
    n, history = len(z), []
    chunk = max(1, 128 // len(padded(z)))  # about as long for every batch size: a second or two on two cores
    for state, losses in descend_in_steps(advance, known, z, settings, chunk):  # noqa: B007  the last state
        history.append(losses)
        if progress:
            latest = losses[-1, :, 0]
            latest = latest[np.isfinite(latest)] if np.isfinite(latest).any() else latest
            progress(n * len(losses), float(np.median(latest)))
    reported, total = np.concatenate(history).transpose(2, 1, 0)
    return state.best_z.numpy()[:n], reported, total


def descend_in_steps(advance, known, z, settings, chunk):
    """The same, as a generator: after each `chunk` evaluations, the `State` of the padded batch and the losses (chunk,
    n, 2), reported and total, of the rows of z. What is found does not depend on `chunk`.
    """
    n, z, known = len(z), padded(z), padded(known)
    state = begin(z, settings)
    for first in range(0, settings.iterations + 1, chunk):  # the last evaluation rates the last z
        steps = min(chunk, settings.iterations + 1 - first)
        state, losses = advance(state, known, tf.constant(steps))
        yield state, losses.numpy()[:, :n]


class State(NamedTuple):
    """Where the searches of a batch are between two iterations."""

    z: tf.Tensor  # (n, 100) float32
    memory: NamedTuple  # of the rule, see descent.py
    best_z: tf.Tensor  # (n, 100), the z of the lowest total loss so far
    best_total: tf.Tensor  # (n,) float64, that loss
    alive: tf.Tensor  # (n,) bool, false once a loss or gradient was not finite


def begin(z, settings):
    """The `State` of searches from z (n, 100)."""
    z = tf.constant(z)
    return State(z, descent.rule(settings)[0](z), z, tf.fill([len(z)], np.float64(np.inf)), tf.fill([len(z)], True))


def compiled(make_losses, known, settings, curvature=None):
    """The loop over iterations as one TensorFlow graph: (`State`, known, steps) -> (`State`, losses (steps, n, 2)).

    make_losses() -> losses: called once before the loop, for what all iterations share.
    losses(z, known): three (n,) float64, of each row alone: what is descended, what is reported beside the total, and
    the total, by which the best z is kept.
    known: the tf.TensorSpec of what losses are given of the known halves, (None, ...). curvature: see `descent.rule`.
    """
    _, step = descent.rule(settings, curvature)
    state = begin(np.zeros((1, LATENT), np.float32), settings)
    state = tf.nest.map_structure(lambda tensor: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype), state)

    # traced once for all batch sizes; AutoGraph would take longer to translate it than a search takes
    @tf.function(input_signature=[state, known, tf.TensorSpec((), tf.int32)], autograph=False)
    def advance(state, known, steps):
        losses = make_losses()

        def iteration(i, state, history):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(state.z)
                descended, reported, total = losses(state.z, known)
            gradient = tape.gradient(descended, state.z)  # of the sum over the batch: each z sees its own loss only
            alive = state.alive & tf.math.is_finite(total) & tf.reduce_all(tf.math.is_finite(gradient), axis=1)
            better = alive & (total < state.best_total)
            values = tf.where(alive[:, None], tf.stack([reported, total], axis=1), tf.constant(np.nan, tf.float64))
            memory, z = step(state.memory, state.z, descended, gradient)
            state = State(
                z=tf.where(alive[:, None], z, state.z),
                memory=memory,
                best_z=tf.where(better[:, None], state.z, state.best_z),
                best_total=tf.where(better, total, state.best_total),
                alive=alive,
            )
            return i + 1, state, history.write(i, values)

        begins = tf.constant(0), state, tf.TensorArray(tf.float64, steps)
        _, state, history = tf.while_loop(lambda i, *_: i < steps, iteration, begins)
        return state, history.stack()

    return advance
