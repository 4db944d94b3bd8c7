"""Train an encoder from a known half to the z of a matching joint image, the start of a short search.

It learns from an endless supply of generated joints: draw a joint from a random z, take one half of it, predict a z,
and compare the same half of its joint with the input, using the contextual loss of the search.
"""

from itertools import repeat

import keras
import numpy as np
import tensorflow as tf
from keras import optimizers

from contextual_gan.completion.losses import distribution, kl_divergence
from contextual_gan.files.images import grid, to_uint8
from contextual_gan.joint import DIRECTIONS
from contextual_gan.models import dcgan
from contextual_gan.models.common import computing_in
from contextual_gan.models.dcgan import LATENT
from contextual_gan.models.encoder import Encoder, encoder
from contextual_gan.models.inference import encode, generate, generate_half
from contextual_gan.models.weights import load_networks
from contextual_gan.training import loop
from contextual_gan.training.dcgan import noise

SHOWN = 12  # halves in samples/


class Training(tf.Module):
    """The trained state: E and its optimizer, whose learning rate falls to 0 over `steps`."""

    def __init__(self, settings, steps):
        super().__init__()
        self.encoder = encoder(settings.width)
        self.optimizer = optimizers.Adam(optimizers.schedules.CosineDecay(settings.lr, steps))
        self.optimizer.build(self.encoder.trainable_variables)

    @property
    def variables(self):
        return self.encoder.weights + self.optimizer.variables


def disturbed(halves, seed):
    """Halves (n, 64, 64, 3) in [-1, 1] with changed contrast and some noise, as other drawings might have."""
    n = tf.shape(halves)[0]
    seeds = tf.random.split(seed, 3)
    gain = tf.exp(tf.random.stateless_uniform((n, 1, 1, 1), seeds[0], -0.5, 1.5))
    sharper = tf.tanh(gain * halves) / tf.tanh(gain)
    amount = tf.random.stateless_uniform((n, 1, 1, 1), seeds[1], 0, 0.2)
    return tf.clip_by_value(sharper + amount * tf.random.stateless_normal(tf.shape(halves), seeds[2]), -1, 1)


def update_function(state, generator, settings, direction):
    """update(batch, step) -> {name: scalar tensor} for `loop.train`; it needs no batch, as z depends on the step."""
    known = DIRECTIONS[direction]

    @tf.function(autograph=False)
    def update(batch, step):
        z = noise(settings.seed, step, settings.batch_size)
        halves = tf.cast(generate_half(generator, z, known), tf.float32)
        given = disturbed(halves, tf.stack([tf.cast(settings.seed % 2**31, tf.int64), step]))
        with tf.GradientTape() as tape:
            guess = state.encoder(given, training=True)
            contextual = tf.reduce_mean(
                kl_divergence(distribution(generate_half(generator, guess, known)), distribution(halves))
            )
            squares = tf.reduce_mean((guess - z) ** 2)
            loss = tf.cast(contextual, tf.float32) + settings.pull * squares
        gradients = tape.gradient(loss, state.encoder.trainable_variables)
        state.optimizer.apply(gradients)
        norm = tf.linalg.global_norm(gradients)
        return {"contextual": contextual, "z_error": squares, "gradient": norm}

    return update


def curvature(generator, direction, points=64, seed=0):
    """The curvature of KL(G(z') || G(z)) of the known halves at z' = z, averaged over z: (100, 100) float32.

    It is the Fisher information of the half taken as a distribution, computed by finite differences.
    """
    step = np.float32(1e-2)
    moves = np.concatenate([np.zeros((1, LATENT)), step * np.eye(LATENT)]).astype(np.float32)

    @tf.function
    def pixels(z):
        return distribution(generate_half(generator, z, DIRECTIONS[direction]))

    total = np.zeros((LATENT, LATENT))
    for z in np.random.default_rng(seed).uniform(-1, 1, (points, 1, LATENT)).astype(np.float32):
        p, *moved = pixels(z + moves).numpy()
        slopes = (np.stack(moved) - p) / step
        total += (slopes / p) @ slopes.T
    return (total / points).astype(np.float32)


def pictures_function(state, generator, settings, direction):
    """pictures(step) for `loop.train`: generated halves, and the joints of their encoded z."""
    halves = generate_half(generator, noise(settings.seed, tf.constant(-1, tf.int64), SHOWN), DIRECTIONS[direction])

    def pictures(step):
        joints = generate(generator, encode(state.encoder, halves))
        rows = [list(row) for row in zip(to_uint8(halves.numpy()), to_uint8(joints), strict=True)]
        return {"encoded": grid(rows, titles=("given", "G(E(given))"))}

    return pictures


def train_encoder(run, weights, direction, steps, resume=False):
    """Train an encoder for the generator of some weights -> (step at the start, step at the end, the `Encoder`).

    The `Encoder` is None before the last step.
    run: a `RunFolder` with settings of `config.EncoderSettings`. Raises the errors of `loop.train` and `load_networks`.
    """
    settings = run.settings
    if run.was_about_something_else():
        raise ValueError(f"the run in {run.path} is a different one, not {run.about}; give another --out")
    generator, _ = load_networks(weights)
    with computing_in(settings.precision):
        fast = dcgan.generator(generator.get_layer("up4").input.shape[-1])
    fast.set_weights(generator.get_weights())
    keras.utils.set_random_seed(settings.seed % 2**32)
    state = Training(settings, steps)
    start = run.restore(state) if resume else 0
    done = start
    if start < steps:
        run.begin(start)
        update = update_function(state, fast, settings, direction)
        pictures = pictures_function(state, generator, settings, direction)
        done = loop.train(run, state, update, repeat(None), start=start, steps=steps, pictures=pictures)
    made = Encoder(state.encoder, curvature(generator, direction)) if done >= steps else None
    return start, done, made
