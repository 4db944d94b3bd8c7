"""Train pix2pix: the part of `run.train_on_joints` that is specific to its networks."""

from pathlib import Path

import keras
import tensorflow as tf

from contextual_gan import config
from contextual_gan.files import checkpoints
from contextual_gan.files.checkpoints import WeightsError
from contextual_gan.files.images import grid
from contextual_gan.joint import DIRECTIONS, half
from contextual_gan.models import pix2pix
from contextual_gan.models.pix2pix import draw_half
from contextual_gan.models.weights import load_pix2pix
from contextual_gan.preparation.rough import levels, roughen
from contextual_gan.training import devices
from contextual_gan.training.loop import learning_rate


def build(settings):
    """The networks of a run, with random weights."""
    keras.utils.set_random_seed(settings.seed % 2**32)
    numbers = {name: getattr(settings, name) for name in ("ngf", "lr", "beta_1", "precision")}
    return pix2pix.Pix2Pix(**numbers)


def start_from(model, settings):
    """Initialise G from pix2pix.init_from. Raises `WeightsError` in one line."""
    generator = load_pix2pix(settings.init_from, settings.direction)
    try:
        model.generator.set_weights(generator.get_weights())
    except ValueError as error:
        reason = f"the network of pix2pix.init_from {settings.init_from} does not have pix2pix.ngf {settings.ngf}"
        raise WeightsError(reason) from error


def update_function(model, settings, strategy, steps=None):
    """update(batch, step) -> {name: scalar tensor} for `loop.train`. strategy: the one that created the model.

    steps: as in `dcgan.update_function`.
    """
    shapes = pix2pix.noise_shapes(model.generator)

    def on_replica(batch, step):
        seeds = [tf.stack([tf.constant((settings.seed + i) % 2**63, tf.int64), step]) for i in range(1 + len(shapes))]
        noise = [
            tf.random.stateless_uniform((settings.batch_size, *shape), seed)
            for shape, seed in zip(shapes, seeds[1:], strict=True)
        ]
        joints = pix2pix.jittered(batch, seeds[0]) if settings.jitter else batch
        if settings.rough and settings.direction == "photo":
            seed = tf.stack([tf.constant((settings.seed + len(seeds)) % 2**63, tf.int64), step])
            joints, plain = (_with_rough_sketches(images, settings, seed) for images in (joints, batch))
        else:
            plain = batch
        joints, plain, *noise = (devices.share(part) for part in (joints, plain, *noise))
        lr = learning_rate(settings, step, steps)
        options = {"direction": settings.direction, "l1": settings.l1, "plain": plain if settings.jitter else None}
        parts = pix2pix.train_step(model, joints, noise, lr=lr, **options)
        return parts if lr is None else parts | {"lr": lr}

    return devices.update_function(on_replica, strategy)


def _with_rough_sketches(joints, settings, seed):
    """Joints (n, 64, 128, 3) in [-1, 1] with most of their sketches made rough."""
    seeds = tf.random.split(seed, 2)
    sketches, amount = half(joints, "sketch"), levels(settings.batch_size, settings.rough, settings.clean, seeds[0])
    return tf.concat([roughen(sketches, amount, seeds[1]), half(joints, "photo")], axis=2)


def judge_function(model, settings, files, lines, warn):
    """judge(step) for `loop.train`: there is nothing to judge except the losses."""
    return lambda step: {}


def pictures_function(model, settings, joints, warn):
    """pictures(step) for `loop.train`: known halves, G's predictions, and the truth."""
    known, truth = half(joints, DIRECTIONS[settings.direction]), half(joints, settings.direction)

    def pictures(step):
        rows = [list(row) for row in zip(known, draw_half(model.generator, known), truth, strict=True)]
        return {"drawn": grid(rows, titles=("known", "pix2pix", "truth"))}

    return pictures


def card(pinned):
    """The description of a run's `Pinned` weights: a dict for `save_pix2pix`."""
    path = Path(pinned.name) / "config.yaml"
    settings = config.load(path, "pix2pix", config.Pix2PixSettings)
    step = checkpoints.step_of(pinned.path)
    data = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    seen = {"steps": step, "images_seen": step * settings.batch_size}
    return {"direction": settings.direction, "data": data, **seen, "training": config.resolved(settings)}
