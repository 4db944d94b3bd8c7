"""Damaged images: each is completed or listed with its reason, and none affects the others."""

import io
import json
import random
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT, draw_face
from PIL import Image

from contextual_gan.preparation.drawings import read_drawing
from contextual_gan.preparation.framing import find_faces

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "WEBP": ".webp"}
SUFFIXES |= {"GIF": ".gif", "TIFF": ".tif", "AVIF": ".avif"}
MODES = {"PNG": ("RGB", "L", "RGBA", "P"), "JPEG": ("RGB", "L"), "BMP": ("RGB", "L"), "WEBP": ("RGB", "RGBA")}
MODES |= {"GIF": ("L", "P", "RGB"), "TIFF": ("RGB", "L", "RGBA", "P", "1", "CMYK", "F"), "AVIF": ("RGB", "RGBA")}
MODES |= {"HEIF": ("RGB", "RGBA")}
OPTIONS = {"TIFF": [{"compression": name} for name in ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")]}


def valid_image(rng, file_format=None):
    """(format, bytes) of a small drawing, of any format or this one."""
    file_format = file_format or rng.choice(list(SUFFIXES))
    drawing = Image.fromarray(draw_face(rng.randrange(1000), size=rng.choice((48, 64, 100))))
    buffer = io.BytesIO()
    drawing, options = drawing.convert(rng.choice(MODES[file_format])), rng.choice(OPTIONS.get(file_format, [{}]))
    if options.get("compression") == "jpeg":
        drawing = drawing.convert("RGB")
    drawing.save(buffer, file_format, **options)
    return file_format, buffer.getvalue()


def flip(rng, data):
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(len(data))] = rng.randrange(256)


def flip_in_header(rng, data):
    data[rng.randrange(min(64, len(data)))] ^= 1 << rng.randrange(8)


def cut(rng, data):
    del data[rng.randrange(len(data)) :]


def other_header(rng, data):
    data[:16] = valid_image(rng)[1][:16]


def zero(rng, data):
    start = rng.randrange(len(data))
    size = min(rng.randint(1, 200), len(data) - start)
    data[start : start + size] = bytes(size)


def duplicate(rng, data):
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.randint(1, 200)]


