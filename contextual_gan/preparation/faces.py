"""Find faces in photos with dlib's HOG detector: where they are, and which side of the photo is up."""

import threading

import cv2
import numpy as np

DETECTION_SIDE = 1024  # larger photos are reduced to this before detection: 0.4 s, faces from 4% of the width
SMALL_SIDE = 128  # smaller photos are doubled at once: the detector sees no face below 70 pixels
# Scores of the detector, measured on 240 CelebA photos: upright faces have 1.6 to 2.1 in the median (5%: 0.4 to 1.1);
# a quarter of them also seem to hold a face when they stand on their heads, with 0.3 in the median and 0.7 at most.
CERTAIN = 1.0  # an upright face: no other turns are tried
TURN_MARGIN = 0.2  # by how much a turned face must be surer than an upright one: most photos are upright

_thread = threading.local()


def _detector():
    """dlib's face detector, one per thread: unlike a predictor it is changed by its use."""
    import dlib

    if not hasattr(_thread, "detector"):
        _thread.detector = dlib.get_frontal_face_detector()
    return _thread.detector


def detect_faces(grey):
    """The boxes of upright faces of at least 80 pixels in an (h, w) uint8 picture, as dlib's rectangles."""
    return list(_detector()(grey, 0))


def find_faces(photo, is_settled=lambda box: False):
    """Find the faces of a photo, (H, W, 3) uint8 -> (quarter turns that put it upright, boxes).

    quarter turns: counterclockwise, as `np.rot90` takes them. boxes: (left, top, width, height) float64 in pixels of
    the turned photo, the largest first, and of one size the surest; empty where there is no face.
    is_settled(box): asked about the largest upright face if it is not certain; True: no turns are tried.
    """
    reduction = max(1.0, max(photo.shape[:2]) / DETECTION_SIDE)
    seen = np.ascontiguousarray(photo) if reduction == 1 else reduce(photo, reduction)
    doublings = int(min(seen.shape[:2]) < SMALL_SIDE)

    def boxes(found):
        return [np.array(box, float) * reduction for box in _largest_first([box for box, _ in found])]

    # Doubling once more finds smaller faces at four times the cost, so only where nothing was found.
    upright = _detect(seen, doublings) or _detect(seen, doublings + 1)
    if _surest(upright) > CERTAIN or (upright and is_settled(boxes(upright)[0])):
        return 0, boxes(upright)
    turned = {turn: _detect(np.rot90(seen, turn).copy(), doublings) for turn in (1, 2, 3)}
    turn = max(turned, key=lambda turn: _surest(turned[turn]))
    if _surest(turned[turn]) <= _surest(upright) + TURN_MARGIN:
        return 0, boxes(upright)
    return turn, boxes(turned[turn])


def _detect(image, doublings):
    """[((left, top, width, height), score)] of upright faces, the surest first."""
    boxes, scores, _ = _detector().run(image, doublings, 0.0)
    return [((b.left(), b.top(), b.width(), b.height()), s) for b, s in zip(boxes, scores, strict=True)]


def _surest(found):
    return max((score for _, score in found), default=0.0)


def _largest_first(boxes):
    """The boxes come in sizes 1.2 apart, give or take a pixel, the surest first: of one size that one comes first."""
    ordered, left = [], list(boxes)
    while left:
        largest = max(w * h for _, _, w, h in left)
        ordered.append(next(box for box in left if box[2] * box[3] > 0.9 * largest))
        left.remove(ordered[-1])
    return ordered


def reduce(photo, factor):
    """Shrink by area, each side by this factor as nearly as whole pixels allow."""
    height, width = (max(1, round(side / factor)) for side in photo.shape[:2])
    return cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
