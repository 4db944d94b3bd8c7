"""`datasets/resize.py`, `combine.py` and `split.py` as a user runs them, in separate processes."""

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, draw_face

from contextual_gan.files.images import centre_square, read_image, write_png
from contextual_gan.preparation.splits import choose, read_split

NAMES = ["-x", "a b/c d", "face", "tree/deep/1", "tree/ü 日本"]
ODD = [f"{name}.png" for name in NAMES]


def step(name, *args, **options):
    """Run datasets/NAME.py in two worker processes."""
    command = [sys.executable, ROOT / "datasets" / f"{name}.py", *args]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, **options)


def pictures(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in Path(out).rglob("*.png")}


def everything(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in Path(out).rglob("*") if p.is_file()}


def entries(out):
    lines = map(json.loads, (Path(out) / "manifest.jsonl").read_text().splitlines()[1:])
    return {entry["source"]: entry for entry in lines}


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path


def picture(seed, height=64, width=64):
    """A smooth coloured picture, (height, width, 3) uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Five pictures of several shapes with unusual names, the last one a JPEG, and a file that is not an image."""
    folder = tmp_path_factory.mktemp("photos")
    for seed, (name, shape) in enumerate(zip(ODD, [(64, 64), (100, 50), (40, 90), (200, 300), (30, 30)], strict=True)):
        write_png(folder / name, picture(seed, *shape))
    last = folder / ODD[-1]
    cv2.imwrite(str(last.with_suffix(".jpg")), cv2.imread(str(last)))
    last.unlink()
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff cut")
    return folder


# --- resize -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resized(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("resized") / "out"
    return step("resize", photos, out), out


def test_resize_makes_squares_and_lists_unreadable_files(resized, photos):
    result, out = resized
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "failed: broken.jpg: " in result.stderr and "5 images" in result.stdout
    assert sorted(pictures(out)) == ODD
    for name in ODD[:-1]:
        assert np.array_equal(read_image(out / name), centre_square(read_image(photos / name), 64))
    assert np.array_equal(read_image(out / "-x.png"), picture(0))  # already has this size: unchanged


