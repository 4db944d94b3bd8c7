"""Training: the step compared with a matrix product, the cost of the loop around it, and a plain loop."""

import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from keras import layers
from PIL import Image

from benchmarks.clocks import matrix_product_rate, print_medians, seconds
from benchmarks.data import made_photos
from contextual_gan import command, config, joint
from contextual_gan.files import images
from contextual_gan.models.dcgan import LATENT, discriminator, fake_loss, generator, generator_loss, real_loss
from contextual_gan.preparation import sketches
from contextual_gan.training import batches as data
from contextual_gan.training import dcgan, devices
from contextual_gan.training import loop as training
from contextual_gan.training.run_folder import RunFolder

PRODUCTS = 5  # of matrices, after every step
PAIRS = {"pairs": 1.0, "edges": 5.0}  # as in configs/celeba_pairs.yaml
PLAIN_EVERY = 4  # steps; the last of them also writes a line of stats.jsonl
JOINTS = 300  # made if no data set is given
NEVER = 10**9


def main(args):
    """Time everything in turn after every step, so that other load affects them equally; a measurement has log_every
    steps.

    With lr 0 the arithmetic is the same, but no network memorises these few images, which would cause a warning. Joints
    are decoded from PNG in every epoch, as for data sets larger than memory; cached joints cost less.
    """
    if args.deterministic:
        tf.config.experimental.enable_op_determinism()
    given = {name: getattr(args, name) for name in ("batch_size", "precision", "g_updates")}
    with command.mistakes():
        settings = config.TrainSettings(**given, lr=0.0, cache_gb=0.0, sample_every=NEVER, save_every=NEVER)
    with tempfile.TemporaryDirectory() as work, command.mistakes():
        if not args.data:
            make_joints(Path(work) / "train")
        files = data.joint_files(Path(args.data or work) / "train")
        gflop = step_flop(generator(), discriminator(), settings.g_updates) / 1e9
        print(f"a training step is {gflop:.3f} GFLOP per image, multiply-adds counted twice", flush=True)
        with data.damage_named(files):
            measured = measure(settings, files, Path(work) / "run", args.repeats * settings.log_every, args.pairs)
    print_medians(rows(gflop, settings.batch_size, *(np.reshape(values, (args.repeats, -1)) for values in measured)))
    return 0


def rows(gflop, batch_size, loop, step, product, plain, pairs):
    """{name: (repeats,) values} from the results of `measure`, each (repeats, number)."""
    in_loop = with_log(loop)
    cost = with_log(loop / step) - 1
    more = {"step with pairs / step without": np.median(pairs / step, axis=1)} if pairs.size else {}
    step, product, plain = (np.median(values, axis=1) for values in (step, product, plain))
    rate = batch_size / step * gflop
    return {
        "images/s of the step alone": batch_size / step,
        f"GFLOP/s at {gflop:.3f} each": rate,
        "GFLOP/s of a 2048x2048 product": 1 / product,
        "ratio": rate * product,
        "images/s of train.py's loop": batch_size / in_loop,
        "% for reading data and logging": 100 * cost,
        "images/s of the plain loop": batch_size / plain,
        "times the plain loop": plain / in_loop,
        **more,
    }


def with_log(values):
    """(repeats, n) -> (repeats,): the mean over steps, from the median of the n - 1 similar ones and the last one.

    The last of n differs: it writes a line of stats.jsonl.
    """
    n = values.shape[1]
    return ((n - 1) * np.median(values[:, :-1], axis=1) + values[:, -1]) / n


def make_joints(folder):
    """Write joints as PNG: one photo with different noise, and its sketch."""
    for i, photo in enumerate(made_photos(JOINTS)):
        square = images.centre_square(images.on_background(images.decode_rgba(photo)), joint.SIZE)
        images.write_png(folder / f"{i:06d}.png", joint.join(sketches.xdog(square), square))


# --- arithmetic -------------------------------------------------------------------------------------------------------


def layer_flop(layer):
    """FLOP of a layer per image; the forward pass and the gradients of input and weights each take this many."""
    match layer:
        case layers.Conv2D():
            places = math.prod(layer.output.shape[1:3])
        case layers.Conv2DTranspose():
            places = math.prod(layer.input.shape[1:3])
        case layers.Dense():
            places = 1
        case _:
            return 0
    return 2 * places * math.prod(layer.kernel.shape)


