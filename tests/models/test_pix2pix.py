"""pix2pix: its layers and one step against the paper, its training, its weights, and its drawings."""

import itertools
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, draw_face, run_here

from contextual_gan import config
from contextual_gan.files.checkpoints import WeightsError
from contextual_gan.files.images import read_image, write_png
from contextual_gan.joint import join
from contextual_gan.models import pix2pix
from contextual_gan.models.pix2pix import draw_half
from contextual_gan.models.weights import load_pix2pix, load_pix2pix_run, save_pix2pix
from contextual_gan.training import pix2pix as training

TINY = ["--set", "pix2pix.ngf=2", "--set", "pix2pix.batch_size=4", "--set", "pix2pix.log_every=1"]
QUIET = ["--set", "pix2pix.sample_every=1000", "--set", "pix2pix.save_every=2", "--set", "pix2pix.lr_decay=0.5"]


def run(script, *words):
    """Run a command in a process of its own."""
    command = [sys.executable, str(ROOT / script), *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=180, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def training_of(joints, out, *more):
    """The words of a command."""
    arguments = ("--config", ROOT / "configs/pix2pix.yaml", "--data", joints, "--out", out)
    return "scripts/train.py", *arguments, *TINY, *QUIET, *more


@pytest.fixture(scope="module")
def joints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for i in range(10):
        sketch = draw_face(i)
        write_png(folder / "train" / f"{i}.png", join(sketch, 255 - sketch // 2))
    return folder


@pytest.fixture(scope="module")
def whole(joints, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    done = run(*training_of(joints, out, "--steps", 6))
    assert done.returncode == 0, done.stderr
    return out


def generator(ngf=2, seed=0):
    keras.utils.set_random_seed(seed)
    return pix2pix.unet(ngf)


# --- networks ---------------------------------------------------------------------------------------------------------


def test_the_networks_match_the_paper_at_64_pixels():
    G, D = pix2pix.unet(64), pix2pix.patchgan(64)
    widths = [G.get_layer(f"down{i}").output.shape[1:] for i in range(6)]
    assert widths == [(32, 32, 64), (16, 16, 128), (8, 8, 256), (4, 4, 512), (2, 2, 512), (1, 1, 512)]
    ups = [G.get_layer(f"up{i}").output.shape[1:] for i in range(6)]
    assert ups == [(2, 2, 512), (4, 4, 512), (8, 8, 256), (16, 16, 128), (32, 32, 64), (64, 64, 3)]
    assert D.output_shape == (None, 6, 6, 1)

    def conv(a, b):  # kernel and bias
        return 16 * a * b + b

    chain = [3, 64, 128, 256, 512, 512, 512]
    downs = sum(conv(a, b) for a, b in itertools.pairwise(chain))
    decoder = conv(512, 512) + conv(1024, 512) + conv(1024, 256) + conv(512, 128) + conv(256, 64) + conv(128, 3)
    norms = 2 * (128 + 256 + 512 + 512) + 2 * (512 + 512 + 256 + 128 + 64)
    assert G.count_params() - sum(np.prod(v.shape) for v in G.non_trainable_variables) == downs + decoder + norms
    patches = conv(6, 64) + conv(64, 128) + conv(128, 256) + conv(256, 512) + conv(512, 1) + 2 * (128 + 256 + 512)
    assert sum(np.prod(v.shape) for v in D.trainable_variables) == patches


def test_a_step_matches_the_paper():
    """Everything recomputed in separate passes: the halved loss of D, then G against the new D and 100 times L1."""
    rng = np.random.default_rng(0)
    joints = tf.constant(rng.uniform(-1, 1, (3, 64, 128, 3)), tf.float32)

    def model():
        keras.utils.set_random_seed(1)
        made = pix2pix.Pix2Pix(ngf=2)
        made.g_optimizer, made.d_optimizer = keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1)
        made.g_optimizer.build(made.generator.trainable_variables)
        made.d_optimizer.build(made.discriminator.trainable_variables)
        return made

    one, twin = model(), model()
    noise = [tf.constant(rng.random((3, *shape)), tf.float32) for shape in pix2pix.noise_shapes(one.generator)]
    found = pix2pix.train_step(one, joints, noise, direction="photo")

    G, D = twin.generator, twin.discriminator
    sketch, photo = joints[:, :, :64], joints[:, :, 64:]
    kept = [tf.constant(np.where(part.numpy() < 0.5, 0, 2), tf.float32) for part in noise]
    bce = tf.nn.sigmoid_cross_entropy_with_logits
    fake = tf.constant(G([sketch, *kept], training=True).numpy())
    with tf.GradientTape() as tape:
        x, g = D([sketch, photo], training=True), D([sketch, fake], training=True)
        d_loss = 0.5 * (tf.reduce_mean(bce(tf.ones_like(x), x)) + tf.reduce_mean(bce(tf.zeros_like(g), g)))
    for v, gradient in zip(D.trainable_variables, tape.gradient(d_loss, D.trainable_variables), strict=True):
        v.assign_sub(0.1 * gradient)
    with tf.GradientTape() as tape:
        fake = G([sketch, *kept], training=True)
        logits = D([sketch, fake], training=True)
        g_loss, l1 = tf.reduce_mean(bce(tf.ones_like(logits), logits)), tf.reduce_mean(tf.abs(fake - photo))
        loss = g_loss + 100 * l1
    for v, gradient in zip(G.trainable_variables, tape.gradient(loss, G.trainable_variables), strict=True):
        v.assign_sub(0.1 * gradient)
    for name, value in (("d_loss", d_loss), ("g_loss", g_loss), ("l1", l1)):
        assert float(found[name]) == pytest.approx(float(value), rel=1e-4), name
    for network, other in ((one.generator, G), (one.discriminator, D)):
        for a, b in zip(network.trainable_variables, other.trainable_variables, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-3, atol=2e-4)


def test_jitter_moves_both_halves_together_by_at_most_eight_of_72_pixels():
    ramp = np.linspace(-1, 1, 64, dtype=np.float32)
    half = np.stack([*np.meshgrid(ramp, ramp), np.zeros((64, 64), np.float32)], axis=-1)
    joints = np.repeat(np.concatenate([half, half], axis=1)[None], 50, axis=0)
    found = pix2pix.jittered(tf.constant(joints), tf.constant([0, 1], tf.int64)).numpy()
    assert found.shape == joints.shape
    np.testing.assert_allclose(found[:, :, :64], found[:, :, 64:], atol=1e-6)
    steps = found[:, 10, 1:64, 0] - found[:, 10, :63, 0]  # a pixel of 72 is 63/71 of one of 64
    np.testing.assert_allclose(steps, 2 / 71, atol=1e-4)
    corners = (found[:, 0, 0, :2] + 1) / 2 * 71
    np.testing.assert_allclose(corners, corners.round(), atol=1e-3)
    assert set(corners.round().astype(int).ravel()) == set(range(9)), "every position is used"
    assert np.array_equal(found, pix2pix.jittered(tf.constant(joints), tf.constant([0, 1], tf.int64)))


def test_drawing_uses_the_statistics_of_images_without_jitter():
    keras.utils.set_random_seed(0)
    model = pix2pix.Pix2Pix(ngf=2)
    plain = tf.constant(np.stack([join(draw_face(i), draw_face(i)) for i in range(4)]) / 127.5 - 1, tf.float32)
    jittered = pix2pix.jittered(plain, tf.constant([0, 0], tf.int64))
    noise = [tf.ones((4, *shape)) for shape in pix2pix.noise_shapes(model.generator)]
    inside = keras.Model(model.generator.inputs, model.generator.get_layer("down1").output)
    for layer in model.generator.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    before = inside([plain[:, :, :64], *pix2pix.masks(noise)]).numpy()
    pix2pix.train_step(model, jittered, noise, direction="photo", plain=plain)
    norm = model.generator.get_layer("down_bn1")
    np.testing.assert_allclose(norm.moving_variance, before.var(axis=(0, 1, 2)), rtol=1e-3)


def test_it_can_learn_from_rough_sketches():
    joints = tf.constant(np.stack([join(draw_face(i), 255 - draw_face(i)) for i in range(40)]) / 127.5 - 1, tf.float32)
    settings = config.Pix2PixSettings(batch_size=40, rough=1.0)
    found = training._with_rough_sketches(joints, settings, tf.constant([0, 1], tf.int64)).numpy()
    assert np.array_equal(found[:, :, 64:], joints[:, :, 64:])
    same = (found[:, :, :64] == joints.numpy()[:, :, :64]).all(axis=(1, 2, 3))
    assert 2 <= same.sum() <= 20


def test_it_learns_a_single_image():
    keras.utils.set_random_seed(0)
    model = pix2pix.Pix2Pix(ngf=4, lr=2e-3)
    joints = tf.constant(np.stack([join(draw_face(i), 255 - draw_face(i)) for i in range(2)]) / 127.5 - 1, tf.float32)
    noise = [tf.random.stateless_uniform((2, *s), (0, i)) for i, s in enumerate(pix2pix.noise_shapes(model.generator))]
    step = tf.function(lambda: pix2pix.train_step(model, joints, noise, direction="photo")["l1"])
    losses = [float(step()) for _ in range(60)]
    assert losses[-1] < 0.35 * losses[0]


# --- training ---------------------------------------------------------------------------------------------------------


def test_a_run_has_the_same_files_as_other_runs(whole):
    lines = [json.loads(line) for line in (whole / "stats.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in lines] == pytest.approx([2e-4] * 4 + [2e-4 * 2 / 3, 2e-4 / 3])
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6] and lines[0].keys() >= {"d_loss", "g_loss", "l1"}
    assert config.load(whole / "config.yaml", "pix2pix", config.Pix2PixSettings).ngf == 2
    assert read_image(whole / "samples/step-000006_drawn.png").ndim == 3
    assert list(whole.glob("events*")) and (whole / "log.txt").exists()


def test_its_losses_are_plotted(whole, tmp_path):
    done = run("scripts/experiments/plot_training.py", whole, "--out", tmp_path / "plot")
    assert done.returncode == 0 and "no samples picture" in done.stdout, done.stderr
    assert read_image(tmp_path / "plot_losses.png").ndim == 3


def test_a_resumed_run_makes_the_same_weights(joints, whole, tmp_path):
    cut = tmp_path / "cut"
    shutil.copytree(whole, cut)
    for step in (6, 4):
        shutil.rmtree(cut / "checkpoints" / f"step-{step:06}")
    done = run_here(*training_of(joints, cut, "--steps", 6, "--resume"))
    assert done.returncode == 0, done.stderr
    (a, _), (b, _) = load_pix2pix_run(whole), load_pix2pix_run(cut)
    assert all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))
    other = run(*training_of(joints, cut, "--steps", 8, "--resume", "--set", "pix2pix.direction=sketch"))
    assert other.returncode == 2 and "pix2pix.direction photo" in other.stderr and len(other.stderr.splitlines()) == 1


def test_exported_weights_draw_like_the_run(whole, tmp_path):
    path = tmp_path / "small.safetensors"
    done = run_here("scripts/export.py", whole, path)
    assert done.returncode == 0, done.stderr
    known = np.stack([draw_face(i) for i in range(3)])
    drawn = [draw_half(load_pix2pix(w, "photo"), known).astype(int) for w in (whole, path)]
    assert np.abs(drawn[0] - drawn[1]).max() <= 2  # float16
    assert run_here("scripts/export.py", whole, tmp_path / "exact.safetensors", "--dtype", "float32").returncode == 0
    exact = load_pix2pix(tmp_path / "exact.safetensors", "photo")
    assert np.array_equal(draw_half(exact, known), drawn[0])


def test_unusable_weights_are_refused_in_one_line(whole, joints, tmp_path):
    path = tmp_path / "small.safetensors"
    save_pix2pix(path, generator(), {"direction": "photo"})
    with pytest.raises(WeightsError, match="draws a photo, not a sketch"):
        load_pix2pix(path, "sketch")
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[:-3] + bytes([whole_file[-3] ^ 1]) + whole_file[-2:])
    with pytest.raises(WeightsError, match="damaged"):
        load_pix2pix(path, "photo")
    path.write_bytes(whole_file[:100])
    with pytest.raises(WeightsError, match="not a readable"):
        load_pix2pix(path, "photo")
    with pytest.raises(WeightsError, match="does not record"):
        load_pix2pix(ROOT / "contextual_gan/pretrained/celeba.safetensors", "photo")
    scored = ("evaluate.py", "--data", joints, "--method", "contextual")
    for weights in (whole, ROOT / "contextual_gan/pretrained/celeba_pix2pix_photo.safetensors"):
        for command, *more in (("complete.py", joints), scored):  # they need a contextual GAN
            refused = run_here(f"scripts/{command}", *more, "--weights", weights, "--out", tmp_path / "out")
            assert refused.returncode == 2 and f"compare.py --pix2pix {weights}" in refused.stderr, refused.stderr
            assert len(refused.stderr.splitlines()) == 1
    wide = ("--steps", 1, "--set", f"pix2pix.init_from={whole}", "--set", "pix2pix.ngf=3")
    more = run(*training_of(joints, tmp_path / "wide", *wide))
    assert more.returncode == 2 and "pix2pix.ngf 3" in more.stderr and len(more.stderr.splitlines()) == 1


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_drawings_do_not_depend_on_batch_order_or_other_images():
    G = generator()
    for variable in G.trainable_variables:
        if variable.name == "kernel":
            variable.assign(10 * variable)
    known = np.stack([draw_face(i) for i in range(19)])
    drawn = draw_half(G, known)
    assert np.array_equal(draw_half(G, known[::-1])[::-1], drawn)
    assert np.array_equal(draw_half(G, known[2:3])[0], drawn[2])
    other = draw_half(G, known, seed=1)
    assert not np.array_equal(other, drawn), "dropout is on when drawing, as in the original"
    plain = [draw_half(G, known, dropout=False, seed=seed) for seed in (0, 1)]
    assert np.array_equal(*plain) and not np.array_equal(plain[0], drawn)
