"""Training on several devices: 2 logical CPUs match one, and 2 workers on this machine survive a kill."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, draw_face

from contextual_gan import config
from contextual_gan.files.images import write_png
from contextual_gan.joint import join
from contextual_gan.training import devices

# --- 2 logical CPUs: made before TensorFlow starts, so these tests run in a separate process -------------------------


def compare():
    """Train small networks on one device and on two, and print their differences as JSON."""
    import tensorflow as tf

    from contextual_gan.models import dcgan

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one, two = devices.create("one"), devices.create("mirrored")
    found = {"devices": two.num_replicas_in_sync}

    # without batch normalization. Adam's mean of gradients is the gradient if it forgets at once (beta_1 = 0)
    original = dcgan.generator, dcgan.discriminator
    dcgan.generator, dcgan.discriminator = smooth_generator, smooth_discriminator
    models, stats = zip(*(trained(strategy, 1, lr=0.0, beta_1=0.0) for strategy in (one, two)), strict=True)
    optimizers = ("g_optimizer", "d_optimizer")
    found["gradients"] = [difference(*(getattr(model, name)._momentums for model in models)) for name in optimizers]
    found["stats"] = stats
    original_pair, dcgan.pair_discriminator = dcgan.pair_discriminator, smooth_pair_discriminator
    settings = {"lr": 0.0, "beta_1": 0.0, "pairs": 1.0, "edges": 1.0}
    models, found["tied stats"] = zip(*(trained(strategy, 1, **settings) for strategy in (one, two)), strict=True)
    optimizers = ("g_optimizer", "d_optimizer", "p_optimizer")
    found["tied"] = [difference(*(getattr(model, name)._momentums for model in models)) for name in optimizers]
    dcgan.pair_discriminator = original_pair
    begun, *models = (
        weights(trained(strategy, steps, sgd=0.5)[0]) for strategy, steps in ((one, 0), (one, 3), (two, 3))
    )
    found["weights"] = [difference(*both) for both in zip(*models, strict=True)]
    found["moved"] = [difference(*both) for both in zip(begun, models[0], strict=True)]

    # with it
    dcgan.generator, dcgan.discriminator = original
    model, _ = trained(two, 3)
    found["alike"] = all(np.array_equal(*map(np.asarray, v.value.values)) for v in model.variables)
    found["finite"] = all(np.isfinite(v).all() for v in model.variables)
    halves = [trained(one, 1, lr=0.0, part=part)[0] for part in (slice(0, 4), slice(4, 8))]
    means = [(np.asarray(a) + np.asarray(b)) / 2 for a, b in zip(*map(statistics, halves), strict=True)]
    found["statistics"] = difference(means, statistics(trained(two, 1, lr=0.0)[0]))
    found["pix2pix"] = [trained_pix2pix(strategy) for strategy in (one, two)]
    print(json.dumps(found))


def trained_pix2pix(strategy):
    """[the mean absolute error of the first of two steps, whether all devices end with the same numbers]."""
    import tensorflow as tf

    from contextual_gan.training import pix2pix

    settings = config.Pix2PixSettings(ngf=2, batch_size=4)
    with strategy.scope():
        model = pix2pix.build(settings)
    update = pix2pix.update_function(model, settings, strategy)
    images = tf.constant(np.random.default_rng(0).uniform(-1, 1, (4, 64, 128, 3)), tf.float32)
    errors = [float(update(images, tf.constant(step, tf.int64))["l1"]) for step in range(2)]
    copies = [[np.asarray(copy) for copy in strategy.experimental_local_results(v.value)] for v in model.variables]
    return errors[0], all(np.array_equal(a[0], b) and np.isfinite(b).all() for a in copies for b in a)


def smooth_generator(width):
    """Without batch normalization, and without ReLU: at its kink, rounding changes the gradient a lot."""
    from keras import Input, Model, initializers, layers

    z = Input((100,))
    x = layers.Dense(4 * 8 * width, "tanh", kernel_initializer=initializers.RandomNormal(0, 0.2))(z)
    x = layers.Reshape((4, 8, width))(x)
    return Model(z, layers.Conv2DTranspose(3, 16, 16, activation="tanh", name="up")(x), name="generator")


def smooth_discriminator(width):
    return smooth_judge((64, 128, 3), width, "discriminator")


def smooth_pair_discriminator(width):
    return smooth_judge((64, 64, 4), width, "pair")


def smooth_judge(shape, width, name):
    from keras import Input, Model, layers

    images = Input(shape)
    x = layers.Conv2D(width, 8, 8, activation="tanh")(images)
    return Model(images, layers.Dense(1)(layers.Flatten()(x)), name=name)


def trained(strategy, steps, *, sgd=None, part=slice(None), **settings):
    """A model after some steps with random images, or with a part of each batch, and the numbers of the last step."""
    import keras
    import tensorflow as tf

    from contextual_gan.models.dcgan import train_step
    from contextual_gan.training.dcgan import build, noise, update_function

    settings = config.TrainSettings(width=4, batch_size=8, seed=5, **settings)
    with strategy.scope():
        model = build(settings)
        if sgd:
            model.g_optimizer, model.d_optimizer = keras.optimizers.SGD(sgd), keras.optimizers.SGD(sgd)
            model.g_optimizer.build(model.generator.trainable_variables)
            model.d_optimizer.build(model.discriminator.trainable_variables)
    update, found = update_function(model, settings, strategy), {}
    for step in range(steps):
        images = np.random.default_rng(step).uniform(-1, 1, (8, 64, 128, 3)).astype(np.float32)
        step = tf.constant(step, tf.int64)
        if part == slice(None):
            found = update(tf.constant(images), step)
        else:
            found = train_step(model, images[part], noise(5, step, 8)[part])
    return model, {name: float(value) for name, value in found.items()}


def weights(model):
    return [network.weights for network in (model.generator, model.average, model.discriminator)]


def statistics(model):
    return model.generator.non_trainable_variables + model.discriminator.non_trainable_variables


def difference(ones, others):
    """|a - b| / |a| of two vectors, given as lists of arrays."""
    a, b = (np.concatenate([np.ravel(each) for each in arrays]) for arrays in (ones, others))
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


@pytest.fixture(scope="module")
def compared():
    code = "import test_devices; test_devices.compare()"
    here = Path(__file__).parent
    paths = [str(here.parent), os.environ.get("PYTHONPATH", "")]  # of conftest
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=here, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["devices"] == 2
    return found


def test_two_devices_give_the_gradients_of_one(compared):
    assert max(compared["gradients"]) < 1e-6


def test_two_devices_give_the_gradients_of_one_with_pairs_and_edges(compared):
    """Strangers are chosen in the whole batch: the last sketch of a share is paired with a photo of the other share."""
    assert max(compared["tied"]) < 5e-6  # the edges' tanh(200 D) magnifies rounding: 2.2e-6 with AVX2
    one, two = compared["tied stats"]
    assert two == pytest.approx(one, rel=1e-5) and {"P(mismatched)", "g_loss_edges"} < set(one)


def test_two_devices_give_the_weights_of_one_after_three_steps(compared):
    assert max(compared["weights"]) < 1e-5 < 1e-3 < min(compared["moved"])


def test_logged_values_are_those_of_the_whole_batch(compared):
    one, two = compared["stats"]
    assert two == pytest.approx(one, rel=1e-5) and len(one) == 8


def test_batch_normalization_sees_shares_and_its_averages_are_means_over_the_devices(compared):
    assert compared["alike"] and compared["finite"] and compared["statistics"] < 1e-6


def test_pix2pix_trains_the_same_on_two_devices(compared):
    (one, _), (two, alike) = compared["pix2pix"]
    assert alike and two == pytest.approx(one, rel=0.02)  # not equal: each device normalises its own share


# --- several workers --------------------------------------------------------------------------------------------------


def workers(arguments):
    """Start both workers of a cluster on this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    cluster = {"worker": [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]}
    for each in sockets:
        each.close()
    command = [sys.executable, ROOT / "scripts" / "train.py", "--strategy", "multi-worker", *arguments]
    tasks = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}}) for i in range(2)]
    return [
        subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TF_CONFIG": task},
        )
        for task in tasks
    ]


