"""Shared by several tests: the published networks, drawn sketches, and the real data if available."""

import contextlib
import io
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
# arguments of scikit-image's structural_similarity, as in Wang 2004
WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255, "channel_axis": -1}


@pytest.fixture(scope="session")
def networks():
    from contextual_gan.models.weights import load_pretrained

    return load_pretrained()


@pytest.fixture(scope="session")
def encoder():
    from contextual_gan.models.weights import load_encoder

    return load_encoder("celeba", "photo")


@pytest.fixture(scope="session")
def data():
    """Folder of real photos and drawings."""
    if not os.environ.get("CONTEXTUAL_GAN_DATA"):
        pytest.skip("CONTEXTUAL_GAN_DATA is not set")
    return Path(os.environ["CONTEXTUAL_GAN_DATA"])


def run_here(script, *arguments):
    """Run a command in this process, which has TensorFlow already -> its returncode, stdout and stderr.

    script: its path in the repository. A process of its own would need seconds to start.
    """
    path, out, err = str(ROOT / script), io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", [path, *map(str, arguments)]),
        pytest.raises(SystemExit) as end,
    ):
        runpy.run_path(path, run_name="__main__")
    return SimpleNamespace(returncode=end.value.code, stdout=out.getvalue(), stderr=err.getvalue())


def needs_bfloat16():
    """Skip a test if this processor, limited by ONEDNN_MAX_CPU_ISA, has no bfloat16 convolutions."""
    import tensorflow as tf

    ones = tf.ones((2, 8, 8, 8), tf.bfloat16)
    try:
        tf.function(tf.nn.conv2d, autograph=False)(ones, ones[0][None], 2, "SAME")
    except tf.errors.OpError as error:
        pytest.skip(f"no convolutions in bfloat16 here: {error.message.splitlines()[0][:80]}")


def draw_face(seed, size=64):
    """A crude face in the training framing, (size, size, 3) uint8, dark strokes on white, different for each seed."""
    rng = np.random.default_rng(seed)
    face = np.full((size, size), 255, np.uint8)
    thick = max(1, size // 32)

    def arc(x, y, width, height, start=0, stop=360):
        x, y = x + rng.normal(0, 0.015), y + rng.normal(0, 0.015)
        centre, axes = (round(x * size), round(y * size)), (round(width * size), round(height * size))
        cv2.ellipse(face, centre, axes, 0, start, stop, 0, thick)

    for x in (0.27, 0.72):
        arc(x, 0.18, 0.1, rng.uniform(0.02, 0.06))
        arc(x, 0.1, 0.13, 0.05, 200, 340)
    arc(0.5, 0.45, 0.1, 0.04, 0, 180)
    arc(0.5, 0.65, rng.uniform(0.1, 0.22), rng.uniform(0.02, 0.1), 0, 180)
    arc(0.5, 0.3, 0.45, rng.uniform(0.6, 0.68), 0, 180)
    return face[..., None].repeat(3, axis=2)


def draw_photo(seed, height=64, width=64):
    """Coloured spots on a coloured page, blurred: (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    page = np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(12):
        centre = int(rng.integers(0, width)), int(rng.integers(0, height))
        cv2.circle(page, centre, int(rng.integers(3, 20)), rng.integers(0, 256, 3).tolist(), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(page, (0, 0), 1)


@pytest.fixture(scope="session")
def sketches():
    """(5, 64, 64, 3) uint8 drawn sketches, all different."""
    return np.stack([draw_face(seed) for seed in range(5)])


def split(joints):
    """Joints (..., 64, 128, 3) -> (sketches, photos)."""
    return joints[..., :64, :], joints[..., 64:, :]
