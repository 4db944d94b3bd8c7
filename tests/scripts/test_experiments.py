"""The experiments of results/README.md: scripts in scripts/experiments/."""

import hashlib
import json
import os
import runpy
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
from conftest import ROOT, draw_face, draw_photo, run_here

from contextual_gan.completion.search import losses_of
from contextual_gan.config import PRESETS
from contextual_gan.evaluation.metrics import diversity, psnr, ssim
from contextual_gan.files.images import enlarge, read_image, to_float, to_uint8, write_png
from contextual_gan.joint import half, join
from contextual_gan.models.inference import generate
from contextual_gan.models.weights import load_networks


def run(script, *arguments):
    words = [sys.executable, str(ROOT / "scripts" / "experiments" / script), *map(str, arguments)]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=240, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory, networks):
    """Two joint images drawn by the generator, so that a perfect z exists, and one file that is not an image."""
    folder = tmp_path_factory.mktemp("joints")
    z = np.random.default_rng(5).uniform(-1, 1, (2, 100)).astype(np.float32)
    for i, image in enumerate(to_uint8(generate(networks[0], z))):
        write_png(folder / f"{i}.png", image)
    (folder / "bad.png").write_bytes(b"no image")
    return folder


def test_the_oracle_finds_its_targets(data, tmp_path):
    ask = ("oracle.py", "--data", data, "--out", tmp_path / "out", "--iterations", "30")
    done = run(*ask)
    assert done.returncode == 1 and "failed: bad.png" in done.stderr and "Traceback" not in done.stderr, done.stderr
    true = np.stack([read_image(data / f"{i}.png") for i in range(2)])

    def made(row):
        return np.stack([read_image(tmp_path / "out" / row / f"{i}.png") for i in range(2)])

    def likeness(row, name):
        return psnr(half(made(row), name), half(true, name)).mean()

    assert likeness("the_photo", "photo") > likeness("the_sketch", "photo") + 3
    assert likeness("the_sketch", "sketch") > likeness("nothing__random_z", "sketch") + 3
    assert likeness("the_sketch_and_10_x_the_photo", "photo") > likeness("the_sketch", "photo") + 3
    table = (tmp_path / "out/oracle.md").read_text()
    assert (
        table in done.stdout and f"{ssim(half(made('the_photo'), 'photo'), half(true, 'photo')).mean():.3f} (" in table
    )
    again = run_here(f"scripts/experiments/{ask[0]}", *ask[1:])
    assert again.stdout.startswith("nothing to do") and table in again.stdout


def test_z_found_elsewhere_are_scored_without_a_search(data, networks, tmp_path, monkeypatch):
    known = np.stack([half(read_image(data / f"{i}.png"), "sketch") for i in range(2)])
    z = np.random.default_rng(5).uniform(-1, 1, (2, 100)).astype(np.float32)  # that made these images
    options = {"direction": "photo", "settings": PRESETS["coauthor"]}
    _, total = losses_of(*networks, to_float(known), z, **options)
    sha256 = [hashlib.sha256(image.tobytes()).hexdigest() for image in known]
    script = ROOT / "scripts/experiments/on_jax/finish_search.py"
    for name, error in (("wrong", 1.0), ("right", 0.0)):
        found = {"sha256": sha256[::-1], "z": z[::-1], "total": total[::-1] + error, "preset": "coauthor"}
        np.savez(tmp_path / "z.npz", direction="photo", **found)
        words = [script, tmp_path / "z.npz", "--data", data, "--out", tmp_path / name]
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        with pytest.raises(SystemExit, match="other losses") if error else nullcontext():
            runpy.run_path(str(script), run_name="__main__")
    ask = ("--method", "contextual", "--preset", "coauthor", "--data", data, "--out", tmp_path / "right")
    done = run_here("scripts/evaluate.py", *ask)
    assert done.returncode == 1 and done.stdout.startswith("nothing to do") and "failed: bad.png" in done.stderr
    made = json.loads((tmp_path / "right/metrics.json").read_text())["contextual"]
    assert made["ssim"]["mean"] > 0.999 and made["contextual"]["mean"] < 1e-3


def test_scores_of_shifted_photos_match_the_formula(data, tmp_path):
    for i in range(2):
        write_png(tmp_path / "made" / f"{i}.png", half(read_image(data / f"{i}.png"), "photo"))
    done = run("shift.py", "--data", data, "--predictions", tmp_path / "made", "--out", tmp_path / "out")
    assert done.returncode == 1 and "failed: bad.png" in done.stderr
    rows = dict(line.split("|")[1:4:2] for line in done.stdout.splitlines()[2:])
    rows = {name.strip(): value.split()[0].rstrip(",") for name, value in rows.items()}
    photos = np.stack([half(read_image(data / f"{i}.png"), "photo") for i in range(2)])
    darker = np.clip(photos.astype(int) - 90, 0, 255).astype(np.uint8)
    assert rows["true photos, as they are"] == rows["made, as they are"] == "inf"
    assert rows["made, 90 levels darker"] == f"{psnr(darker, photos).mean():.2f}"
    (tmp_path / "made/1.png").unlink()
    lost = run("shift.py", "--data", data, "--predictions", tmp_path / "made")
    assert lost.returncode == 2 and "made/1.png" in lost.stderr.splitlines()[-1]


