"""Read a sketch from any drawing: `read_drawing` (pencil on grey paper, chalk on a board, whole heads).

The result is a (64, 64, 3) uint8 array with equal channels, dark strokes on white, a face from brow to chin: the left
half of a joint image. Throughout, `ink` is a float32 map with 0 for paper and 1 for a stroke, so enlarging, cropping
and padding need no background colour. Arrays in, arrays out: files are opened elsewhere.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from contextual_gan.joint import SIZE
from contextual_gan.preparation.framing import (
    FACE_SCORE,
    Face,
    face_score,
    find_faces,
    look_at,
    rated,
    resize_longer,
    stroke_lengths,
)
from contextual_gan.preparation.ink import FAINTEST, WORKING_SIDE, read_ink, without_specks
from contextual_gan.preparation.paper import find_sheet, fitted_surface, flatten_sheet

CANVAS = 512  # strokes are thickened at 8 times the final resolution, for widths of half a pixel
STROKE_RADIUS = 7.0  # on the canvas: strokes of sketches.xdog() are just under 2 pixels wide at 64
MOST_COVER = 0.5  # largest cover of a neighbourhood by thickened strokes; more would turn hair into a blob
FACE_MARGIN = 0.25  # minimum gain over the uncropped drawing: measured 0.35 to 0.58 on drawn heads, 0.2 on framed
FRAMED, WIDE_MARGIN = 0.75, 0.35  # a face with this share may be the whole drawing, drawn inaccurately
BENT_MARGIN = 0.1  # minimum gain of a turned, tilted or stretched face over the uncropped drawing
SECOND_SCORE = 0.55  # minimum score of a second face
SKETCH_SCORE = 0.2  # a computed sketch below this is not a face: 0.3% of xdog() sketches of photos
SOFT = 0.08  # share of grey pixels: 99% of 5,030 computed sketches have more; 9 drawings of 64 pixels have 6.9% or less
PAPER_MARGIN = 0.85  # ink that spans less of the page than this leaves a margin worth cropping


def parse_crop(text):
    """Parse the value of `crop` in read_drawing() from a command line: "auto", "none", "ink" or "x,y,w,h" -> a tuple.

    Raises ValueError for anything else.
    """
    if text in ("auto", "none", "ink"):
        return text
    try:
        x, y, w, h = (int(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"crop must be auto, none, ink or x,y,w,h in pixels, not {text!r}") from None
    return x, y, w, h


@dataclass(frozen=True)
class Sketch:
    """A sketch from a drawing: `image`, (64, 64, 3) uint8, its face score, and whether that counts as a face.

    is_computed: whether the input already was a sketch that a filter had drawn of a photo.
    """

    image: np.ndarray
    score: float
    is_face: bool
    is_computed: bool = False


def read_drawing(image, *, crop="auto"):
    """The first sketch of `read_faces`: the largest face of a drawing, or the whole drawing -> (64, 64, 3) uint8."""
    return read_faces(image, crop=crop)[0].image


def read_faces(image, *, crop="auto"):
    """Turn a drawing of a face into the kind of sketch that the networks expect.

    image: (H, W, 3) or (H, W, 4) uint8, RGB or RGBA, of any size: strokes dark on light or light on dark, grey or
    coloured, on unevenly lit or ruled paper, on a sheet on a desk, on a board or a screen, on transparency.
    Returns [Sketch], one for each face, the largest first, and at least one: (64, 64, 3) uint8 with equal channels,
    dark strokes at least about 2 pixels wide on white, and its likeness to a face (see `framing.face_score`).
    A drawing that is already a sketch of this kind is returned unchanged.
    crop: "none" keeps the whole picture, padded to a square; "ink" crops to the strokes; (x, y, w, h) crops to that box
    in pixels of `image`; "auto" finds the sheet and the faces on it (see `find_faces`), turns them upright and crops
    them to the framing of the training data, brow to chin; if there is no face, it crops away a wide margin of empty
    paper. Raises ValueError for another shape or type, an image without strokes, or a box outside the image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4) or image.size == 0:
        raise ValueError(f"a drawing must be (H, W, 3) or (H, W, 4) uint8, not {image.shape} {image.dtype}")
    if isinstance(crop, tuple):
        image, crop = _cut(image, crop), "none"
    elif crop not in ("auto", "none", "ink"):
        raise ValueError(f"crop must be auto, none, ink or (x, y, w, h), not {crop!r}")
    rgb = _lay_on_paper(image)
    if rgb.shape[:2] == (SIZE, SIZE) and crop != "ink":
        for sketch in (rgb, 255 - rgb) if _is_light_on_dark(rgb) else (rgb,):
            if _is_sketch(sketch):
                return [replace(_judged(sketch, SKETCH_SCORE), is_computed=is_computed(sketch))]
    sheet = find_sheet(rgb) if crop != "none" and max(rgb.shape) > 2 * SIZE else None
    first = None
    for corners in (sheet, None) if sheet is not None else (None,):
        page = (rgb, None) if corners is None else _bounding_box(rgb, corners)
        try:
            sketches = _read_page(_reduce(*page), crop)
        except ValueError:  # a blank sheet: use the whole picture
            if corners is None and first is None:
                raise
            continue
        if crop != "auto" or any(sketch.is_face for sketch in sketches):
            return sketches
        first = first or sketches
    return first


