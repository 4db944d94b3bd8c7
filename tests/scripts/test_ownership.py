"""No command replaces or deletes a file that it did not write, unless --overwrite; hashes identify its files.

`complete.py` and `evaluate.py` as users run them, in this process, which has TensorFlow already.
"""

import contextlib
import io
import json
import os
import runpy
import shutil
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from conftest import ROOT, draw_face
from PIL import Image

from contextual_gan.files.images import part_of, read_image, replace_file, write_png
from contextual_gan.joint import join

QUICK = ["--preset", "coauthor", "--iterations", "1", "--n-init", "2"]


def run(script, *arguments):
    out, err, path = io.StringIO(), io.StringIO(), str(ROOT / script)
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", [path, *map(str, arguments)]),
        mock.patch.object(sys, "path", [os.path.dirname(path), *sys.path]),
        pytest.raises(SystemExit) as end,
    ):
        runpy.run_path(path, run_name="__main__")
    return SimpleNamespace(returncode=end.value.code, stdout=out.getvalue(), stderr=err.getvalue())


def complete(*arguments):
    return run("scripts/complete.py", *arguments, *QUICK)


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(result, name):
    return result.returncode == 2 and f"{name} already exists" in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run of two drawings; tests copy its folder."""
    folder = tmp_path_factory.mktemp("done")
    for i in range(2):
        write_png(folder / "in" / f"{i}.png", draw_face(i))
    assert complete(folder / "in", "--out", folder / "out").returncode == 0
    return folder


@pytest.fixture
def copy(done, tmp_path):
    return shutil.copytree(done / "out", tmp_path / "out")


# --- complete.py ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["face_photo.png", "face_joint.png", "face_input.png", "z.npz", "initial_z.npz", "grid.png"]
)
def test_complete_refuses_to_replace_the_users_files(tmp_path, name):
    write_png(tmp_path / "mine" / "face.png", draw_face(0))
    (tmp_path / "mine" / name).write_text("mine")
    before = tree(tmp_path)
    assert refused(complete(tmp_path / "mine/face.png", "--out", tmp_path / "mine"), name)
    assert tree(tmp_path) == before


def test_complete_overwrites_on_request_and_leaves_other_files(tmp_path):
    write_png(tmp_path / "mine" / "face.png", draw_face(0))
    others = ["face_truth.png", "grid_2.png", "grid_x.png", ".notes.part", ".z.npz.part", "notes.txt"]
    for name in ("face_photo.png", "grid.png", *others):
        (tmp_path / "mine" / name).write_text("mine")
    assert complete(tmp_path / "mine/face.png", "--out", tmp_path / "mine", "--overwrite").returncode == 0
    assert read_image(tmp_path / "mine/face_photo.png").shape == (64, 64, 3)
    assert all((tmp_path / "mine" / name).read_text() == "mine" for name in others)


def test_initializations_and_figures_are_refused_too(done, copy):
    (copy / "0_initializations.png").write_text("mine")
    (copy / "compare.png").write_text("mine")
    before = tree(copy)
    assert refused(complete(done / "in", "--out", copy, "--show-initializations"), "0_initializations.png")
    figures = ["--samples", 1, *QUICK]
    assert refused(run("scripts/compare.py", done / "in", "--out", copy, *figures), "compare.png")
    assert tree(copy) == before
    (copy / "compare.png").unlink()
    assert run("scripts/compare.py", done / "in", "--out", copy, *figures).returncode == 0
    assert json.loads((copy / "results.json").read_text())["figures"] == ["compare.png"]
    assert run("scripts/compare.py", done / "in", "--out", copy, *figures).returncode == 0


def test_a_run_of_an_earlier_version_continues(done, copy):
    """Its entries have no path and do not record which files were being written."""
    record = json.loads((copy / "results.json").read_text())
    for entry in record["results"]:
        del entry["path"]
    for name in record["results"].pop()["outputs"]:
        (copy / name).unlink()
    (copy / "results.json").write_text(json.dumps(record))
    result = complete(done / "in", "--out", copy)
    assert result.returncode == 0 and "1 completed, 1 already done" in result.stdout, result.stderr


def test_results_left_incomplete_by_a_kill_are_made_again(done, copy):
    """The state after a kill within a batch: its pictures exist, but the record still lists them as being written."""
    record = json.loads((copy / "results.json").read_text())
    entry = record["results"].pop()
    (copy / "results.json").write_text(json.dumps(record | {"writing": entry["outputs"]}))
    (copy / "grid.png").unlink()
    replace_file(part_of(copy / "1_photo.png"), b"half")
    whole = {name: content for name, content in tree(done / "out").items() if name.endswith((".png", ".npz"))}
    result = complete(done / "in", "--out", copy)
    assert result.returncode == 0 and "1 completed" in result.stdout, result.stderr
    found = tree(copy)
    assert {name: found[name] for name in whole} == whole and len(found) == len(whole) + 1


def test_temporary_files_are_not_written_through_links(tmp_path):
    (tmp_path / "victim").write_text("mine")
    os.symlink("victim", part_of(tmp_path / "x.png"))
    replace_file(tmp_path / "x.png", b"new")
    assert (tmp_path / "victim").read_text() == "mine" and (tmp_path / "x.png").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == [".x.png.part", "victim", "x.png"]


def test_the_same_relative_name_from_another_folder(tmp_path, monkeypatch):
    for i, name in enumerate("ab"):
        write_png(tmp_path / name / "x.png", draw_face(i))
    monkeypatch.chdir(tmp_path / "a")
    assert complete("x.png", "--out", tmp_path / "out").returncode == 0
    first = tree(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "b")
    result = complete("x.png", "--out", tmp_path / "out")
    assert result.returncode == 2 and "the result of another x.png (at ../a/x.png" in result.stderr
    assert tree(tmp_path / "out") == first
    assert complete("x.png", "--out", tmp_path / "out", "--overwrite").returncode == 0
    assert np.array_equal(read_image(tmp_path / "out/x_input.png"), draw_face(1))


def test_names_that_end_in_npy_keep_their_own_z(tmp_path):
    for i, name in enumerate(("x.png", "x.npy.png")):
        write_png(tmp_path / "in" / name, draw_face(i))
    assert complete(tmp_path / "in", "--out", tmp_path / "out").returncode == 0
    z = (tmp_path / "out/z.npz").read_bytes()
    write_png(tmp_path / "in" / "y.png", draw_face(2))
    assert complete(tmp_path / "in", "--out", tmp_path / "out").returncode == 0
    (tmp_path / "in" / "y.png").unlink()
    with np.load(io.BytesIO(z)) as before, np.load(tmp_path / "out/z.npz") as after:
        for member in ("x.npy", "x.npy.npy"):
            assert np.array_equal(before[member], after[member])
        assert not np.array_equal(after["x.npy"], after["x.npy.npy"])


def test_a_path_that_is_too_long_fails_only_its_own_input(tmp_path, monkeypatch):
    write_png(tmp_path / "in" / "good.png", draw_face(0))
    monkeypatch.chdir(tmp_path / "in")
    for _ in range(21):  # longer than a path may be
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    Image.fromarray(draw_face(1)).save("deep.png")
    os.chdir(tmp_path)
    result = complete("in", "y" * 300 + ".png", "--out", "out")
    assert result.returncode == 1 and "1 completed" in result.stdout, result.stderr
    assert result.stderr.count("File name too long") == 2
    shutil.rmtree(tmp_path / "in")


# --- evaluate.py ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """Arguments of an evaluation that needs no networks, and its folder."""
    folder = tmp_path_factory.mktemp("evaluation")
    for i in range(5):
        write_png(folder / "data" / f"{i}.png", join(draw_face(i), np.full((64, 64, 3), 40 * i, np.uint8)))
    arguments = ["--data", folder / "data", "--train-data", folder / "data", "--method", "mean-face"]
    assert run("scripts/evaluate.py", *arguments, "--out", folder / "out").returncode == 0
    return arguments, folder / "out"


@pytest.mark.parametrize("name", ["metrics.json", "table.md", "grid.png", "mean-face/3.png"])
def test_evaluate_refuses_to_replace_the_users_files(evaluation, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    result = run("scripts/evaluate.py", *evaluation[0], "--out", tmp_path)
    assert refused(result, name) or result.stderr.splitlines()[-1].startswith(
        f"evaluate.py: {tmp_path / name} already exists"
    )
    assert result.returncode == 2 and tree(tmp_path) == {name: b"mine"}
    assert run("scripts/evaluate.py", *evaluation[0], "--out", tmp_path, "--overwrite").returncode == 0
    assert tree(tmp_path) == tree(evaluation[1])


@pytest.mark.parametrize("change", ["number", "prediction", "table.md", "grid.png", "version before"])
def test_results_changed_by_hand_are_made_again(evaluation, tmp_path, change):
    arguments, whole = evaluation
    out = shutil.copytree(whole, tmp_path / "out")
    path = out / "metrics.json"
    record = json.loads(path.read_text())
    if change == "number":
        record["mean-face"]["ssim"]["mean"] = 0.99
    elif change == "version before":
        del record["mean-face"]["sha256"]
    elif change == "prediction":
        shutil.copy2(out / "mean-face/0.png", tmp_path / "old.png")
        write_png(out / "mean-face/0.png", np.full((64, 64, 3), 3, np.uint8))
        os.utime(out / "mean-face/0.png", (1, 1))  # older than all
    else:
        write_png(out / change, draw_face(3)) if change == "grid.png" else (out / change).write_text("mine")
    path.write_text(json.dumps(record, indent=1) + "\n")
    result = run("scripts/evaluate.py", *arguments, "--out", out)
    assert result.returncode == 0, result.stderr
    found, expected = tree(out), tree(whole)
    if change == "prediction":
        assert json.loads(path.read_text())["mean-face"]["images"][0] != record["mean-face"]["images"][0]
        shutil.copy2(tmp_path / "old.png", out / "mean-face/0.png")
        assert run("scripts/evaluate.py", *arguments, "--out", out).returncode == 0
        found = tree(out)
    assert found == expected
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert run("scripts/evaluate.py", *arguments, "--out", out).returncode == 0
    assert times == {p: p.stat().st_mtime_ns for p in times}, "now there is nothing to do"


def test_a_journal_left_by_a_kill_is_merged(evaluation, tmp_path):
    arguments, whole = evaluation
    out = shutil.copytree(whole, tmp_path / "out")
    os.rename(out / "mean-face/manifest.jsonl", out / "mean-face/manifest.journal")
    assert run("scripts/evaluate.py", *arguments, "--out", out).returncode == 0
    assert tree(out) == tree(whole)


# --- data sets and weights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dataset.json", "split.csv", "manifest.jsonl", "manifest.journal", "train/0.png"])
def test_prepare_refuses_to_replace_the_users_files(tmp_path, name):
    for i in range(5):
        write_png(tmp_path / "in" / f"{i}.png", draw_face(i))
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("mine")
    before = tree(tmp_path)
    crop = ["--set", "data.crop=centre", "--set", "data.test=0", "--workers", 1]
    result = run("datasets/prepare.py", "--images", tmp_path / "in", "--out", tmp_path / "out", *crop)
    assert result.returncode == 2 and f"{name} " in result.stderr and tree(tmp_path) == before


def test_files_added_later_are_not_replaced_either(tmp_path):
    for name in ("a.png", "b.png"):
        write_png(tmp_path / "in" / name, draw_face(0))
    resize = ["datasets/resize.py", tmp_path / "in", tmp_path / "out", "--workers", 1]
    assert run(*resize).returncode == 0
    write_png(tmp_path / "in" / "c.png", draw_face(1))
    (tmp_path / "out" / "c.png").write_text("mine")
    before = tree(tmp_path / "out")
    assert refused(run(*resize), "c.png") and tree(tmp_path / "out") == before
    (tmp_path / "out" / "c.png").unlink()
    write_png(tmp_path / "in" / "a.png", draw_face(2))
    result = run(*resize)
    assert result.returncode == 0 and "made again because their inputs changed: 1: a.png" in result.stderr


def test_export_refuses_to_replace_the_users_card(tmp_path):
    (tmp_path / "weights.json").write_text("mine")
    (tmp_path / "run").mkdir()
    with mock.patch("contextual_gan.models.weights.load_networks", return_value=(None, None)):
        result = run("scripts/export.py", tmp_path / "run", tmp_path / "weights.safetensors")
    assert refused(result, "weights.json") and tree(tmp_path) == {"weights.json": b"mine"}
    (tmp_path / "link.safetensors").symlink_to("nowhere")
    assert refused(run("scripts/export.py", "celeba", tmp_path / "link.safetensors", "--overwrite"), "link.safetensors")
