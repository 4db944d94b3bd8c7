"""What `joint_training.train_on_joints` does with the pix2pix networks, and what comes out of it."""

import hashlib
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from contextual_gan import checkpoints, config, distribution, pix2pix, training_state
from contextual_gan.images import grid, to_float, to_uint8
from contextual_gan.inference import batches
from contextual_gan.joint import DIRECTIONS, half

BATCH = 16  # images drawn at once


def build(settings):
    """The networks of a run, with random weights."""
    keras.utils.set_random_seed(settings.seed % 2**32)
    numbers = {name: getattr(settings, name) for name in ("ngf", "lr", "beta_1", "precision")}
    return pix2pix.Pix2Pix(**numbers)


def start_from(model, settings):
    """Give G the weights of pix2pix.init_from. Raises `checkpoints.WeightsError` in one line."""
    generator = checkpoints.load_pix2pix(settings.init_from, settings.direction)
    try:
        model.generator.set_weights(generator.get_weights())
    except ValueError as error:
        reason = f"the network of pix2pix.init_from {settings.init_from} is not of pix2pix.ngf {settings.ngf}"
        raise checkpoints.WeightsError(reason) from error


def update_function(model, settings, strategy, steps=None):
    """update(batch, step) -> {name: scalar tensor} for `training.train`. strategy: that the model was made with.

    steps: of the whole run, on which nothing depends here.
    """
    shapes = pix2pix.noise_shapes(model.generator)

    def on_replica(batch, step):
        seeds = [tf.stack([tf.constant((settings.seed + i) % 2**63, tf.int64), step]) for i in range(1 + len(shapes))]
        noise = [
            tf.random.stateless_uniform((settings.batch_size, *shape), seed)
            for shape, seed in zip(shapes, seeds[1:], strict=True)
        ]
        joints = pix2pix.jittered(batch, seeds[0]) if settings.jitter else batch
        joints, plain, *noise = (distribution.share(part) for part in (joints, batch, *noise))
        options = {"direction": settings.direction, "l1": settings.l1, "plain": plain if settings.jitter else None}
        return pix2pix.train_step(model, joints, noise, **options)

    return distribution.update_function(on_replica, strategy)


def judge_function(model, settings, files, lines, warn):
    """judge(step) for `training.train`: there is nothing to judge beside the losses."""
    return lambda step: {}


def pictures_function(model, settings, joints, warn):
    """pictures(step) for `training.train`: known halves, what G makes of them, and the truth."""
    known, truth = half(joints, DIRECTIONS[settings.direction]), half(joints, settings.direction)

    def pictures(step):
        rows = [list(row) for row in zip(known, draw(model.generator, known), truth, strict=True)]
        return {"drawn": grid(rows, titles=("known", "pix2pix", "truth"))}

    return pictures


def load_run(path):
    """(G, its direction) of a run folder's newest whole checkpoint. Raises ValueError as `dcgan_training.load_run`."""
    settings = config.load(Path(path) / "config.yaml", "pix2pix", config.Pix2Pix)
    model = pix2pix.Pix2Pix(ngf=settings.ngf)
    training_state.restore(Path(path) / "checkpoints", model, lambda line: print(f"warning: {line}", file=sys.stderr))
    return model.generator, settings.direction


def card(path):
    """What is known of the newest weights of a run folder: a dict for `checkpoints.save_pix2pix`."""
    settings = config.load(Path(path) / "config.yaml", "pix2pix", config.Pix2Pix)
    step = checkpoints.step_of(checkpoints.newest(Path(path) / "checkpoints"))
    data = (Path(path) / "config.yaml").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    seen = {"steps": step, "images_seen": step * settings.batch_size}
    return {"direction": settings.direction, "data": data, **seen, "training": config.resolved(settings)}


def draw(generator, known, *, dropout=True, seed=0, progress=lambda n: None):
    """The other halves of known ones, (n, 64, 64, 3) uint8 both, with dropout as in training (as the original) or none.

    Dropout is a function of the seed and of the pixels, and all batches have the same size (TensorFlow splits sums
    according to it), so that neither the order nor the company matters. progress(n): after each n images.
    """
    found = np.empty_like(known)
    shapes = pix2pix.noise_shapes(generator)
    for rows in batches(len(known), BATCH):
        given = known[rows]
        padded = np.concatenate([given, np.zeros_like(given, shape=(BATCH - len(given), *given.shape[1:]))])
        masks = [tf.ones((BATCH, *shape)) for shape in shapes]
        if dropout:
            noise = zip(*(_noise(image, shapes, seed) for image in padded), strict=True)
            masks = pix2pix.masks([tf.stack(parts) for parts in noise])
        drawn = generator([tf.constant(to_float(padded)), *masks], training=False)
        found[rows] = to_uint8(drawn.numpy()[: len(given)])
        progress(len(given))
    return found


def _noise(image, shapes, seed):
    content = hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
    rng = np.random.default_rng([seed, *np.frombuffer(content, "<u4")])
    return [rng.random(shape, np.float32) for shape in shapes]
