"""xdog() against a simple reference and the co-author's files; read_drawing() on realistic drawings."""

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from contextual_gan.preparation.drawings import parse_crop, read_drawing
from contextual_gan.preparation.framing import find_faces
from contextual_gan.preparation.sketches import xdog

DATA = Path(os.environ.get("CONTEXTUAL_GAN_DATA", ""))
needs_data = pytest.mark.skipif(not os.environ.get("CONTEXTUAL_GAN_DATA"), reason="CONTEXTUAL_GAN_DATA is not set")


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def rgb(grey):
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


def draw_face(side, thickness):
    """A face in the training framing, dark on white, (side, side) uint8. Not the template of find_faces()."""
    page = np.full((side, side), 255, np.uint8)

    def stroke(*points):
        cv2.polylines(page, [np.int32(np.array(points) * side)], False, 0, thickness)

    for m in (-1, 1):
        stroke((0.5 + 0.1 * m, 0.09), (0.5 + 0.25 * m, 0.04), (0.5 + 0.38 * m, 0.1))
        stroke((0.5 + 0.14 * m, 0.18), (0.5 + 0.22 * m, 0.13), (0.5 + 0.33 * m, 0.18), (0.5 + 0.14 * m, 0.19))
        stroke((0.5 + 0.06 * m, 0.2), (0.5 + 0.1 * m, 0.47), (0.5, 0.5))
        stroke((0.5 + 0.46 * m, 0.03), (0.5 + 0.42 * m, 0.6), (0.5 + 0.2 * m, 0.92), (0.5, 0.97))
    stroke((0.32, 0.66), (0.5, 0.64), (0.68, 0.66), (0.5, 0.76), (0.32, 0.66))
    return page


