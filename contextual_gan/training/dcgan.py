"""Train a contextual GAN: what loop.py needs to know of the DCGAN."""

import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from contextual_gan import config
from contextual_gan.completion.search import complete
from contextual_gan.files import checkpoints
from contextual_gan.files.checkpoints import WeightsError, file_sha256
from contextual_gan.files.images import grid, replace_file, to_uint8
from contextual_gan.joint import half
from contextual_gan.models import dcgan
from contextual_gan.models.weights import load_networks
from contextual_gan.training import devices

STRIP_ITERATIONS = 40
LAST = 50  # lines of stats.jsonl over which the losses at the end are taken
COLLAPSED = 0.1  # deviation over the fixed z, as a share of that over the training images


def noise(seed, step, n):
    """The z of a step: (n, 100) float32 from U(-1, 1), a function of (seed, step)."""
    return tf.random.stateless_uniform(
        [n, dcgan.LATENT], tf.stack([tf.cast(seed, tf.int64), step]), -1, 1, alg="philox"
    )


def build(settings):
    """The networks of a run, with random weights."""
    keras.utils.set_random_seed(settings.seed % 2**32)
    numbers = {name: getattr(settings, name) for name in ("width", "lr", "beta_1", "precision")}
    return dcgan.DCGAN(**numbers, ema=settings.ema > 0)


def start_from(model, settings):
    """Give the networks the weights of train.init_from. Raises `WeightsError` in one line."""
    generator, discriminator = load_networks(settings.init_from)
    pairs = ((model.generator, generator), (model.discriminator, discriminator), (model.average, generator))
    try:
        for network, source in pairs:
            if network is not None:
                network.set_weights(source.get_weights())
    except ValueError as error:
        reason = f"the networks of train.init_from {settings.init_from} are not of train.width {settings.width}"
        raise WeightsError(reason) from error


def update_function(model, settings, strategy):
    """update(batch, step) -> {name: scalar tensor} for `training.train`. strategy: that the model was made with."""

    def on_replica(batch, step):
        t = tf.cast(step, tf.float32)
        decay = tf.minimum(settings.ema, (1 + t) / (10 + t))
        real, z = devices.share(batch), devices.share(noise(settings.seed, step, settings.batch_size))
        return dcgan.train_step(model, real, z, g_updates=settings.g_updates, decay=decay)

    return devices.update_function(on_replica, strategy)


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
            warn(f"step {step}: the images of all z look the same (mode collapse, or the very beginning)")
        found = {name: grid(to_uint8(images).reshape(8, 8, *images.shape[1:])) for name, images in drawn.items()}
        best = model.generator if model.average is None else model.average
        known = half(joints, "sketch")
        done = complete(best, model.discriminator, known, preset="coauthor", iterations=STRIP_ITERATIONS)
        rows = [[a, *b] for a, b in zip(joints, to_uint8(done.joints), strict=True)]
        return found | {"completed": grid(rows, titles=("of the data", "completed"))}

    return pictures


# --- what has been trained --------------------------------------------------------------------------------------------


def card(pinned, path):
    """What is known of the weights that were exported from a run, as `Pinned`, to a file -> dict."""
    folder = Path(pinned.name)
    settings = config.load(folder / "config.yaml", "train", config.Train)
    step = checkpoints.step_of(pinned.path)
    last = [line for line in checkpoints.read_stats(folder / "stats.jsonl") if line["step"] <= step][-LAST:]
    return {
        "name": path.stem,
        "sha256": file_sha256(path),
        "networks": f"generator() and discriminator() of contextual_gan/dcgan.py at width {settings.width}",
        "data": (folder / "config.yaml").read_text(encoding="utf-8").splitlines()[0].removeprefix("# "),
        "images_seen": step * settings.batch_size,
        "steps": step,
        "training": config.resolved(settings),
        "losses_at_the_end": {
            name: round(float(np.median([line[name] for line in last])), 3)
            for name in ("d_loss", "g_loss", "D(x)", "D(G(z))")
            if last
        },
    }


def write_card(pinned, path):
    """Write the `card` of weights to a JSON file beside them."""
    replace_file(path.with_suffix(".json"), json.dumps(card(pinned, path), indent=1).encode() + b"\n")