@pytest.mark.parametrize("killed", [1, pytest.param(0, marks=pytest.mark.full)])
def test_a_killed_worker_stops_the_other_and_both_continue(killed, tmp_path):
    for i in range(20):
        sketch = draw_face(i)
        write_png(tmp_path / "data" / "train" / f"{i:03}.png", join(sketch, 255 - sketch))
    run, checkpoints = tmp_path / "run", tmp_path / "run" / "checkpoints"
    arguments = ["--config", ROOT / "configs" / "smoke.yaml", "--data", tmp_path / "data", "--out", run]
    arguments += ["--save-every", 2, "--set", "train.sample_every=1000000", "--steps"]
    started = workers([*arguments, 10**6])
    try:
        while not (checkpoints / "step-000004").exists() and started[0].poll() is None:
            time.sleep(0.02)
        started[killed].kill()
        _, errors = started[1 - killed].communicate(timeout=60)
        assert started[1 - killed].returncode == 1, errors
        *_, last = errors.splitlines()
        assert last == "train.py: another worker stopped or is unreachable: restart all workers with --resume"
        assert "Traceback" not in errors

        saved = int(max(path.name for path in checkpoints.glob("step-*"))[5:])
        lines = (run / "stats.jsonl").read_text().splitlines()[:saved]
        started += workers([*arguments, saved + 3, "--resume"])
        errors = [each.communicate(timeout=120)[1] for each in started[2:]]
        assert [each.returncode for each in started[2:]] == [0, 0], errors
        assert (checkpoints / f"step-{saved + 3:06}").exists()
        continued = (run / "stats.jsonl").read_text().splitlines()
        assert continued[:saved] == lines
        assert [json.loads(line)["step"] for line in continued] == list(range(1, saved + 4))
    finally:
        for each in started:
            each.kill()


@pytest.mark.parametrize(
    "given",
    ["", "no JSON", "[]", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'],
)
def test_multi_worker_needs_a_tf_config(given, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", given)
    with pytest.raises(ValueError, match="multi-worker needs TF_CONFIG"):
        devices.is_chief("multi-worker")
