"""Training: the losses, one step, the run folder, checkpoints, and its behaviour after kills and errors."""

import hashlib
import itertools
import json
import math
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, draw_face, needs_bfloat16, run_here

from contextual_gan import config
from contextual_gan.files import checkpoints, lock
from contextual_gan.files.checkpoints import WeightsError, file_sha256
from contextual_gan.files.images import read_image, write_png
from contextual_gan.joint import join
from contextual_gan.models import dcgan, saved_models
from contextual_gan.models.weights import load_networks, load_run, load_state, save_weights
from contextual_gan.training import batches, devices
from contextual_gan.training import run as joint_training
from contextual_gan.training.dcgan import build, start_from, update_function
from contextual_gan.training.loop import learning_rate
from contextual_gan.training.run import steps_of
from contextual_gan.training.run_folder import PIXELS, RunFolder

TRAIN = [sys.executable, str(ROOT / "scripts" / "train.py"), "--config", str(ROOT / "configs" / "smoke.yaml")]
QUIET = ["--set", "train.sample_every=1000000"]


@pytest.fixture(scope="module")
def joints(tmp_path_factory):
    """A data set of 20 drawn joints."""
    folder = tmp_path_factory.mktemp("data")
    for i in range(20):
        sketch = draw_face(i)
        tint = np.random.default_rng(i).integers(60, 200, 3)
        write_png(folder / "train" / f"{i:03}.png", join(sketch, (sketch // 2 + tint // 2).astype(np.uint8)))
    return folder


def command(joints, out, *more):
    return [*TRAIN, "--data", str(joints), "--out", str(out), *map(str, more)]


def train(joints, out, *more, **options):
    return subprocess.run(command(joints, out, *more), capture_output=True, text=True, timeout=180, **options)


def stats(run):
    """The lines of stats.jsonl without the rates, which differ between runs."""
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images/s"} for line in lines]


def weights(run, step):
    """{name: bytes} of a checkpoint's content, except the description of the Python objects."""
    reader = tf.train.load_checkpoint(str(run / "checkpoints" / f"step-{step:06}" / "state"))
    names = [name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    assert len(names) > 100
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}


# --- losses and the step ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("logit", [-1e4, -30.0, -1.0, 0.0, 0.3, 30.0, 1e4])
def test_losses_are_right_at_any_logit(logit):
    def softplus(x):
        return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))

    value = tf.constant(logit)
    assert float(dcgan.real_loss(value)) == pytest.approx(softplus(-logit), rel=1e-6, abs=1e-12)
    assert float(dcgan.fake_loss(value)) == pytest.approx(softplus(logit), rel=1e-6, abs=1e-12)
    assert float(dcgan.generator_loss(value)) == pytest.approx(softplus(-logit), rel=1e-6, abs=1e-12)


def sgd_model():
    """A tiny model whose optimizers are plain gradient descent, so that steps can be recomputed by hand."""
    import keras

    keras.utils.set_random_seed(3)
    model = dcgan.DCGAN(width=2)
    model.g_optimizer, model.d_optimizer = keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1)
    model.g_optimizer.build(model.generator.trainable_variables)
    model.d_optimizer.build(model.discriminator.trainable_variables)
    return model


