"""Completion: find the z whose G(z) matches the known half, by refined initialization and descent with fixed networks.

    z* = argmin_z  KL(half of G(z) || known half) + lambda * -log D(G(z))
                   + edges * (1 - consistency of sketch and photo) + prior * mean((z - centre)^2)

For one sketch, as in the paper (Lu et al. 2018, section 3):

    candidates = 30 random z                                              # refined initialization: initialization.py
    z = the candidate whose G(z) has the sketch nearest to the given one by KL divergence
    for each iteration:                                                   # the search: `descend`
        loss = KL(sketch of G(z) || given sketch) + lambda * -log D(G(z))     # losses.py
        remember z if its loss is the lowest so far
        v = momentum * v - learning rate * (d loss / d z)                     # descent.py; or Nesterov's, or L-BFGS
        z = clip(z + v, -1, 1)
    the answer is the photo half of G(z) for the z of the lowest loss

A photo is completed in the same way, with the halves exchanged. Edges, prior and the start from an encoder are our
additions, off in the presets that we took from others. The centre of the prior is the encoder's z if the search starts
there, otherwise 0: with a large weight, the result stays near the plausible face that the encoder finds for a poor
sketch; with a small one, it follows every stroke.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from contextual_gan.completion import descent
from contextual_gan.completion.faithful import prior_weight
from contextual_gan.completion.initialization import checked, chosen, initialize
from contextual_gan.completion.losses import TARGET, objective, target
from contextual_gan.config import PRESETS
from contextual_gan.joint import DIRECTIONS, half
from contextual_gan.models.consistency import consistency, grey
from contextual_gan.models.dcgan import LATENT
from contextual_gan.models.inference import encode, generate, groups, padded


@dataclass(frozen=True)
class Completion:
    """The result of `complete` for n known halves with K samples each; losses have one more entry than iterations."""

    joints: np.ndarray  # (n, K, 64, 128, 3) float32 in [-1, 1]: G of the best z; the sample of lowest total loss first,
    # or without a search, that of the encoder
    initial_joints: np.ndarray  # the same of the initial z
    z: np.ndarray  # (n, K, 100) float32 in [-1, 1], the iterate of lowest total loss
    initial_z: np.ndarray  # (n, K, 100)
    contextual: np.ndarray  # (n, K, iterations + 1): KL(generated || known) including the start; NaN once stopped
    total: np.ndarray  # (n, K, iterations + 1): contextual + all other terms


def complete(
    generator,
    discriminator,
    known,
    *,
    encoder=None,
    direction="photo",
    preset="coauthor",
    faithful=None,
    seed=0,
    samples=1,
    batch_size=64,
    progress=None,
    **numbers,
):
    """Complete known halves: sketches to joints with photos, or with `direction="sketch"` the other way.

    known: (n, 64, 64, 3) uint8, or float32 in [-1, 1]: the half other than `direction`.
    encoder: from `weights.load_encoder`, for settings that start from it, such as "edges".
    preset: "readme", "coauthor" or "edges"; `numbers` override its fields, those of `config.SearchSettings`.
    faithful: how closely to follow the known half, from 0 to 1, one number or (n,): 0 returns the encoder's result
    without a search; above 0, the prior has the weight `faithful.prior_weight`. None: the prior of the settings
    applies.
    samples: K results for each, from the K best of the n_init initializations; the encoder's is always one of them.
    batch_size: rows searched at once, rounded down to a power of two. Results do not depend on batch size, order or
    the other inputs.
    progress: see `descend`.
    Returns a `Completion`. Raises ValueError for invalid shapes and for numbers out of range.
    """
    if preset not in PRESETS or direction not in DIRECTIONS:
        raise ValueError(f"no preset {preset!r} or direction {direction!r}: {', '.join((*PRESETS, *DIRECTIONS))}")
    settings = replace(PRESETS[preset], **numbers)
    known = checked(known)
    if settings.start == "random":
        encoder = None
    elif encoder is None:
        raise ValueError("the search starts from an encoder, but none is given")
    if not 1 <= samples <= settings.n_init:
        raise ValueError(f"{samples} samples need as many initializations, but n_init is {settings.n_init}")
    n = len(known)
    prior, is_searched = (np.repeat(x, samples) for x in anchored(faithful, n, settings, encoder))
    initial = starts(generator, known, direction, settings, samples, seed, batch_size, encoder).reshape(-1, LATENT)
    best, (contextual, total) = initial.copy(), np.full((2, len(initial), settings.iterations + 1), np.nan, np.float32)
    options = {"direction": direction, "settings": settings}
    for searched in (False, True):
        (which,) = np.nonzero(is_searched == searched)
        for rows in (which[rows] for rows in groups(len(which), batch_size)):
            asked = generator, discriminator, known[rows // samples], initial[rows]
            if searched:
                anchor = {"prior": prior[rows], "centre": initial[rows] if encoder else None, "encoder": encoder}
                best[rows], contextual[rows], total[rows] = search(*asked, **options, **anchor, progress=progress)
            else:
                contextual[rows, 0], total[rows, 0] = losses_of(*asked, **options)
                if progress:
                    progress(len(rows) * (settings.iterations + 1), float(np.median(contextual[rows, 0])))
    found = (x.reshape(n, samples, -1) for x in (best, initial, contextual, total))
    best, initial, contextual, total = _best_first(*found, is_searched.reshape(n, samples))
    return Completion(generate(generator, best), generate(generator, initial), best, initial, contextual, total)


def anchored(faithful, n, settings, encoder):
    """The weights of the prior, and whether each input is searched: (n,) each. Raises ValueError."""
    if faithful is None:
        return np.full(n, settings.prior), np.full(n, True)
    faithful = np.asarray(faithful, np.float64)
    if encoder is None:
        raise ValueError("faithful is for searches that start from an encoder")
    if faithful.shape not in ((), (n,)) or not np.all((faithful >= 0) & (faithful <= 1)):
        raise ValueError(f"faithful is {faithful}; it must be from 0 to 1, one number or one for each of {n} inputs")
    return np.broadcast_to(prior_weight(faithful), n), np.broadcast_to(faithful > 0, n)


def _best_first(best, initial, contextual, total, is_searched):
    """The samples (n, K, ...) of each input sorted by their lowest total loss; unsearched inputs keep their order."""
    lowest = np.where(is_searched, np.fmin.reduce(total, axis=2), 0)
    rank = np.argsort(lowest, axis=1, kind="stable")[..., None]
    return [np.take_along_axis(x, rank, axis=1) for x in (best, initial, contextual, total)]


def starts(generator, known, direction, settings, samples, seed, batch_size, encoder):
    """The starts of the searches: (n, samples, 100)."""
    if encoder is not None and samples == 1:  # there is nothing to choose
        return encode(encoder.network, known, batch_size)[:, None]
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
    return np.take_along_axis(z, chosen(divergences, samples, encoder)[..., None], axis=1)


def encoder_fit(generator, encoder, sketches, batch_size=64):
    """The consistency of sketches (n, 64, 64, 3) with the photos that the encoder finds for them -> (n,), at most 1."""
    sketches = checked(sketches)
    photos = half(generate(generator, encode(encoder.network, sketches, batch_size), batch_size), "photo")
    return consistency(*(grey(tf.constant(images, tf.float64)) for images in (sketches, photos))).numpy()


# --- the search -------------------------------------------------------------------------------------------------------


def search(
    generator,
    discriminator,
    known,
    z,
    *,
    direction,
    settings,
    centre=None,
    prior=None,
    encoder=None,
    progress=None,
):
    """Minimise the loss of n known halves (n, 64, 64, 3) in [-1, 1] from `z` (n, 100), like `descend`.

    centre, prior: as in `losses.target`.
    """
    advance = _compiled_search(generator, discriminator, direction, replace(settings, prior=0.0), encoder)
    return descend(advance, target(known, settings, centre, prior), z, settings, progress)


def search_in_steps(
    generator, discriminator, known, z, *, direction, settings, centre=None, prior=None, encoder=None, chunk=5
):
    """Like `search`, for at most one batch, as a generator like `descend_in_steps`."""
    advance = _compiled_search(generator, discriminator, direction, replace(settings, prior=0.0), encoder)
    return descend_in_steps(advance, target(known, settings, centre, prior), z, settings, chunk)


@lru_cache(maxsize=8)
def _compiled_search(generator, discriminator, direction, settings, encoder=None):
    """The prior is part of the target, so one graph serves all its weights."""
    make_losses = objective(generator, discriminator, direction, settings)
    return compiled(make_losses, TARGET, settings, encoder and encoder.curvature)


def losses_of(generator, discriminator, known, z, *, direction, settings):
    """The contextual and total loss of `z` (n, 100), each (n,), for n known halves in [-1, 1], without a search."""
    losses = objective(generator, discriminator, direction, settings)()
    _, contextual, total = losses(padded(z), tf.nest.map_structure(padded, target(known, settings)))
    return contextual[: len(z)].numpy(), total[: len(z)].numpy()


def descend(advance, known, z, settings, progress=None):
    """Descend from `z` (n, 100) in one batch, `padded`, with `advance` of `compiled`; known: the input of its losses.

    Returns the best z (n, 100), reported and total losses (n, iterations + 1). A row whose loss or gradient becomes
    non-finite stops there, and its later losses are NaN. `progress(evaluations, reported)` is called after each chunk
    of iterations with its number of evaluations and the median loss; in total there are n * (iterations + 1)
    evaluations.
    """
    n, history = len(z), []
    chunk = max(1, 128 // len(padded(z)))  # similar times for every batch size: a second or two on two cores
    for state, losses in descend_in_steps(advance, known, z, settings, chunk):  # noqa: B007  the last state
        history.append(losses)
        if progress:
            latest = losses[-1, :, 0]
            latest = latest[np.isfinite(latest)] if np.isfinite(latest).any() else latest
            progress(n * len(losses), float(np.median(latest)))
    reported, total = np.concatenate(history).transpose(2, 1, 0)
    return state.best_z.numpy()[:n], reported, total


def descend_in_steps(advance, known, z, settings, chunk):
    """Like `descend`, as a generator: after each `chunk` evaluations, the `State` of the padded batch and the losses
    (chunk, n, 2), reported and total, of the rows of z. The result does not depend on `chunk`.
    """
    n, z, known = len(z), padded(z), tf.nest.map_structure(padded, known)
    state = begin(z, settings)
    for first in range(0, settings.iterations + 1, chunk):  # the last evaluation is that of the last z
        steps = min(chunk, settings.iterations + 1 - first)
        state, losses = advance(state, known, tf.constant(steps))
        yield state, losses.numpy()[:, :n]


class State(NamedTuple):
    """The state of the searches of a batch between two iterations."""

    z: tf.Tensor  # (n, 100) float32
    memory: NamedTuple  # of the rule, see descent.py
    best_z: tf.Tensor  # (n, 100), the z of the lowest total loss so far
    best_total: tf.Tensor  # (n,) float64, that loss
    alive: tf.Tensor  # (n,) bool, false after a non-finite loss or gradient


def begin(z, settings):
    """The `State` of searches that start at z (n, 100)."""
    z = tf.constant(z)
    return State(z, descent.rule(settings)[0](z), z, tf.fill([len(z)], np.float64(np.inf)), tf.fill([len(z)], True))


def compiled(make_losses, known, settings, curvature=None):
    """The loop over iterations as one TensorFlow graph: (`State`, known, steps) -> (`State`, losses (steps, n, 2)).

    make_losses() -> losses: called once before the loop, for the work shared by all iterations.
    losses(z, known): three (n,) float64, separate for each row: the objective, the reported loss, and the total loss,
    by which the best z is kept.
    known: the tf.TensorSpec, (None, ...), of the losses' input from the known halves, or a structure of them.
    curvature: see `descent.rule`.
    """
    _, step = descent.rule(settings, curvature)
    state = begin(np.zeros((1, LATENT), np.float32), settings)
    state = tf.nest.map_structure(lambda tensor: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype), state)

    # traced once for all batch sizes; AutoGraph would need more time than a search
    @tf.function(input_signature=[state, known, tf.TensorSpec((), tf.int32)], autograph=False)
    def advance(state, known, steps):
        losses = make_losses()

        def iteration(i, state, history):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(state.z)
                descended, reported, total = losses(state.z, known)
            gradient = tape.gradient(descended, state.z)  # of the sum over the batch: each z affects only its own loss
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
