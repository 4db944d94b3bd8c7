"""The same bits under every instruction set and number of threads, whatever the batch, and after every interruption."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, draw_face

from contextual_gan.files.images import write_png
from contextual_gan.models.inference import groups, padded

AVX2, PLAIN = {"ONEDNN_MAX_CPU_ISA": "AVX2"}, {"TF_ENABLE_ONEDNN_OPTS": "0"}
ENVIRONMENTS = {
    "native": {},
    "avx2": AVX2,  # reveals batches of 1
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "no-onednn": PLAIN,
    "1-thread": {"TF_NUM_INTRAOP_THREADS": "1"},
    "2-threads": {"TF_NUM_INTRAOP_THREADS": "2"},
    "avx2-1-thread": {**AVX2, "TF_NUM_INTRAOP_THREADS": "1"},
    "no-onednn-1-thread": {**PLAIN, "TF_NUM_INTRAOP_THREADS": "1"},
}


def every_machine(*always):
    """Run a test in all environments: the named ones in `make test`, the others in `make test-full` only."""
    marks = {name: () if name in always else (pytest.mark.full,) for name in ENVIRONMENTS}
    cases = [pytest.param(value, id=name, marks=marks[name]) for name, value in ENVIRONMENTS.items()]
    return pytest.mark.parametrize("environment", cases)


def only(environment):
    """The environment with these variables, others of their kind unset."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("ONEDNN_", "TF_"))} | environment


def python(*words, environment, **options):
    """Run a script or a module in `only` this environment."""
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, env=only(environment), capture_output=True, text=True, timeout=900, **options)


# --- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "size", "sizes"),
    [
        (0, 64, []),
        (1, 64, [1]),
        (7, 64, [7]),  # 8 rows of work; 4 + 4 and another group would cost more
        (12, 64, [8, 4]),
        (33, 64, [32, 1]),
        (64, 64, [64]),
        (100, 64, [64, 32, 4]),
        (100, 100, [64, 32, 4]),
        (130, 64, [64, 64, 2]),
        (3, 1, [2, 1]),
    ],
)
def test_groups_are_powers_of_two_or_nearly(n, size, sizes):
    slices = groups(n, size)
    assert [s.stop - s.start for s in slices] == sizes
    assert [i for s in slices for i in range(n)[s]] == list(range(n))


@pytest.mark.parametrize(("n", "filled"), [(1, 2), (2, 2), (3, 4), (4, 4), (5, 8), (33, 64)])
def test_padding_repeats_the_last_row(n, filled):
    rows = np.arange(2.0 * n).reshape(n, 2)
    found = np.asarray(padded(rows))
    assert len(found) == filled and np.array_equal(found[:n], rows) and (found[n:] == rows[-1]).all()


# --- the search, the encoder, pix2pix ---------------------------------------------------------------------------------

ALONE_AND_TOGETHER = """
import sys
import numpy as np
from conftest import draw_face
from contextual_gan.completion.search import complete
from contextual_gan.files.images import to_float
from contextual_gan.models import inference
from contextual_gan.models.pix2pix import draw_half
from contextual_gan.models.weights import load_encoder, load_pix2pix, load_pretrained

preset, iterations = sys.argv[1], int(sys.argv[2])
networks, encoder = load_pretrained("celeba"), load_encoder("celeba", "photo")
sketches = np.stack([draw_face(seed) for seed in range(7)])


def same(function, size):
    together = function(sketches, 64)
    order = np.array([3, 0, 6, 4, 2, 1, 5])
    shuffled, alone = function(sketches[order], size), function(sketches[2:3], 1)
    for whole, other, one in zip(together, shuffled, alone):
        assert np.array_equal(whole[order], other) and np.array_equal(whole[2], one[0])


def search(known, batch_size):
    options = {"preset": preset, "iterations": iterations, "encoder": encoder, "batch_size": batch_size}
    found = complete(*networks, known, **options)
    assert np.abs(found.joints - found.initial_joints).max() > 0.3  # the search did something
    return found.joints, found.contextual, found.total, found.z


same(search, 3)
same(lambda known, size: (inference.encode(encoder.network, to_float(known), size),), 5)
pix2pix = load_pix2pix("celeba", "photo")
same(lambda known, size: (draw_half(pix2pix, known),), 1)
"""


@every_machine("avx2", "no-onednn")
@pytest.mark.parametrize(
    ("preset", "iterations"),
    [("edges", 15), *(pytest.param(name, 50, marks=pytest.mark.full) for name in ("coauthor", "edges"))],
)
def test_results_do_not_depend_on_batch_order_or_other_inputs(environment, preset, iterations):
    done = python("-c", ALONE_AND_TOGETHER, preset, iterations, environment=environment, cwd=ROOT / "tests")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven drawings, one of them unreadable."""
    folder = tmp_path_factory.mktemp("drawings")
    for i in range(7):
        write_png(folder / f"{i}.png", draw_face(i))
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:300])
    return folder


def pictures(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*_*.png")}


@every_machine("avx2")
def test_a_killed_run_continues_bitwise_whatever_its_batch_size(environment, folder, tmp_path):
    quick = ["--faithful", 1, "--iterations", 4, "--batch-size", 4]
    command = [ROOT / "scripts" / "complete.py", folder, *quick, "--out"]
    assert python(*command, tmp_path / "whole", environment=environment).returncode == 1
    process = subprocess.Popen(
        [sys.executable, *map(str, command), tmp_path / "killed", "--batch-size", "1"],
        env=only(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not (tmp_path / "killed" / "1_photo.png").exists():
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert 1 <= len(json.loads((tmp_path / "killed" / "results.json").read_text())["results"]) < 6
    assert python(*command, tmp_path / "killed", environment=environment).returncode == 1
    assert pictures(tmp_path / "killed") == pictures(tmp_path / "whole")


@pytest.mark.full
@every_machine()
def test_seven_drawings_and_each_alone_give_the_same_bytes(environment, folder, tmp_path):
    complete = (ROOT / "scripts" / "complete.py", "--faithful", 1)
    assert python(*complete, folder, "--out", tmp_path / "all", environment=environment).returncode == 1
    together = pictures(tmp_path / "all")
    for i in (0, 1, 2, 4, 5, 6):
        out = tmp_path / str(i)
        assert python(*complete, folder / f"{i}.png", "--out", out, environment=environment).returncode == 0
        alone = pictures(out)
        assert len(alone) == 3 and alone.items() <= together.items()


# --- training ---------------------------------------------------------------------------------------------------------


@every_machine("no-onednn")
def test_training_resumes_bitwise(environment, folder, tmp_path):
    from contextual_gan.joint import join

    for i in range(20):
        sketch = draw_face(i)
        write_png(tmp_path / "data" / "train" / f"{i:03}.png", join(sketch, sketch // 2 + 60))
    words = [ROOT / "scripts" / "train.py", "--config", ROOT / "configs" / "smoke.yaml", "--data", tmp_path / "data"]
    words += ["--set", "train.sample_every=1000", "--save-every", 2, "--steps", 6, "--out"]
    done = python(*words, tmp_path / "whole", environment=environment)
    assert done.returncode == 0, done.stderr
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed/checkpoints/step-000006")
    done = python(*words, tmp_path / "resumed", "--resume", environment=environment)
    assert done.returncode == 0, done.stderr
    checkpoint = "checkpoints/step-000006/state.data-00000-of-00001"
    assert (tmp_path / "whole" / checkpoint).read_bytes() == (tmp_path / "resumed" / checkpoint).read_bytes()