@pytest.mark.parametrize("g_updates", [1, 2, 3])
def test_a_step_matches_the_paper(g_updates):
    """The same step in separate passes, everything recomputed: D first, then G against the new D, the same z."""
    rng = np.random.default_rng(0)
    real = tf.constant(rng.uniform(-1, 1, (6, 64, 128, 3)), tf.float32)
    z = tf.constant(rng.uniform(-1, 1, (6, 100)), tf.float32)
    model, twin = sgd_model(), sgd_model()
    found = dcgan.train_step(model, real, z, g_updates=g_updates, decay=0.25)

    G, D, before = twin.generator, twin.discriminator, [w.numpy() for w in twin.generator.weights]
    fake = tf.constant(G(z, training=True).numpy())
    with tf.GradientTape() as tape:
        x, g = D(real, training=True), D(fake, training=True)
        bce = tf.nn.sigmoid_cross_entropy_with_logits
        loss_real, loss_fake = tf.reduce_mean(bce(tf.ones_like(x), x)), tf.reduce_mean(bce(tf.zeros_like(g), g))
        loss = loss_real + loss_fake
    for v, grad in zip(D.trainable_variables, tape.gradient(loss, D.trainable_variables), strict=True):
        v.assign_sub(0.1 * grad)
    for _i in range(g_updates):
        with tf.GradientTape() as tape:
            # the first update's fakes are those made for D, so batch statistics are counted once for both
            logits = D(G(z, training=True), training=True)
            g_loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.ones_like(logits), logits))
        for v, grad in zip(G.trainable_variables, tape.gradient(g_loss, G.trainable_variables), strict=True):
            v.assign_sub(0.1 * grad)
    for name, value in (("d_loss_real", loss_real), ("d_loss_fake", loss_fake), ("d_loss", loss), ("g_loss", g_loss)):
        assert float(found[name]) == pytest.approx(float(value), rel=1e-4), name
    assert float(found["D(x)"]) == pytest.approx(float(tf.reduce_mean(tf.sigmoid(x))), rel=1e-4)
    assert float(found["D(G(z))"]) == pytest.approx(float(tf.reduce_mean(tf.sigmoid(g))), rel=1e-4)
    for network, other in ((model.generator, G), (model.discriminator, D)):
        for a, b in zip(network.trainable_variables, other.trainable_variables, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=2e-5)
    for average, old, new in zip(model.average.weights, before, model.generator.weights, strict=True):
        np.testing.assert_allclose(average.numpy(), 0.25 * old + 0.75 * new.numpy(), rtol=1e-4, atol=1e-6)


# --- the run folder ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(joints, tmp_path_factory):
    """An uninterrupted run of 12 steps by the command: 20 images in batches of 8, pictures at step 10."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = train(joints, run, "--steps", 12)
    assert done.returncode == 0, done.stderr
    return run


def train_here(joints, out, steps, resume=False, **changed):
    """The command's work, in this process."""
    overrides = [f"train.{name}={value}" for name, value in changed.items()]
    settings = config.load(ROOT / "configs" / "smoke.yaml", "train", config.TrainSettings, overrides)
    files = batches.joint_files(joints / "train")
    run = RunFolder(out, settings, joint_training.about(joints / "train", files), resume)
    one = devices.create("one")
    return joint_training.train_on_joints(run, files, files[:2], steps=steps, strategy=one, resume=resume)


def test_a_small_training_set_causes_a_warning_in_the_log(whole):
    assert "warning: only 20 training images" in (whole / "log.txt").read_text()


def test_a_run_folder_is_self_contained(whole):
    names = {path.name.partition(".out.")[0] for path in whole.iterdir()}
    assert names == {"config.yaml", "log.txt", "stats.jsonl", "events", "samples", "checkpoints"}
    assert [line["step"] for line in stats(whole)] == list(range(1, 13))
    last = stats(whole)[-1]
    assert last["images"] == 96 and last["d_loss"] == pytest.approx(last["d_loss_real"] + last["d_loss_fake"], rel=1e-5)
    assert {"g_loss", "D(x)", "D(G(z))", "d_gradient", "g_gradient"} < set(last)
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == [f"step-0000{n}" for n in ("05", 10, 12)]
    kinds = ("average", "completed", "generator")
    pictures = [f"step-0000{step}_{kind}.png" for step in ("00", 10, 12) for kind in kinds]
    assert sorted(path.name for path in (whole / "samples").iterdir()) == pictures
    assert (
        "width: 4" in (whole / "config.yaml").read_text() and "20 joint images" in (whole / "config.yaml").read_text()
    )
    log = (whole / "log.txt").read_text()
    assert "step 10: d_loss" in log and log.endswith("step 12 of 12\n")


def test_tensorboard_events_hold_losses_pictures_and_the_configuration(whole):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(whole), size_guidance={"tensors": 0})
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"d_loss", "g_loss", "d_loss_real", "d_loss_fake", "images/s", "generator", "average"} <= tags
    assert any("configuration" in tag for tag in tags)
    assert len(events.Tensors("d_loss")) == 12


def test_a_run_can_complete_sketches_and_be_scored(joints, whole, tmp_path):
    ask = ("--iterations", 3, "--weights", whole)
    done = run_here("scripts/complete.py", *ask, joints / "train" / "003.png", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    more = ("--data", joints / "train", "--limit", 2, "--method", "contextual", "--out", tmp_path / "scores")
    done = run_here("scripts/evaluate.py", *ask, *more)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "003_photo.png").exists() and (tmp_path / "scores" / "metrics.json").exists()


