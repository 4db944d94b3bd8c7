"""`scripts/complete.py` as a user runs it: in this process, which has TensorFlow already, or in separate ones."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, draw_face, draw_photo, run_here
from papers import HOUSE, drawn, two_faces
from PIL import Image

from contextual_gan.completion import figures
from contextual_gan.completion.faithful import BY_KIND
from contextual_gan.config import PRESETS
from contextual_gan.files.checkpoints import file_sha256
from contextual_gan.files.images import read_image, write_png
from contextual_gan.joint import join
from contextual_gan.models.locations import encoder_file
from contextual_gan.models.weights import save_encoder, save_weights
from contextual_gan.preparation.drawings import read_faces
from contextual_gan.preparation.known import read_known
from contextual_gan.preparation.sketches import xdog

COMMAND = [sys.executable, str(ROOT / "scripts" / "complete.py")]
QUICK = ["--preset", "coauthor", "--iterations", "3", "--n-init", "4"]


def complete(*args):
    return run_here("scripts/complete.py", *args)


def complete_apart(*args, **options):
    """In a process of its own."""
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, timeout=300, **options)


def record(out):
    return json.loads((out / "results.json").read_text())


def pictures(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*.png")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven valid drawings and three unusable files, in a folder tree."""
    folder = tmp_path_factory.mktemp("drawings")
    for i in range(5):
        write_png(folder / f"{i}.png", draw_face(i))
    write_png(folder / "a" / "b.png", draw_face(5, size=300))
    Image.fromarray(draw_face(6, size=200)).save(folder / "a" / "b.jpg")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("not an image")
    (folder / "cut.jpg").write_bytes((folder / "a" / "b.jpg").read_bytes()[:2000])
    return folder


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    """A finished run over the folder: (its result, the run folder)."""
    out = tmp_path_factory.mktemp("run") / "out"
    return complete_apart(folder, "--out", out, *QUICK, "--batch-size", "4"), out


def test_valid_files_are_completed_and_unusable_ones_listed(done, folder):
    result, out = done
    assert result.returncode == 1 and "Traceback" not in result.stderr
    results = record(out)
    assert [r["stem"] for r in results["results"]] == ["0", "1", "2", "3", "4", "a/b.jpg", "a/b.png"]
    assert {Path(f["input"]).name for f in results["failed"]} == {"empty.png", "text.png", "cut.jpg"}
    assert all(f["reason"] and f["reason"] in result.stderr for f in results["failed"])
    for entry in results["results"]:
        assert {"input", "outputs", "contextual", "total", "iterations", "seconds"} <= entry.keys()
        assert entry["iterations"] == 3 and entry["total"]["best"] <= entry["total"]["initial"]
        assert entry["outputs"] == [f"{entry['stem']}_{kind}.png" for kind in ("input", "photo", "joint")]
        sketch, photo, joint = (read_image(out / output) for output in entry["outputs"])
        assert sketch.shape == photo.shape == (64, 64, 3)
        assert np.array_equal(joint[:, 64:], photo)
    assert np.array_equal(read_image(out / "0_input.png"), draw_face(0))  # the drawn pixels, unchanged
    assert np.array_equal(sorted(np.load(out / "z.npz")), [r["stem"] for r in results["results"]])
    assert np.load(out / "z.npz")["a/b.png"].shape == (1, 100)
    assert read_image(out / "grid.png").shape[1] > 900
    assert not list(out.rglob(".*"))


def test_z_gives_the_saved_picture(done, networks):
    from contextual_gan.files.images import to_uint8
    from contextual_gan.models.inference import generate

    _, out = done
    joint = to_uint8(generate(networks[0], np.load(out / "z.npz")["3"]))[0]
    assert np.array_equal(joint, read_image(out / "3_joint.png"))


def test_a_rerun_skips_completed_files_and_retries_failed_ones(done, folder):
    _, out = done
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*_photo.png")}
    result = complete(folder, "--out", out, *QUICK)
    assert result.returncode == 1 and "0 completed, 7 already done, 3 failed" in result.stdout
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*_photo.png")}
    assert len(record(out)["failed"]) == 3


