"""Train an encoder from a known half to the z of a matching joint image, the start of a short search.

It is trained on true and on generated joints: take one half, roughen it as in `preparation.rough`, predict a z, and
compare the joint of that z with the clean one. So it learns to find a plausible face for a poor drawing; a search would
copy every stroke.
"""

import hashlib
from itertools import repeat

import keras
import numpy as np
import tensorflow as tf
from keras import optimizers

from contextual_gan.completion.losses import distribution, kl_divergence
from contextual_gan.files.images import grid, to_float, to_uint8
from contextual_gan.joint import DIRECTIONS, half
from contextual_gan.models import dcgan
from contextual_gan.models.common import computing_in
from contextual_gan.models.consistency import consistency, grey
from contextual_gan.models.dcgan import LATENT
from contextual_gan.models.encoder import Encoder, encoder
from contextual_gan.models.inference import encode, generate, generate_half
from contextual_gan.models.weights import load_networks
from contextual_gan.preparation.rough import disturb, levels, roughen
from contextual_gan.training import loop
from contextual_gan.training.batches import damage_named, joint_batches, read_joints
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


def given_for(known, direction, settings, seed):
    """Input of E from known halves (n, 64, 64, 3) in [-1, 1]: most sketches are roughened, most photos disturbed."""
    seeds = tf.random.split(seed, 2)
    amount = levels(tf.shape(known)[0], settings.rough, settings.clean, seeds[0])
    return (roughen if direction == "photo" else disturb)(known, amount, seeds[1])


def hidden(discriminator):
    """D up to its last convolutions: joints (n, 64, 128, 3) -> the maps after conv1, conv2 and conv3, activated."""
    return keras.Model(discriminator.input, [discriminator.get_layer(f"lrelu{i}").output for i in (1, 2, 3)])


def features_loss(maps, true_maps):
    """How far the maps of generated joints are from those of true ones, relative to the latter: the sum over maps.

    A mean image has a low L1 loss, but not the edges that D looks for; so this loss makes results sharper. It is the
    reconstruction loss of Larsen et al. 2016 (arXiv 1512.09300), with absolute differences.
    """
    pairs = [(tf.cast(a, tf.float32), tf.cast(b, tf.float32)) for a, b in zip(maps, true_maps, strict=True)]
    return tf.add_n([tf.reduce_mean(tf.abs(a - b)) / tf.reduce_mean(tf.abs(b)) for a, b in pairs])


def losses(joints, truth, direction):
    """Unweighted losses {name: scalar} of generated joints (n, 64, 128, 3) against true ones, in [-1, 1].

    contextual: KL of the known halves, as in the search; l1: mean absolute error of the wanted ones; edges: 1 - their
    consistency with the true known halves.
    """
    known = DIRECTIONS[direction]
    pair = {known: grey(half(truth, known)), direction: grey(half(joints, direction))}
    divergence = kl_divergence(distribution(half(joints, known)), distribution(half(truth, known)))
    return {
        "contextual": tf.cast(tf.reduce_mean(divergence), tf.float32),
        "l1": tf.reduce_mean(tf.abs(half(joints, direction) - half(truth, direction))),
        "edges": tf.reduce_mean(1 - consistency(pair["sketch"], pair["photo"])),
    }


def update_function(state, generator, maps, settings, direction):
    """update(batch, step) -> {name: scalar tensor} for `loop.train`. maps: of D, see `hidden`.

    batch: true joints, some of which are replaced by generated ones; None for generated joints alone.
    """
    size = settings.batch_size

    @tf.function(autograph=False)
    def update(batch, step):
        own = size if batch is None else round(settings.own * size)
        z = noise(settings.seed, step, own)
        truth = tf.cast(generator(z, training=False), tf.float32)
        if batch is not None:
            truth = tf.concat([truth, batch[own:]], axis=0)
        seed = tf.stack([tf.cast(settings.seed % 2**31, tf.int64), step])
        given = given_for(half(truth, DIRECTIONS[direction]), direction, settings, seed)
        with tf.GradientTape() as tape:
            guess = state.encoder(given, training=True)
            joints = tf.cast(generator(guess, training=False), tf.float32)
            parts = losses(joints, truth, direction)
            parts["z_error"] = tf.reduce_mean((guess - tf.pad(z, ((0, size - own), (0, 0)))) ** 2)
            loss = parts["contextual"] + settings.pull * parts["z_error"]
            loss += settings.l1 * parts["l1"] + settings.edges * parts["edges"]
            if settings.features:
                parts["features"] = features_loss(maps(joints, training=False), maps(truth, training=False))
                loss += settings.features * parts["features"]
        gradients = tape.gradient(loss, state.encoder.trainable_variables)
        state.optimizer.apply(gradients)
        return parts | {"gradient": tf.linalg.global_norm(gradients)}

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


