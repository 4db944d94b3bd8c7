"""Find the framing of the training data, brow to chin, in a drawing: at any size, turned, tilted or stretched."""

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

FACE_SIDE = 32  # pixels, side of the template of find_faces()
COARSE_SIDE = 16  # pixels, side of the template for the first pass over turned and stretched drawings
SMALLEST = 0.1  # a face's smallest share of the drawing
STEP, COARSE_STEP = 1.09, 1.14  # factor between sizes
TILTS = (-24, -12, 12, 24)  # degrees
STRETCHES = (0.55, 0.74, 1.35, 1.82)  # aspect ratio relative to that of a face
FACE_SCORE = 0.46  # a lower correlation is not a face: on measured photos always unusable
GOOD_SCORE = 0.7  # an upright face with this score stops the search over turns
TURN_COST, TILT_COST, STRETCH_COST = 0.08, 0.04, 0.06  # subtracted from the score: most drawings are upright
COVER_GAIN = 0.2  # a face covers much of a drawing, while an eye may look like a small face
RATED, CANDIDATES = 60, 10  # faces of the coarse search that are rated, and refined
PARTS = (np.s_[0:9, 3:15], np.s_[0:9, 17:29], np.s_[6:18, 10:22], np.s_[16:27, 7:25])  # eyes, nose, mouth
LEAST_DARK = 0.12  # measured 0.13 to 0.35 for drawn faces, 0.1 for a house or a circle
BROW_ROOM = 0.04  # added above a face, as a share of it


@dataclass(frozen=True)
class Face:
    """A position in a drawing that looks like a face.

    x, y: the centre, in pixels; width: of the square of the training framing, in pixels; stretch: its height / width;
    angle: clockwise rotation of the face, in degrees; score: its likeness to the template, at most 1; cover: its share
    of the drawing's strokes.
    """

    x: float
    y: float
    width: float
    stretch: float = 1.0
    angle: float = 0.0
    score: float = 0.0
    cover: float = 0.0

    def view(self, side):
        """The (2, 3) affine map from pixels of the drawing to a (side, side) picture of the face alone."""
        turn = np.deg2rad(self.angle)
        c, s = np.cos(turn), np.sin(turn)
        scale = side / self.width
        linear = np.diag([scale, scale / self.stretch]) @ np.array([[c, s], [-s, c]])
        centre = np.array([self.x + 0.5, self.y + 0.5])
        return np.c_[linear, side / 2 - 0.5 - linear @ (centre - 0.5)]

    def with_brows(self):
        """The same face with a little more room above it: people draw the brows higher than photos show them."""
        up = 0.5 * BROW_ROOM * self.width * self.stretch
        turn = np.deg2rad(self.angle)
        return replace(
            self, x=self.x + up * np.sin(turn), y=self.y - up * np.cos(turn), width=self.width * (1 + BROW_ROOM)
        )

    def value(self):
        """Its score minus penalties for turn, tilt and stretch, plus a bonus for its share of the drawing."""
        quarter = round(self.angle / 90)
        tilt = abs(self.angle - 90 * quarter) / 20
        bent = abs(np.log2(self.stretch))
        cost = TURN_COST * (quarter % 4 != 0) + TILT_COST * tilt + STRETCH_COST * bent
        return self.score + COVER_GAIN * np.sqrt(min(self.cover, 0.5)) - cost

    def is_bent(self):
        """Whether its turn, tilt or stretch is too large for a plain crop to match the training data."""
        return abs(self.angle) > 5 or abs(np.log2(self.stretch)) > 0.25


def find_faces(ink):
    """Find the faces of a drawing: [Face], the best first, no two at the same position.

    ink: (h, w) float32 in [0, 1], 1 for strokes, cropped to the strokes. The search covers faces from 10% to 100% of
    the longer side, in four quarter turns, tilted by up to 25 degrees and stretched up to 2:1; faces below FACE_SCORE
    are left out.
    The likeness is the normalised correlation with a face drawn at the mean positions of the training data, over
    blurred maps of stroke directions: it ignores the thickness of strokes and tolerates inaccurate drawing.
    """
    lengths = stroke_lengths(ink)
    found = _distinct(_covering(_scan(ink, FACE_SIDE, STEP, [_face_template()]), lengths))
    if not found or found[0].score < GOOD_SCORE or found[0].cover < 0.25:
        turned = _distinct(_covering(_search_turned(ink), lengths), turned=True)
        found += [rated(ink, face, lengths) for face in turned]
    found.sort(key=Face.value, reverse=True)
    found = [_refined(ink, face, lengths) for face in found[:CANDIDATES]]
    return _distinct([face for face in found if face.score >= FACE_SCORE])


def stroke_lengths(ink):
    """Integral image, (h + 1, w + 1), of the outlines of strokes: the amount drawn, independent of thickness."""
    mask = (ink > 0.15).astype(np.uint8)
    return cv2.integral(cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))


