"""Find the framing of the training data, brow to chin, in a drawing of a whole head."""

from functools import lru_cache

import cv2
import numpy as np

FACE_SIDE = 32  # pixels of the template that find_face() slides over the drawing
FACE_SCALES = np.geomspace(0.3, 0.7, 12)  # the face's share of a whole-head drawing
FACE_MARGIN = 0.25  # better than the uncut drawing by this much: measured 0.35 to 0.58 on drawn heads, 0.2 on framed
FACE_SCORE = 0.45  # a correlation below is no face at all: measured 0.55 to 0.82 on drawn heads
BROW_ROOM = 0.04  # people draw the brows higher above the eyes than photos show them


def find_face(ink):
    """Find the training framing, brow to chin, in a drawing of a whole head.

    ink: (N, N) float32 in [0, 1], 1 for strokes, cut to the head. Returns (x, y, size) of the square in pixels, or
    None if no place looks clearly more like a framed face than the drawing as a whole does.
    The likeness is the normalised correlation with a face drawn at the mean positions of the training data, over
    blurred maps of stroke directions: it ignores how thick the strokes are and forgives what is drawn badly.
    """
    side = len(ink)
    pad = FACE_SIDE // 6  # the chin may be cut off by the border
    best = (-1.0, None)
    for scale in (*FACE_SCALES, 1.0):
        reduced = resize_longer(ink, round(FACE_SIDE / scale))
        reduced = cv2.copyMakeBorder(reduced, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
        likeness = cv2.matchTemplate(_directions(reduced), _face_template(), cv2.TM_CCOEFF_NORMED)
        inside = cv2.matchTemplate(reduced, np.ones((FACE_SIDE, FACE_SIDE), np.float32), cv2.TM_CCORR)
        likeness[inside < 0.05 * reduced.sum()] = -1  # where nothing is drawn, a correlation is rounding noise
        _, score, _, (x, y) = cv2.minMaxLoc(likeness)
        if scale < 1 and score > best[0]:
            corner = np.array((x - pad, y - pad)) / FACE_SIDE - (BROW_ROOM / 2, BROW_ROOM)
            best = score, tuple(round(v * scale * side) for v in (*corner, 1 + BROW_ROOM))
    return best[1] if best[0] > max(FACE_SCORE, score + FACE_MARGIN) else None


def resize_longer(image, side):
    """Resize so that the longer side has this many pixels; by area when it shrinks."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)


def _directions(ink):
    """Blurred maps of how much stroke runs in each of 4 directions, (h, w, 4) float32: a coarse HOG."""
    ink = cv2.GaussianBlur(ink, (0, 0), 0.8)
    dx, dy = cv2.Sobel(ink, cv2.CV_32F, 1, 0), cv2.Sobel(ink, cv2.CV_32F, 0, 1)
    strength = np.sqrt(np.hypot(dx, dy))  # the root: a faint line counts nearly as much as a bold one
    doubled = 2 * np.arctan2(dy, dx)  # twice the angle is the same for both sides of a stroke
    maps = [strength * np.maximum(np.cos(doubled - k * np.pi / 2), 0) for k in range(4)]
    return cv2.GaussianBlur(np.stack(maps, axis=-1), (0, 0), 1.5)


@lru_cache
def _face_template():
    """The directions of a face drawn in the training framing, (FACE_SIDE, FACE_SIDE, 4)."""
    side = 8 * FACE_SIDE
    face = np.zeros((side, side), np.uint8)

    def arc(x, y, width, height, start=0, stop=360, thickness=side // 32):
        centre, axes = (round(x * side), round(y * side)), (round(width * side), round(height * side))
        cv2.ellipse(face, centre, axes, 0, start, stop, 255, thickness)

    def line(*points):
        cv2.polylines(face, [np.int32(np.array(points) * side)], False, 255, side // 32)

    for m in (-1, 1):
        arc(0.495 + 0.232 * m, 0.09, 0.14, 0.06, 200, 340)  # brow
        arc(0.495 + 0.222 * m, 0.15, 0.10, 0.035)  # eye
        arc(0.495 + 0.222 * m, 0.15, 0.03, 0.03, thickness=-1)  # pupil
        line((0.495 + 0.07 * m, 0.14), (0.495 + 0.07 * m, 0.34), (0.495 + 0.11 * m, 0.45))  # side of the nose
        line(*((0.495 + x * m, y) for x, y in ((0.45, 0.05), (0.44, 0.45), (0.36, 0.72), (0.2, 0.93), (0, 0.99))))
    arc(0.495, 0.45, 0.10, 0.03, 0, 180)  # tip of the nose
    arc(0.495, 0.62, 0.18, 0.05, 0, 180)  # mouth
    arc(0.495, 0.62, 0.18, 0.13, 0, 180)  # lower lip
    return _directions(resize_longer(face.astype(np.float32) / 255, FACE_SIDE))