def test_other_settings_are_refused_by_name_and_overwrite_replaces_all(done, folder, tmp_path):
    _, out = done
    before = (out / "results.json").read_bytes()
    result = complete(folder, "--out", out, *QUICK, "--lambda", "0.5")
    assert result.returncode == 2 and "lambda: 0.01 there, 0.5 now" in result.stderr
    assert len(result.stderr.splitlines()) == 1 and (out / "results.json").read_bytes() == before
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", out, copy], check=True)
    result = complete(folder / "0.png", "--out", copy, *QUICK, "--lambda", "0.5", "--overwrite")
    assert result.returncode == 0
    assert {p.name for p in copy.rglob("*.png")} == {"0_input.png", "0_photo.png", "0_joint.png", "grid.png"}
    assert record(copy)["settings"]["lambda"] == 0.5 and list(np.load(copy / "z.npz")) == ["0"]


def test_a_killed_and_continued_run_matches_an_uninterrupted_one(done, folder, tmp_path):
    _, whole = done
    out = tmp_path / "out"
    command = [*COMMAND, str(folder), "--out", str(out), *QUICK, "--batch-size", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and not (out / "1_photo.png").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    killed = len(record(out)["results"])
    assert 1 <= killed < 7
    result = complete(folder, "--out", out, *QUICK, "--batch-size", "4")
    assert result.returncode == 1 and f"{killed} already done" in result.stdout
    assert pictures(out) == pictures(whole)
    a, b = record(out), record(whole)
    for entry in a["results"] + b["results"]:
        del entry["seconds"]
    assert a == b
    z, whole_z = np.load(out / "z.npz"), np.load(whole / "z.npz")
    assert all(np.array_equal(z[stem], whole_z[stem]) for stem in whole_z)


def test_ctrl_c_gives_one_line_and_keeps_completed_results(folder, tmp_path):
    out = tmp_path / "out"
    ask = ["--faithful", "1", "--iterations", "2000", "--n-init", "1", "--batch-size", "1"]
    command = [*COMMAND, str(folder), "--out", str(out), *ask]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (out / "results.json").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr
    assert stderr.splitlines()[-1] == "complete.py: interrupted; run the same command again to continue"
    assert record(out)["settings"]["iterations"] == 2000


def test_joints_show_their_other_half_and_samples_are_numbered(tmp_path):
    sketch, photo = draw_face(0), np.full((64, 64, 3), (200, 150, 120), np.uint8)
    write_png(tmp_path / "in" / "pair.png", join(sketch, photo))
    out = tmp_path / "out"
    result = complete(tmp_path / "in", "--out", out, *QUICK, "--samples", "3", "--show-initializations")
    assert result.returncode == 0, result.stderr
    assert np.array_equal(read_image(out / "pair_input.png"), sketch)
    assert np.array_equal(read_image(out / "pair_truth.png"), photo)
    outputs = record(out)["results"][0]["outputs"]
    assert outputs[:5] == [f"pair_{e}.png" for e in ("input", "photo", "joint", "photo_2", "photo_3")]
    assert len({(out / f"pair_photo{k}.png").read_bytes() for k in ("", "_2", "_3")}) == 3
    assert np.load(out / "z.npz")["pair"].shape == (3, 100)
    candidates = read_image(out / "pair_initializations.png").astype(int)
    assert ((candidates[..., 0] > 250) & (candidates[..., 1] < 5)).any()  # a red frame
    out = tmp_path / "drawn"
    result = complete(tmp_path / "in", "--out", out, *QUICK, "--direction", "sketch")
    assert result.returncode == 0 and np.array_equal(read_image(out / "pair_input.png"), photo)
    assert np.array_equal(read_image(out / "pair_truth.png"), sketch)
    assert np.array_equal(read_image(out / "pair_joint.png")[:, :64], read_image(out / "pair_sketch.png"))


def test_a_changed_file_is_completed_again_and_a_new_neighbour_renames_results(tmp_path):
    write_png(tmp_path / "in" / "b.png", draw_face(0))
    write_png(tmp_path / "in" / "grid.png", draw_face(3))  # its pictures are not pages of the grid
    out = tmp_path / "out"
    assert complete(tmp_path / "in", "--out", out, *QUICK).returncode == 0
    first = (out / "b_photo.png").read_bytes()
    write_png(tmp_path / "in" / "b.png", draw_face(1))
    Image.fromarray(draw_face(2)).save(tmp_path / "in" / "b.bmp")
    assert complete(tmp_path / "in", "--out", out, *QUICK).returncode == 0
    assert [r["stem"] for r in record(out)["results"]] == ["b.bmp", "b.png", "grid"]
    assert {"grid.png", "grid_photo.png", "grid_joint.png"} <= {path.name for path in out.iterdir()}
    (tmp_path / "in" / "b.bmp").write_bytes(b"broken")
    assert complete(tmp_path / "in", "--out", out, *QUICK).returncode == 1
    assert [r["stem"] for r in record(out)["results"]] == ["b.png", "grid"] and not (out / "b.bmp_photo.png").exists()
    assert not (out / "b_photo.png").exists() and (out / "b.png_photo.png").read_bytes() != first


def test_unusual_names_do_not_affect_other_inputs(tmp_path):
    names = ["file.png", "allow_pickle.png", "caf\udce9.png", "two words é.png", "x" * 240 + ".png"]
    for i, name in enumerate(names):
        write_png(tmp_path / "picture.png", draw_face(i))
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "picture.png").rename(tmp_path / "in" / name)
    out = tmp_path / "out"
    result = complete_apart(tmp_path / "in", "--out", out, *QUICK)
    assert result.returncode == 1 and "4 completed" in result.stdout, result.stderr
    stems = [entry["stem"] for entry in record(out)["results"]]
    assert stems == sorted(["file", "allow_pickle", "caf\\udce9", "two words é"]) == sorted(np.load(out / "z.npz"))
    assert "too long" in record(out)["failed"][0]["reason"]
    assert "4 already done" in complete(tmp_path / "in", "--out", out, *QUICK).stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere"], "no such file or folder: nowhere"),
        (["."], "no images in"),
        (["--lr", "fast", "."], "invalid float value: 'fast'"),
        (["--lr", "-1", "."], "lr is -1.0"),
        (
            ["--samples", "9", "--n-init", "4", "."],
            "4 initializations; add --n-init 9",
        ),
        (["--batch-size", "0", "."], "0 is less than 1"),
        (["--crop", "1,2", "."], "crop must be"),
        (["--weights", "mine", "."], "no weights at mine"),
        (["--iteration", "5", "."], "unrecognized arguments: --iteration; did you mean --iterations?"),
    ],
)
def test_mistakes_are_reported_in_one_line_and_nothing_is_written(tmp_path, args, message):
    result = complete_apart(*args, "--out", "out", cwd=tmp_path)
    assert result.returncode == 2 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["in.png", "in.png/deeper"])
