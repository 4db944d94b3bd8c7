"""Tell photographs of people from drawings, in case a user gives the wrong one."""

import cv2
import numpy as np

from contextual_gan.preparation.faces import detect_faces
from contextual_gan.preparation.framing import resize_longer

DETECTION_SIDE = 256
SIDE = 48  # pixels, side of the face under test
LEVEL = 0.08  # of the range: deviations on paper stay below this, those on skin do not
STEEP = 0.015  # of the range per pixel: paper changes less
# Measured: photos 0.3 (5 of 100 above 0.46) and 0.14 (0.27), drawings 0.6 and 0.5, less on ruling and in shadows.
PHOTO, DRAWING = (0.42, 0.22), (0.5, 0.3)


def is_photograph(image):
    """Whether an (H, W, 3) uint8 picture is a photograph with a face, judging by its even parts."""
    level, gentle, found = _evenness(image)
    return found and level < PHOTO[0] and gentle < PHOTO[1]


def is_drawing(image):
    """Whether an (H, W, 3) uint8 picture is strokes on paper: most of it is one even tone."""
    level, gentle, _ = _evenness(image)
    return level > DRAWING[0] and gentle > DRAWING[1]


def _evenness(image):
    """For the largest face, or the whole picture: (share near a plane of light, share with hardly any change,
    whether there is a face).
    """
    grey = cv2.cvtColor(resize_longer(image, DETECTION_SIDE), cv2.COLOR_RGB2GRAY)
    boxes = detect_faces(grey)
    if boxes:
        box = max(boxes, key=lambda box: box.area())
        grey = grey[max(box.top(), 0) : box.bottom(), max(box.left(), 0) : box.right()]
    grey = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low, high = np.percentile(grey, (1, 99))
    span = max(high - low, 20)
    slope = np.hypot(*(cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1))))
    return _on_a_plane(grey, LEVEL * span), float((slope < STEEP * span).mean()), bool(boxes)


def _on_a_plane(grey, distance):
    """The share of an (h, w) array within a distance of the plane that fits most of it."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in grey.shape), indexing="ij")
    terms, target = np.stack([np.ones_like(x), x, y], axis=-1).reshape(-1, 3), grey.ravel()
    weights = np.ones(target.size)
    for _ in range(12):  # reweighted least squares: outliers count less each time
        plane = np.linalg.lstsq(terms * weights[:, None], target * weights, rcond=None)[0]
        away = np.abs(target - terms @ plane)
        weights = np.maximum(away, 0.4 * distance) ** -0.5
    return float((away < distance).mean())