def _read_page(grey, crop):
    """(h, w) uint8 with dark strokes -> the result of `read_faces`."""
    ink = read_ink(grey)
    if crop == "none":
        sketches = [_draw(_window(ink, *_square(0, 0, *ink.shape[::-1])))]
    elif crop == "ink":
        sketches = [_draw(_window(ink, *_ink_box(ink, margin=0.03)))]
    else:
        sketches = [_draw(look_at(ink, face.with_brows().view(CANVAS), CANVAS)) for face in _faces(ink)]
        if faces := [sketch for sketch in map(_judged, sketches) if sketch.is_face]:
            return faces
        sketches = [_draw(_window(ink, *_whole_box(ink)))]
    return [_judged(sketch) for sketch in sketches]


def _judged(sketch, least=FACE_SCORE):
    score = face_score(sketch)
    return Sketch(sketch, score, score >= least)


# --- reading: from any picture to ink ---------------------------------------------------------------------------------


def _grey_to_rgb(grey):
    return np.repeat(grey[..., None], 3, axis=2)


def _cut(image, box):
    """The box (x, y, w, h) of an image; raises ValueError unless all of it lies inside."""
    x, y, w, h = box
    height, width = image.shape[:2]
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise ValueError(f"crop box {x},{y},{w},{h} does not lie inside the image of {width}x{height} pixels")
    return image[y : y + h, x : x + w]


def _lay_on_paper(image):
    """Blend transparency over white, or over black if nothing is visible on white. Returns RGB."""
    if image.shape[2] == 3:
        return image.copy()
    rgb = cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)
    if image[..., 3].min() == 255:
        return rgb
    alpha = _grey_to_rgb(image[..., 3])
    strokes = cv2.multiply(rgb, alpha, scale=1 / 255)
    on_white = strokes + (255 - alpha)
    return strokes if on_white.min() > 230 else on_white


def _is_sketch(rgb):
    """Whether sketches.xdog() could have drawn this: it uses the full range, and at most half is dark.

    The darkest of 26,147 training and test sketches is 52.9% dark; the one with the least white has 8.9%.
    """
    grey = rgb[..., 0]
    if rgb.shape != (SIZE, SIZE, 3) or (rgb != grey[..., None]).any():
        return False
    return grey.min() <= 5 and grey.max() == 255 and (grey >= 250).mean() > 0.05 and (grey < 128).mean() < 0.54


def is_computed(sketch):
    """Whether a sketch, (64, 64, 3) uint8 and not enlarged or reduced, has the soft strokes that a filter draws."""
    grey = sketch[..., 0]
    return bool(((grey > 25) & (grey < 230)).mean() > SOFT)


def _is_light_on_dark(rgb):
    """Whether strokes are lighter than the page: most of the page is dark, and narrow structures are light.

    The gradient of the lighting is removed first. The second condition is for pictures with dark borders.
    """
    grey = cv2.cvtColor(resize_longer(rgb, min(128, max(rgb.shape[:2]))), cv2.COLOR_RGB2GRAY).astype(np.float32)
    flat = grey - fitted_surface(grey, scales=[np.inf])
    darkest, brightest = np.percentile(flat, (0.5, 99.5))
    if (flat < (darkest + brightest) / 2).mean() <= 0.52:
        return False
    kernel = np.ones((5, 5), np.uint8)
    light, dark = (cv2.morphologyEx(grey, kind, kernel).mean() for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT))
    return light > dark  # measured ratios: 1.3 to 4 for light strokes, 0.4 to 0.95 for dark ones in a large shadow


def _bounding_box(rgb, corners):
    """The part of the image around the corners of a sheet, and the corners in it."""
    low = np.floor(corners.min(axis=0)).clip(0).astype(int)
    high = np.ceil(corners.max(axis=0)).astype(int) + 1
    return rgb[low[1] : high[1], low[0] : high[0]], corners - low.astype(np.float32)


