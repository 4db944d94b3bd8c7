"""`datasets/xdog.py` as a user runs it, in separate processes."""

import json
import resource
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest
from conftest import ROOT

from contextual_gan.files.images import read_image, write_png
from contextual_gan.preparation.sketches import draw, ink_density


def run(*args, **options):
    command = [sys.executable, ROOT / "datasets" / "xdog.py", *args]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, **options)


def everything(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def inks(out):
    lines = map(json.loads, (out / "manifest.jsonl").read_text().splitlines()[1:])
    return {entry["source"]: entry.get("ink") for entry in lines}


@pytest.fixture
def photos(tmp_path):
    """Three smooth coloured pictures with a disc, one of them a JPEG in a folder."""
    for seed, name in enumerate(("1.png", "2.png", "deep/3.png")):
        small = np.random.default_rng(seed).integers(60, 256, (6, 6, 3), np.uint8)
        picture = cv2.resize(small, (64, 64), interpolation=cv2.INTER_CUBIC)
        write_png(tmp_path / "in" / name, cv2.circle(picture, (32, 32), 20, (20, 10, 10), 4))
    deep = tmp_path / "in" / "deep" / "3.png"
    cv2.imwrite(str(deep.with_suffix(".jpg")), cv2.imread(str(deep)))
    deep.unlink()
    return tmp_path / "in"


def test_sketches_have_the_names_of_the_photos_and_their_ink_in_the_manifest(photos, tmp_path):
    out = tmp_path / "out"
    result = run(photos, out, "--workers", 2)
    assert result.returncode == 0, result.stderr
    sources = {"1.png": "1.png", "2.png": "2.png", "deep/3.jpg": "deep/3.png"}
    expected = {source: draw(read_image(photos / source)) for source in sources}
    for source, output in sources.items():
        assert np.array_equal(read_image(out / output), expected[source])
    densities = {source: round(ink_density(sketch), 4) for source, sketch in expected.items()}
    assert inks(out) == densities and set(everything(out)) == {*sources.values(), "manifest.jsonl"}
    low, middle, high = sorted(densities.values())
    assert f"ink density of 3 sketches: min {low:.1%}, median {middle:.1%}, max {high:.1%}\n" in result.stdout
    assert "warning" not in result.stderr
    before = everything(out)

    again = run(photos, out)
    assert again.returncode == 0 and "nothing to do" in again.stdout and "ink density of 3 sketches" in again.stdout
    refused = run(photos, out, "--sigma", 1.5)
    assert refused.returncode == 2 and "sigma: 0.8 there, 1.5 now" in refused.stderr
    assert run(photos, out, "--preset", "celeba", "--phi", 200).returncode == 0  # the same settings under another name
    assert everything(out) == before


@pytest.mark.parametrize(
    "arguments",
    [
        {"preset": "bold", "sigma": 1.2, "eps": -0.01},
        {"form": "textbook", "k": 2, "tau": 0.9, "phi": 50},
        {
            "style": "fdog",
            "radius": 3,
            "iterations": 1,
            "sigma_c": 0.8,
            "sigma_m": 1,
            "rho": 0.98,
            "tau": 0.9,
            "phi": 5,
        },
        {"style": "photocopy", "preset": "filled", "mask_radius": 20, "sharpness": 0.7, "threshold": 0.85},
        {"style": "photocopy", "pct_black": 0.3, "pct_white": 0.6},
    ],
)
def test_every_parameter_is_a_flag(photos, tmp_path, arguments):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(photos / "1.png", "1.png")
    options = [text for name, value in arguments.items() for text in (f"--{name.replace('_', '-')}", value)]
    result = run(tmp_path / "in.zip", tmp_path / "out", "--workers", 1, *options)
    assert result.returncode == 0, result.stderr
    assert np.array_equal(read_image(tmp_path / "out" / "1.png"), draw(read_image(photos / "1.png"), **arguments))


def test_unusual_ink_is_reported(photos, tmp_path):
    even = np.full((64, 64, 3), 200, np.uint8)
    for name in "abc":
        write_png(photos / f"{name}.png", even)
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = run(photos, tmp_path / "out", "--preset", "bold")
    assert result.returncode == 1 and "failed: broken.png: " in result.stderr
    assert "ink density of 6 sketches: min 0.0%" in result.stdout
    assert "warning: 3 of 6 are outside 5% to 40%" in result.stderr and "half of" not in result.stderr
    write_png(photos / "d.png", even)
    result = run(photos, tmp_path / "out", "--preset", "bold")
    assert "4 of 7 are outside 5% to 40%" in result.stderr
    assert (
        "warning: half of the sketches or more have too little ink; " in result.stderr and "--preset" in result.stderr
    )
    result = run(photos, tmp_path / "much", "--eps", 1, "--workers", 1)  # white nowhere
    assert "7 of 7 are outside" in result.stderr and "too much ink" in result.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--mask-radius 3", "--mask-radius is for --style photocopy, not for xdog"),
        ("--style photocopy --tau 0.9", "--tau is for --style xdog or --style fdog, not for photocopy"),
        ("--sigma 0", "sigma is 0.0; it must be a number from 0.1 to 50"),
        ("--style fdog --preset bold", "preset of fdog is 'bold'; it must be one of kang, contour, pencil"),
        ("--style fdog --iterations 1.5", "argument --iterations: invalid int value"),
        ("--form hard", "invalid choice: 'hard'"),
        ("--style dog", "invalid choice: 'dog'"),
    ],
)
def test_mistakes_are_reported_in_one_line_and_write_nothing(photos, tmp_path, options, reason):
    result = run(photos, tmp_path / "out", *options.split())
    assert result.returncode == 2 and reason in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_responds_at_once():
    """Within 0.5 s, measured as processor time: the machine may be busy."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0 and "photocopy: copy, shaded, filled" in " ".join(result.stdout.split())
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