def _covering(faces, lengths):
    """The faces, each with the share of all strokes in its upright bounding box."""
    height, width = np.array(lengths.shape) - 1
    total, found = max(int(lengths[-1, -1]), 1), []
    for face in faces:
        wide, tall = face.width, face.width * face.stretch
        if round(face.angle / 90) % 2:
            wide, tall = tall, wide
        left, right = (round(np.clip(face.x + d * wide / 2, 0, width)) for d in (-1.04, 1.04))
        top, bottom = (round(np.clip(face.y + d * tall / 2, 0, height)) for d in (-1.04, 1.04))
        inside = lengths[bottom, right] - lengths[top, right] - lengths[bottom, left] + lengths[top, left]
        found.append(replace(face, cover=inside / total))
    return found


def _search_turned(ink):
    """Candidates of all quarter turns, tilts and stretches, found with the coarse template."""
    found = []
    templates = [np.ascontiguousarray(_turned(_face_template(COARSE_SIDE), quarter)) for quarter in range(4)]
    small = resize_longer(ink, min(max(ink.shape), round(COARSE_SIDE / SMALLEST)))
    factor = max(ink.shape) / max(small.shape)
    middle = np.array([small.shape[1], small.shape[0]]) / 2 - 0.5
    for tilt, stretch in ((0, 1), *((tilt, 1) for tilt in TILTS), *((0, stretch) for stretch in STRETCHES)):
        turn = np.deg2rad(tilt)
        c, s = np.cos(turn), np.sin(turn)
        linear = np.diag([min(1, stretch), min(1, 1 / stretch)]) @ np.array([[c, s], [-s, c]])
        size = np.ceil(np.abs(linear) @ (small.shape[1], small.shape[0])).astype(int)
        view = np.c_[linear, (size - 1) / 2 - linear @ middle]
        turned = cv2.warpAffine(small, view, size.tolist(), flags=cv2.INTER_AREA)
        back = np.linalg.inv(np.vstack([view, (0, 0, 1)]))[:2]
        for face in _scan(turned, COARSE_SIDE, COARSE_STEP, templates):
            x, y = (back @ (face.x, face.y, 1) + 0.5) * factor - 0.5
            quarter = round(face.angle / 90)
            # a face on its side is stretched the other way
            tall = stretch if quarter % 2 == 0 else 1 / stretch
            wide = face.width / (min(1, stretch) if quarter % 2 == 0 else min(1, 1 / stretch)) * factor
            found.append(Face(x, y, wide, tall, face.angle + tilt, face.score))
    return found


