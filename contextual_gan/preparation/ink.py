"""Extract the strokes from a page in any light: `ink`, a float32 map with 0 for paper and 1 for a stroke."""

import cv2
import numpy as np

from contextual_gan.preparation.framing import resize_longer
from contextual_gan.preparation.paper import fitted_surface, without_lines

WORKING_SIDE = 1024  # larger drawings are reduced to this before anything else
FAINTEST = 0.15  # least ink of a stroke, such as light pencil next to black pupils
LIGHT_SIDE = 160  # side of the picture for estimating the light on the paper
WIDEST_STROKE = 0.1  # of the page; wider dark structures are areas: fills, shadows, desks
AREA = 0.85  # an area is darker than this share of the paper
GRAINS = 150  # a page with more specks is shaded
GRAIN_SIDE = 512  # side of the page for telling lines from grains
LINE_EVIDENCE = 0.14  # least mean contrast to both sides along a short line
AREA_TONE = 0.15  # largest difference in tone between a fill and strokes


def read_ink(grey):
    """(h, w) uint8, dark strokes on unevenly lit paper -> (h, w) float32 ink. Raises ValueError if there is none."""
    tone = _even_light(grey.astype(np.float32))
    unruled = _without_grain(without_lines(tone))
    for page, least in ((unruled, 0.06), (tone, 0.06), (tone, 0.025)):  # the last: very faint pencil
        if (ink := _strokes(page, least)).any():
            return ink
    raise ValueError("no strokes found in the drawing: the page looks blank")


def _strokes(tone, least):
    centre, noise = _paper_level(tone)
    if noise > 0.01 or least < 0.06:
        tone = cv2.GaussianBlur(tone, (0, 0), max(tone.shape) / WORKING_SIDE * (1 if least >= 0.06 else 1.5))
        centre, noise = _paper_level(tone)
    contrast = np.maximum(centre - max(least, 5 * noise) - tone, 0)
    strongest = np.percentile(contrast[contrast > 0], 75) if contrast.any() else 1
    return without_specks(np.minimum(contrast / np.clip(strongest, least / 0.6, 0.8), 1), 0.01)


def _without_grain(tone):
    """Remove the grains of pencil shading from a tone, and keep lines, which are dark along a direction.

    A page without shading is returned unchanged.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats((tone < 0.8).astype(np.uint8), connectivity=8)
    grains = stats[:, cv2.CC_STAT_AREA] < 2e-5 * tone.size + 4
    if grains.sum() < GRAINS:
        return tone
    small = resize_longer(np.clip(1 - tone, 0, 0.6), min(GRAIN_SIDE, max(tone.shape)))
    reach, beside = 9, 5
    evidence = np.zeros_like(small)
    for angle in np.arange(0, np.pi, np.pi / 12):
        c, s = np.cos(angle), np.sin(angle)
        kernel = np.zeros((2 * reach + 1,) * 2, np.float32)
        ends = [(round(16 * (reach + d * reach * c)), round(16 * (reach + d * reach * s))) for d in (-0.9, 0.9)]
        cv2.line(kernel, *ends, 1, 2, cv2.LINE_AA, 4)
        along = cv2.filter2D(small, -1, kernel / kernel.sum())
        sides = [
            cv2.warpAffine(along, np.float32([[1, 0, d * s], [0, 1, -d * c]]), small.shape[::-1])
            for d in (-beside, beside)
        ]
        evidence = np.maximum(evidence, along - np.maximum(*sides))
    solid = cv2.GaussianBlur(small, (0, 0), 1.5) > 0.75 * np.percentile(small[small > 0.1], 95)  # pupils
    lines = cv2.dilate(((evidence > LINE_EVIDENCE) | solid).astype(np.uint8), np.ones((3, 3), np.uint8))
    shaded = cv2.boxFilter(resize_longer(grains[labels].astype(np.float32), max(small.shape)), -1, (61, 61)) > 0.003
    lines[~shaded] = 1
    lines = cv2.resize(lines, tone.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.where(lines > 0, tone, 1).astype(np.float32)


def _paper_level(tone):
    """Median and standard deviation of the paper, estimated from bright pixels: no stroke is brighter than paper."""
    bright = tone[::2, ::2]
    bright = bright[bright > 0.8]
    if not bright.size:
        return 1.0, 0.0
    centre = np.median(bright)
    return centre, 1.4826 * np.median(bright[bright >= centre] - centre)


def without_specks(ink, share):
    """Erase components whose width and height are below this share of the page."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((ink > FAINTEST).astype(np.uint8), connectivity=8)
    side = max(ink.shape)
    large = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) >= max(share * side, min(side / 20, 2))
    large[0] = False  # the paper
    return ink * cv2.dilate(large[labels].astype(np.uint8), np.ones((3, 3), np.uint8))  # keeps their soft edges


# --- light ------------------------------------------------------------------------------------------------------------


def _even_light(grey):
    """(h, w) float32 grey -> tone, 1 for paper: lamps, shadows and edges of desks are removed, fills remain."""
    small = resize_longer(grey, min(LIGHT_SIDE, max(grey.shape)))
    few = cv2.dilate(resize_longer(grey, min(96, max(grey.shape))), np.ones((5, 5)))
    # Stepwise refinement finds the paper even if half of the page is black.
    surface = cv2.resize(fitted_surface(few, scales=np.geomspace(64, 8, 10)), small.shape[::-1])
    near = _near_paper(small)
    paper = np.where(_fills(small, near, surface), np.maximum(surface, near), near)
    paper = cv2.resize(paper, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return (grey + 16) / (np.maximum(paper, 0) + 16)  # in the dark, the plain ratio would be mostly noise


def _near_paper(grey):
    """The paper beside and under strokes: a closing that removes dark, narrow structures."""
    reach = max(3, round(WIDEST_STROKE * max(grey.shape)) | 1)
    padded = cv2.copyMakeBorder(grey, *[reach] * 4, cv2.BORDER_REPLICATE)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    near = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[reach:-reach, reach:-reach]
    return near


def _fills(grey, near, surface):
    """(h, w) bool: dark areas filled by the drawer; shadows and desks are lighter or uneven."""
    tone, local = (grey + 16) / (np.maximum(surface, 0) + 16), (grey + 16) / (near + 16)
    areas = ((near + 16) / (np.maximum(surface, 0) + 16) < AREA).astype(np.uint8)
    strokes = local < 0.9
    count, labels = cv2.connectedComponents(areas, connectivity=4)
    fills = np.zeros(grey.shape, bool)
    outside = strokes & (cv2.dilate(areas, np.ones((5, 5), np.uint8)) == 0)
    darkness = np.percentile(tone[outside], 30) if outside.any() else 1
    ring = np.ones(grey.shape, bool)
    ring[1:-1, 1:-1] = False
    for k in range(1, count):
        area = labels == k
        own = np.median(tone[area])
        inner = cv2.erode(area.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        structure = strokes[inner].mean() if inner.any() else 0
        border = (area & ring).sum() / ring.sum()
        fills |= area & (own < darkness + AREA_TONE and structure < 0.02 and (border < 0.3 or own < 0.3))
    return cv2.dilate(fills.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
