"""Train a contextual GAN: what the loop of training.py needs to know of the DCGAN (section 3)."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from contextual_gan import checkpoints, config, data, dcgan, training, training_state
from contextual_gan.completion import complete
from contextual_gan.images import grid, to_uint8
from contextual_gan.joint import half

STRIP = 6  # joints whose sketches are completed for the strip
STRIP_ITERATIONS = 40
COLLAPSED = 0.1  # deviation over the fixed z, as a share of that over the training images


def noise(seed, step, n):
    """The z of a step: (n, 100) float32 from U(-1, 1), a function of (seed, step)."""
    return tf.random.stateless_uniform(
        [n, dcgan.LATENT], tf.stack([tf.cast(seed, tf.int64), step]), -1, 1, alg="philox"
    )


def build(settings):
    """The networks of a run before its first step. Raises `checkpoints.WeightsError` for a bad init_from."""
    keras.utils.set_random_seed(settings.seed % 2**32)
    model = dcgan.DCGAN(width=settings.width, lr=settings.lr, beta_1=settings.beta_1, ema=settings.ema > 0)
    if settings.init_from:
        generator, discriminator = checkpoints.load_networks(settings.init_from)
        for network, source in (
            (model.generator, generator),
            (model.discriminator, discriminator),
            (model.average, generator),
        ):
            if network is not None:
                network.set_weights(source.get_weights())
    return model


def update_function(model, settings):
    """update(batch, step) -> {name: scalar tensor} for `training.train`."""

    @tf.function
    def update(batch, step):
        t = tf.cast(step, tf.float32)
        decay = tf.minimum(settings.ema, (1 + t) / (10 + t))
        z = noise(settings.seed, step, settings.batch_size)
        return dcgan.train_step(model, batch, z, g_updates=settings.g_updates, decay=decay)

    return update


def pictures_function(model, settings, joints, warn):
    """pictures(step) for `training.train`: joints of fixed z, by G and by its average, and a strip of completions.

    joints: (n, 64, 128, 3) uint8, of which the sketches are completed. warn(line) is called when the images of all z
    look the same.
    """
    z = noise(settings.seed, tf.constant(-1, tf.int64), 64)
    spread = (joints.astype(np.float32) / 127.5).std(axis=0).mean()

    def pictures(step):
        drawn = {"generator": model.generator(z, training=False).numpy()}
        if model.average is not None:
            drawn["average"] = model.average(z, training=False).numpy()
        if step and drawn["generator"].std(axis=0).mean() < COLLAPSED * spread:
            warn(f"step {step}: the images of all z look the same (mode collapse)")
        found = {name: grid(to_uint8(images).reshape(8, 8, *images.shape[1:])) for name, images in drawn.items()}
        best = model.generator if model.average is None else model.average
        known = half(joints, "sketch")
        done = complete(best, model.discriminator, known, preset="coauthor", iterations=STRIP_ITERATIONS)
        rows = [[a, *b] for a, b in zip(joints, to_uint8(done.joints), strict=True)]
        return found | {"completed": grid(rows, titles=("from the data", "its sketch completed"))}

    return pictures


def train_dcgan(settings, folder, run, *, steps, resume=False, show=lambda n: None):
    """Train on the joints of folder/train -> the number of steps done. Raises as `training.train` and `data.batches`.

    settings: a `config.Train`; run: a `training.RunFolder`. show(n): progress of reading n joints into memory.
    """
    files = data.joint_files(Path(folder) / "train")
    model, start = build(settings), 0
    if resume:
        start = training_state.restore(run.checkpoints, model, lambda line: training.warn(run, line))
    run.begin(start)
    batches = data.batches(
        files,
        batch_size=settings.batch_size,
        seed=settings.seed,
        start=start,
        flip=settings.flip,
        cache_bytes=int(settings.cache_gb * 1e9),
        progress=show,
    )
    joints = data.read_joints(files[:STRIP])
    pictures = pictures_function(model, settings, joints, lambda line: training.warn(run, line))
    with data.damage_named(files):
        return training.train(
            run,
            model,
            update_function(model, settings),
            batches,
            start=start,
            steps=steps,
            settings=settings,
            pictures=pictures,
        )


def load_run(path):
    """(generator, discriminator) of a run folder's newest whole checkpoint; the average of G where there is one.

    Raises ValueError in one line for a folder that is no run or has no whole checkpoint.
    """
    settings = config.load(Path(path) / "config.yaml", "train", config.Train)
    model = dcgan.DCGAN(width=settings.width, ema=settings.ema > 0)
    training_state.restore(Path(path) / "checkpoints", model, lambda line: None)
    return model.average or model.generator, model.discriminator
