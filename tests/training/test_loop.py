"""The training loop with a model of a few numbers: the files it saves, and its reaction to errors."""

import dataclasses
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from contextual_gan import config
from contextual_gan.files import checkpoints
from contextual_gan.files.checkpoints import WeightsError
from contextual_gan.models.locations import pin
from contextual_gan.training.loop import Diverged, train
from contextual_gan.training.run_folder import RunFolder

SETTINGS = config.TrainSettings(batch_size=2, log_every=1, save_every=4, sample_every=6, keep=2)


class Tiny(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.zeros(20_000))


def loop(path, steps, *, resume=False, disturb=lambda step, state: None, **losses):
    """Train a `Tiny`: each step adds its number to all weights; then disturb(step, state) is called."""
    run, state = RunFolder(path, SETTINGS, "no images", resume), Tiny()
    start = run.restore(state) if resume else 0
    run.begin(start)

    def update(batch, step):
        state.weights.assign_add(tf.fill(20_000, float(step)))
        disturb(int(step), state)
        return {name: tf.constant(value(int(step))) for name, value in losses.items()}

    def pictures(step):
        return {"generator": np.full((4, 4, 3), step, np.uint8)}

    done = train(run, state, update, iter(int, 1), start=start, steps=steps, pictures=pictures)
    return done, float(state.weights[0])


def saved(path):
    return [found.name for found in checkpoints.found(path / "checkpoints")]


