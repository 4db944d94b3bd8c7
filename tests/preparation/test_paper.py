"""Drawings on any paper, under any light, on desks and screens: `read_faces` on the conditions of `papers.KINDS`.

Run as a program (PYTHONPATH=tests), it prints how many of the twelve samples are recognised under each.
"""

import json
import sys
from functools import cache
from zlib import crc32

import cv2
import numpy as np
import pytest
from conftest import ROOT
from papers import HOUSE, KINDS, SAMPLES, _place, drawn, ink_of, two_faces

from contextual_gan.files.images import read_image
from contextual_gan.preparation.drawings import read_drawing, read_faces
from contextual_gan.preparation.framing import FACE_SCORE
from contextual_gan.preparation.paper import find_sheet, flatten_sheet, without_lines

AS_GOOD = 0.15  # a score within this is as good: a sheet seen at an angle may stay a little stretched


def photographed(kind, sample):
    rng = np.random.default_rng(crc32(f"{kind}{sample.name}".encode()))
    return KINDS[kind](ink_of(read_image(sample)), rng)


@cache
def clean_score(sample):
    page = 255 * (1 - _place(ink_of(read_image(sample))))
    return read_faces(np.repeat(page.astype(np.uint8)[..., None], 3, axis=2))[0].score


def recognised(kind, samples):
    """The number of samples read as well as the clean drawing, or reported as not recognised."""
    sketches = [read_faces(photographed(kind, sample))[0] for sample in samples]
    good = [s.score > clean_score(sample) - AS_GOOD for s, sample in zip(sketches, samples, strict=True)]
    return sum(good), sum(g or not s.is_face for g, s in zip(good, sketches, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawing_is_read_under_any_condition(kind):
    assert recognised(kind, [SAMPLES[list(KINDS).index(kind) % 4]])[0] == 1


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_nearly_all_drawings_are_read_under_any_condition(kind):
    good, told = recognised(kind, SAMPLES)
    assert good >= 9 and told >= 10


# --- sheets, ruling ---------------------------------------------------------------------------------------------------


def desk(corners, size=(600, 800)):
    picture = np.full((size[1], size[0], 3), (60, 70, 90), np.uint8)
    return cv2.fillPoly(picture, [np.int32(corners)], (235, 235, 230), cv2.LINE_AA)


@pytest.mark.parametrize(
    "corners", [[(90, 80), (500, 60), (540, 720), (60, 700)], [(150, 200), (420, 260), (390, 600), (120, 560)]]
)
def test_a_sheet_is_found_with_its_perspective(corners):
    found = find_sheet(desk(corners))
    assert np.abs(found - corners).max() < 6
    sheet = flatten_sheet(desk(corners), found)
    assert sheet.min() > 200 and abs(len(sheet) / sheet.shape[1] - 1.5) < 0.3


@pytest.mark.parametrize("kind", ["plain", "hard shadow", "creases", "ruled", "lamp"])
def test_no_sheet_is_found_on_paper_alone(kind):
    assert all(find_sheet(photographed(kind, sample)) is None for sample in SAMPLES[:3])


def test_ruling_is_removed_and_strokes_on_it_stay():
    page = np.ones((700, 500), np.float32)
    page[40::30] = page[41::30] = 0.75
    ruled = page.copy()
    cv2.circle(page, (250, 350), 120, 0.2, 4, cv2.LINE_AA)
    result = without_lines(page)
    y, x = np.mgrid[:700, :500]
    near = np.abs(np.hypot(x - 250, y - 350) - 120)
    assert result[near > 8].min() > 0.9 and result[near < 1].max() < 0.5
    assert without_lines(ruled).min() > 0.9


def test_straight_hair_stays():
    tone = np.ones((512, 512), np.float32)
    for x in (40, 60, 85, 430, 460):
        tone[:, x : x + 4] = 0.1
    assert np.array_equal(without_lines(tone), tone)


# --- several faces, none, photographs ---------------------------------------------------------------------------------


def test_both_faces_of_a_sheet_are_found_the_larger_first():
    first, second = read_faces(two_faces())
    assert first.is_face and second.is_face
    for sketch, sample in ((first, SAMPLES[0]), (second, SAMPLES[10])):
        assert sketch.score > clean_score(sample) - AS_GOOD


@pytest.mark.parametrize("name", ["08_professor", "18_ballpoint", "19_comic", "20_three_quarter"])
def test_hair_is_not_a_second_face_upside_down(name):
    (path,) = (ROOT / "datasets/samples").rglob(f"{name}.png")
    (face,) = read_faces(read_image(path))
    assert face.is_face


CIRCLE = [(256 + 180 * np.cos(a), 256 + 180 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 90)]


@pytest.mark.parametrize("shapes", [[HOUSE], [CIRCLE], [[(256, 40), (256, 470)]], [HOUSE, [(220, 470), (220, 350)]]])
def test_drawings_without_a_face_are_reported(shapes):
    (sketch,) = read_faces(drawn(*shapes))
    assert not sketch.is_face and sketch.score < FACE_SCORE and sketch.image.min() < 128
    assert np.array_equal(read_drawing(drawn(*shapes)), sketch.image)


if __name__ == "__main__":
    totals = np.zeros(2, int)
    for name in KINDS:
        counts = recognised(name, SAMPLES)
        totals += counts
        print(json.dumps({"kind": name, "as good": counts[0], "as good or reported": counts[1], "of": 12}), flush=True)
    print(f"{totals[0]} of {12 * len(KINDS)} as good, {totals[1]} as good or reported", file=sys.stderr)