def step_flop(generator, discriminator, g_updates):
    """FLOP per image of `dcgan.train_step`: without gradients of z, and of the images in the update of D."""
    (g_first, *g), (d_first, *d) = (
        [flop for layer in network.layers if (flop := layer_flop(layer))] for network in (generator, discriminator)
    )
    update_d = 2 * (2 * d_first + 3 * sum(d))  # on real and on generated images, which the first update of G makes
    update_g = 2 * g_first + 3 * sum(g) + 2 * (d_first + sum(d))
    return update_d + g_updates * update_g


# --- clocks -----------------------------------------------------------------------------------------------------------


def measure(settings, files, out, steps, with_pairs=False):
    """Seconds per step of `loop.train`, per step alone, per GFLOP of matrix products, per step of the plain loop, and
    per step alone with pairs and edges.

    Each is a list of `steps` values; fewer for the plain loop, and none for the last unless `with_pairs`. The others
    are measured while the loop waits for its next batch. The pipeline has prepared that batch long before, within the
    loop's last step, so it does no work during the other measurements; a faster device would distort them.
    """
    model, update = built(settings)
    update_pairs = built(replace(settings, **PAIRS))[1] if with_pairs else None
    batches = data.joint_batches(files, batch_size=settings.batch_size, seed=0, cache_bytes=0)
    batch, plain_step = next(iter(batches)), plain_loop(settings, files)
    plain_step()  # compiles
    if with_pairs:
        alone_step(update_pairs, batch)
    loop, alone, products, plain, pairs = [], [], [], [], []

    def others():
        products.append(1 / matrix_product_rate(products=PRODUCTS))
        alone.append(alone_step(update, batch))
        if with_pairs:
            pairs.append(alone_step(update_pairs, batch))
        if len(alone) % PLAIN_EVERY == 0:
            plain.append(seconds(plain_step))

    run = RunFolder(out, settings)
    run.begin(0)
    start = settings.log_every - 1  # the first step compiles and logs; one more step ends the time of the last
    end = start + 1 + steps + 1
    turns = in_turn(iter(batches), others, loop)
    if training.train(run, model, update, turns, start=start, steps=end, pictures=lambda step: {}) < end:
        raise KeyboardInterrupt
    return loop, alone, products, plain, pairs


def built(settings):
    """(the networks, the function that takes a step)"""
    model = dcgan.build(settings)
    return model, dcgan.update_function(model, settings, devices.create("one"))


def alone_step(update, batch):
    """Seconds that a step takes."""
    return seconds(lambda: update(batch, tf.constant(0, tf.int64))["g_gradient"].numpy())


def in_turn(batches, others, taken):
    """The batches; from the second on, `taken` gets the seconds until the next request, and others() is called."""
    yield next(batches)
    while True:
        begun = time.perf_counter()
        yield next(batches)
        tf.test.experimental.sync_devices()  # GPUs
        taken.append(time.perf_counter() - begun)
        others()


# --- the plain loop ---------------------------------------------------------------------------------------------------


def plain_loop(settings, files):
    """step(): one of DCGAN-tensorflow's loop, with these networks: each image is read when needed, each update
    makes its own fakes, and the losses are computed once more for printing.
    """
    update_d, update_g, *losses = plain_functions(dcgan.build(replace(settings, ema=0.0)))
    rng, position = np.random.default_rng(0), 0

    def step():
        nonlocal position
        names = [files[(position + i) % len(files)] for i in range(settings.batch_size)]
        position += settings.batch_size
        real = np.array([np.asarray(Image.open(name)) for name in names]).astype(np.float32) / 127.5 - 1
        z = rng.uniform(-1, 1, (settings.batch_size, LATENT)).astype(np.float32)
        update_d(real, z)
        for _ in range(settings.g_updates):
            update_g(real, z)
        return [float(loss(real, z)) for loss in losses]

    return step


def plain_functions(model):
    """(update of D, update of G, loss of D on fakes, of D on real images, of G): each a separate graph."""
    G, D = model.generator, model.discriminator

    def on_fakes(real, z):
        return tf.reduce_mean(fake_loss(D(G(z, training=True), training=True)))

    def on_real(real, z):
        return tf.reduce_mean(real_loss(D(real, training=True)))

    def of_g(real, z):
        return tf.reduce_mean(generator_loss(D(G(z, training=True), training=True)))

    def update_d(real, z):
        with tf.GradientTape() as tape:
            loss = on_real(real, z) + on_fakes(real, z)
        model.d_optimizer.apply(tape.gradient(loss, D.trainable_variables), D.trainable_variables)

    def update_g(real, z):
        with tf.GradientTape() as tape:
            loss = of_g(real, z)
        model.g_optimizer.apply(tape.gradient(loss, G.trainable_variables), G.trainable_variables)

    return map(tf.function, (update_d, update_g, on_fakes, on_real, of_g))