def test_a_file_where_the_output_should_be_is_refused_before_any_work(tmp_path, out):
    write_png(tmp_path / "in.png", draw_face(0))
    before = (tmp_path / "in.png").read_bytes()
    result = complete_apart("in.png", "--out", out, cwd=tmp_path)
    assert result.returncode == 2 and result.stderr == "complete.py: in.png is a file, the output must be a folder\n"
    assert [p.name for p in tmp_path.iterdir()] == ["in.png"] and (tmp_path / "in.png").read_bytes() == before


def test_a_full_disk_gives_one_line_and_leaves_no_partial_file(tmp_path, monkeypatch):
    write_png(tmp_path / "in.png", draw_face(0))
    limited = ["bash", "-c", 'ulimit -f 24; exec "$@"', "bash", *COMMAND, "in.png", "--out", "out", *QUICK]
    result = subprocess.run(limited, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("complete.py: File too large: out/grid.png (") and "GB free there" in last
    assert not list((tmp_path / "out").glob(".*")) and not (tmp_path / "out" / "grid.png").exists()
    monkeypatch.chdir(tmp_path)
    again = complete("in.png", "--out", "out", *QUICK)
    assert again.returncode == 0 and "1 already done" in again.stdout
    assert (tmp_path / "out" / "grid.png").exists()


def test_the_output_folder_is_refused_as_input_but_a_file_in_it_is_accepted(tmp_path, monkeypatch):
    write_png(tmp_path / "0.png", draw_face(0))
    result = complete(tmp_path, "--out", tmp_path)
    assert result.returncode == 2 and "lies in the output folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]
    monkeypatch.chdir(tmp_path)
    result = complete("0.png", "--out", ".", *QUICK)
    assert result.returncode == 0 and (tmp_path / "0_photo.png").exists()


def test_debug_shows_the_traceback_of_a_mistake(tmp_path):
    result = complete_apart("nowhere", "--out", tmp_path / "out", "--debug")
    assert result.returncode == 2 and "Traceback" in result.stderr and "find_images" in result.stderr


def test_help_imports_nothing_heavy():
    program = (
        "import runpy, sys; sys.argv = ['complete.py', '--help']\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        f"try: runpy.run_path({COMMAND[1]!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([m for m in ('tensorflow', 'keras', 'cv2', 'numpy', 'PIL') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]" and "--show-initializations" in result.stdout


def test_without_an_installation_the_error_explains_how_to_install(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    (tmp_path / "contextual_gan.py").write_text("raise ModuleNotFoundError('contextual_gan')")
    result = complete_apart("--help", env=environment)
    assert result.returncode == 2 and "pip install -e ." in result.stderr and len(result.stderr.splitlines()) == 1


def test_the_default_preset_is_edges_and_starts_from_the_published_encoder(tmp_path):
    write_png(tmp_path / "face.png", draw_face(0))
    result = complete_apart(tmp_path / "face.png", "--out", tmp_path / "run")
    assert result.returncode == 0
    lines = result.stderr.splitlines()
    assert all(line.startswith("completing 1: ") for line in lines), "no warnings of TensorFlow's either"
    settings, (entry,) = record(tmp_path / "run")["settings"], record(tmp_path / "run")["results"]
    assert settings["preset"] == "edges" and settings["start"] == "encoder" and settings["encoder_sha256"]
    free = complete(tmp_path / "face.png", "--out", tmp_path / "free", "--faithful", 1)
    assert free.returncode == 0
    (free,) = record(tmp_path / "free")["results"]
    assert free["contextual"]["best"] < 0.7 * entry["contextual"]["initial"]


def test_without_an_encoder_that_has_seen_true_joints_the_prior_of_the_preset_is_the_default(tmp_path):
    write_png(tmp_path / "face.png", draw_face(0))
    ask = ("--weights", "celeba_paper", "--iterations", 2)
    result = complete(tmp_path / "face.png", "--out", tmp_path / "run", *ask)
    assert result.returncode == 0 and "faithful" not in result.stdout
    settings = record(tmp_path / "run")["settings"]
    assert settings["faithful"] is None and settings["prior"] == PRESETS["edges"].prior


def test_how_faithful_a_result_is_depends_on_whether_a_filter_or_a_person_drew_the_input(tmp_path, networks, encoder):
    weights = tmp_path / "weights.safetensors"
    save_weights(weights, *networks)
    about = {"generator_sha256": file_sha256(weights), "direction": "photo", "joint_images": 1}
    save_encoder(encoder_file(weights, "photo"), encoder, about)
    filtered = xdog(draw_photo(0))
    write_png(tmp_path / "in/drawn.png", draw_face(0))
    write_png(tmp_path / "in/filtered.png", filtered)
    write_png(tmp_path / "in/joint.png", join(filtered, draw_photo(0)))
    write_png(tmp_path / "in/large.png", draw_face(1, size=300))
    ask = (tmp_path / "in", "--out", tmp_path / "run", "--iterations", 2, "--weights", weights)
    result = complete(*ask)
    assert result.returncode == 0, result.stderr
    found = record(tmp_path / "run")
    kinds = {entry["stem"]: entry["kind"] for entry in found["results"]}
    assert kinds == {"drawn": "drawing", "filtered": "sketch", "joint": "sketch", "large": "drawing"}
    assert found["settings"]["faithful"] == BY_KIND
    faithful = {entry["stem"]: entry["faithful"] for entry in found["results"]}
    assert faithful["drawn"] == faithful["large"] == BY_KIND["drawing"]
    assert faithful["filtered"] == faithful["joint"] <= BY_KIND["sketch"]["most"]
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("faithful: ")]
    assert f"0 for 2 drawings, {faithful['joint']:g} for 2 sketches" in line and "--faithful F" in line
    assert "nothing to do" in complete(*ask).stdout


def test_faithful_is_in_the_record_and_never_mixed(tmp_path):
    write_png(tmp_path / "face.png", draw_face(0))
    ask = (tmp_path / "face.png", "--out", tmp_path / "run", "--samples", 2, "--iterations", 3)
    result = complete(*ask, "--faithful", 0)
    assert result.returncode == 0, result.stderr
    found = record(tmp_path / "run")
    (entry,) = found["results"]
    assert found["settings"]["faithful"] == 0 and found["settings"]["centre"] == "encoder"
    assert entry["iterations"] == 0 and entry["contextual"]["best"] == entry["contextual"]["initial"]
    with np.load(tmp_path / "run/z.npz") as z, np.load(tmp_path / "run/initial_z.npz") as initial:
        assert np.array_equal(z["face"], initial["face"]) and not np.array_equal(z["face"][0], z["face"][1])
    before = pictures(tmp_path / "run")
    other = complete(*ask, "--faithful", 0.5)
    assert other.returncode == 2 and "faithful: 0.0 there, 0.5 now" in other.stderr
    assert pictures(tmp_path / "run") == before


def test_the_figure_of_initializations_says_how_the_red_ones_were_chosen(tmp_path, monkeypatch):
    write_png(tmp_path / "face.png", draw_face(0))
    titles, draw = [], figures.grid

    def noted(rows, *args, labels, **options):
        titles.append(labels[0])
        return draw(rows, *args, labels=labels, **options)

    monkeypatch.setattr(figures, "grid", noted)
    monkeypatch.setattr(figures, "draw_pages", lambda *_: None)
    for more in ((), ("--samples", 2), QUICK):
        asked = (tmp_path / "face.png", "--out", tmp_path / "run", "--overwrite", "--show-initializations")
        assert complete(*asked, *more).returncode == 0
    assert titles == [
        "face: 8 initializations, red: the encoder's",
        "face: 8 initializations, red: the encoder's and lowest KL(input-generated)",
        "face: 4 initializations, red: lowest KL(input-generated)",
    ]


def test_the_summary_says_what_was_searched(tmp_path, monkeypatch):
    write_png(tmp_path / "drawn.png", draw_face(0))
    write_png(tmp_path / "filtered.png", xdog(draw_photo(0)))

    def summary(inputs, out, *more):
        result = complete(*(tmp_path / f"{name}.png" for name in inputs), "--out", tmp_path / out, *more)
        assert result.returncode == 0, result.stderr
        (line,) = [line for line in result.stdout.splitlines() if line.startswith("contextual loss, ")]
        loss = {entry["stem"]: entry["contextual"] for entry in record(tmp_path / out)["results"]}
        return line, loss, result.stderr

    line, loss, progress = summary(["drawn"], "none")
    assert line == f"contextual loss, median of 1 without a search: {loss['drawn']['best']:.3f}"
    assert "iterations" not in progress
    line, loss, _ = summary(["drawn", "filtered"], "never", "--faithful", 1, "--iterations", 0)
    median = np.median([each["best"] for each in loss.values()])
    assert line == f"contextual loss, median of 2 without a search: {median:.3f}"
    line, loss, _ = summary(["drawn"], "all", "--faithful", 1, "--iterations", 5)
    assert loss["drawn"]["best"] < loss["drawn"]["initial"]
    searched = "contextual loss, median of 1: {initial:.3f} at the start, {best:.3f} after the search"
    assert line == searched.format(**loss["drawn"])
    monkeypatch.setitem(BY_KIND, "sketch", 1.0)
    for _ in range(2):  # the second time, both are already done
        line, loss, _ = summary(["drawn", "filtered"], "some", "--iterations", 5)
        others = f"; median of 1 without a search: {loss['drawn']['best']:.3f}"
        assert line == searched.format(**loss["filtered"]) + others


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--faithful 0.5 --prior 0.2", "leave out --prior"),
        ("--faithful 0.5 --preset coauthor", "not for --preset coauthor"),
        ("--faithful 0.5 --start random", "leave out --start random"),
        ("--faithful 1.5", "1.5 is not from 0 to 1"),
        ("--faithful nan", "nan is not from 0 to 1"),
    ],
)
def test_faithful_with_a_conflicting_flag_is_refused_in_one_line(tmp_path, words, reason):
    write_png(tmp_path / "face.png", draw_face(0))
    result = complete(tmp_path / "face.png", "--out", tmp_path / "run", *words.split())
    assert result.returncode == 2 and reason in result.stderr and len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_several_faces_are_counted_and_missing_ones_named(tmp_path):
    write_png(tmp_path / "in" / "b.png", two_faces())
    write_png(tmp_path / "in" / "b_2.png", draw_face(1))
    write_png(tmp_path / "in" / "house.png", drawn(HOUSE))
    result = complete(tmp_path / "in", "--out", tmp_path / "one", *QUICK)
    lines = [line for line in result.stderr.splitlines() if ".png: " in line]
    assert result.returncode == 0 and len(lines) == 2
    assert "b.png: 2 faces in this drawing" in lines[0] and "--faces all" in lines[0]
    assert "house.png: no face recognised in this drawing; see house_input.png, or give --crop x,y,w,h" in lines[1]
    scores = {entry["stem"]: entry["face"] for entry in record(tmp_path / "one")["results"]}
    assert scores["b"] > 0.46 > scores["house"] and scores.keys() == {"b", "b_2", "house"}
    for again in ("4 completed", "nothing to do"):
        result = complete(tmp_path / "in", "--out", tmp_path / "all", *QUICK, "--faces", "all")
        assert result.returncode == 0 and again in result.stdout
    found = {entry["stem"]: entry for entry in record(tmp_path / "all")["results"]}
    assert found.keys() == {"b", "b_2", "b_face_2", "house"} and found["b_face_2"]["of"] == "b"
    (tmp_path / "all" / "b_face_2_photo.png").unlink()
    result = complete(tmp_path / "in", "--out", tmp_path / "all", *QUICK, "--faces", "all")
    assert result.returncode == 0 and "2 completed" in result.stdout  # both faces of the sheet again
    result = complete(tmp_path / "in" / "b.png", "--out", tmp_path / "alone", *QUICK, "--faces", "all")
    assert {path.name for path in (tmp_path / "alone").glob("*_photo.png")} == {"b_photo.png", "b_2_photo.png"}


def test_archives_and_all_formats_are_read_and_other_files_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    first, second = (Image.fromarray(draw_face(i, size=128)) for i in range(2))
    first.save(tmp_path / "in" / "a.gif", save_all=True, append_images=[second])
    first.save(tmp_path / "in" / "b.tif")
    first.save(tmp_path / "in" / "c.avif")
    (tmp_path / "in" / "page.pdf").write_bytes(b"%PDF-1.7")
    write_png(tmp_path / "in" / "earlier" / "x_photo.png", draw_face(2))
    (tmp_path / "in" / "earlier" / "results.json").write_text('{"settings": {}, "results": []}')
    with zipfile.ZipFile(tmp_path / "sketches.zip", "w") as archive:
        archive.write(tmp_path / "in" / "b.tif", "deep/d.tif")
        archive.writestr("deep/e.png", b"")
    for again in ("4 completed, 0 already done", "0 completed, 4 already done"):
        result = complete("in", "sketches.zip", "--out", "out", *QUICK)
        assert result.returncode == 1 and again in result.stdout, result.stderr
        assert "passed over: 1 PDF (in/page.pdf), 1 run folder (in/earlier)\n" in result.stderr
        assert "failed: sketches.zip/deep/e.png: empty file\n" in result.stderr
        assert ("in/a.gif: the first of several images in this file" in result.stderr) == again.startswith("4")
    found = {entry["stem"]: entry for entry in record(tmp_path / "out")["results"]}
    assert found.keys() == {"in/a", "in/b", "in/c", "sketches/deep/d"}
    assert found["sketches/deep/d"]["input"] == "sketches.zip/deep/d.tif"
    assert found["sketches/deep/d"]["path"] == "../sketches.zip/deep/d.tif"
    read = [read_image(tmp_path / "out" / f"{stem}_input.png") for stem in ("in/a", "in/b", "sketches/deep/d")]
    assert np.array_equal(read[0], read[1]) and np.array_equal(read[1], read[2])


def test_a_crop_is_in_pixels_of_the_file_also_of_a_large_jpeg(tmp_path):
    page = np.full((5000, 6000, 3), 255, np.uint8)
    page[1000:1640, 2000:2640] = draw_face(0, size=640)
    Image.fromarray(page).save(tmp_path / "large.jpg", quality=95)
    task = SimpleNamespace(direction="photo", crop="2000,1000,640,640", joint="auto", faces="largest")
    (known,) = read_known((tmp_path / "large.jpg").read_bytes(), task)
    (expected,) = read_faces(np.dstack([draw_face(0, size=640), np.full((640, 640), 255, np.uint8)]), crop="none")
    assert np.abs(known.image.astype(int) - expected.image).mean() < 20


def test_a_sketch_given_as_a_photo_is_named(tmp_path):
    write_png(tmp_path / "face.png", draw_face(3, size=300))
    result = complete(tmp_path / "face.png", "--out", tmp_path / "out", *QUICK, "--direction", "sketch")
    assert result.returncode == 0 and "face.png: this looks like a drawing; --direction photo" in result.stderr
    result = complete(
        tmp_path / "face.png", "--out", tmp_path / "o", "--direction", "sketch", "--faces", "all", "--align", "off"
    )
    assert result.returncode == 2 and "--faces all needs the faces" in result.stderr