def test_an_exported_run_can_be_read_as_weights(whole, tmp_path):
    line = ("scripts/export.py", whole, tmp_path / "small.safetensors")
    done = run_here(*line)
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "small.json").read_text())
    assert card["images_seen"] == 96 and card["steps"] == 12 and card["training"]["width"] == 4
    assert card["sha256"] == file_sha256(tmp_path / "small.safetensors")
    for ours, exported in zip(load_networks(whole), load_networks(tmp_path / "small.safetensors"), strict=True):
        for a, b in zip(ours.get_weights(), exported.get_weights(), strict=True):
            np.testing.assert_array_equal(a.astype(np.float16), b.astype(np.float16))
    again = run_here(*line)
    assert again.returncode == 2 and "--overwrite" in again.stderr


def test_a_run_is_exported_as_saved_models(whole, tmp_path):
    line = [sys.executable, str(ROOT / "scripts" / "export.py"), str(whole), str(tmp_path / "saved"), "--saved-model"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    z = np.random.default_rng(0).uniform(-1, 1, (3, 100)).astype(np.float32)
    generator, _ = load_networks(whole)
    exported = tf.saved_model.load(str(tmp_path / "saved" / "generator"))
    np.testing.assert_allclose(exported.serve(z), generator(z), atol=1e-5)
    saved_models.write(tmp_path / "saved", *load_networks(whole))  # replacing the existing files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved"]
    (tmp_path / "saved" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"mine\.txt"):
        saved_models.write(tmp_path / "saved", *load_networks(whole))


def test_losses_and_pictures_are_plotted(whole, tmp_path):
    line = [
        sys.executable,
        str(ROOT / "scripts" / "experiments" / "plot_training.py"),
        str(whole),
        "--out",
        str(tmp_path / "small"),
    ]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"small_losses.png", "small_samples.png", "small_stats.jsonl"}
    assert read_image(tmp_path / "small_samples.png").shape == (6 + 3 * (18 + 64 + 6), 6 * 134 + 6, 3)


# --- exact resume -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [(1, 6, 10, 12), pytest.param((1, 5, 6, 10, 12), marks=pytest.mark.full)])
def test_an_interrupted_run_equals_the_uninterrupted_one_bitwise(joints, whole, tmp_path, stops):
    """Stopped in epoch 0, in epoch 2, and at the end of an epoch after pictures were drawn."""
    for begun, stop in itertools.pairwise((0, *stops)):
        assert train_here(joints, tmp_path / "run", stop, resume=begun > 0) == (begun, stop)
    assert stats(tmp_path / "run") == stats(whole) and weights(tmp_path / "run", 12) == weights(whole, 12)
    assert train_here(joints, tmp_path / "run", 12, resume=True) == (12, 12)  # nothing is left to do


def test_zero_epochs_train_nothing_and_leave_nothing(joints, tmp_path):
    result = run_here(*command(joints, tmp_path / "run", "--epochs", 0)[1:])
    assert result.returncode == 0 and "nothing to do: step 0 of 0" in result.stdout, result.stderr
    assert not list(tmp_path.rglob("*.*"))
    assert [steps_of(*numbers) for numbers in ((0, 500, 64), (1e-6, 500, 64), (2, 640, 64))] == [0, 1, 20]


def test_other_settings_are_refused_on_resume_unless_they_do_not_matter(joints, whole, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"started with train.lr 0.0002, not 0.001; .* train.init_from="):
        train_here(joints, whole, 20, resume=True, lr=1e-3)
    shutil.copytree(whole, tmp_path / "run")
    changed = {"save_every": 7, "keep": 1, "cache_gb": 0.0}
    assert train_here(joints, tmp_path / "run", 13, resume=True, **changed) == (12, 13)
    assert "the images differ" not in capsys.readouterr().err  # they are hashed without a cache, too


def test_other_images_are_noticed_on_resume(joints, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "run")
    shutil.copytree(joints, tmp_path / "data")
    (tmp_path / "data" / "train" / "000.png").unlink()
    train_here(tmp_path / "data", tmp_path / "run", 13, resume=True)
    assert "the images differ from those that the run was started with" in capsys.readouterr().err


def test_other_pixels_under_the_same_names_are_noticed_on_resume(joints, whole, tmp_path, capsys):
    run, other = tmp_path / "run", tmp_path / "data"
    shutil.copytree(whole, run)
    shutil.copytree(joints, other)
    shutil.copy(other / "train" / "001.png", other / "train" / "000.png")
    train_here(other, run, 13, resume=True)
    assert "the images differ from those that the run was started with" in capsys.readouterr().err
    text = (whole / "config.yaml").read_text().splitlines(keepends=True)
    assert text[1].startswith(PIXELS)
    (run / "config.yaml").write_text("".join([text[0], *text[2:]]))  # as in older runs, without a hash of the pixels
    train_here(joints, run, 14, resume=True)
    assert "the images differ" not in capsys.readouterr().err