def test_resize_again_does_nothing(resized, photos):
    _, out = resized
    before, times = everything(out), {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    result = step("resize", photos, out)
    assert result.returncode == 1 and "nothing to do" in result.stdout
    assert everything(out) == before and {p: p.stat().st_mtime_ns for p in out.rglob("*.png")} == times


def test_resize_reads_a_zip_like_the_folder(resized, photos, tmp_path):
    result = step("resize", zipped(photos, tmp_path / "photos.zip"), tmp_path / "out", "--workers", 1)
    assert result.returncode == 1 and everything(tmp_path / "out") == everything(resized[1])


def test_resize_refuses_another_size_in_the_same_folder(resized, photos):
    _, out = resized
    before = everything(out)
    result = step("resize", photos, out, "--size", 32)
    assert result.returncode == 2 and "size: 64 there, 32 now" in result.stderr and result.stderr.count("\n") == 1
    assert everything(out) == before


def test_resize_uses_the_centre_or_the_whole_image(tmp_path):
    white, even = np.full((40, 80, 3), 255, np.uint8), np.full((5, 9, 3), 77, np.uint8)
    for name, black in (("half", 40), ("border", 10)):
        image = white.copy()
        image[:, :black] = 0
        write_png(tmp_path / "in" / f"{name}.png", image)
    write_png(tmp_path / "in" / "even.png", even)
    for options, half, border in (([], 8, 0), (["--stretch"], 8, 2)):  # black columns of 16; the border is cropped
        out = tmp_path / f"out{len(options)}"
        assert step("resize", tmp_path / "in", out, "--size", 16, *options).returncode == 0
        for name, black in (("half", half), ("border", border)):
            image = read_image(out / f"{name}.png")
            assert image.shape == (16, 16, 3) and not image[:, :black].any() and (image[:, black:] == 255).all()
        assert np.array_equal(read_image(out / "even.png"), np.full((16, 16, 3), 77))


# --- combine ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path):
    """(sketches, photos): folders with four pairs, three with different extensions, and unpaired images."""
    sketches, photos = tmp_path / "sketches", tmp_path / "photos"
    for seed, name in enumerate(NAMES[:4]):
        write_png(sketches / f"{name}.png", draw_face(seed, size=64 + seed))
        write_png(photos / f"{name}.png", picture(seed, 64 + seed, 64 + seed))
    (photos / "face.png").rename(photos / "face.webp")  # its content counts
    (sketches / "a b" / "c d.png").rename(sketches / "a b" / "c d.jpg")
    (photos / "-x.png").rename(photos / "-x.JPEG")
    return sketches, photos


def test_combine_puts_the_sketch_left_and_the_photo_right(pairs, tmp_path):
    result = step("combine", *pairs, tmp_path / "out")
    assert result.returncode == 0 and "4 images" in result.stdout, result.stderr
    assert sorted(pictures(tmp_path / "out")) == ODD[:4]
    for seed, name in enumerate(ODD[:4]):
        size = 64 + seed
        expected = np.concatenate([draw_face(seed, size=size), picture(seed, size, size)], axis=1)
        assert np.array_equal(read_image(tmp_path / "out" / name), expected)
    before = everything(tmp_path / "out")
    again = step("combine", "--fold_A", pairs[0], "--fold_B", pairs[1], "--fold_AB", tmp_path / "out")
    assert again.returncode == 0 and "nothing to do" in again.stdout and everything(tmp_path / "out") == before


def test_combine_reports_missing_partners_and_other_sizes(pairs, tmp_path):
    sketches, photos = pairs
    write_png(sketches / "alone.png", draw_face(8))
    write_png(photos / "tree" / "single.png", picture(9))
    write_png(sketches / "small.png", draw_face(8))
    write_png(photos / "small.png", picture(8, 64, 32))
    write_png(sketches / "twice.png", draw_face(8))
    write_png(photos / "twice.jpg", picture(8))
    write_png(photos / "twice.bmp", picture(7))
    archives = zipped(sketches, tmp_path / "sketches.zip"), zipped(photos, tmp_path / "photos.zip")
    result = step("combine", *archives, tmp_path / "out")
    assert result.returncode == 1 and sorted(pictures(tmp_path / "out")) == ODD[:4]
    assert {name: entry["failed"] for name, entry in entries(tmp_path / "out").items() if "failed" in entry} == {
        "alone.png": f"not exactly one image of this name in {archives[1]}",
        "tree/single.png": f"not exactly one image of this name in {archives[0]}",
        "small.png": "the left image has 64 x 64 pixels, the right one 32 x 64",
        "twice.png": f"not exactly one image of this name in {archives[1]}",
        "twice.jpg": f"not exactly one image of this name in {archives[0]}",
        "twice.bmp": f"not exactly one image of this name in {archives[0]}",
    }
    assert result.stderr.count("failed: ") == 6


def test_combine_prefers_the_same_extension(tmp_path):
    for folder, level in (("sketches", 0), ("photos", 200)):
        for name in ("a.png", "a.jpg"):
            write_png(tmp_path / folder / name, np.full((8, 8, 3), level + name.count("j"), np.uint8))
    result = step("combine", tmp_path / "sketches", tmp_path / "photos", tmp_path / "out")
    assert result.returncode == 0 and sorted(pictures(tmp_path / "out")) == ["a.jpg.png", "a.png.png"]
    for name, more in (("a.png.png", 0), ("a.jpg.png", 1)):
        joint = read_image(tmp_path / "out" / name)
        assert (joint[:, :8] == more).all() and (joint[:, 8:] == 200 + more).all()


def test_combine_refuses_folders_without_matching_names(pairs, tmp_path):
    write_png(tmp_path / "others" / "other.png", picture(0))
    result = step("combine", pairs[0], tmp_path / "others", tmp_path / "out")
    assert result.returncode == 2 and "-x.png and other.png" in result.stderr and not (tmp_path / "out").exists()


# --- split ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def joints(tmp_path_factory):
    """40 small pictures with unusual names in a folder tree, two of them equal."""
    folder = tmp_path_factory.mktemp("joints")
    for i in range(35):
        write_png(folder / f"{i % 3} ü" / f"{i:02}.png", picture(i, 4, 8))
    for i, name in enumerate(ODD):
        write_png(folder / name, picture(35 + i, 4, 8))
    return folder


@pytest.fixture(scope="module")
def divided(joints, tmp_path_factory):
    out = tmp_path_factory.mktemp("divided") / "out"
    return step("split", joints, out), out


def test_split_takes_a_tenth_and_writes_its_list(divided, joints):
    result, out = divided
    assert result.returncode == 0 and "train: 36\ntest: 4\n" in result.stdout, result.stderr
    names = sorted(pictures(joints))
    parts = choose(names)
    assert read_split(out / "split.csv", names) == (parts, [], 0)
    assert pictures(out).keys() == {f"{parts[name]}/{name}" for name in names}
    for name, part in parts.items():
        assert np.array_equal(read_image(out / part / name), read_image(joints / name))
    before = everything(out)
    again = step("split", joints, out)
    assert again.returncode == 0 and "nothing to do" in again.stdout and everything(out) == before


def test_split_by_its_own_list_gives_the_same(divided, joints, tmp_path):
    archive = zipped(joints, tmp_path / "joints.zip")
    result = step("split", archive, tmp_path / "out", "--csv", divided[1] / "split.csv")
    assert result.returncode == 0 and pictures(tmp_path / "out") == pictures(divided[1])
    assert (tmp_path / "out" / "split.csv").read_bytes() == (divided[1] / "split.csv").read_bytes()


def test_split_keeps_its_choice_when_images_are_added(joints, tmp_path):
    few, out = tmp_path / "in", tmp_path / "out"
    fresh = choose(pictures(joints))
    for name, data in pictures(joints).items():
        if fresh[name] == "train":  # images that a fresh split would choose are added later
            (few / name).parent.mkdir(parents=True, exist_ok=True)
            (few / name).write_bytes(data)
    assert step("split", few, out).returncode == 0
    before = pictures(out)
    result = step("split", joints, out)
    assert result.returncode == 0 and "train: 36\ntest: 4\n" in result.stdout
    after = pictures(out)
    assert len(before) == 36 and len(after) == 40 and before.items() <= after.items()
    other = step("split", joints, out, "--test", 10)
    assert other.returncode == 2 and "test: None there, 10 now" in other.stderr and pictures(out) == after
    changed = step("split", joints, out, "--test", 10, "--seed", 3, "--overwrite")
    assert changed.returncode == 0 and "train: 30\ntest: 10\n" in changed.stdout
    assert len(pictures(out)) == 40 and read_split(out / "split.csv", pictures(joints))[0] == choose(
        pictures(joints), test=10, seed=3
    )


def test_split_leaves_copies_of_test_images_out_of_training(joints, tmp_path):
    images, out = tmp_path / "in", tmp_path / "out"
    for name, data in pictures(joints).items():
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes(data)
    parts = choose(pictures(images), test=4)
    test = next(name for name, part in parts.items() if part == "test")
    train = [name for name, part in parts.items() if part == "train"][:3]
    for name in train[:2]:
        (images / name).write_bytes((images / test).read_bytes())
    result = step("split", images, out, "--test", 4)
    assert result.returncode == 0 and "train: 34\ntest: 4\n" in result.stdout
    assert {e["source"]: e["skipped"] for e in entries(out).values() if "skipped" in e} == dict.fromkeys(
        train[:2], f"same content as the test image {test}"
    )
    # A file that later becomes a copy leaves the training images; a renamed one does not enter both parts.
    (images / train[2]).write_bytes((images / test).read_bytes())
    (images / test).rename(images / "renamed.png")
    result = step("split", images, out, "--test", 4)
    assert result.returncode == 0 and "train: 33\ntest: 4\n" in result.stdout, result.stderr
    assert not (out / "train" / train[2]).exists() and not (out / "train" / "renamed.png").exists()
    contents = {part: set(pictures(out / part).values()) for part in ("train", "test")}
    assert not contents["train"] & contents["test"]


def test_split_by_a_list(joints, tmp_path):
    (tmp_path / "list.csv").write_text("image,split\n00.png,test\n0 ü/03.png,train\nface.png,test\nnobody.png,train\n")
    result = step("split", joints, tmp_path / "out", "--csv", tmp_path / "list.csv")
    assert result.returncode == 0 and "1 lines of" in result.stderr
    assert "skipped, not in list.csv: 37: " in result.stderr
    assert sorted(pictures(tmp_path / "out")) == ["test/0 ü/00.png", "test/face.png", "train/0 ü/03.png"]
    assert (tmp_path / "out" / "split.csv").read_text() == (
        "image,split\n0 ü/00.png,test\n0 ü/03.png,train\nface.png,test\n"
    )
    (tmp_path / "list.csv").write_text("image,split\n00.png,train\n0 ü/03.png,train\n01.png,test\n")  # moved, new, gone
    result = step("split", joints, tmp_path / "out", "--csv", tmp_path / "list.csv")
    assert result.returncode == 0
    assert sorted(pictures(tmp_path / "out")) == ["test/1 ü/01.png", "train/0 ü/00.png", "train/0 ü/03.png"]
    assert len((tmp_path / "out" / "split.csv").read_text().splitlines()) == 4


def test_celebas_names_and_list(tmp_path):
    for i in range(1, 6):
        write_png(tmp_path / "in" / "img_align_celeba" / f"{i:06}.png", picture(i, 8, 8))
    (tmp_path / "list_eval_partition.txt").write_text("".join(f"{i:06}.png {i // 2}\n" for i in range(1, 6)))
    result = step("split", tmp_path / "in", tmp_path / "out", "--csv", tmp_path / "list_eval_partition.txt")
    assert result.returncode == 0 and "train: 3\ntest: 2\n" in result.stdout


def test_the_example_of_split_finds_joints_by_the_names_of_photos(tmp_path):
    for i in (1, 2, 3):
        write_png(tmp_path / "joints" / f"{i:06}.png", picture(i, 8, 8))
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n")
    result = step("split", "joints", "out", "--csv", "list_eval_partition.txt", cwd=tmp_path)
    assert result.returncode == 0 and "train: 2\ntest: 1\n" in result.stdout
    assert "warning: only 2 training images" in result.stderr
    assert (tmp_path / "out/test/000003.png").is_file()


def test_prepare_and_the_individual_steps_choose_the_same_test_images(tmp_path):
    (tmp_path / "photos" / "set").mkdir(parents=True)
    for i in range(30):
        cv2.imwrite(str(tmp_path / "photos" / "set" / f"{i:06}.jpg"), picture(i, 80, 80))
    config = ["--config", ROOT / "configs" / "photos.yaml", "--workers", 1]
    whole = step("prepare", "--images", "photos", "--out", "whole", *config, cwd=tmp_path)
    assert "warning: only 27 training images" in whole.stderr
    step("resize", "photos", "squares", cwd=tmp_path)
    step("xdog", "squares", "sketches", cwd=tmp_path)
    step("combine", "sketches", "squares", "joints", cwd=tmp_path)
    step("split", "joints", "steps", cwd=tmp_path)
    names = sorted(path.name for path in (tmp_path / "whole" / "test").iterdir())
    assert len(names) == 3 and names == sorted(path.name for path in (tmp_path / "steps" / "test" / "set").iterdir())
    listed = step("split", "joints", "listed", "--csv", tmp_path / "whole" / "split.csv", cwd=tmp_path)
    assert listed.returncode == 0 and pictures(tmp_path / "listed") == pictures(tmp_path / "steps")


def test_one_photo_is_prepared(tmp_path):
    write_png(tmp_path / "one.png", picture(0, 80, 90))
    config = ["--config", ROOT / "configs" / "photos.yaml", "--workers", 1]
    result = step("prepare", "--images", tmp_path / "one.png", "--out", tmp_path / "out", *config)
    assert result.returncode == 0 and "1 for training, 0 for testing" in result.stdout, result.stderr
    assert read_image(tmp_path / "out" / "train" / "one.png").shape == (64, 128, 3)


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_pairs_of_pix2pix_of_any_size_become_joints(tmp_path, direction):
    a, b = picture(1, 300, 300), picture(2, 300, 300)
    write_png(tmp_path / "pairs" / "train" / "1.png", np.hstack([a, b]))
    write_png(tmp_path / "pairs" / "val" / "2.png", np.hstack([picture(3, 90, 70), picture(4, 90, 70)]))
    write_png(tmp_path / "pairs" / "val" / "single.png", a)
    more = ["--direction", "BtoA"] if direction == "BtoA" else []
    result = step("combine", "--pairs", tmp_path / "pairs", tmp_path / "out", *more)
    assert result.returncode == 1
    assert "failed: val/single.png: 300 x 300 pixels cannot be two images side by side" in result.stderr
    joint = read_image(tmp_path / "out" / "train" / "1.png")
    halves = (a, b) if direction == "AtoB" else (b, a)
    assert np.array_equal(joint, np.hstack([centre_square(half, 64) for half in halves]))
    assert read_image(tmp_path / "out" / "val" / "2.png").shape == (64, 128, 3)


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "reason"),
    [
        ("resize", ["nowhere", "out"], "no such folder or zip archive: nowhere"),
        ("resize", ["in", "out", "--size", "0"], "0 is less than 1"),
        ("resize", ["in", "out", "--size", "5000"], "--size 5000: the largest is 4096"),
        ("resize", ["in"], "required: OUT"),
        ("resize", ["in", "in"], "lies in the output folder"),
        ("resize", ["empty", "out"], "no images in empty"),
        ("combine", ["in", "in"], "give SKETCHES PHOTOS OUT, or --fold_A, --fold_B and --fold_AB"),
        ("combine", ["in", "in", "out", "--fold_A", "in"], "give SKETCHES PHOTOS OUT, or"),
        ("combine", ["--fold_A", "in", "--fold_B", "in"], "give SKETCHES PHOTOS OUT, or"),
        ("combine", ["--pairs", "in"], "--pairs DIR needs OUT, and nothing else"),
        ("combine", ["--pairs", "in", "out", "more"], "--pairs DIR needs OUT, and nothing else"),
        ("combine", ["in", "in", "out", "--direction", "BtoA"], "--direction is for --pairs"),
        ("resize", ["--sise", "3"], "unrecognized arguments: --sise; did you mean --size?"),
        ("combine", ["in", "nowhere", "out"], "no such folder or zip archive: nowhere"),
        ("split", ["in", "out", "--test", "2"], "2 test images requested, but there are only 1 images"),
        ("split", ["in", "out", "--test", "-1"], "-1 is less than 0"),
        ("split", ["in", "out", "--test", "x"], "invalid"),
        ("split", ["in", "out", "--csv", "list.csv", "--seed", "1"], "--csv determines the split"),
        ("split", ["in", "out", "--csv", "nowhere.csv"], "nowhere.csv: No such file"),
        ("split", ["in", "out", "--csv", "bad.csv"], "bad.csv, line 2: the part of 1.png is 'both'"),
        ("split", ["in", "out", "--csv", "in/1.png"], "in/1.png, line 1: not UTF-8"),
        ("split", ["in", "list.csv"], "list.csv is a file, the output must be a folder"),
    ],
)
def test_mistakes_are_reported_in_one_line_and_nothing_is_written(name, args, reason, tmp_path):
    write_png(tmp_path / "in" / "1.png", picture(0, 4, 4))
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("image,split\n1.png,train\n")
    (tmp_path / "bad.csv").write_text("image,split\n1.png,both\n")
    before = everything(tmp_path)
    result = step(name, *args, cwd=tmp_path)
    assert result.returncode == 2 and reason in result.stderr, result.stderr
    assert result.stderr.count("\n") == 1 and not result.stdout and everything(tmp_path) == before


def test_a_folder_name_may_start_with_a_dash(tmp_path):
    write_png(tmp_path / "-in" / "-1.png", picture(0, 4, 4))
    assert step("split", "--", "-in", "-out", cwd=tmp_path).returncode == 0
    assert list(pictures(tmp_path / "-out")) == ["train/-1.png"]


@pytest.mark.parametrize("name", ["resize", "combine", "split"])
def test_help_and_mistakes_respond_at_once(name):
    best = {}
    for args, status in ((["--help"], 0), (["--nonsense"], 2)):
        for _ in range(5):  # the machine may be busy
            start = time.perf_counter()
            assert step(name, *args, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}).returncode == status
            best[status] = min(best.get(status, 9), time.perf_counter() - start)
            if best[status] < 0.5:
                break
    assert max(best.values()) < 0.5
