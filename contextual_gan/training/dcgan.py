"""Train a contextual GAN: the part of training that is specific to the DCGAN."""

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
from contextual_gan.models.dcgan import DCGAN, LATENT, train_step
from contextual_gan.models.locations import WEIGHTS, is_run, is_single
from contextual_gan.models.weights import load_run, load_state
from contextual_gan.training import devices, own_pairs
from contextual_gan.training.batches import read_joints
from contextual_gan.training.loop import learning_rate

JUDGED = 64  # number of fixed z whose joints are judged and drawn
TRUE_PAIRS = 24  # joints of the data that determine the style of its sketches
STRIP_ITERATIONS = 40
LAST = 50  # lines of stats.jsonl averaged for the final losses
COLLAPSED = 0.1  # deviation over the fixed z, as a share of that over the training images


def noise(seed, step, n):
    """The z of a step: (n, 100) float32 from U(-1, 1), depending on (seed, step)."""
    return tf.random.stateless_uniform([n, LATENT], tf.stack([tf.cast(seed, tf.int64), step]), -1, 1, alg="philox")


def build(settings):
    """The networks of a run, with random weights."""
    keras.utils.set_random_seed(settings.seed % 2**32)
    numbers = {name: getattr(settings, name) for name in ("width", "lr", "beta_1", "precision")}
    return DCGAN(**numbers, ema=settings.ema > 0, pair_width=settings.pair_width if settings.pairs else None)


def start_from(model, settings):
    """Initialise the networks from train.init_from. Raises `WeightsError` in one line.

    From a run, or a folder of weights with their state: G, its average, D, and P if there is one. If there is only one
    G, it serves as both.
    """
    given = settings.init_from
    state = load_run(given) if is_run(given) else load_state(given)
    generator, average, discriminator, pair = (
        getattr(state, name) for name in ("generator", "average", "discriminator", "pair_discriminator")
    )
    pairs = (
        ("width", model.generator, generator),
        ("width", model.average, average or generator),
        ("width", model.discriminator, discriminator),
        ("pair_width", model.pair_discriminator, pair),
    )
    for width, network, source in pairs:
        try:
            if network is not None and source is not None:
                network.set_weights(source.get_weights())
        except ValueError as error:
            reason = f"do not have train.{width} {getattr(settings, width)}"
            raise WeightsError(f"the networks of train.init_from {given} {reason}") from error


def update_function(model, settings, strategy, steps=None):
    """update(batch, step) -> {name: scalar tensor} for `loop.train`. strategy: the one that created the model.

    steps: length of the run, at the end of which the learning rate reaches 0 with `train.lr_decay`; None keeps it
    constant.
    """

    def on_replica(batch, step):
        t = tf.cast(step, tf.float32)
        # random initial weights should leave the average soon, trained ones should not
        decay = settings.ema if _continues(settings) else tf.minimum(settings.ema, (1 + t) / (10 + t))
        real, z = devices.share(batch), devices.share(noise(settings.seed, step, settings.batch_size))
        others = devices.share(tf.roll(half(batch, "photo"), 1, axis=0)) if settings.pairs else None
        numbers = {name: getattr(settings, name) for name in ("g_updates", "pairs", "mismatched", "edges")}
        lr = learning_rate(settings, step, steps)
        parts = train_step(model, real, z, decay=decay, lr=lr, others=others, **numbers)
        return parts if lr is None else parts | {"lr": lr}

    return devices.update_function(on_replica, strategy)


def _continues(settings):
    """Whether the run continues another one, whose average is older than the first step of this run.

    Decided by the name alone: when a run is resumed, its initial weights may be gone.
    """
    given = settings.init_from
    return given is not None and (Path(given).name == WEIGHTS or not is_single(given))


def judge_function(model, settings, files, lines, warn):
    """judge(step) for `loop.train`: own-pair consistency of G, and of its average, at fixed z.

    files: training joints; lines: of stats.jsonl so far. warn(line) is called if the halves have not belonged together
    for an epoch, and at once if `train.edges` assumes a sketch style other than that of the data.
    """
    joints = read_joints(files[:: max(len(files) // TRUE_PAIRS, 1)][:TRUE_PAIRS])
    styles = own_pairs.styles_of(joints)
    true = own_pairs.consistencies(joints, ["xdog"]).mean()
    if settings.edges and (styles != ["xdog"] or true < own_pairs.OWN_STYLE):
        warn(f"train.edges assumes XDoG sketches, but those of the data differ (consistency {true:.2f})")
    networks = {"g": model.generator} | ({"average": model.average} if model.average is not None else {})
    epoch = len(files) / settings.batch_size
    return own_pairs.judge_function(networks, _fixed_z(settings), styles, epoch=epoch, lines=lines, warn=warn)


def _fixed_z(settings):
    return noise(settings.seed, tf.constant(-1, tf.int64), JUDGED)


def pictures_function(model, settings, joints, warn):
    """pictures(step) for `loop.train`: joints of fixed z, from G and from its average, and a strip of completions.

    joints: (n, 64, 128, 3) uint8, whose sketches are completed. warn(line) is called if the images of all z
    look the same.
    """
    z = _fixed_z(settings)
    spread = (joints.astype(np.float32) / 127.5).std(axis=0).mean()

    def pictures(step):
        drawn = {"generator": model.generator(z, training=False).numpy()}
        if model.average is not None:
            drawn["average"] = model.average(z, training=False).numpy()
        if step and drawn["generator"].std(axis=0).mean() < COLLAPSED * spread:
            warn(f"step {step}: the images of all z look the same (mode collapse, or the start of training)")
        found = {name: grid(to_uint8(images).reshape(8, 8, *images.shape[1:])) for name, images in drawn.items()}
        best = model.generator if model.average is None else model.average
        known = half(joints, "sketch")
        done = complete(best, model.discriminator, known, preset="coauthor", iterations=STRIP_ITERATIONS)
        rows = [[a, *b] for a, b in zip(joints, to_uint8(done.joints), strict=True)]
        return found | {"completed": grid(rows, titles=("of the data", "completed"))}

    return pictures


# --- the trained weights ----------------------------------------------------------------------------------------------


def card(pinned, path):
    """The card of weights exported from a run, given as `Pinned`, to the file `path` -> dict."""
    folder = Path(pinned.name)
    settings = config.load(folder / "config.yaml", "train", config.TrainSettings)
    step = checkpoints.step_of(pinned.path)
    last = [line for line in checkpoints.read_stats(folder / "stats.jsonl") if line["step"] <= step][-LAST:]
    return {
        "name": path.stem,
        "sha256": file_sha256(path),
        "networks": f"generator() and discriminator() of contextual_gan/models/dcgan.py at width {settings.width}",
        "data": (folder / "config.yaml").read_text(encoding="utf-8").splitlines()[0].removeprefix("# "),
        "images_seen": step * settings.batch_size,
        "steps": step,
        "training": config.resolved(settings),
        "losses_at_the_end": {
            name: round(float(np.median([line[name] for line in last])), 3)
            for name in ("d_loss", "g_loss", "D(x)", "D(G(z))", "p_loss", "P(x)", "P(G(z))", *own_pairs.NAMES)
            if last and name in last[-1]
        },
    }


def write_card(pinned, path):
    """Write the `card` of weights to a JSON file beside them."""
    replace_file(path.with_suffix(".json"), json.dumps(card(pinned, path), indent=1).encode() + b"\n")