def _scan(ink, side, step, templates):
    """Slide templates, one for each quarter turn, over the ink at all sizes: [Face] at the maxima of likeness."""
    found, pad = [], side // 6  # the border may cut off the chin
    longest = max(ink.shape)
    ink = resize_longer(ink, min(longest, 2 * round(side / SMALLEST)))
    for scale in np.geomspace(1, SMALLEST, round(np.log(1 / SMALLEST) / np.log(step)) + 1):
        reduced = resize_longer(ink, round(side / scale))
        factor = longest / max(reduced.shape)
        top, left = (pad + max(0, side - 2 * pad - length + 1) // 2 for length in reduced.shape)
        reduced = cv2.copyMakeBorder(reduced, top, top, left, left, cv2.BORDER_CONSTANT, value=0)
        maps = _directions(reduced, 1.5 * side / FACE_SIDE)
        inside = cv2.boxFilter(reduced, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
        half = side // 2
        inside = inside[half : half + maps.shape[0] - side + 1, half : half + maps.shape[1] - side + 1]
        blank = inside < 0.1 * inside.max()  # without strokes, the correlation is rounding noise
        for quarter, template in enumerate(templates):
            likeness = cv2.matchTemplate(maps, template, cv2.TM_CCOEFF_NORMED)
            likeness[blank] = -1
            peaks = (likeness > 0.35) & (likeness == cv2.dilate(likeness, np.ones((5, 5))))
            rows, columns = np.nonzero(peaks)
            best = np.argsort(-likeness[rows, columns], kind="stable")[:4]
            for y, x in zip(rows[best], columns[best], strict=True):
                centre = (x - left + side / 2) * factor - 0.5, (y - top + side / 2) * factor - 0.5
                found.append(Face(*centre, side * factor, 1.0, 90.0 * quarter, float(likeness[y, x])))
    return found


def _distinct(faces, turned=False):
    """The best face at each position; with `turned`, one for each position and quarter turn."""
    kept = []
    for face in sorted(faces, key=Face.value, reverse=True):
        size = face.width * np.sqrt(face.stretch)
        for other in kept:
            if turned and round(face.angle / 90) != round(other.angle / 90):
                continue
            larger = max(size, other.width * np.sqrt(other.stretch))
            if max(abs(face.x - other.x), abs(face.y - other.y)) < 0.5 * larger:
                break
        else:
            kept.append(face)
        if len(kept) == RATED:
            break
    return kept


def _refined(ink, face, lengths):
    """Hill-climb from a face to a better one nearby, with small changes of position, size, tilt and stretch."""
    best = rated(ink, face, lengths)
    for step in (1.0, 0.5, 0.25):
        for _ in range(3):
            grow = 1 + 0.08 * step
            trials = [
                rated(ink, replace(best, **change), lengths)
                for change in (
                    {"width": best.width * grow},
                    {"width": best.width / grow},
                    {"angle": best.angle + 6 * step},
                    {"angle": best.angle - 6 * step},
                    {"stretch": best.stretch * grow},
                    {"stretch": best.stretch / grow},
                )
                if 0.45 < change.get("stretch", best.stretch) < 2.2
            ]
            better = max(trials, key=Face.value)
            if better.value() <= best.value() + 0.002:
                break
            best = better
    return best


def rated(ink, face, lengths):
    """The face with its score, moved to the nearby maximum."""
    side, pad = FACE_SIDE, 4
    view = face.view(side)
    view[:, 2] += pad
    seen = look_at(ink, view, side + 2 * pad)
    score, (x, y) = _likeness(_directions(seen))
    back = np.linalg.inv(view[:, :2])
    move = back @ (x - pad, y - pad)
    moved = replace(face, x=face.x + move[0], y=face.y + move[1], score=score)
    return _covering([moved], lengths)[0]


def look_at(ink, view, side):
    """Warp ink into a (side, side) picture by an affine map, averaging areas if it shrinks."""
    shrink = 1 / np.sqrt(abs(np.linalg.det(view[:, :2])))
    if shrink > 1.5:
        ink = resize_longer(ink, round(max(ink.shape) / shrink))
        factor = shrink
        linear = view[:, :2] * factor
        view = np.c_[linear, view[:, 2] + view[:, :2] @ np.full(2, (factor - 1) / 2)]
    return cv2.warpAffine(ink, view, (side, side), flags=cv2.INTER_LINEAR)


def face_score(sketch):
    """The likeness of a (64, 64, 3) uint8 sketch, the network's input, to a framed face: at most 1.

    The likeness of `find_faces`, reduced if hardly anything is drawn or if most is dark.
    """
    ink = 1 - sketch[..., 0].astype(np.float32) / 255
    pad = FACE_SIDE // 6
    reduced = cv2.copyMakeBorder(resize_longer(ink, FACE_SIDE), *[pad] * 4, cv2.BORDER_CONSTANT, value=0)
    likeness, _ = _likeness(_directions(reduced))
    dark = (sketch[..., 0] < 128).mean()
    return float(likeness * min(1, (dark / LEAST_DARK) ** 2) * min(1, (1 - dark) / 0.5))


def _likeness(maps):
    """The best correlation of direction maps with the template -> (likeness, (x, y) of its corner).

    It is reduced if an eye, the nose or the mouth is missing.
    """
    template = _face_template()
    _, likeness, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(maps, template, cv2.TM_CCOEFF_NORMED))
    seen = maps[y : y + FACE_SIDE, x : x + FACE_SIDE]
    shares = [np.linalg.norm(seen[part]) / np.linalg.norm(template[part]) for part in PARTS]
    weakest = min(shares) * np.linalg.norm(template) / max(np.linalg.norm(seen), 1e-6)
    return float(likeness * min(1, weakest / 0.5)), (x, y)


def resize_longer(image, side):
    """Resize so that the longer side has this many pixels; by area when it shrinks."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)


def _directions(ink, blur=1.5):
    """Blurred maps of the stroke amount in each of 4 directions, (h, w, 4) float32: a coarse HOG."""
    ink = cv2.GaussianBlur(ink, (0, 0), 0.8)
    dx, dy = cv2.Sobel(ink, cv2.CV_32F, 1, 0), cv2.Sobel(ink, cv2.CV_32F, 0, 1)
    strength = np.sqrt(np.hypot(dx, dy))  # the root: a faint line counts nearly as much as a bold one
    doubled = 2 * np.arctan2(dy, dx)  # twice the angle is the same for both sides of a stroke
    maps = [strength * np.maximum(np.cos(doubled - k * np.pi / 2), 0) for k in range(4)]
    return cv2.GaussianBlur(np.stack(maps, axis=-1), (0, 0), blur)


@lru_cache
def _face_template(size=FACE_SIDE):
    """The direction maps of a face drawn in the training framing, (size, size, 4)."""
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
    return _directions(resize_longer(face.astype(np.float32) / 255, size), 1.5 * size / FACE_SIDE)


def _turned(maps, quarter):
    """The direction maps of the drawing after clockwise quarter turns."""
    if quarter % 2:
        maps = maps[..., [2, 3, 0, 1]]
    return np.rot90(maps, -quarter)