def test_checkpoints_pictures_and_lines_are_written_on_schedule(tmp_path):
    assert loop(tmp_path / "run", 11, g_loss=lambda step: 1.0) == (11, sum(range(11)))
    assert saved(tmp_path / "run") == ["step-000011", "step-000008"]  # of 4, 8 and 11 the newest two
    pictures = sorted(path.name for path in (tmp_path / "run" / "samples").iterdir())
    assert pictures == ["step-000000_generator.png", "step-000006_generator.png", "step-000011_generator.png"]
    assert loop(tmp_path / "run", 14, resume=True, g_loss=lambda step: 1.0) == (14, sum(range(14)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_loss_stops_the_run(tmp_path, value):
    with pytest.raises(Diverged) as error:
        loop(tmp_path / "run", 20, d_loss=lambda step: value if step == 9 else 1.0, g_loss=lambda step: 1.0)
    assert "d_loss no longer finite, between steps 10 and 10" in str(error.value)
    assert "step-000008" in str(error.value) and saved(tmp_path / "run") == ["step-000008", "step-000004"]
    assert loop(tmp_path / "run", 12, resume=True, d_loss=lambda step: 1.0) == (12, sum(range(12)))


def test_non_finite_weights_are_not_saved(tmp_path):
    def spoil(step, state):
        if step == 6:
            state.weights.assign(tf.fill(20_000, float("nan")))

    with pytest.raises(Diverged, match=r"weights no longer finite, between steps 5 and 8; .*step-000004;"):
        loop(tmp_path / "run", 20, disturb=spoil, g_loss=lambda step: 1.0)
    assert saved(tmp_path / "run") == ["step-000004"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step(tmp_path, number):
    def interrupt(step, state):
        if step == 4:
            os.kill(os.getpid(), number)

    assert loop(tmp_path / "run", 20, disturb=interrupt, g_loss=lambda step: 1.0) == (5, sum(range(5)))
    assert saved(tmp_path / "run") == ["step-000005", "step-000004"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def interrupt_twice(path):
    def interrupt(step, state):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    loop(path, 20, disturb=interrupt, g_loss=lambda step: 1.0)


@pytest.mark.full
def test_a_second_signal_ends_the_program_at_once(tmp_path):
    code = f"import test_loop; test_loop.interrupt_twice({str(tmp_path / 'run')!r})"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, timeout=60).returncode == 130
    assert saved(tmp_path / "run") == []


def test_a_full_disk_keeps_the_checkpoints(tmp_path):
    loop(tmp_path / "run", 8, g_loss=lambda step: 1.0)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, unlimited[1]))
    try:
        with pytest.raises(OSError, match=r"step-000012") as error:
            loop(tmp_path / "run", 20, resume=True, g_loss=lambda step: 1.0)
        assert error.value.strerror in ("File too large", "No space left on device")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert saved(tmp_path / "run") == ["step-000008", "step-000004"]
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["step-000004", "step-000008"]


def test_a_run_without_a_checkpoint_starts_again_only_if_none_was_due(tmp_path, capsys):
    def fail(step, state):
        if step == 2:
            raise KeyError

    with pytest.raises(KeyError):
        loop(tmp_path / "run", 20, disturb=fail, g_loss=lambda step: 1.0)
    assert loop(tmp_path / "run", 9, resume=True, g_loss=lambda step: 1.0)[0] == 9
    assert "before its first checkpoint: starting from step 0" in capsys.readouterr().err
    for name in saved(tmp_path / "run"):
        os.rename(tmp_path / "run" / "checkpoints" / name, tmp_path / name)
    with pytest.raises(WeightsError, match="there is no checkpoint"):
        loop(tmp_path / "run", 20, resume=True, g_loss=lambda step: 1.0)


def test_a_saturated_discriminator_causes_a_warning(tmp_path, capsys):
    values = {"D(x)": lambda step: 0.999 if step > 3 else 0.5, "D(G(z))": lambda step: 0.001}
    loop(tmp_path / "run", 6, **values)
    warned = [line for line in capsys.readouterr().err.splitlines() if "saturated" in line]
    assert [line.partition(":")[2].split(":")[0] for line in warned] == [" step 5", " step 6"]


def damage(path, name):
    file = path / "checkpoints" / name / "state.data-00000-of-00001"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_only_complete_checkpoints_count_towards_those_kept(tmp_path):
    loop(tmp_path / "run", 8, g_loss=lambda step: 1.0)
    damage(tmp_path / "run", "step-000008")
    checkpoints.save(tmp_path / "run" / "checkpoints", Tiny(), 12, keep=2)
    assert saved(tmp_path / "run") == ["step-000012", "step-000008", "step-000004"]
    checkpoints.save(tmp_path / "run" / "checkpoints", Tiny(), 16, keep=2)
    assert saved(tmp_path / "run") == ["step-000016", "step-000012"]


def test_no_checkpoint_is_removed_before_its_successor_is_verified(tmp_path, monkeypatch):
    loop(tmp_path / "run", 8, g_loss=lambda step: 1.0)
    monkeypatch.setattr(checkpoints, "file_sha256", lambda path: "another hash")
    with pytest.raises(OSError, match="cannot be read back"):
        checkpoints.save(tmp_path / "run" / "checkpoints", Tiny(), 12, keep=1)
    assert saved(tmp_path / "run")[1:] == ["step-000008", "step-000004"]


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("left", [["checkpoints/"], ["checkpoints/", "samples/", ".config.yaml.part"]])
def test_a_run_killed_at_its_start_is_started_again(tmp_path, capsys, left, resume):
    for name in ("", *left):
        path = tmp_path / "run" / name
        path.write_bytes(b"train:") if name.endswith("part") else path.mkdir()
    assert loop(tmp_path / "run", 5, resume=resume, g_loss=lambda step: 1.0) == (5, sum(range(5)))
    assert "starting from step 0" in capsys.readouterr().err
    assert not list((tmp_path / "run").rglob(".*"))


def test_a_run_killed_before_its_first_checkpoint_resumes_with_another_save_every(tmp_path, capsys):
    def fail(step, state):
        if step == 3:
            raise KeyError

    with pytest.raises(KeyError):
        loop(tmp_path / "run", 20, disturb=fail, g_loss=lambda step: 1.0)
    settings = dataclasses.replace(SETTINGS, save_every=1)
    assert RunFolder(tmp_path / "run", settings, "no images", resume=True).restore(Tiny()) == 0
    assert "starting from step 0" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lr[1e-4]", "a*b?", "a\\b"])
def test_a_run_folder_of_any_name_can_be_resumed(tmp_path, name):
    loop(tmp_path / name, 5, g_loss=lambda step: 1.0)
    assert loop(tmp_path / name, 8, resume=True, g_loss=lambda step: 1.0) == (8, sum(range(8)))
    assert list((tmp_path / name).glob("events*"))


def test_a_checkpoint_removed_while_in_use_stays_readable(tmp_path):
    loop(tmp_path / "run", 4, g_loss=lambda step: 1.0)
    pinned, state = pin(tmp_path / "run"), Tiny()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    checkpoints.read(pinned.path, pinned.files, state)
    assert float(state.weights[0]) == sum(range(4))


def test_a_checkpoint_with_non_finite_values_is_refused(tmp_path):
    state = Tiny()
    state.weights.assign(tf.fill(20_000, float("inf")))
    checkpoints.save(tmp_path / "checkpoints", state, 4)
    with pytest.raises(WeightsError, match="non-finite"):
        checkpoints.restore(tmp_path / "checkpoints", Tiny(), print)