def pictures_function(state, generator, settings, direction, truth):
    """pictures(step) for `loop.train`: known halves, roughened ones, and the joints of their encoded z.

    truth: joints (n, 64, 128, 3) in [-1, 1].
    """
    known = half(truth, DIRECTIONS[direction])
    make, seed = roughen if direction == "photo" else disturb, tf.constant([settings.seed % 2**31, 0])
    given = [make(known, tf.fill([len(known)], amount), seed) for amount in (0.0, 0.5)]

    def pictures(step):
        columns = []
        for halves in given:
            columns += [to_uint8(halves.numpy()), to_uint8(generate(generator, encode(state.encoder, halves)))]
        rows = [list(row) for row in zip(*columns, strict=True)]
        return {"encoded": grid(rows, titles=("given", "G(E(given))", "rougher", "G(E(rougher))"))}

    return pictures


def train_encoder(run, weights, direction, steps, resume=False, files=(), show=lambda n: None):
    """Train an encoder for the generator of some weights -> (step at the start, step at the end, the `Encoder`).

    The `Encoder` is None before the last step.
    run: a `RunFolder` with settings of `config.EncoderSettings`; files: true joints from `joint_files`; without them,
    it learns from generated joints alone. show(n) is called after n of them are read. Raises the errors of
    `loop.train`, `load_networks` and `joint_batches`.
    """
    settings = run.settings
    if run.was_about_something_else():
        raise ValueError(f"the run in {run.path} is a different one, not {run.about}; give another --out")
    generator, discriminator = load_networks(weights, needs_discriminator=settings.features > 0)
    with computing_in(settings.precision):
        fast = _copy(dcgan.generator, generator, generator.get_layer("up4").input.shape[-1])
        maps = None
        if settings.features:
            maps = hidden(_copy(dcgan.discriminator, discriminator, discriminator.get_layer("conv0").filters))
    keras.utils.set_random_seed(settings.seed % 2**32)
    state = Training(settings, steps)
    start = run.restore(state) if resume else 0
    done = start
    if start < steps:
        with damage_named(files):
            batches, pixels = _batches(files, settings, start, show)
            shown = generate(generator, noise(settings.seed, tf.constant(-1, tf.int64), SHOWN))
            if files:
                shown = to_float(read_joints(files[:: max(1, len(files) // SHOWN)][:SHOWN]))
            run.begin(start, pixels)
            update = update_function(state, fast, maps, settings, direction)
            pictures = pictures_function(state, generator, settings, direction, shown)
            done = loop.train(run, state, update, batches, start=start, steps=steps, pictures=pictures)
    made = Encoder(state.encoder, curvature(generator, direction)) if done >= steps else None
    return start, done, made


def _copy(build, network, width):
    """The same network, built in the current precision."""
    copy = build(width)
    copy.set_weights(network.get_weights())
    return copy


def _batches(files, settings, start, show):
    """The true joints of each step, and the SHA-256 of all their pixels; (None, None) without files."""
    if not files:
        return repeat(None), None
    pixels = hashlib.sha256()
    numbers = {"batch_size": settings.batch_size, "seed": settings.seed, "flip": settings.flip, "start": start}
    cache = {"cache_bytes": int(settings.cache_gb * 1e9), "progress": show, "digest": pixels}
    return joint_batches(files, **numbers, **cache), pixels.hexdigest()[:16]