def huge_number(rng, data):
    start = 4 * rng.randrange(min(64, len(data)) // 4)  # sizes and lengths are here
    data[start : start + 4] = b"\xff\xff\xff\xff"


def append(rng, data):
    data += rng.randbytes(rng.randint(1, 1000))


MUTATIONS = (flip, flip_in_header, cut, other_header, zero, duplicate, huge_number, append)


def write_mutated(folder, count, seed, file_format=None):
    """Write damaged images, some with harmless damage, of all formats or one -> their paths."""
    rng = random.Random(seed)
    paths = []
    for number in range(count):
        kind, data = valid_image(rng, file_format)
        data = bytearray(data)
        mutation = MUTATIONS[number % len(MUTATIONS)]
        mutation(rng, data)
        paths.append(folder / f"{number:03}_{mutation.__name__}{SUFFIXES.get(kind, '.heic')}")
        paths[-1].write_bytes(data)
    return paths


@pytest.mark.parametrize(("count", "seed"), [(40, 0), pytest.param(300, 1, marks=pytest.mark.full)])
def test_every_damaged_image_is_completed_or_listed_with_its_reason(tmp_path, count, seed):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    paths = write_mutated(folder, count, seed)
    command = [sys.executable, "scripts/complete.py", folder, "--out", out, "--iterations", "1", "--n-init", "1"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert process.returncode == 1, process.stderr
    assert "Traceback" not in process.stdout + process.stderr

    record = json.loads((out / "results.json").read_text())
    completed = {entry["input"]: entry["outputs"] for entry in record["results"]}
    failed = {entry["input"]: entry["reason"] for entry in record["failed"]}
    assert len(completed) > count / 8 and len(failed) > count / 8  # the mutations are neither harmless nor hopeless
    assert sorted([*completed, *failed]) == [str(path) for path in paths]
    assert [name for name, reason in failed.items() if len(reason.strip().splitlines()) != 1] == []
    outputs = {output for names in completed.values() for output in names}
    assert len(outputs) == 3 * len(completed)
    assert {path.name for path in out.glob("*_*.png") if not path.name.startswith("grid")} == outputs
    assert {Image.open(out / output).size for output in outputs} == {(64, 64), (128, 64)}
    assert list(out.glob(".*")) == []


DECODE = """
import resource, sys
from contextual_gan.files.images import ImageError, holds_several, read_image_bytes, read_rgba
resource.setrlimit(resource.RLIMIT_AS, (4 * 10**9,) * 2)
for path in sys.argv[1:]:
    try:
        print("read", read_rgba(path).shape, holds_several(read_image_bytes(path)))
    except ImageError as error:
        print("refused", error)
"""


@pytest.mark.parametrize("file_format", ["GIF", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize(("count", "seed"), [(32, 0), pytest.param(300, 1, marks=pytest.mark.full)])
def test_no_damaged_image_crashes_a_decoder_or_hangs(tmp_path, file_format, count, seed):
    if file_format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    paths = write_mutated(tmp_path, count, seed, file_format)
    process = subprocess.run([sys.executable, "-c", DECODE, *paths], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr[-2000:]  # a crash has the number of its signal
    assert process.stderr == ""  # messages of libraries belong in the reason
    lines = process.stdout.splitlines()
    assert len(lines) == count
    assert sum(line.startswith("read") for line in lines) > count / 16
    assert sum(line.startswith("refused") for line in lines) > count / 8


SHAPES = ((1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (5, 7), (1, 3000), (3000, 1), (64, 64), (64, 128), (65, 1025))


def odd_images(rng, height, width):
    """{what: (H, W, 3 or 4) uint8} for a size."""
    noise = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    white = np.full((height, width, 3), 255, np.uint8)
    line, stripes, ramp = white.copy(), white.copy(), white.copy()
    line[height // 2] = 0
    stripes[:, ::2] = 0
    ramp[:] = np.linspace(0, 255, width)[None, :, None].round()
    return {
        "black": np.zeros_like(white),
        "white": white,
        "grey": np.full_like(white, 77),
        "noise": noise[..., :3],
        "noise with alpha": noise,
        "black and white noise": np.where(noise[..., :3] < 128, 0, 255).astype(np.uint8),
        "transparent": noise * np.uint8([1, 1, 1, 0]),
        "transparent black": np.zeros((height, width, 4), np.uint8),
        "line": line,
        "stripes": stripes,
        "ramp": ramp,
    }


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_any_array_is_prepared_or_refused_in_one_line(height, width):
    for what, image in odd_images(np.random.default_rng(0), height, width).items():
        for crop in ("auto", "none", "ink"):
            before = image.copy()
            try:
                sketch = read_drawing(image, crop=crop)
            except ValueError as error:
                assert len(str(error).splitlines()) == 1, (what, crop)
            else:
                assert sketch.shape == (64, 64, 3) and sketch.dtype == np.uint8, (what, crop)
                assert sketch.min() < 128, f"{what}, {crop}: nothing visible"
            np.testing.assert_array_equal(image, before, err_msg=f"{what}, {crop}: changed in place")


@pytest.mark.parametrize(
    ("y", "slope", "thickness"),
    [(32, 2, 1), (32, 5, 1), (33, 2, 2), (33, 12, 2), (34, 2, 3), (34, 5, 3), (60, 5, 2), (61, 8, 3)],
)
def test_no_face_is_found_without_a_drawing(y, slope, thickness):
    ink = cv2.line(np.zeros((81, 81), np.float32), (0, y), (80, y + slope), 1.0, thickness)
    assert find_faces(ink) == []
