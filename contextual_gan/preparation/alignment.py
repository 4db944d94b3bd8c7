"""Cut faces out of photos in one framing, brow to chin: OpenFace's alignment.

dlib's HOG detector finds the face and its landmark predictor the points in it; an affine map, which takes three of them
to fixed positions in a square, warps the photo. Data sets with annotated points or boxes need no dlib.

The landmark models are in the package `face_recognition_models` (`pip install -e ".[align]"`). The 68-point model was
trained on iBUG 300-W, whose licence excludes commercial use: it is for research only.

Points and boxes are in pixels, x before y, with the centre of the first pixel at (0, 0) as in dlib and OpenCV.
"""

import functools
import hashlib
import importlib.util
import math
import re
import threading
from pathlib import Path

import cv2
import numpy as np

from contextual_gan.files.apply import Skip
from contextual_gan.files.images import ImageError, centre_square, read_bytes
from contextual_gan.preparation.faces import find_faces, reduce

# For each choice of three landmarks: their numbers among dlib's 68 and 5 points, and their positions in the unit square
# (TEMPLATE of OpenFace's align_dlib.py, the mean face, stretched to the square). Then the weights that compute each of
# them from the five points of CelebA (eyes, nose, corners of the mouth); they sum to 1, so they hold under any affine
# map. They were fitted, by least absolute residuals, to dlib's landmarks of 5,171 photos of CelebA, where the five are
# 36-41, 42-47, 30, 48 and 54. The annotators put the eyes 1.3 pixels (of 178 x 218) higher, the nose 0.9 lower and the
# mouth 0.6 higher than dlib; the weights include this. Mean distance from dlib's own, in pixels at 64: 1.2 (eyes 0.5,
# lip 2.5: the five do not show how far a mouth is open) and 0.6. An affine fit to all five: 1.6 and 2.1.
LANDMARKS = {
    "inner-eyes-bottom-lip": {
        "of": {68: (39, 42, 57)},
        "places": ((0.3638, 0.1779), (0.6190, 0.1728), (0.5002, 0.7506)),
        "weights": (
            (0.753, 0.166, 0.048, 0.021, 0.012),
            (0.166, 0.753, 0.048, 0.012, 0.021),
            (-0.226, -0.226, 0.506, 0.473, 0.473),
        ),
    },
    "outer-eyes-nose": {
        "of": {68: (36, 45, 33), 5: (2, 0, 4)},
        "places": ((0.1942, 0.1693), (0.7889, 0.1582), (0.4950, 0.5144)),
        "weights": (
            (1.195, -0.192, -0.089, 0.044, 0.042),
            (-0.192, 1.195, -0.089, 0.042, 0.044),
            (-0.026, -0.026, 0.716, 0.168, 0.168),
        ),
    },
}
MODELS = "face_recognition_models"  # a package; importing it fails without setuptools, so it is only located
MODEL_FILE = "models/shape_predictor_68_face_landmarks.dat"
CELEBA_SHAPE = (218, 178)  # of the photos that list_landmarks_align_celeba.txt annotates
CELEBA_POINTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")

LANDMARK_SIDE = 256  # a smaller face is enlarged first, as dlib rounds landmarks to integers
PLAIN_SIDE = 128  # smaller squares are warped at this side or more, then reduced by area
CROP_SIDE = 4096  # a larger crop is reduced before its border is repeated
FRAMED = 0.2  # of the edge: landmarks of 1,695 aligned faces are at most 0.2 off, of 100 others at least 0.23
FRAMED_WIDTH = 0.7  # of the edge: the boxes of 430 aligned faces are at least 0.72 wide
WARP_SIDE = 1024  # largest side of a warp before reduction; a larger photo is reduced first


# --- photo -> face ----------------------------------------------------------------------------------------------------