@pytest.mark.parametrize("cache_gb", [6.0, 0.0])
def test_a_damaged_joint_leaves_no_run_folder(joints, tmp_path, cache_gb):
    shutil.copytree(joints, tmp_path / "data")
    path = tmp_path / "data" / "train" / "003.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"003\.png"):
        train_here(tmp_path / "data", tmp_path / "run", 3, cache_gb=cache_gb)
    assert not (tmp_path / "run").exists()


def test_a_run_whose_width_differs_from_its_checkpoint_is_refused_before_it_is_built(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "lr[1e-4]")
    assert len(load_networks(tmp_path / "lr[1e-4]")) == 2
    path = tmp_path / "lr[1e-4]" / "config.yaml"
    path.write_text(path.read_text().replace("width: 4", "width: 1024"))
    with pytest.raises(WeightsError, match="does not match the networks"):
        load_networks(tmp_path / "lr[1e-4]")


@pytest.mark.full
def test_deterministic_runs_are_bitwise_equal(joints, whole, tmp_path):
    assert train(joints, tmp_path / "run", "--steps", 12, "--deterministic").returncode == 0
    assert train(joints, tmp_path / "again", "--steps", 12, "--deterministic").returncode == 0
    assert weights(tmp_path / "run", 12) == weights(tmp_path / "again", 12)


@pytest.mark.full
def test_lower_precision_trains_as_well(joints, whole, tmp_path):
    needs_bfloat16()
    train_here(joints, tmp_path / "run", 12, precision="bfloat16")
    for ours, exact in zip(stats(tmp_path / "run"), stats(whole), strict=True):
        assert ours["d_loss"] == pytest.approx(exact["d_loss"], rel=0.05)
    assert load_networks(tmp_path / "run")[0].compute_dtype == "float32"


# --- halves that belong together --------------------------------------------------------------------------------------

TIED = {"pairs": 1.0, "pair_width": 3, "edges": 2.0, "lr_decay": 0.5}


@pytest.fixture(scope="module")
def tied(joints, tmp_path_factory):
    """A whole run of 12 steps with P, edges and a learning rate that falls."""
    run = tmp_path_factory.mktemp("tied") / "run"
    assert train_here(joints, run, 12, **TIED) == (0, 12)
    return run


def test_outputs_of_p_are_logged(tied):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    names = {"p_loss", "p_gradient", "P(x)", "P(G(z))", "P(mismatched)", "g_loss_pairs", "g_loss_edges"}
    names |= {"own_pairs_g", "own_pairs_average"}
    assert all(names <= set(line) for line in stats(tied))
    events = EventAccumulator(str(tied))
    events.Reload()
    assert names <= set(events.Tags()["tensors"])
    last = stats(tied)[-1]
    assert 0 < last["P(x)"] < 1 and -1 <= last["own_pairs_average"] <= 1


