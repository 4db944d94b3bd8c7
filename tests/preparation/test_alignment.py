"""Faces are framed like OpenFace's, anywhere in the photo, also from CelebA's own landmarks."""

import json
import re
import struct
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import skimage.data
from conftest import ROOT
from PIL import Image

from contextual_gan.files.apply import Skip
from contextual_gan.files.images import decode_rgba, read_image, write_png
from contextual_gan.preparation import alignment, faces
from contextual_gan.preparation.alignment import (
    align,
    align_by_points,
    crop_box,
    crop_fixed,
    parse_box,
    read_celeba_landmarks,
)

INNER, OUTER = "inner-eyes-bottom-lip", "outer-eyes-nose"
INDICES = {INNER: [39, 42, 57], OUTER: [36, 45, 33]}
# OpenFace, align_dlib.py: the points of TEMPLATE that it aligns by, and the smallest and largest x and y of all 68.
TEMPLATE = {
    INNER: [(0.403718978315, 0.33867711083), (0.631326076346, 0.334136672344), (0.525398405766, 0.841706377792)],
    OUTER: [(0.252418718401, 0.331052263829), (0.782865376271, 0.321305281656), (0.520712933176, 0.634268222208)],
}
LOW, HIGH = np.array((0.0792396913815, 0.182360984545)), np.array((0.971193274221, 1.06080371126))
ANNOTATED = {  # the format of list_landmarks_align_celeba.txt, with invented numbers
    "000001.jpg": (70, 110, 107, 111, 80, 140, 72, 153, 107, 152),
    "000002.jpg": (68, 111, 108, 110, 88, 138, 71, 150, 106, 151),
    "000007.jpg": (71, 112, 106, 113, 90, 136, 73, 154, 105, 153),
}
HEADER = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y \n"


@pytest.fixture(scope="module")
def photo():
    """(512, 512, 3): Eileen Collins, astronaut, by NASA; in the public domain."""
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def landmarks(photo):
    """(68, 2) landmarks of the face, in pixels, from dlib called as in OpenFace."""
    model, _ = alignment.load_predictor(None, INNER)
    face = max(faces._detector()(photo, 1), key=lambda box: box.width() * box.height())
    return np.array([(p.x, p.y) for p in model(photo, face).parts()], float)


@pytest.fixture(scope="module")
def five(landmarks):
    """The five points that CelebA annotates, from dlib's landmarks."""
    return np.array([landmarks[36:42].mean(0), landmarks[42:48].mean(0), *landmarks[[30, 48, 54]]])


def openface(points, size, choice):
    """The pixel positions of (N, 2) points after OpenFace's alignment by (68, 2) landmarks."""
    places = size * (np.array(TEMPLATE[choice]) - LOW) / (HIGH - LOW)
    matrix = cv2.getAffineTransform(np.float32(points), np.float32(places))
    return lambda p: p @ matrix[:, :2].T + matrix[:, 2]


def with_spots(shape, points, radius):
    """Images of this shape, each black with a soft white spot at one of the points."""
    for x, y in points:
        photo = np.zeros((*shape[:2], 3), np.uint8)
        left, top = (max(0, int(v - 5 * radius)) for v in (x, y))
        part = photo[top : int(y + 5 * radius) + 2, left : int(x + 5 * radius) + 2]
        rows, columns = np.mgrid[: part.shape[0], : part.shape[1]]
        distance = np.hypot(columns + left - x, rows + top - y)
        part[:] = (255 * np.exp(-((distance / radius) ** 2) / 2)).round()[..., None]
        yield photo


def centroid(image):
    grey = image[..., 0].astype(float)
    y, x = np.mgrid[: len(grey), : len(grey)]
    return np.array((np.sum(x * grey), np.sum(y * grey))) / grey.sum()


def difference(a, b):
    return np.abs(a.astype(int) - b).mean()


