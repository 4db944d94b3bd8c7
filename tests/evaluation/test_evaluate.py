"""`scripts/evaluate.py` as a user runs it: mostly in this process, which has TensorFlow already."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, WANG, draw_face, draw_photo, run_here, split
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from contextual_gan.evaluation.metrics import bootstrap, sketch_consistency
from contextual_gan.files.images import read_image, write_png
from contextual_gan.joint import join
from contextual_gan.preparation.sketches import xdog

SCRIPT = str(ROOT / "scripts" / "evaluate.py")
QUICK = ["--preset", "coauthor", "--iterations", "3", "--n-init", "4"]
NAMES = ["a.png", "b.png", "c.png", "more/d.png", "more/e.png"]  # of the valid joints


def evaluate(*args):
    return run_here("scripts/evaluate.py", *args)


def metrics(out):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((out / "metrics.json").read_text(), parse_constant=refuse)


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def predicted(out, method):
    return np.stack([read_image(out / method / name) for name in NAMES])


@pytest.fixture(scope="module")
def data(tmp_path_factory, networks):
    """Five joints drawn by the generator, a damaged one, one of the wrong size, and a file that is not an image."""
    from contextual_gan.files.images import to_uint8
    from contextual_gan.models.inference import generate

    folder = tmp_path_factory.mktemp("data") / "test"
    z = np.random.default_rng(7).uniform(-1, 1, (len(NAMES), 100)).astype(np.float32)
    for name, joint in zip(NAMES, to_uint8(generate(networks[0], z)), strict=True):
        write_png(folder / name, joint)
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:3000])
    write_png(folder / "large.png", np.zeros((256, 512, 3), np.uint8))
    (folder / "split.csv").write_text("image,split\n")
    return folder


@pytest.fixture(scope="module")
def joints(data):
    """The pixels of the five valid joints."""
    return np.stack([read_image(data / name) for name in NAMES])


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Two joints with known means."""
    folder = tmp_path_factory.mktemp("train")
    for name, level in (("0", 10), ("1", 21)):
        sketch, photo = np.full((2, 64, 64, 3), level, np.uint8) * np.array([1, 2], np.uint8)[:, None, None, None]
        write_png(folder / f"{name}.png", join(sketch, photo))
    return folder


@pytest.fixture(scope="module")
def done(data, train, tmp_path_factory):
    """A finished evaluation: (its result, its folder)."""
    out = tmp_path_factory.mktemp("run") / "out"
    arguments = ["--method", "contextual,mean-face,initialization", "--train-data", train, "--out", out, *QUICK]
    return evaluate("--data", data, *arguments), out


@pytest.fixture
def copy(done, tmp_path):
    """A copy of the finished evaluation, to be changed."""
    return shutil.copytree(done[1], tmp_path / "copy")


# --- measurements -----------------------------------------------------------------------------------------------------


def test_numbers_match_the_predictions_on_disk(done, joints):
    result, out = done
    assert result.returncode == 1 and "Traceback" not in result.stderr
    found = metrics(out)
    assert list(found) == ["mean-face", "initialization", "contextual", "settings", "failed", "versions"]
    sketches, truths = split(joints)
    for method in ("mean-face", "initialization", "contextual"):
        images, photos = found[method]["images"], predicted(out, method)
        assert [image["name"] for image in images] == NAMES
        expected = {
            "ssim": [structural_similarity(a, b, **WANG) for a, b in zip(photos, truths, strict=True)],
            "psnr": [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(photos, truths, strict=True)],
            "consistency": sketch_consistency(sketches, photos),
        }
        for metric, values in expected.items():
            assert np.allclose([image[metric] for image in images], values, atol=1e-9)
            bounds = [found[method][metric][name] for name in ("mean", "low", "high")]
            assert np.allclose(bounds, bootstrap(values)), (method, metric)
        assert ("contextual" in found[method]) == (method != "mean-face") and found[method]["psnr"]["identical"] == 0
    start, end = ([i["contextual"] for i in found[name]["images"]] for name in ("initialization", "contextual"))
    assert np.median(start) == found["initialization"]["contextual"]["median"] and np.median(end) < np.median(start)