def align(photo, *, size, landmarks="inner-eyes-bottom-lip", predictor=None, multiple="largest"):
    """Find the face of a photo and warp it to the framing of the training data -> (size, size, 3) uint8.

    photo: (H, W, 3) uint8 RGB; one that is sideways or upside down is turned. landmarks: a key of LANDMARKS. predictor:
    file of dlib's 68-point predictor, or of its 5-point predictor for outer-eyes-nose; None: the installed 68-point
    model. multiple: "largest" takes the largest of several faces, "skip" skips the photo, "all" returns a list of all,
    the largest first. Beyond the photo, its border pixels are repeated.
    Raises Skip if there is no face, FileNotFoundError or ValueError if the predictor cannot be used.
    """
    photo, _, boxes = upright_faces(photo, landmarks, predictor)
    if not boxes:
        raise Skip("no face found")
    if multiple == "skip" and len(boxes) > 1:
        raise Skip(f"{len(boxes)} faces found")
    points = [three_landmarks(photo, box, landmarks, predictor) for box in boxes[: None if multiple == "all" else 1]]
    faces = [warp(photo, three, size=size, landmarks=landmarks) for three in points]
    return faces if multiple == "all" else faces[0]


def upright_faces(photo, landmarks="inner-eyes-bottom-lip", predictor=None):
    """Turn a photo by quarters so that its faces are upright -> (the photo, turns counterclockwise, boxes of faces)."""
    load_predictor(predictor, landmarks)  # raises even if there is no face

    def is_settled(box):
        return is_framed(photo, box, three_landmarks(photo, box, landmarks, predictor), landmarks)

    turn, boxes = find_faces(photo, is_settled)
    return np.ascontiguousarray(np.rot90(photo, turn)), turn, boxes


