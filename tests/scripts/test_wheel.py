"""The wheel: its content works without the repository."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT, draw_face

from contextual_gan.files.images import write_png

COMPLETE = """
import importlib, pkgutil, sys
import contextual_gan

assert contextual_gan.__path__[0].startswith(sys.argv[1]), contextual_gan.__path__
modules = [module.name for module in pkgutil.walk_packages(contextual_gan.__path__, "contextual_gan.")]
for name in modules:
    importlib.import_module(name)
assert len(modules) > 50

from contextual_gan.web.app import static_files

assert {"/", "/main.js", "/style.css", "/samples/01_smile.png"} <= static_files().keys()

import numpy as np
from contextual_gan.completion.search import complete
from contextual_gan.files.images import read_image
from contextual_gan.models.weights import load_encoder, load_pretrained

found = complete(
    *load_pretrained("celeba"),
    read_image(sys.argv[2])[None],
    encoder=load_encoder("celeba", "photo"),
    preset="edges",
    iterations=2,
)
assert found.joints.shape == (1, 1, 64, 128, 3) and np.isfinite(found.total).all()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder where pip has installed the wheel, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: building leaves files behind
    source.mkdir()
    for name in ("contextual_gan", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-rL", ROOT / name, source], check=True)  # the page's samples are a link
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, source], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True, timeout=300)
    return folder / "site"


def test_every_module_is_imported_and_a_sketch_completed_without_the_repository(installed, tmp_path):
    write_png(tmp_path / "face.png", draw_face(0))
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", COMPLETE, str(installed), str(tmp_path / "face.png")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