# --- the framing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [INNER, OUTER])
@pytest.mark.parametrize("size", [64, 96, 128, 200])
def test_landmarks_have_the_positions_of_openface(photo, landmarks, choice, size):
    three = landmarks[INDICES[choice]]
    expected = openface(three, size, choice)(three)
    framing = alignment.affine(three, alignment.LANDMARKS[choice]["places"])
    for spot, place in zip(with_spots(photo.shape, three, radius=2.5), expected, strict=True):
        assert np.abs(centroid(alignment._warp(spot, framing, size)) - place).max() < 0.5


@pytest.mark.parametrize("size", [64, 96, 128, 1024])
@pytest.mark.parametrize("edge", [20, 77, 300, 2500])  # of the face's square in the photo, in pixels
def test_framing_does_not_depend_on_the_size_of_the_face(edge, size):
    places = np.array(alignment.LANDMARKS[INNER]["places"])
    three = places * edge + edge * 0.1
    expected = openface(three, max(size, 128), INNER)(three)
    expected = (expected + 0.5) * size / max(size, 128) - 0.5  # below 128, that warp reduced by area
    framing = alignment.affine(three, places)
    tolerance = 0.1 + size / 10_000 + size / edge / 100  # positions have four digits; OpenCV halves pixels five times
    for spot, place in zip(with_spots((edge * 6 // 5,) * 2, three, max(1, edge / 30)), expected, strict=True):
        assert np.abs(centroid(alignment._warp(spot, framing, size)) - place).max() < tolerance


def test_plain_warp_at_128_and_half_of_it_at_64(photo, landmarks):
    three = landmarks[INDICES[INNER]]
    framing = alignment.affine(three, alignment.LANDMARKS[INNER]["places"])
    matrix = cv2.getAffineTransform(np.float32(three), np.float32(128 * np.array(alignment.LANDMARKS[INNER]["places"])))
    plain = cv2.warpAffine(photo, matrix, (128, 128), borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(alignment._warp(photo, framing, 128).astype(int) - plain).max() <= 2  # float32 against float64
    half = alignment._warp(photo, framing, 128).reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(alignment._warp(photo, framing, 64) - half).max() <= 0.5


def test_fine_texture_of_a_large_face_does_not_alias():
    edge = 4096  # with a warp at 1024 or less, each pixel would fall on the same position of the pattern
    board = ((np.indices((edge, edge), np.int16).sum(0) // 2 % 2) * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    three = np.array(alignment.LANDMARKS[INNER]["places"]) * edge
    out = alignment._warp(board, alignment.affine(three, alignment.LANDMARKS[INNER]["places"]), 64)
    assert np.abs(out.astype(int) - 127.5).max() < 12  # without a reduction before the warp: 127


def test_whole_pipeline_is_close_to_openface(photo, landmarks):
    """OpenFace detects at upsample 1 and predicts without enlarging: its landmarks differ by a pixel."""
    model, indices = alignment.load_predictor(None, INNER)
    ours = alignment._landmarks(photo, faces.find_faces(photo)[1][0], model)[indices]
    to_64 = openface(landmarks[indices], 64, INNER)
    assert np.linalg.norm(to_64(ours) - to_64(landmarks[indices]), axis=1).mean() < 1


@pytest.mark.parametrize("choice", [INNER, OUTER])
def test_a_face_has_the_same_framing_in_every_photo(photo, choice):
    base = align(photo, size=64, landmarks=choice)
    shifted = difference(np.roll(base, 1, axis=1), base)  # 11.5: the effect of one pixel
    variants = {
        "cropped": photo[40:250, 120:330],
        "reduced": cv2.resize(photo, (250, 250), interpolation=cv2.INTER_AREA),
        "enlarged to 18 megapixels": cv2.resize(photo, (4300, 4300), interpolation=cv2.INTER_CUBIC),
        "darker": (photo * 0.6).astype(np.uint8) + 40,
    }
    for degrees in (-10, 10, 20):
        turn = cv2.getRotationMatrix2D((223, 128), degrees, 1)
        variants[degrees] = cv2.warpAffine(photo, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    for name, variant in variants.items():
        out = align(variant, size=64, landmarks=choice).astype(float)
        if name == "darker":
            out = (out - 40) / 0.6
        assert difference(out, base) < 0.6 * shifted, name


def test_small_face_is_found_and_grey_is_enough(photo):
    base = align(photo, size=64)
    small = cv2.resize(photo, (96, 96), interpolation=cv2.INTER_AREA)  # a face of 16 pixels
    assert difference(align(small, size=64), base) < 25
    half = cv2.resize(photo[40:250, 120:330], (89, 89), interpolation=cv2.INTER_AREA)
    assert difference(align(half, size=64), base) < 8
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    out = align(grey, size=64)
    assert (out == out[..., :1]).all()
    assert difference(out[..., 0], cv2.cvtColor(base, cv2.COLOR_RGB2GRAY)) < 5


def test_border_pixels_are_repeated_beyond_the_photo(photo):
    cut = photo[:, 205:]  # the left quarter of the face is missing
    three = (np.array(alignment.LANDMARKS[INNER]["places"]) - (0.25, 0)) * 80
    out = alignment._warp(cut, alignment.affine(three, alignment.LANDMARKS[INNER]["places"]), 64)
    assert (out[:, :15] == out[:, :1]).all() and (out[:, 20] != out[:, 0]).any()


# --- which face -------------------------------------------------------------------------------------------------------


def test_largest_of_several_faces_or_none(photo):
    head = photo[20:260, 110:340]
    large = cv2.resize(head, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    beside = cv2.copyMakeBorder(head, 60, 60, 0, 0, cv2.BORDER_REPLICATE)[:, ::-1]  # mirrored
    for both in (np.hstack([large, beside]), np.hstack([beside, large])):
        assert difference(align(both, size=64), align(large, size=64)) < 5
        assert difference(align(both, size=64)[:, ::-1], align(head, size=64)) > 8
        with pytest.raises(Skip, match="2 faces found"):
            align(both, size=64, multiple="skip")
    assert (align(large, size=64, multiple="skip") == align(large, size=64)).all()


def test_equal_faces_and_repeated_calls_give_the_same_result(photo):
    twins = np.hstack([photo[20:260, 110:340]] * 2)
    once = align(twins, size=64)
    assert (align(twins, size=64) == once).all()
    with ThreadPoolExecutor(2) as threads:
        assert all((image == once).all() for image in threads.map(lambda _: align(twins, size=64), range(4)))


@pytest.mark.parametrize("shape", [(1, 1), (3, 4000), (89, 109), (2000, 3000)])
def test_no_face(shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    with pytest.raises(Skip, match="no face found"):
        align(noise, size=64)


# --- predictors -------------------------------------------------------------------------------------------------------


def test_five_points_give_the_outer_eyes_framing(photo):
    five = alignment.default_predictor().with_name("shape_predictor_5_face_landmarks.dat")
    a, b = (align(photo, size=64, landmarks=OUTER, predictor=p) for p in (five, None))
    assert 0 < difference(a, b) < difference(np.roll(b, 1, axis=1), b)  # less than one pixel apart
    with pytest.raises(ValueError, match="inner-eyes-bottom-lip cannot be derived from its 5 points"):
        align(photo, size=64, landmarks=INNER, predictor=five)


def test_a_file_that_is_not_a_predictor_is_refused(tmp_path):
    whole = alignment.default_predictor().read_bytes()
    contents = {
        "empty": b"",
        "noise": np.random.default_rng(0).bytes(10_000),
        "cut": whole[:1_000_000],
        "damaged": whole[:50] + b"\xff" * 500 + whole[550:100_000],
        "other model": alignment.default_predictor().with_name("mmod_human_face_detector.dat").read_bytes(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: not a landmark predictor of dlib"):
            alignment.load_predictor(tmp_path / name, OUTER)
    for missing in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError, match="no such file"):
            alignment.load_predictor(missing, OUTER)


def test_without_the_models_the_error_names_what_to_install(photo, monkeypatch):
    monkeypatch.setattr(alignment, "MODELS", "no_such_package")
    with pytest.raises(FileNotFoundError, match=re.escape('pip install -e ".[align]"')):
        align(photo, size=64)
    assert "face_recognition_models" not in sys.modules  # which cannot be imported without setuptools


# --- CelebA's annotations ---------------------------------------------------------------------------------------------


def celeba_like(photo, five):
    """The astronaut, framed like CelebA: 178 x 218 pixels, eyes at (69, 111) and (107, 111) -> photo, points."""
    scale = 38 / np.linalg.norm(five[1] - five[0])
    matrix = np.array([[scale, 0, 88 - scale * five[:2, 0].mean()], [0, scale, 111 - scale * five[:2, 1].mean()]])
    photo = cv2.warpAffine(photo, matrix, (178, 218), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return photo, five * scale + matrix[:, 2], matrix


@pytest.mark.parametrize("choice", [INNER, OUTER])
def test_five_annotated_points_give_the_framing_of_the_landmarks(photo, landmarks, five, choice):
    small, points, matrix = celeba_like(photo, five)
    three = landmarks[INDICES[choice]] * matrix[0, 0] + matrix[:, 2]
    places = np.array(alignment.LANDMARKS[choice]["places"])
    spots = with_spots(small.shape, three, radius=1.5)
    out = [centroid(align_by_points(spot, points, size=64, landmarks=choice)) for spot in spots]
    distance = np.linalg.norm(out - (places * 64 - 0.25), axis=1)
    assert distance.mean() < 2 and distance[:2].max() < 2


def test_a_photo_of_another_size_has_the_same_framing(photo, five):
    small, points, _ = celeba_like(photo, five)
    base = align_by_points(small, points, size=64)
    for width, height in ((89, 109), (356, 436), (120, 147)):
        resized = cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA if width < 178 else cv2.INTER_LINEAR)
        assert difference(align_by_points(resized, points, size=64), base) < 5
    for width, height in ((144, 144), (178, 216), (218, 178)):
        with pytest.raises(ValueError, match=f"{width} x {height} pixels: .* 178 x 218"):
            align_by_points(np.zeros((height, width, 3), np.uint8), points, size=64)
    nearly = [(60, 100), (110, 100), (85, 101), (70, 102), (100, 102)]
    for degenerate in (np.full((5, 2), 80), np.column_stack([np.arange(5)] * 2), nearly):
        with pytest.raises(Skip, match="on a line"):
            align_by_points(small, degenerate, size=64)


def test_read_celeba_landmarks(tmp_path):
    path = tmp_path / "list_landmarks_align_celeba.txt"
    lines = "".join(f"{name} {'  '.join(map(str, values))}\n" for name, values in ANNOTATED.items())
    for text in (f"3\n{HEADER}{lines}", f"3\n{HEADER}{lines}".replace("\n", "\r\n")):
        path.write_text(text, newline="")
        points = read_celeba_landmarks(path)
        assert list(points) == list(ANNOTATED)
        assert points["000001.jpg"] == [[70, 110], [107, 111], [80, 140], [72, 153], [107, 152]]
    assert json.loads(json.dumps(points)) == points  # as in a manifest


GOOD = "000001.jpg 69 109 106 113 77 142 73 152 108 154\n"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "line 1"),
        ("many\n" + HEADER, "line 1"),
        ("1\n", "line 1"),
        ("1\nlefteye_x lefteye_y\n" + GOOD, "line 2"),
        (GOOD * 2, "line 1"),
        (f"2\n{HEADER}{GOOD}000002.jpg 69 109 106 113 77 142 73 152 108\n", "line 4"),
        (f"2\n{HEADER}{GOOD}000002.jpg 69 109 106 113 77 142 73 152 108 154 7\n", "line 4"),
        (f"2\n{HEADER}{GOOD}000002.jpg 69 109 106 113 77 142 73 152 108 1e9\n", "line 4"),
        (f"2\n{HEADER}{GOOD}000002.jpg 69 109 106 113 77 142 73 152 108 nan\n", "line 4"),
        (f"2\n{HEADER}{GOOD}000002.jpg 69 109 106 113 77 142 73 152 108 99999999999\n", "line 4"),
        (f"2\n{HEADER}{GOOD}\n", "line 4"),
        (f"2\n{HEADER}{GOOD}{GOOD}", "line 4: 000001.jpg is listed twice"),
        (f"3\n{HEADER}{GOOD}", "1 photos, but line 1 gives 3"),
        (f"1\n{HEADER}{GOOD}".replace("000001", "0\xe90"), "ASCII"),
        ("\0" * 1000, "line 1"),
    ],
)
def test_a_bad_landmarks_file_is_refused_with_its_line(tmp_path, text, message):
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=f"list.txt.*{message}") as error:
        read_celeba_landmarks(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


# --- boxes ------------------------------------------------------------------------------------------------------------


def numbered(height, width):
    """Each pixel encodes its position: red is x, green y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    "box, x, y",  # of the photo's 100 x 60 pixels: the box, and the cropped square, as first and last pixel
    [
        ((10, 10, 20, 20), (10, 29), (10, 29)),
        ((40, 20, 20, 10), (40, 59), (15, 34)),  # wide: the square around its centre
        ((0, 0, 20, 10), (0, 19), (0, 19)),  # moved into the photo
        ((90, 40, 10, 20), (80, 99), (40, 59)),
        ((-50, -50, 70, 60), (0, 19), (0, 19)),  # beyond the photo: the visible part is 20 x 10
        ((80.0, 30.0, 500.0, 20.0), (80, 99), (30, 49)),
        ((20, 0, 60, 60), (20, 79), (0, 59)),
        ((0, 0, 100, 60), (0, 99), (0, 59)),  # higher than the photo: its first and last rows are repeated
    ],
)
def test_crop_box(box, x, y):
    photo = numbered(60, 100)
    edge = x[1] - x[0] + 1
    out = crop_box(photo, box, size=edge)
    assert out.shape == (edge, edge, 3) and out.dtype == np.uint8
    assert (out[0, 0, 0], out[0, -1, 0], out[0, 0, 1], out[-1, 0, 1]) == (*x, *y)
    if edge > 60:
        assert (out[:20] == out[0]).all() and (out[-20:] == out[-1]).all() and (out[20:80] == photo).all()


def test_crop_box_reduces_by_area_and_bounds_its_memory(monkeypatch):
    board = ((np.indices((64, 64)).sum(0) % 2) * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    assert np.abs(crop_box(board, (0, 0, 64, 64), size=32).astype(int) - 127.5).max() <= 1
    sizes, pad = [], cv2.copyMakeBorder
    monkeypatch.setattr(cv2, "copyMakeBorder", lambda *args: sizes.append((padded := pad(*args)).size) or padded)
    out = crop_box(np.full((500, 40_000, 3), 7, np.uint8), (0, 0, 40_000, 500), size=64)
    assert (out == 7).all() and sizes[-1] < 100e6  # the whole square would take 4.8 GB


@pytest.mark.parametrize("box", [(100, 0, 5, 5), (-9, 0, 9, 5), (0, 60, 5, 5), (5, 5, 0, 5), (0, 0, float("nan"), 5)])
def test_crop_box_outside_is_refused(box):
    with pytest.raises(ValueError, match="outside the 100 x 60 pixels"):
        crop_box(numbered(60, 100), box, size=8)


def test_boxes_are_in_pixels_of_the_file_although_large_jpegs_are_reduced(tmp_path):
    page = np.full((5000, 6000), 250, np.uint8)
    page[2400:4000, 3200:4800] = 20
    (tmp_path / "in").mkdir()
    Image.fromarray(page).save(tmp_path / "in/large.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6  # stored sideways
    Image.fromarray(np.rot90(page)).save(tmp_path / "in/turned.jpg", exif=turned)
    Image.fromarray(page[:4000]).save(tmp_path / "in/within.jpg")
    result = opendlib(tmp_path / "in", tmp_path / "out", "--no-detect", "3200,2400,1600,1600", "--size", 64)
    assert result.returncode == 0, result.stderr
    for name in ("large", "turned", "within"):
        assert np.abs(read_image(tmp_path / f"out/{name}.png").astype(int) - 20).max() <= 3, name
    result = opendlib(tmp_path / "in", tmp_path / "beyond", "--no-detect", "3200,2400,2801,1601", "--size", 64)
    for name, size in (("large", "6000 x 5000"), ("within", "6000 x 4000")):
        assert f"failed: {name}.jpg: {size} pixels; the box is 3200,2400,2801,1601" in result.stderr


def test_crop_box_of_a_reduced_photo():
    photo = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)
    expected = crop_box(photo, (10, 5, 40, 30), size=20)
    assert (crop_box(photo, (40, 20, 160, 120), size=20, reduction=4) == expected).all()


def test_fixed_crop_must_lie_inside():
    photo = numbered(60, 100)
    assert (crop_fixed(photo, box=(40, 0, 60, 60), size=60) == photo[:, 40:]).all()
    with pytest.raises(ValueError, match="100 x 60 pixels; the box is 41,0,60,60"):
        crop_fixed(photo, box=(41, 0, 60, 60), size=60)
    with pytest.raises(ValueError, match="the box is -1,0,60,60"):
        crop_fixed(photo, box=(-1, 0, 60, 60), size=60)


def test_parse_box():
    assert parse_box("25,0,128,128") == (25, 0, 128, 128)
    for text in ("", "1,2,3", "1,2,3,4,5", "1,2,0,4", "-1,2,3,4", "1,2,3,4.5", "1 2,3,4,5", "1,2,3,٤", "1,2,3,999999"):
        with pytest.raises(ValueError, match="x,y,w,h"):
            parse_box(text)


# --- real photos ------------------------------------------------------------------------------------------------------


def photos_of(data, names):
    with zipfile.ZipFile(data / "celeba_faces.zip") as archive:
        return [decode_rgba(archive.read(f"img_align_celeba/{name}"))[..., :3].copy() for name in names]


def split_of(data, part):
    lines = (data / "celeba_faces_split.csv").read_text().split()[1:]
    return sorted(name for name, where in (line.split(",") for line in lines) if where == part)


def found_in(photos):
    """The aligned faces, None if there is no face."""

    def attempt(photo):
        try:
            return align(photo, size=64)
        except Skip:
            return None

    return [attempt(photo) for photo in photos]


def test_nearly_all_real_faces_are_found(data):
    names = split_of(data, "train")[::100] + split_of(data, "test")[::20]
    found = [face is not None for face in found_in(photos_of(data, names))]
    assert np.mean(found) >= 0.96  # measured on 2,968 training photos: 98.1%; of all: 98.9%
    assert all(found[-50:])  # the test photos: 1,000 of 1,000


def test_framing_matches_the_faces_used_for_training(data):
    """faces_test.pack: the same photos, aligned by a prototype with landmarks of its own."""
    content = (data / "faces_test.pack").read_bytes()
    (count,) = struct.unpack_from("<I", content)
    ends = 4 + 4 * count + np.cumsum(struct.unpack_from(f"<{count}I", content, 4))
    starts = [4 + 4 * count, *ends[:-1]]
    theirs = [decode_rgba(content[a:b])[..., :3] for a, b in zip(starts[::10], ends[::10], strict=True)]
    ours = found_in(photos_of(data, split_of(data, "test")[::10]))
    assert len(ours) == len(theirs) == 100
    assert np.median([difference(a, b) for a, b in zip(ours, theirs, strict=True)]) < 8  # 5.6; one pixel makes 15
    assert difference(np.mean(ours, axis=0), np.mean(theirs, axis=0)) < 1.5  # 0.4 for all 1,000


def test_framing_matches_the_co_author(data):
    model, indices = alignment.load_predictor(None, INNER)
    found = []
    for path in sorted((data / "coauthor_pairs").glob("*_photo.png")):
        wide = cv2.copyMakeBorder(read_image(path), 32, 32, 32, 32, cv2.BORDER_REPLICATE)  # for the detector
        found.append(alignment._landmarks(wide, faces.find_faces(wide)[1][0], model)[indices] - 32)
    places = np.array(alignment.LANDMARKS[INNER]["places"]) * 64 - 0.25
    assert len(found) == 18 and np.abs(np.median(found, axis=0) - places).max() < 1


# --- the command ------------------------------------------------------------------------------------------------------


def opendlib(*args):
    command = [sys.executable, ROOT / "datasets" / "opendlib.py", *args]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def folder(photo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_png(folder / "a" / "face.png", photo)
    write_png(folder / "none.png", np.full((150, 150, 3), 90, np.uint8))
    return folder


def test_command_lists_photos_without_a_face_and_repeats_nothing(folder, photo, tmp_path):
    first, again = (opendlib(folder, tmp_path / "out", "--workers", 1) for _ in range(2))
    assert first.returncode == again.returncode == 0
    assert "no face found" in first.stderr and "none.png" in first.stderr and "nothing to do" in again.stdout
    assert (read_image(tmp_path / "out" / "a" / "face.png") == align(photo, size=128)).all()
    parameters = json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[0])["parameters"]
    assert re.fullmatch(r"shape_predictor_68_face_landmarks.dat [0-9a-f]{64}", parameters["aligned by"])
    other = opendlib(folder, tmp_path / "out", "--landmarks", OUTER)
    assert other.returncode == 2 and "landmarks" in other.stderr


def test_command_with_all_faces(photo, tmp_path):
    head = photo[20:260, 110:340]
    write_png(tmp_path / "in" / "two.png", np.hstack([head, head[:, ::-1]]))
    result = opendlib(tmp_path / "in", tmp_path / "out", "--multiple", "all", "--workers", 1)
    assert result.returncode == 0 and "2 images in" in result.stdout, result.stderr
    prepare = [
        sys.executable,
        ROOT / "datasets" / "prepare.py",
        "--images",
        tmp_path / "in",
        "--out",
        tmp_path / "data",
    ]
    command = [*map(str, prepare), "--multiple", "all", "--workers", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and "2 for training, 0 for testing" in result.stdout, result.stderr
    for name in ("two.png", "two_2.png"):
        joint = read_image(tmp_path / "data" / "train" / name)
        aligned = read_image(tmp_path / "out" / name).reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(joint[:, 64:] - aligned).max() < 2


def test_command_with_annotations(photo, five, tmp_path):
    small, points, _ = celeba_like(photo, five)
    points = points.round().astype(int)
    for name, image in (("000001.png", small), ("000002.png", small), ("000003.png", small[:178])):
        write_png(tmp_path / "in" / name, image)
    lines = "".join(f"{n}.jpg {' '.join(map(str, points.ravel()))}\n" for n in ("000001", "000003"))
    (tmp_path / "list.txt").write_text(f"2\n{HEADER}{lines}")
    arguments = (tmp_path / "in", tmp_path / "out", "--celeba-landmarks", tmp_path / "list.txt", "--size", 64)
    result = opendlib(*arguments, "--workers", 1)
    assert result.returncode == 1
    assert "skipped, not in list.txt: 1: 000002.png" in result.stderr
    assert "failed: 000003.png: 178 x 178 pixels" in result.stderr
    assert (read_image(tmp_path / "out" / "000001.png") == align_by_points(small, points, size=64)).all()


def test_command_with_a_box(folder, photo, tmp_path):
    result = opendlib(folder, tmp_path / "out", "--no-detect", "100,100,256,256", "--size", 64, "--workers", 1)
    assert result.returncode == 1 and "failed: none.png: 150 x 150 pixels" in result.stderr
    expected = photo[100:356, 100:356].reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(read_image(tmp_path / "out" / "a" / "face.png") - expected).max() <= 1


@pytest.mark.parametrize(
    "flags",
    [
        ["--size", "0"],
        ["--size", "5000"],
        ["--no-detect", "1,2,3"],
        ["--no-detect", "1,2,3,4", "--predictor", "x"],
        ["--no-detect", "1,2,3,4", "--landmarks", OUTER],
        ["--no-detect", "1,2,3,4", "--multiple", "skip"],
        ["--predictor", __file__],
        ["--celeba-landmarks", __file__],
        ["--celeba-landmarks", "missing"],
    ],
)
def test_usage_errors_are_reported_in_one_line_and_write_nothing(folder, tmp_path, flags):
    result = opendlib(folder, tmp_path / "out", *flags)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and not result.stdout
    assert not (tmp_path / "out").exists()