def draw_head(side, thickness, x=0.3, y=0.42, size=0.4):
    """The same face inside a head with hair, ears, neck and shoulders; the face's square is (x, y, size), in sides."""
    page = np.full((side, side), 255, np.uint8)
    left, top, width = round(x * side), round(y * side), round(size * side)
    page[top : top + width, left : left + width] = draw_face(width, thickness)
    centre = (left + width // 2, top + width // 10)
    for grow, end in ((1.0, 360), (1.35, 380)):
        axes = (round(width * 0.5 * grow), round(width * 0.65 * grow))
        cv2.ellipse(page, centre, axes, 0, 540 - end, end, 0, thickness)
    for m in (-1, 1):
        ear = (centre[0] + round(0.52 * width * m), top + round(0.3 * width))
        cv2.ellipse(page, ear, (width // 16, width // 8), 0, 0, 360, 0, thickness)
        neck = [(0.25, 0.95), (0.25, 1.2), (0.8, 1.4)]
        points = [(centre[0] + round(u * width * m), top + round(v * width)) for u, v in neck]
        cv2.polylines(page, [np.int32(points)], False, 0, thickness)
    return page


def like(sketch, other):
    """Share of dark pixels in each with an adjacent dark pixel in the other: 1 if the strokes agree."""
    dark, dark_too = ((s[..., 0] < 128).astype(np.uint8) for s in (sketch, other))
    near, near_too = (cv2.dilate(d, np.ones((3, 3), np.uint8)) for d in (dark, dark_too))
    return min((dark & near_too).sum() / dark.sum(), (dark_too & near).sum() / dark_too.sum())


def photo_of_paper(grey, seed=0):
    """Yellowish paper with a lamp at one side, noise, and soft pencil strokes."""
    height, width = grey.shape
    y, x = np.mgrid[:height, :width]
    light = 220 * (1 - 0.35 * x / width - 0.2 * y / height)
    tone = light * (1 - 0.4 * (1 - grey / 255.0))
    noise = np.random.default_rng(seed).normal(0, 3, (height, width, 3))
    return np.clip(tone[..., None] * (1, 0.97, 0.9) + noise, 0, 255).astype(np.uint8)


# --- xdog -------------------------------------------------------------------------------------------------------------


def slow_blur(image, sigma):
    """Gaussian blur in plain numpy, replicated borders, 4 sigma wide."""
    radius = round(4 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(image, radius, mode="edge")
    rows = np.stack([np.convolve(row, kernel, mode="valid") for row in padded])
    return np.stack([np.convolve(column, kernel, mode="valid") for column in rows.T]).T


def test_xdog_matches_its_formula():
    grey = np.random.default_rng(0).integers(0, 100, (20, 31)).cumsum(axis=1) // 8  # dark to light, never saturated
    assert grey.max() < 256
    for parameters in ((0.8, 1.6, 0.98, 200.0), (1.0, 2.0, 0.9, 20.0)):
        sigma, k, tau, phi = parameters
        difference = slow_blur(grey / 255, sigma) - tau * slow_blur(grey / 255, k * sigma)
        tone = 0.5 + 0.5 * np.tanh(phi * difference)
        sketch = xdog(rgb(grey), sigma=sigma, k=k, tau=tau, phi=phi)
        assert sketch.shape == (20, 31, 3) and sketch.dtype == np.uint8
        assert np.abs(sketch - 255 * tone[..., None]).max() <= 0.6 and 20 < sketch.mean() < 250
    assert np.array_equal(xdog(rgb(grey)), xdog(rgb(grey), sigma=0.8, k=1.6, tau=0.98, phi=200))


def test_xdog_weighs_colours_as_luminance():
    photo = np.zeros((9, 30, 3), np.uint8)
    photo[:, :10, 0], photo[:, 10:20, 1], photo[:, 20:, 2] = 200, 100, 250
    assert np.array_equal(xdog(photo), xdog(rgb(np.round(photo @ (0.299, 0.587, 0.114)))))


def test_xdog_of_an_edge_is_dark_on_its_dark_side():
    photo = np.full((64, 64, 3), 60, np.uint8)
    photo[:, 32:] = 200
    sketch = xdog(photo)[..., 0]
    assert sketch[:, 30:32].max() < 5 and sketch[:, 33:].min() > 240
    assert (sketch == sketch[0]).all()  # replicated borders leave no trace at the top and bottom


@needs_data
def test_xdog_matches_the_co_author():
    photos = sorted((DATA / "coauthor_pairs").glob("*_photo.png"))
    assert photos
    for photo in photos:
        theirs = read(photo.with_name(photo.name.replace("_photo", "_sketch"))) / 255
        assert np.mean((xdog(read(photo)) / 255 - theirs) ** 2) <= 0.0005, photo.name


# --- a sketch comes back unchanged ------------------------------------------------------------------------------------


@pytest.fixture
def sketch():
    return rgb(draw_face(64, 2))


@pytest.mark.parametrize("crop", ["auto", "none"])
def test_a_sketch_is_unchanged(sketch, crop):
    before = sketch.copy()
    opaque = np.dstack([sketch, np.full((64, 64), 255, np.uint8)])
    assert np.array_equal(read_drawing(sketch, crop=crop), before)
    assert np.array_equal(read_drawing(opaque, crop=crop), before)
    assert np.array_equal(sketch, before)


@needs_data
def test_real_sketches_are_unchanged_and_their_negatives_recognised():
    with open(DATA / "faces_test.pack", "rb") as file:
        count = int.from_bytes(file.read(4), "little")
        sizes = np.frombuffer(file.read(4 * count), "<u4")
        sketches = [xdog(np.asarray(Image.open(io.BytesIO(file.read(size))).convert("RGB"))) for size in sizes]
    sketches += [read(path) for path in (DATA / "coauthor_pairs").glob("*_sketch.png")]
    assert all(np.array_equal(read_drawing(s), s) and np.array_equal(read_drawing(s, crop="none"), s) for s in sketches)
    assert np.mean([np.array_equal(read_drawing(255 - s), s) for s in sketches]) > 0.99


# --- reading strokes of any kind --------------------------------------------------------------------------------------


def transparent(colour, grey):
    return np.dstack([np.full((*grey.shape, 3), colour, np.uint8), 255 - grey])


READINGS = {
    "white on black": lambda grey: rgb(255 - grey),
    "chalk on a grey board": lambda grey: rgb(60 + 0.6 * (255.0 - grey)),
    "grey paper": lambda grey: rgb(90 + 0.4 * grey),
    "phone photo": photo_of_paper,
    "black on transparency": lambda grey: transparent(0, grey),
    "white on transparency": lambda grey: transparent(255, grey),
    "yellow on white": lambda grey: np.dstack([np.full_like(grey, 255), np.full_like(grey, 255), grey]),
}


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS.keys())
@pytest.mark.parametrize("side", [64, 300])
def test_every_kind_of_stroke_and_paper_gives_the_same_sketch(reading, side):
    grey = draw_face(side, max(2, side // 32))
    result = read_drawing(reading(grey), crop="none")
    assert result.shape == (64, 64, 3) and result.dtype == np.uint8 and (result == result[..., :1]).all()
    assert like(result, rgb(draw_face(64, 2))) > 0.97
    assert result.min() <= 5 and np.median(result) == 255


@pytest.mark.parametrize("side", [512, 1500, 5000])
def test_a_hairline_becomes_a_stroke_two_pixels_wide(side):
    page = np.full((side, side), 255, np.uint8)
    page[:, side // 2] = 0
    page[side // 4, : side // 3] = 0
    page[side // 2 :, : side // 4] = 0  # next to it the hairline must not count as faint
    ink = 1 - read_drawing(rgb(page), crop="none")[..., 0] / 255
    assert np.allclose(ink[20:60, 24:40].sum(axis=1), 1.9, atol=0.2) and ink[20:60, 31:33].max(axis=1).min() > 0.9
    assert np.allclose(ink[8:24, 2:18].sum(axis=0), 1.9, atol=0.2)


def test_thick_strokes_and_black_areas_stay_as_they_are():
    page = np.full((256, 256), 255, np.uint8)
    page[:96, 32:224] = 0  # a head of black hair
    page[160:172, 40:200] = 0  # a stroke of 12 pixels, 3 pixels at 64
    expected = cv2.resize(page, (64, 64), interpolation=cv2.INTER_AREA)
    for image in (rgb(page), photo_of_paper(page)):
        assert np.abs(read_drawing(image, crop="none")[..., 0].astype(int) - expected).max() <= 40


def test_dense_scribble_is_not_a_blob():
    page = np.full((512, 512), 255, np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(300):
        cv2.line(page, *(tuple(int(v) for v in rng.integers(0, 512, 2)) for _ in range(2)), 0, 1)
    assert 0.2 < np.mean(read_drawing(rgb(page), crop="none") < 128) < 0.7
    thickened = cv2.erode(page, np.ones((15, 15), np.uint8))  # uniformly 2 pixels wide at 64
    assert np.mean(thickened < 128) > 0.85


# --- crops ------------------------------------------------------------------------------------------------------------


def test_a_page_is_padded_to_a_square():
    page = np.full((300, 200), 255, np.uint8)
    page[:, :12] = page[:, -12:] = 0
    result = read_drawing(rgb(page), crop="none")[..., 0]
    columns = np.flatnonzero(result.mean(axis=0) < 128)
    assert columns.min() in (10, 11) and columns.max() in (52, 53)
    assert result[:, :9].min() == 255


def test_a_box_crops_pixels_of_the_image():
    page = np.full((400, 500), 255, np.uint8)
    page[100:300, 200:400] = draw_face(200, 6)
    cv2.line(page, (0, 0), (499, 0), 0, 9)
    assert (
        like(read_drawing(rgb(page), crop=(200, 100, 200, 200)), read_drawing(rgb(draw_face(200, 6)), crop="none")) == 1
    )


@pytest.mark.parametrize(
    "box", [(-1, 0, 9, 9), (0, -1, 9, 9), (92, 0, 9, 9), (0, 42, 9, 9), (0, 0, 0, 9), (0, 0, 9, 0)]
)
def test_a_box_outside_of_the_image_is_refused(box):
    name = ",".join(map(str, box))
    with pytest.raises(ValueError, match=rf"^crop box {name} does not lie inside the image of 100x50 pixels$"):
        read_drawing(rgb(np.eye(50, 100) * 255), crop=box)


def test_ink_is_found_among_specks():
    page = np.full((600, 800), 255, np.uint8)
    page[300:500, 100:300] = draw_face(200, 6)
    for x, y in np.random.default_rng(0).integers((350, 0), (780, 580), (40, 2)):
        page[y : y + 9, x : x + 9] = 0
    dark = read_drawing(rgb(page), crop="ink")[..., 0] < 128
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    assert rows[0] <= 4 and rows[-1] >= 59 and 1 <= columns[0] <= 5 and 58 <= columns[-1] <= 62


def test_parse_crop():
    assert [parse_crop(word) for word in ("auto", "none", "ink")] == ["auto", "none", "ink"]
    assert parse_crop("10,20,200,210") == parse_crop("10, 20, 200, 210") == (10, 20, 200, 210)
    for text in ("", "face", "1,2,3", "1,2,3,4,5", "1,2,3,x", "1.5,2,3,4"):
        with pytest.raises(ValueError, match=r"^crop must be auto, none, ink or x,y,w,h in pixels, not"):
            parse_crop(text)
    with pytest.raises(ValueError, match=r"^crop must be"):
        read_drawing(rgb(np.eye(9) * 255), crop="face")


# --- the automatic crop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "thickness"), [(128, 4), (256, 1), (512, 1), (512, 16)])
def test_a_framed_drawing_stays_whole(side, thickness):
    image = rgb(draw_face(side, thickness))
    assert np.array_equal(read_drawing(image), read_drawing(image, crop="none"))


@pytest.mark.parametrize("thickness", [1, 5])
@pytest.mark.parametrize("box", [(0.3, 0.42, 0.4), (0.35, 0.35, 0.36)])
def test_a_head_is_cropped_to_the_face(thickness, box):
    x, y, size = box
    page = draw_head(512, thickness, x, y, size)
    for image, centre in ((page, x + size / 2), (page[:, ::-1], 1 - x - size / 2)):
        face = find_faces(1 - image.astype(np.float32) / 255)[0]
        assert abs(face.x / 512 - centre) < 0.1 * size and abs(face.y / 512 - y - size / 2) < 0.1 * size
        assert 0.85 < face.width / 512 / size < 1.2 and not face.is_bent()
    box = tuple(round(v * 512) for v in (x, y, size, size))
    assert (
        like(read_drawing(rgb(page)), read_drawing(rgb(page), crop=box))
        > 0.6
        > like(read_drawing(rgb(page), crop="none"), read_drawing(rgb(page), crop=box))
    )


def test_empty_paper_is_cropped():
    page = np.full((900, 700), 255, np.uint8)
    page[500:756, 100:356] = draw_face(256, 8)
    assert like(read_drawing(rgb(page)), read_drawing(rgb(draw_face(256, 8)))) > 0.9


@needs_data
def test_real_drawings_are_framed():
    cut, whole = [], []
    for path in (DATA / "handdrawn").glob("*.png"):
        image = read(path)
        image = cv2.resize(image, (384, 384), interpolation=cv2.INTER_AREA if len(image) > 384 else cv2.INTER_LINEAR)
        kept = like(read_drawing(image), read_drawing(image, crop="none")) > 0.95
        (whole if path.name.startswith("stext2image") else cut).append(not kept if "deep" in path.name else kept)
    assert len(whole) >= 10 and len(cut) >= 5 and all(whole) and all(cut)


# --- blank and tiny pages ---------------------------------------------------------------------------------------------

NOISE = np.random.default_rng(0).normal(0, 5, (120, 90))
BLANKS = {
    "white": rgb(np.full((64, 64), 255)),
    "black": rgb(np.full((300, 200), 0)),
    "grey": rgb(np.full((1, 1), 128)),
    "noisy grey": rgb(128 + NOISE),
    "noisy black": rgb(np.clip(20 + NOISE, 0, 255)),
    "shaded paper": photo_of_paper(np.full((400, 300), 255)),
    "nothing but transparency": np.zeros((50, 50, 4), np.uint8),
}


@pytest.mark.parametrize("page", BLANKS.values(), ids=BLANKS.keys())
def test_a_blank_page_is_refused(page):
    with pytest.raises(ValueError, match=r"^no strokes found[^\n]*$"):
        read_drawing(page)


@pytest.mark.parametrize("shape", [(2, 2), (1, 9), (9, 1), (20, 16), (3, 900)])
def test_tiny_and_narrow_images(shape):
    page = np.full(shape, 255, np.uint8)
    page[: max(1, shape[0] // 3), : max(1, shape[1] // 3)] = 0
    result = read_drawing(rgb(page))
    assert result.shape == (64, 64, 3) and result.min() < 60


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)])
def test_invalid_arrays_are_refused(image):
    with pytest.raises(ValueError, match=r"^a drawing must be"):
        read_drawing(image)