def test_agreement_uses_the_images_in_both(tmp_path):
    values = np.random.default_rng(0).normal(size=9)
    for name, shift in (("a", 0.0), ("b", 0.5)):
        images = [{"name": f"{i}.png", "ssim": v + shift, "psnr": "inf"} for i, v in enumerate(values)]
        (tmp_path / name).mkdir()
        record = {"contextual": {"images": images if name == "a" else images[:5]}, "settings": {}}
        (tmp_path / name / "metrics.json").write_text(json.dumps(record))
    done = run("agreement.py", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "t.md")
    assert done.returncode == 0 and done.stdout == (tmp_path / "t.md").read_text()
    head, _, row = done.stdout.splitlines()
    assert head.startswith("| 5 images | a | b |") and "| +0.500 (+0.500 to +0.500) | 1.00 |" in row
    wrong = run("agreement.py", tmp_path / "a", tmp_path / "b", "--method", "pix2pix")
    assert wrong.returncode == 2 and "there is no method pix2pix" in wrong.stderr


@pytest.mark.parametrize("script", ["shift.py", "oracle.py"])
def test_without_a_usable_image_the_error_is_one_line(script, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/bad.png").write_bytes(b"no image")
    write_png(tmp_path / "in/small.png", join(draw_face(0), draw_photo(0))[:32])
    done = run(script, "--data", tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 2 and "none of the 2 images" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_diagrams_of_the_repository_match_the_networks(tmp_path):
    done = run("diagrams.py", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("generator.svg", "discriminator.svg", "method.svg"):
        assert (tmp_path / name).read_bytes() == (ROOT / "results" / name).read_bytes(), name


def test_a_walk_leads_from_one_z_to_another(tmp_path):
    ask = ("walk.py", "--rows", 2, "--steps", 3, "--seed", 4, "--out", tmp_path / "walk.png")
    done = run(*ask)
    assert done.returncode == 0, done.stderr
    z = np.random.default_rng(4).uniform(-1, 1, (2, 2, 100))  # two ends, two rows
    middle = np.clip(z.sum(axis=0) / np.sqrt(2), -1, 1)
    generator, _ = load_networks("celeba", needs_discriminator=False)
    picture = read_image(tmp_path / "walk.png")
    assert picture.shape == (2 * (256 + 6) + 6, 3 * (128 + 6) + 6, 3)
    for column, wanted in enumerate((z[0], middle, z[1])):
        for row, joint in enumerate(to_uint8(generate(generator, wanted.astype(np.float32)))):
            cell = picture[6 + 262 * row :, 6 + 134 * column :][:256, :128].astype(int)
            halves = np.concatenate([half(joint, "photo"), half(joint, "sketch")])
            assert np.abs(cell - enlarge(halves, 2)).mean() < 0.5, (row, column)
    again = run(*ask)
    assert again.returncode == 2 and again.stderr.count("\n") == 1 and "already exists" in again.stderr
    short = run("walk.py", "--steps", 1, "--out", tmp_path / "short.png")
    assert short.returncode == 2 and short.stderr == "walk.py: --steps 1: at least 2 are needed\n"


def test_samples_of_a_generator_are_measured_and_drawn(tmp_path):
    generator, _ = load_networks("celeba", needs_discriminator=False)
    z = np.random.default_rng(0).uniform(-1, 1, (24, 100)).astype(np.float32)
    joints = to_uint8(generate(generator, z))
    for i, joint in enumerate(joints):
        write_png(tmp_path / f"data/{i:02}.png", joint)
    table, drawn = tmp_path / "samples.md", tmp_path / "samples.png"
    ask = ("samples.py", "celeba", "--data", tmp_path / "data", "--samples", 24, "--out", table, "--grid", drawn)
    done = run(*ask)
    assert done.returncode == 0, done.stderr
    name, own, hog, spread = table.read_text().splitlines()[2].strip("| ").split(" | ")
    assert name == "celeba" and float(own) > 0.95
    assert float(hog.split()[0]) < 0  # both sets hold the same photos
    groups = half(joints, "photo").reshape(3, 8, 64, 64, 3)
    np.testing.assert_allclose(float(spread), diversity(groups).mean(), atol=0.1)
    assert np.abs(read_image(drawn)[6:70, 6:134].astype(int) - joints[0]).mean() < 0.5
    again = run(*ask)
    assert again.returncode == 2 and "already exists" in again.stderr


def test_the_blind_discriminator_is_measured_and_drawn(tmp_path):
    ask = ("draw_blind.py", "--samples", 4, "--results", ROOT / "results", "--out", tmp_path / "blind")
    done = run(*ask)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "blind.md").read_text()
    assert table in done.stdout and read_image(tmp_path / "blind.png").std() > 20
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    change = dict(zip(map(int, rows[0][1:]), map(float, rows[2][1:]), strict=True))
    assert change[4] > change[32] > change[56] > 1e-4 and change[64] < 1e-7 and change[80] < 1e-7  # 61 pixels are seen

    generator, discriminator = load_networks("celeba")  # D is that of celeba_paper
    joints = generate(generator, np.random.default_rng(0).uniform(-1, 1, (4, 100)).astype(np.float32))
    pairs = np.stack([join(half(a, "sketch"), half(b, "photo")) for a in joints for b in joints])
    logits = discriminator(pairs, training=False).numpy().reshape(4, 4).astype(np.float64)
    whole, sketch, photo = logits.var(), logits.mean(axis=1).var(), logits.mean(axis=0).var()
    shares = np.array([sketch, photo, whole - sketch - photo]) / whole
    assert [float(cell.rstrip("%")) for cell in rows[6][1:4]] == pytest.approx(100 * shares, abs=0.06)
    own = (logits < np.diag(logits)[:, None]).sum() / 12
    assert float(rows[6][4].split()[0]) == pytest.approx(own, abs=6e-4) and rows[7][4].startswith("1.000")

    (tmp_path / "results").mkdir()
    for name in ("pairs_stats.jsonl", "samples.md", "paper_coauthor_200.md"):
        (tmp_path / "results" / name).write_bytes((ROOT / "results" / name).read_bytes())
    lacking = run(*ask[:3], "--results", tmp_path / "results", "--out", tmp_path / "other")
    assert lacking.returncode == 2 and lacking.stderr.count("\n") == 1 and "coauthor_200.md" in lacking.stderr
    (tmp_path / "results/coauthor_200.md").write_text("no table\n")
    wrong = run(*ask[:3], "--results", tmp_path / "results", "--out", tmp_path / "other")
    assert wrong.returncode == 2 and "has no number in the column 'SSIM'" in wrong.stderr
    assert not list(tmp_path.glob("other*"))


def test_a_gallery_shows_the_photos_of_each_run(tmp_path):
    for name, first in (("default", 10), ("paper", 20)):
        for i in range(3):
            write_png(tmp_path / name / f"more/{i}_input.png", draw_face(i))
            write_png(tmp_path / name / f"more/{i}_photo.png", draw_photo(first + i))
    runs = tmp_path / "default", tmp_path / "paper"
    done = run("gallery.py", *runs, "--blocks", 2, "--out", tmp_path / "gallery.png")
    assert done.returncode == 0, done.stderr
    picture = read_image(tmp_path / "gallery.png")
    top, wide, high = 6 + 24 + 18, 128 + 6, 128 + 18 + 6  # title and label; pitches of columns and rows
    for i, (row, block) in enumerate(((0, 0), (1, 0), (0, 1))):
        corner = picture[top + row * high :, 6 + block * (4 * wide + 6) :]
        for column, image in enumerate((draw_face(i), draw_photo(10 + i), draw_photo(20 + i))):
            assert np.array_equal(corner[:128, column * wide :][:, :128], enlarge(image, 2)), (i, column)
        assert corner[:128, 3 * wide :][:, :128].std() > 5  # pix2pix
    ask = "gallery.py", *runs, "--blocks", 2, "--out", tmp_path / "rough.png", "--pix2pix"
    assert run(*ask, "celeba_rough").returncode == 0
    differs = (read_image(tmp_path / "rough.png") != picture).any(axis=(0, 2))
    theirs = np.zeros(len(differs), bool)  # the columns of pix2pix
    for block in (0, 4 * wide + 6):
        theirs[6 + block + 3 * wide :][:128] = True
    assert differs[theirs].mean() > 0.9 and not differs[~theirs].any()
    nowhere = run(*ask, "nowhere", "--overwrite")
    assert nowhere.returncode == 2 and "nowhere" in nowhere.stderr and nowhere.stderr.count("\n") == 1
    (tmp_path / "paper/more/2_input.png").unlink()
    lacking = run("gallery.py", *runs, "--out", tmp_path / "other.png")
    assert lacking.returncode == 2 and "different drawings, such as more/2" in lacking.stderr
    empty = run("gallery.py", tmp_path / "nowhere", "--out", tmp_path / "other.png")
    assert empty.returncode == 2 and "has no completed drawings" in empty.stderr