def test_each_method_predicts_as_specified(done, joints, networks):
    from contextual_gan.completion.search import complete
    from contextual_gan.files.images import to_uint8

    _, out = done
    sketches, _ = split(joints)
    whole = complete(*networks, sketches, iterations=3, n_init=4)
    assert np.array_equal(predicted(out, "contextual"), to_uint8(whole.joints[:, 0, :, 64:]))
    assert np.array_equal(predicted(out, "initialization"), to_uint8(whole.initial_joints[:, 0, :, 64:]))
    assert (predicted(out, "mean-face") == 31).all(), "the photos of the training set are 20 and 42"
    best = np.argmin(whole.total[:, 0], axis=1)
    losses = [image["contextual"] for image in metrics(out)["contextual"]["images"]]
    assert np.allclose(losses, whole.contextual[np.arange(5), 0, best])


def test_failed_images_settings_and_versions_are_recorded(done):
    result, out = done
    found = metrics(out)
    assert [failure["name"] for failure in found["failed"]] == ["cut.png", "large.png"]
    assert found["failed"][1]["reason"] == "512 x 256 pixels; a joint image has 128 x 64"
    assert all(f"failed: {failure['name']}: {failure['reason']}" in result.stderr for failure in found["failed"])
    settings = {"direction": "photo", "seed": 0, "iterations": 3, "n_init": 4, "lambda": 0.01, "train_images": 2}
    assert settings.items() <= found["settings"].items() and found["settings"]["images"] == 5
    assert found["versions"].keys() >= {"contextual_gan", "tensorflow", "numpy", "opencv", "python"}