def is_framed(photo, box, points, landmarks="inner-eyes-bottom-lip"):
    """Whether the central square of a photo already has the framing, judging by a face's box and landmarks."""
    height, width = photo.shape[:2]
    edge = min(height, width)
    corner = np.array(((width - edge) // 2, (height - edge) // 2))
    away = np.abs((points - corner + 0.5) / edge - 0.5 / PLAIN_SIDE - LANDMARKS[landmarks]["places"]).max()
    return bool(away <= FRAMED and box[2] >= FRAMED_WIDTH * edge)


def three_landmarks(photo, box, landmarks="inner-eyes-bottom-lip", predictor=None):
    """The three landmarks that align a face, (3, 2) float64 in pixels of the upright photo; box: from `find_faces`."""
    model, indices = load_predictor(predictor, landmarks)
    return _landmarks(photo, box, model)[indices]


def warp(photo, points, *, size, landmarks="inner-eyes-bottom-lip"):
    """Warp a photo so that three landmarks, (3, 2), go to their places -> (size, size, 3) uint8; Skip if collinear."""
    return _warp(photo, affine(points, LANDMARKS[landmarks]["places"]), size)


def load_predictor(path, landmarks):
    """Load dlib's landmark predictor -> (predictor, numbers of the three landmarks among its points).

    path: a file, or None for the installed 68-point model. It is read once per process (0.1 GB, 0.5 s).
    Raises FileNotFoundError if it is missing, ValueError if it is not a predictor or lacks these landmarks.
    """
    path = Path(path or default_predictor())
    with _reading:
        model, count = _read_predictor(path)
    if count not in LANDMARKS[landmarks]["of"]:
        raise ValueError(f"{path}: {landmarks} cannot be derived from its {count} points; use outer-eyes-nose")
    return model, list(LANDMARKS[landmarks]["of"][count])


def default_predictor():
    """Path of the installed 68-point model. Raises FileNotFoundError, with installation advice."""
    return model_file(MODEL_FILE)


def model_file(name):
    """Path of a file of the package with dlib's models. Raises FileNotFoundError, with installation advice."""
    spec = importlib.util.find_spec(MODELS)
    for folder in spec.submodule_search_locations if spec else ():
        if (path := Path(folder, name)).is_file():
            return path
    raise FileNotFoundError('the models of dlib are not installed: run `pip install -e ".[align]"`')


def predictor_id(path=None):
    """The id of a predictor in a manifest, instead of its path: see `file_id`; None for the installed one."""
    return file_id(path or default_predictor())


def file_id(path):
    """Name and SHA-256 of a file, in one string."""
    with open(path, "rb") as file:
        return f"{Path(path).name} {hashlib.file_digest(file, 'sha256').hexdigest()}"


_reading = threading.Lock()  # otherwise threads that start together would each read it; dlib lets them share it


@functools.cache
def _read_predictor(path):
    """(shape_predictor, number of its points)."""
    import dlib

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        model = dlib.shape_predictor(str(path))
        count = model(np.zeros((8, 8, 3), np.uint8), dlib.rectangle(0, 0, 7, 7)).num_parts
    except (RuntimeError, MemoryError) as error:
        raise ValueError(f"{path}: not a landmark predictor of dlib") from error
    if count not in (5, 68):
        raise ValueError(f"{path}: a predictor of {count} points; it must have 68 or 5")
    return model, count


def _landmarks(photo, box, model):
    """(number of points, 2) float64, in pixels of the photo."""
    import dlib

    x, y, w, h = np.round(box).astype(int)
    margin = w // 3  # the predictor looks no further beyond the box
    left, top = max(x - margin, 0), max(y - margin, 0)
    part = photo[top : y + h + margin, left : x + w + margin]
    factor = math.ceil(LANDMARK_SIDE / w)
    part = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    edges = np.array((x - left, y - top, x - left + w, y - top + h)) * factor - (0, 0, 1, 1)
    points = model(part, dlib.rectangle(*map(int, edges))).parts()
    return (np.array([(p.x, p.y) for p in points]) + 0.5) / factor - 0.5 + (left, top)


# --- annotated points and boxes ---------------------------------------------------------------------------------------


def align_by_points(photo, points, *, size, landmarks="inner-eyes-bottom-lip"):
    """Warp a photo of CelebA by its five annotated points to the framing of `align` -> (size, size, 3) uint8.

    photo: (H, W, 3) uint8 RGB, 178 x 218 pixels or another size of that shape; points: (5, 2), see
    `read_celeba_landmarks`, in pixels at 178 x 218.
    Raises ValueError for a photo of another aspect ratio, Skip if the points lie on a line.
    """
    height, width = CELEBA_SHAPE
    scale = photo.shape[1] / width
    if abs(photo.shape[0] - scale * height) > 1:  # rounded to whole pixels
        raise ValueError(
            f"{photo.shape[1]} x {photo.shape[0]} pixels: the landmarks are those of photos of {width} x {height}"
        )
    chosen = LANDMARKS[landmarks]
    points = np.array(chosen["weights"]) @ ((np.array(points) + 0.5) * scale - 0.5)
    return _warp(photo, affine(points, chosen["places"]), size)


def read_celeba_landmarks(path):
    """Read list_landmarks_align_celeba.txt -> {"000001.jpg": [[x, y], ...]}, ten whole numbers for five points.

    Eyes, nose, corners of the mouth, left in the photo before right; pixels at 178 x 218.
    Raises ValueError naming the file and the invalid line.
    """
    try:
        lines = read_bytes(path).decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not plain ASCII text") from error
    except ImageError as error:
        raise ValueError(f"{path}: {error}") from error
    if len(lines) < 2 or not re.fullmatch(r"\s*\d{1,9}\s*", lines[0]):
        raise ValueError(f"{path}, line 1: must be the number of photos")
    columns = [f"{point}_{axis}" for point in CELEBA_POINTS for axis in "xy"]
    if lines[1].split() != columns:
        raise ValueError(f"{path}, line 2: must be {' '.join(columns)}")
    points = {}
    for number, line in enumerate(lines[2:], 3):
        name, *values = line.split() or [""]
        if len(values) != 10 or not all(re.fullmatch(r"-?\d{1,4}", value) for value in values):
            raise ValueError(f"{path}, line {number}: must be a name and ten whole numbers, not {line[:80]!r}")
        if name in points:
            raise ValueError(f"{path}, line {number}: {name[:80]} is listed twice")
        points[name] = [[int(x), int(y)] for x, y in zip(values[::2], values[1::2], strict=True)]
    if len(points) != int(lines[0]):
        raise ValueError(f"{path}: {len(points)} photos, but line 1 gives {int(lines[0])}")
    return points


def crop_box(photo, box, *, size, reduction=1):
    """Crop the square around a bounding box from a photo and resize it -> (size, size, 3) uint8.

    box: (x, y, w, h) in pixels; any part beyond the photo is ignored. The square has the longer side of the remaining
    box and is shifted into the photo if it fits; otherwise border pixels are repeated. reduction: the factor by which
    the photo was reduced (see `images.reduction`); the box is in pixels of the original.
    Raises ValueError if the box lies outside the photo.
    """
    height, width = photo.shape[:2]
    x, y, w, h = np.array(box) / reduction
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if not (left < right and top < bottom):
        raise ValueError(f"the box {x:g},{y:g},{w:g},{h:g} lies outside the {width} x {height} pixels")
    edge = max(1, round(max(right - left, bottom - top)))
    if edge > CROP_SIDE:  # repeated borders would fill a square of this size
        return crop_box(reduce(photo, edge / CROP_SIDE), box, size=size, reduction=reduction * edge / CROP_SIDE)
    # Centre the square in its free range; use the whole side if it is too short.
    x, y = (
        min(max(round((low + high - edge) / 2), min(0, length - edge)), max(0, length - edge))
        for low, high, length in ((left, right, width), (top, bottom, height))
    )
    part = photo[max(y, 0) : y + edge, max(x, 0) : x + edge]
    margins = max(-y, 0), max(y + edge - height, 0), max(-x, 0), max(x + edge - width, 0)
    return centre_square(cv2.copyMakeBorder(part, *margins, cv2.BORDER_REPLICATE), size)


def crop_fixed(photo, *, box, size, reduction=1):
    """`crop_box` with a box that must lie inside: the same crop for every photo of an aligned set.

    Raises ValueError if it does not.
    """
    x, y, w, h = box
    height, width = (round(side * reduction) for side in photo.shape[:2])
    if min(x, y) < 0 or x + w > width or y + h > height:
        raise ValueError(f"{width} x {height} pixels; the box is {x},{y},{w},{h}")
    return crop_box(photo, box, size=size, reduction=reduction)


def parse_box(text):
    """ "x,y,w,h" in whole pixels -> a tuple. Raises ValueError."""
    if not re.fullmatch(r"\d{1,5},\d{1,5},[1-9]\d{0,4},[1-9]\d{0,4}", text, re.ASCII):
        raise ValueError(f"a box is x,y,w,h in pixels, not {text!r}")
    return tuple(int(number) for number in text.split(","))


# --- the warp ---------------------------------------------------------------------------------------------------------


def affine(points, places):
    """The affine map (2, 3) that takes three points, (3, 2), to their positions; singular for points on a line."""
    return cv2.getAffineTransform(np.float32(points), np.float32(places))


def _warp(photo, framing, size):
    """Warp a photo by a map (2, 3) from its pixels to the unit square -> (size, size, 3) uint8.

    Bilinear, at a whole multiple of `size` at which nothing shrinks, then reduced by area, because a shrinking warp
    would alias. With size 128 or more and a face no larger, this is OpenFace's own warp; with 64, it is that at 128,
    reduced. The framing does not depend on the multiple.
    """
    coarsest, finest = np.linalg.svd(framing[:, :2], compute_uv=False)
    if finest <= 0.1 * coarsest:  # of 5,171 faces none is stretched by more than 3.5
        raise Skip("the landmarks of the face lie on a line")
    plain = max(size, PLAIN_SIDE)
    side = size * max(-(-PLAIN_SIDE // size), min(math.ceil(1 / finest / size), WARP_SIDE // size))
    if (reduction := 1 / finest / side) > 1:
        height, width = photo.shape[:2]
        photo = reduce(photo, reduction)
        scale = np.array((width / photo.shape[1], height / photo.shape[0]))
        framing = np.column_stack([framing[:, :2] * scale, framing[:, 2] + framing[:, :2] @ (scale / 2 - 0.5)])
    to_pixels = side * framing
    to_pixels[:, 2] += (side / plain - 1) / 2  # the corner of a square is half a pixel before its first pixel
    warped = cv2.warpAffine(photo, to_pixels, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(warped, (size, size), interpolation=cv2.INTER_AREA)