def _reduce(rgb, corners=None):
    """One channel, at most WORKING_SIDE pixels, dark strokes: the darkest channel, so yellow on white counts too.

    corners: of the sheet, whose perspective is then corrected.
    """
    factor = max(rgb.shape[:2]) / WORKING_SIDE
    few = np.ascontiguousarray(rgb[:: max(1, int(factor)), :: max(1, int(factor))])
    light = _is_light_on_dark(few if corners is None else flatten_sheet(few, corners / max(1, int(factor))))
    grey = _darkest(255 - rgb if light else np.ascontiguousarray(rgb))
    if factor >= 2:  # averaging would turn thin lines into grey dust
        grey = cv2.erode(grey, np.ones((int(factor), int(factor)), np.uint8))
    if factor > 1:
        grey = resize_longer(grey, WORKING_SIDE)
    return grey if corners is None else flatten_sheet(grey, np.float32(corners / max(1, factor)))


def _darkest(rgb):
    """The smallest of the three channels; faster than numpy's."""
    return cv2.min(cv2.min(*cv2.split(rgb)[:2]), cv2.extractChannel(rgb, 2))


# --- framing ----------------------------------------------------------------------------------------------------------


def _square(x, y, w, h):
    """The square (x, y, size) around a box."""
    size = max(w, h)
    return x - (size - w) // 2, y - (size - h) // 2, size


def _ink_box(ink, margin):
    """The square around all strokes except specks, wider by this share on each side."""
    strokes = without_specks(ink, 0.03)
    x, y, w, h = cv2.boundingRect(((strokes if strokes.any() else ink) > FAINTEST).astype(np.uint8))
    extra = round(margin * max(w, h))
    return _square(x - extra, y - extra, w + 2 * extra, h + 2 * extra)


def _faces(ink):
    """The faces to crop from a drawing, the best first; none if the whole drawing is one face."""
    x, y, size = _ink_box(ink, margin=0)
    top, left = max(y, 0), max(x, 0)
    inside = ink[top : y + size, left : x + size]
    found = find_faces(inside)
    middle = x - left + size / 2 - 0.5, y - top + size / 2 - 0.5
    whole = rated(inside, Face(*middle, size), stroke_lengths(inside))
    if not found:
        return []
    best = found[0]
    others = [
        face
        for face in found[1:]
        if face.score > max(SECOND_SCORE, best.score - 0.2)
        and face.cover > 0.1
        and (round(face.angle / 90) - round(best.angle / 90)) % 4 == 0  # hair upside down may look like a chin
    ]
    found = sorted([best, *others], key=lambda face: -face.width * face.width * face.stretch)
    if best.is_bent():
        better = best.value() > whole.value() + BENT_MARGIN
    elif best.width > FRAMED * size:
        better = best.score > whole.score + WIDE_MARGIN
    else:
        better = best.score > whole.score + (FACE_MARGIN if whole.score > FACE_SCORE else 0.1)
    return [replace(face, x=face.x + left, y=face.y + top) for face in found] if better else []


def _whole_box(ink):
    """The whole drawing, without a wide margin of empty paper."""
    if _ink_box(ink, margin=0)[2] < PAPER_MARGIN * max(ink.shape):
        return _ink_box(ink, margin=0.02)
    return _square(0, 0, *ink.shape[::-1])


def _window(ink, x, y, size):
    """A square part of the ink, which may reach beyond the page."""
    height, width = ink.shape
    inside = ink[max(y, 0) : max(y + size, 0), max(x, 0) : max(x + size, 0)]
    top, left = max(-y, 0), max(-x, 0)
    bottom, right = max(y + size - height, 0), max(x + size - width, 0)
    return cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)


# --- drawing ----------------------------------------------------------------------------------------------------------


def _draw(ink):
    """Square ink of any size -> (64, 64, 3) uint8, with strokes thick enough to be visible."""
    ink = _thicken(resize_longer(ink, CANVAS))
    return _grey_to_rgb((255 - 255 * resize_longer(ink, SIZE)).round().astype(np.uint8))


def _thicken(ink):
    """Widen thinner strokes to 2 STROKE_RADIUS, or less where dense strokes would merge."""
    strokes = (ink > FAINTEST).astype(np.uint8)
    depth = cv2.distanceTransform(strokes, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    spine = (depth > 0) & (depth >= cv2.dilate(depth, np.ones((3, 3)))) & (depth < STROKE_RADIUS)
    if not spine.any():
        return ink
    distance = cv2.distanceTransform(1 - spine.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    cover = cv2.GaussianBlur((distance <= STROKE_RADIUS).astype(np.float32), (0, 0), 3 * CANVAS / SIZE)
    # Randomly placed lines of total length L cover 1 - exp(-2 radius L / area) of an area; solved for the radius.
    radius = STROKE_RADIUS * np.minimum(1, np.log(1 - MOST_COVER) / np.log(1 - cover.clip(0.01, 0.99)))
    return np.maximum(ink, distance <= radius)