def test_the_table_is_printed_and_the_grid_drawn(done):
    result, out = done
    table = (out / "table.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert "\n".join(rows) in result.stdout and len({len(row) for row in rows}) == 1
    assert [row.split()[1] for row in rows[2:]] == ["mean-face", "initialization", "contextual"]
    ssim = metrics(out)["contextual"]["ssim"]
    assert f"| {ssim['mean']:.3f} ({ssim['low']:.3f} to {ssim['high']:.3f}) " in rows[4]
    height, width, _ = read_image(out / "grid.png").shape
    assert height > 5 * 128 and 5 * 128 < width < 6 * 128 and not list(out.rglob(".*"))


def test_a_prediction_identical_to_the_truth(tmp_path):
    for name, level in (("same", 50), ("other", 80)):
        write_png(tmp_path / "data" / f"{name}.png", join(draw_face(0), np.full((64, 64, 3), level, np.uint8)))
    shutil.copytree(tmp_path / "data", tmp_path / "train", ignore=shutil.ignore_patterns("other.png"))
    arguments = ["--data", tmp_path / "data", "--method", "mean-face", "--train-data", tmp_path / "train"]
    assert evaluate(*arguments, "--out", tmp_path / "out").returncode == 0
    found = metrics(tmp_path / "out")["mean-face"]
    other, same = found["images"]
    assert same["ssim"] == 1 and same["psnr"] == "inf" and other["psnr"] == pytest.approx(20 * np.log10(255 / 30))
    assert found["psnr"]["mean"] == other["psnr"] and found["psnr"]["identical"] == 1
    assert evaluate(*arguments[:1], tmp_path / "train", *arguments[2:], "--out", tmp_path / "all").returncode == 0
    bounds = {"mean": "inf", "low": "inf", "high": "inf", "identical": 1}
    assert metrics(tmp_path / "all")["mean-face"]["psnr"] == bounds
    assert "inf, 1 identical" in (tmp_path / "all" / "table.md").read_text()


def test_sketches_of_photos(data, joints, train, tmp_path, networks):
    from contextual_gan.completion.search import complete
    from contextual_gan.files.images import to_uint8

    methods = ["--method", "mean-face,contextual", "--train-data", train, "--direction", "sketch"]
    assert evaluate("--data", data, *methods, "--out", tmp_path, *QUICK).returncode == 1
    _, photos = split(joints)
    drawn = to_uint8(complete(*networks, photos, direction="sketch", iterations=3, n_init=4).joints[:, 0, :, :64])
    assert np.array_equal(predicted(tmp_path, "contextual"), drawn)
    assert (predicted(tmp_path, "mean-face") == 16).all(), "the sketches are 10 and 21; 15.5 is rounded to even"
    values = [image["consistency"] for image in metrics(tmp_path)["contextual"]["images"]]
    assert np.allclose(values, sketch_consistency(drawn, photos))


def test_true_pairs_are_consistent(tmp_path):
    photo = draw_photo(0)
    write_png(tmp_path / "data" / "0.png", join(xdog(photo), photo))
    arguments = ["--data", tmp_path / "data", "--train-data", tmp_path / "data", "--method", "mean-face"]
    assert evaluate(*arguments, "--out", tmp_path / "out").returncode == 0
    assert metrics(tmp_path / "out")["mean-face"]["consistency"]["mean"] == pytest.approx(1)


# --- running it again -------------------------------------------------------------------------------------------------


def test_a_rerun_does_nothing_and_needs_no_tensorflow(done, data, train, copy, tmp_path):
    result, _ = done
    before, times = tree(copy), {p: p.stat().st_mtime_ns for p in copy.rglob("*/*.png")}
    (tmp_path / "tensorflow.py").write_text("raise AssertionError('imported')")
    arguments = ["--method", "contextual,mean-face,initialization", "--train-data", train, "--out", copy, *QUICK]
    again = subprocess.run(
        [sys.executable, SCRIPT, "--data", data, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert again.returncode == 1 and again.stdout.startswith("nothing to do: all predictions exist\n| method")
    assert again.stdout.splitlines()[1:-1] == result.stdout.splitlines()[:-1]
    assert tree(copy) == before and {p: p.stat().st_mtime_ns for p in times} == times


def test_other_settings_are_refused_by_name_unless_the_method_does_not_depend_on_them(data, copy):
    before = tree(copy)
    arguments = ["--data", data, "--out", copy, "--preset", "coauthor", "--n-init", 4, "--iterations"]
    result = evaluate(*arguments, 4, "--method", "initialization,contextual")
    assert result.returncode == 2 and "iterations: 3 there, 4 now" in result.stderr and "--overwrite" in result.stderr
    assert len(result.stderr.splitlines()) == 1 and tree(copy) == before
    assert "nothing to do" in evaluate(*arguments, 4, "--method", "initialization").stdout
    result = evaluate(*arguments, 4, "--method", "contextual", "--overwrite", "--limit", 1)
    assert result.returncode == 0 and metrics(copy)["settings"]["iterations"] == 4
    assert [p.name for p in (copy / "contextual").rglob("*.png")] == ["a.png"], "the old ones are gone"


def test_an_interrupted_overwrite_continues_and_leaves_no_predictions_made_with_other_settings(data, copy):
    arguments = ["--data", data, "--out", copy, "--method", "contextual", *QUICK, "--seed", 7, "--overwrite"]
    (copy / "contextual/manifest.jsonl").write_text('{"parameters": {"seed": 3}}\n')  # stopped before its first image
    assert evaluate(*arguments, "--limit", 2).returncode == 0
    kept = {name: (copy / "contextual" / name).stat().st_mtime_ns for name in ("a.png", "b.png")}
    again = evaluate(*arguments)
    assert "contextual, 3 images" in again.stderr, "the first predictions stay"
    assert {name: (copy / "contextual" / name).stat().st_mtime_ns for name in kept} == kept
    manifest = (copy / "contextual/manifest.jsonl").read_text().splitlines()
    assert json.loads(manifest[0])["parameters"]["seed"] == 7 and len(manifest) == 6
    assert "nothing to do" in evaluate(*arguments).stdout


def test_more_images_are_added_and_fewer_images_are_a_subset(data, done, train, tmp_path):
    arguments = ["--data", data, "--method", "mean-face", "--train-data", train, "--out", tmp_path]
    result = evaluate(*arguments, "--limit", 2)
    assert result.returncode == 0, "the first two are valid"
    assert [i["name"] for i in metrics(tmp_path)["mean-face"]["images"]] == NAMES[:2]
    assert evaluate(*arguments, "--limit", 4).stderr.count("failed: ") == 1, "the fourth by name is cut.png"
    first = (tmp_path / "mean-face" / "a.png").stat().st_mtime_ns
    assert "mean-face, 2 images: 5 of 5" in evaluate(*arguments).stderr  # their whole batch
    assert metrics(tmp_path)["mean-face"] == metrics(done[1])["mean-face"]
    assert (tmp_path / "mean-face" / "a.png").stat().st_mtime_ns == first
    assert "nothing to do" in evaluate(*arguments, "--limit", 2).stdout
    assert len(metrics(tmp_path)["mean-face"]["images"]) == 2 and len(list(tmp_path.rglob("*/*.png"))) == 5


def test_changed_images_and_lost_predictions_are_predicted_again(data, train, copy, tmp_path):
    changed = shutil.copytree(data, tmp_path / "data")
    write_png(changed / "b.png", join(draw_face(1), draw_photo(1)))
    (copy / "contextual" / "c.png").unlink()
    before = tree(copy / "contextual")
    result = evaluate("--data", changed, "--method", "contextual", "--out", copy, *QUICK)
    assert "contextual, 2 images" in result.stderr
    after = tree(copy / "contextual")
    assert {name for name in before if before[name] != after[name]} == {"b.png", "manifest.jsonl"} and "c.png" in after
    write_png(copy / "contextual" / "c.png", draw_face(0)[:5])
    result = evaluate("--data", changed, "--method", "contextual", "--out", copy, *QUICK)
    assert result.returncode == 2 and "c.png: 64 x 5 pixels" in result.stderr and "remove it" in result.stderr


def test_a_changed_training_set_counts_as_another_setting(data, train, copy, tmp_path):
    more = shutil.copytree(train, tmp_path / "train")
    write_png(more / "2.png", join(draw_face(0), draw_face(1)))
    result = evaluate("--data", data, "--method", "mean-face", "--train-data", more, "--out", copy)
    assert result.returncode == 2 and "train_images: 2 there, 3 now" in result.stderr


def test_a_killed_and_continued_run_matches_an_uninterrupted_one(done, data, tmp_path):
    _, whole = done
    out = tmp_path / "out"
    arguments = ["--data", data, "--out", out, "--method", "contextual", *QUICK]
    command = [sys.executable, SCRIPT, *map(str, arguments), "--batch-size", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and not (out / "contextual" / "b.png").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    there = len(list((out / "contextual").rglob("*.png")))
    assert 2 <= there < 5 and not (out / "metrics.json").exists()
    result = evaluate(*arguments)
    assert result.returncode == 1 and f"contextual, {5 - there} images" in result.stderr
    assert tree(out / "contextual") == tree(whole / "contextual")
    assert metrics(out)["contextual"] == metrics(whole)["contextual"]


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"--method": "mean-face,best"},
            "no method 'best'; available: mean-face, nearest-sketch, initialization, contextual, pix2pix",
        ),
        ({"--method": "mean-face", "--train-data": None}, "mean-face needs --train-data"),
        ({"--train-data": "nowhere"}, "no such folder or zip archive: nowhere"),
        ({"--train-data": "damaged"}, "damaged/cut.png: damaged image"),
        ({"--train-data": "damaged/cut.png"}, "damaged/cut.png is not a folder of joint images"),
        ({"--data": "nowhere"}, "no such folder or zip archive: nowhere"),
        ({"--data": "above"}, "above contains several sets of joint images"),
        ({"--data": "empty"}, "no images in empty"),
        ({"--out": "damaged/cut.png"}, "damaged/cut.png is a file"),
        ({"--method": "contextual", "--weights": "mine"}, "no weights at mine"),
        ({"--method": "contextual", "--lr": "-1"}, "lr is -1.0"),
        ({"--limit": "0"}, "0 is less than 1"),
        ({"--seed": "-1"}, "-1 is less than 0"),
        ({"--direction": "both"}, "invalid choice: 'both'"),
    ],
)
def test_mistakes_are_reported_in_one_line_and_nothing_is_written(data, train, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged").mkdir()
    shutil.copy(data / "cut.png", "damaged")
    shutil.copytree(train, tmp_path / "above" / "test")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    options = {"--data": data, "--method": "mean-face", "--train-data": train, "--out": "out"} | change
    result = evaluate(*(word for option in options.items() if option[1] is not None for word in option))
    lines = [line for line in result.stderr.splitlines() if not line.startswith("mean of the training set: ")]
    assert result.returncode == 2 and message in lines[0] and len(lines) == 1 and result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_valid_image_nothing_is_written(data, train, tmp_path):
    (tmp_path / "data").mkdir()
    shutil.copy(data / "cut.png", tmp_path / "data")
    arguments = ["--data", tmp_path / "data", "--method", "mean-face", "--train-data", train]
    result = evaluate(*arguments, "--out", tmp_path / "out")
    assert result.returncode == 1 and "failed: cut.png: damaged image" in result.stderr
    assert "none of the 1 images could be used" in result.stdout and not (tmp_path / "out").exists()


def test_help_imports_nothing_heavy_and_names_every_method():
    from contextual_gan.evaluation.methods import METHODS

    program = (
        f"import runpy, sys; sys.argv = ['evaluate.py', '--help']\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        f"try: runpy.run_path({SCRIPT!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([m for m in ('tensorflow', 'keras', 'cv2', 'numpy', 'PIL') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]" and "--train-data" in result.stdout
    listed = runpy.run_path(SCRIPT, run_name="evaluate")["METHODS"]
    assert list(listed) == list(METHODS)