def test_own_pairs_are_logged_without_p_and_cause_a_warning(joints, whole):
    assert all({"own_pairs_g", "own_pairs_average"} <= set(line) and "p_loss" not in line for line in stats(whole))
    warned = [line for line in (whole / "log.txt").read_text().splitlines() if "have not belonged together" in line]
    best = {line["step"]: max(line["own_pairs_g"], line["own_pairs_average"]) for line in stats(whole)}
    ends = [step for step in best if step // 2.5 > (step - 1) // 2.5]  # of epochs
    low = [end for end in ends if max(best[step] for step in best if end - 2.5 < step <= end) < 0.5]
    assert [int(line.split("step ")[1].split(":")[0]) for line in warned] == low and low and len(ends) == 4


def test_a_killed_run_with_p_and_decay_continues_bitwise(joints, tied, tmp_path):
    process = subprocess.Popen(
        command(joints, tmp_path / "run", "--steps", 12, *(f"--set=train.{k}={v}" for k, v in TIED.items())),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not (tmp_path / "run" / "checkpoints" / "step-000005").exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    train_here(joints, tmp_path / "run", 12, resume=True, **TIED)
    assert stats(tmp_path / "run") == stats(tied) and weights(tmp_path / "run", 12) == weights(tied, 12)


def test_a_run_continues_from_another_run(joints, tied, tmp_path):
    files = batches.joint_files(joints / "train")
    settings = config.load(tied / "config.yaml", "train", config.TrainSettings, [f"train.init_from={tied}"])
    before, model = load_run(tied), build(settings)
    start_from(model, settings)
    for name in ("generator", "average", "discriminator", "pair_discriminator"):
        for a, b in zip(getattr(before, name).weights, getattr(model, name).weights, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(model.generator.weights[0], model.average.weights[0])
    batch, step = tf.constant(batches.read_joints(files[:8]) / np.float32(127.5) - 1), tf.constant(0, tf.int64)
    update_function(model, settings, devices.create("one"), 12)(batch, step)
    for a, b in zip(before.average.weights, model.average.weights, strict=True):  # the average does not warm up again
        np.testing.assert_allclose(a, b, atol=2e-3)
    with pytest.raises(WeightsError, match=r"do not have train\.pair_width 5"):
        train_here(joints, tmp_path / "run", 13, **TIED | {"pair_width": 5}, init_from=tied)
    assert not (tmp_path / "run").exists()
    train_here(joints, tmp_path / "run", 1, init_from=tied)  # without P


def test_a_folder_of_weights_and_their_state_is_read(tied, tmp_path):
    before = load_run(tied)
    save_weights(tmp_path / "weights.safetensors", before.average, before.discriminator)
    save_weights(tmp_path / "state.safetensors", before.generator, before.pair_discriminator)
    for given in (tmp_path, tmp_path / "weights.safetensors"):
        state = load_state(given)
        for name in ("generator", "average", "discriminator", "pair_discriminator"):
            for a, b in zip(getattr(before, name).weights, getattr(state, name).weights, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)  # half precision
    (tmp_path / "state.safetensors").unlink()
    state = load_state(tmp_path)
    assert state.average is None and state.pair_discriminator is None
    (tmp_path / "state.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"state.safetensors is not a readable"):
        load_state(tmp_path)


def test_the_learning_rate_falls_to_0_over_the_last_share():
    settings = config.TrainSettings(lr=0.1, lr_decay=0.25)
    rates = [float(learning_rate(settings, tf.constant(step, tf.int64), 8)) for step in range(9)]
    assert rates == pytest.approx([0.1] * 7 + [0.05, 0])
    assert learning_rate(config.TrainSettings(lr=0.1), tf.constant(5, tf.int64), 8) is None


def test_a_changed_end_is_noticed_once_the_learning_rate_falls(joints, tied, tmp_path, capsys):
    shutil.copytree(tied, tmp_path / "late")
    train_here(joints, tmp_path / "late", 13, resume=True, **TIED)
    assert "the learning rate now reaches 0 at step 13" in capsys.readouterr().err
    train_here(joints, tmp_path / "early", 3, lr_decay=0.1)  # it has not fallen yet
    train_here(joints, tmp_path / "early", 4, resume=True, lr_decay=0.1)
    assert "learning rate" not in capsys.readouterr().err


def test_checkpoints_have_the_names_that_they_always_had(whole):
    """Runs from before there were pairs are resumed: these are the names in a checkpoint of commit b412ce2."""
    names = [name for name, _ in tf.train.list_variables(str(whole / "checkpoints" / "step-000005" / "state"))]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    assert len(names) == 147 and digest.startswith("f64869c471357bf9")


def test_p_trains_in_lower_precision_too(joints, tied, tmp_path):
    needs_bfloat16()
    train_here(joints, tmp_path / "run", 12, **TIED, precision="bfloat16")
    for ours, exact in zip(stats(tmp_path / "run"), stats(tied), strict=True):
        assert ours["p_loss"] == pytest.approx(exact["p_loss"], rel=0.05)
    assert load_run(tmp_path / "run").pair_discriminator.weights[0].dtype == "float32"


def test_p_learns_which_halves_belong_together(joints):
    """Its false pairs have photos of others: with these alone, only the pairing distinguishes true from false."""
    images = tf.constant(batches.read_joints(batches.joint_files(joints / "train")[:8]) / np.float32(127.5) - 1)
    settings = config.TrainSettings(
        width=2, pair_width=16, batch_size=8, pairs=1.0, mismatched=1.0, lr=2e-3, g_updates=1
    )
    model = build(settings)
    update = update_function(model, settings, devices.create("one"))
    for step in range(60):
        found = update(images, tf.constant(step, tf.int64))
    assert found["P(x)"] > 0.8 and found["P(mismatched)"] < 0.2


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "no such folder"),
        (["--set", "train.batchsize=3"], "did you mean train.batch_size?"),
        (["--set", "train.lr=fast"], "train.lr"),
        (["--steps", "0"], "0 is less than 1"),
        (["--set", "train.init_from=nothing"], "no weights at nothing"),
        (["--set", "train.init_from=celeba"], "train.init_from celeba do not have train.width 4"),
        (["--resume"], "there is no run to resume"),
    ],
)
def test_a_mistake_is_reported_in_one_line(joints, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = run_here(*command(joints, tmp_path / "run", *arguments)[1:])
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "run").exists()


def test_a_folder_with_a_run_is_refused(joints, whole):
    before = sorted(path.stat().st_mtime_ns for path in whole.rglob("*"))
    done = train(joints, whole, "--steps", 20)
    assert done.returncode == 2 and "--resume continues its run" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert before == sorted(path.stat().st_mtime_ns for path in whole.rglob("*"))


# --- kills and signals ------------------------------------------------------------------------------------------------


def start_and_wait(joints, run, step, *more):
    """A run in the background that has logged this step."""
    process = subprocess.Popen(
        command(joints, run, *QUIET, "--save-every", 2, "--steps", 5000, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and (not (run / "stats.jsonl").exists() or len(stats_or_none(run)) < step):
        time.sleep(0.01)
    return process


def stats_or_none(run):
    try:
        return stats(run)
    except ValueError:  # a line is being written
        return []


def test_a_signal_saves_and_exits(joints, tmp_path):
    process = start_and_wait(joints, tmp_path / "run", 3)
    process.terminate()
    stdout, stderr = process.communicate(timeout=60)
    last = stats(tmp_path / "run")[-1]["step"]
    assert process.returncode == 0 and "--resume continues" in stdout and "Traceback" not in stderr
    assert (tmp_path / "run" / "checkpoints" / f"step-{last:06}").is_dir()


def kill(joints, run, kills, seed=0):
    """Kill a run at random moments, resuming it each time; it must never fall back further than the last save."""
    rng = random.Random(seed)
    for i in range(kills):
        before = len(stats_or_none(run)) if i else 0
        process = start_and_wait(joints, run, before + rng.randrange(1, 6), *(["--resume"] if i else []))
        time.sleep(rng.random() * 0.2)
        process.kill()
        _, stderr = process.communicate()
        assert "Traceback" not in stderr and process.returncode == -signal.SIGKILL, stderr
        whole = next((path for path in checkpoints.found(run / "checkpoints") if not checkpoints.damage(path)), None)
        assert (checkpoints.step_of(whole) if whole else 0) >= len(stats_or_none(run)) - 2


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.full)])
def test_a_killed_run_continues_as_if_never_killed(joints, tmp_path, kills):
    kill(joints, tmp_path / "run", kills)
    steps, changed = len(stats_or_none(tmp_path / "run")) + 4, {"save_every": 2, "sample_every": 1000000}
    train_here(joints, tmp_path / "run", steps, resume=True, **changed)
    train_here(joints, tmp_path / "whole", steps, **changed)
    assert stats(tmp_path / "run") == stats(tmp_path / "whole")
    assert weights(tmp_path / "run", steps) == weights(tmp_path / "whole", steps)
    left = {path.name for path in (tmp_path / "run").rglob(".*")}
    assert left <= {lock.NAME}  # of the killed command; the next command removes it


def test_damaged_checkpoints_are_passed_over(joints, whole, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    path = run / "checkpoints" / "step-000012" / "state.data-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert train_here(joints, run, 12, resume=True) == (10, 12)
    assert stats(run) == stats(whole) and weights(run, 12) == weights(whole, 12)
    warnings = [line for line in capsys.readouterr().err.splitlines() if "cannot be used" in line]
    assert len(warnings) == 1 and "step-000012" in warnings[0] and "is damaged" in warnings[0]
    for checkpoint in checkpoints.found(run / "checkpoints"):
        (checkpoint / "state.index").unlink()
    done = train(joints, run, "--steps", 14, "--resume")
    assert done.returncode == 2 and "none of the 3 checkpoints can be read" in done.stderr.splitlines()[-1]


@pytest.mark.full
def test_memory_does_not_grow(joints, tmp_path):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

    changed = {"save_every": 100, "sample_every": 500}
    train_here(joints, tmp_path / "run", 200, **changed)
    before = resident()
    train_here(joints, tmp_path / "run", 2200, resume=True, **changed)
    assert resident() - before < 50
