"""`scripts/complete.py --direction sketch` on ordinary photos, in separate processes."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from test_complete import QUICK, complete, complete_apart, record

from contextual_gan.files.images import ImageError, centre_square, read_image, write_png
from contextual_gan.preparation.alignment import align
from contextual_gan.preparation.known import read_known

SKETCH = [*QUICK, "--direction", "sketch"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A portrait by NASA, the same upside down, its face alone, two faces, and none."""
    folder, photo = tmp_path_factory.mktemp("portraits"), skimage.data.astronaut()
    blank = np.random.default_rng(0).integers(0, 256, (100, 140, 3), dtype=np.uint8)
    write_png(folder / "down.png", np.rot90(photo, 2).copy())
    write_png(folder / "face.png", align(photo, size=128))
    write_png(folder / "noise.png", blank)
    write_png(folder / "two.png", np.hstack([photo[:260, 100:350], photo[20:280, 110:360]]))
    write_png(folder / "up.png", photo)
    return folder


def inputs(out):
    return {path.name.removesuffix("_input.png"): read_image(path) for path in out.glob("*_input.png")}


def test_portraits_are_aligned_and_their_alignment_is_recorded(folder, tmp_path):
    result = complete(folder, "--out", tmp_path / "out", *SKETCH)
    assert result.returncode == 0, result.stderr
    found, photo = inputs(tmp_path / "out"), skimage.data.astronaut()
    assert np.array_equal(found["up"], align(photo, size=64))
    assert np.abs(found["down"].astype(int) - found["up"]).mean() < 1
    assert np.array_equal(found["face"], centre_square(read_image(folder / "face.png"), 64))
    assert {entry["stem"]: entry["alignment"] for entry in record(tmp_path / "out")["results"]} == {
        "down": "aligned, turned upside down",
        "face": "already aligned",
        "noise": "squared",
        "two": "aligned",
        "up": "aligned",
    }
    notes = [line for line in result.stderr.splitlines() if ".png: " in line]
    assert [line.rpartition("/")[2].split(": ")[0] for line in notes] == ["down.png", "noise.png", "two.png"]
    assert "turned upside down" in notes[0] and "no face found" in notes[1] and "2 faces in this photo" in notes[2]
    assert "photos: 2 aligned, " in result.stdout
    again = complete(folder, "--out", tmp_path / "out", *SKETCH)
    assert again.returncode == 0 and "nothing to do" in again.stdout
    other = complete(folder, "--out", tmp_path / "out", *SKETCH, "--align", "off")
    assert other.returncode == 2 and "align: auto there, off now" in other.stderr


def test_all_faces_of_photos_are_drawn(folder, tmp_path):
    for again in ("3 completed", "nothing to do"):
        files = folder / "two.png", folder / "up.png"
        result = complete(*files, "--out", tmp_path / "all", *SKETCH, "--faces", "all")
        assert result.returncode == 0 and again in result.stdout, result.stderr
    assert inputs(tmp_path / "all").keys() == {"two", "two_2", "up"}


def test_photos_are_left_as_they_are_or_always_aligned(folder):
    task = SimpleNamespace(direction="sketch", crop="auto", joint="auto", faces="largest", align="off")
    for path in folder.iterdir():
        (known,) = read_known(path.read_bytes(), task)
        assert np.array_equal(known.image, centre_square(read_image(path), 64)) and known.alignment == "squared"
    task.align = "on"
    assert read_known((folder / "face.png").read_bytes(), task)[0].alignment == "aligned"
    with pytest.raises(ImageError, match="no face found; --align auto crops"):
        read_known((folder / "noise.png").read_bytes(), task)


def test_without_the_models_a_line_explains_what_to_install_and_what_is_done(folder, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'face_recognition_models' else find(name, *rest)\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    without = {"env": {**os.environ, "PYTHONPATH": path}}
    result = complete_apart(folder / "up.png", "--out", tmp_path / "out", *SKETCH, **without)
    (line,) = [line for line in result.stderr.splitlines() if "not installed" in line]
    assert result.returncode == 0 and 'pip install -e ".[align]"' in line and "cropped to their central square" in line
    assert np.array_equal(inputs(tmp_path / "out")["up"], centre_square(skimage.data.astronaut(), 64))
    for more in (["--align", "on"], ["--faces", "all"]):
        refused = complete_apart(folder / "up.png", "--out", tmp_path / "no", *SKETCH, *more, **without)
        assert refused.returncode == 2 and 'pip install -e ".[align]"' in refused.stderr.splitlines()[-1]
        assert not (tmp_path / "no").exists()


def test_align_is_for_photos(folder, tmp_path):
    result = complete(folder, "--out", tmp_path / "out", "--align", "on")
    assert result.returncode == 2 and "--align on is for photos (--direction sketch)" in result.stderr
