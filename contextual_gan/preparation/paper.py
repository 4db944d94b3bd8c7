"""Find the sheet, board or screen of a drawing, and remove ruling, squares and folds."""

import cv2
import numpy as np

from contextual_gan.preparation.framing import resize_longer

SHEET_SIDE = 320  # side of the picture for finding the sheet
SHEET_LEVELS = 12  # brightness thresholds between the sheet and its surroundings
LEAST_SHEET = 0.04  # least share of the picture
SHEET_FILL = 0.94  # least overlap of a sheet and the quadrangle of its corners, both ways
SHEET_EDGE = 0.1  # least contrast at a sheet's edge, as a share of its brightness
SHEET_INSET = 0.012  # of its side, cropped with its shadow and rounded corners

LINE_SIDE = 512  # side of the picture for finding ruling
FOLD_SIDES = (256, 128)  # sides of the pictures for finding folds, which are wide
LINE_BLOCK = 8  # pixels along a line, summed first
STEEPEST = np.tan(np.deg2rad(15))
LINE_SUPPORT = 0.8  # least visible share of a line from border to border
LINE_WOBBLE = 0.5  # pixels, deviation from its curve: ruling is straight, hair is not
MOST_LINES = 120  # in one direction


def find_sheet(image):
    """The four corners of the sheet, board or screen in a photo or screenshot, if one is visible.

    image: (H, W, 3) uint8 RGB. Returns (4, 2) float32 corners in pixels, clockwise from the top left, or None.
    A sheet is a quadrangle that is brighter than its whole surroundings, or darker (a board).
    """
    step = max(1, max(image.shape[:2]) // (2 * SHEET_SIDE))
    small = resize_longer(np.ascontiguousarray(image[::step, ::step]), min(SHEET_SIDE, max(image.shape[:2])))
    best, found = 0, None
    bright, dark = small.min(axis=2), 255 - small.max(axis=2)
    for level in (bright, _evenly_lit(bright), dark):
        closed = cv2.morphologyEx(level, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
        low, high = np.percentile(closed, (1, 99))
        for threshold in np.linspace(low, high, SHEET_LEVELS + 2)[1:-1]:
            for corners, area in _quadrangles(closed > threshold):
                if area > best and _stands_out(level, corners):
                    best, found = area, corners
    if found is None:
        return None
    scale = np.array(image.shape[1::-1]) / small.shape[1::-1]
    return np.float32((found + 0.5) * scale - 0.5)


def _evenly_lit(level):
    """Remove the light of a lamp, so that one threshold separates page and desk everywhere."""
    few = resize_longer(level, 64).astype(np.float32)
    surface = cv2.resize(fitted_surface(few, scales=np.geomspace(96, 24, 6)), level.shape[::-1])
    return np.clip(200 * (level + 8.0) / (surface.clip(8) + 8), 0, 255).astype(np.uint8)


def _quadrangles(mask):
    """The corners of the connected components of a mask that are quadrangles: [((4, 2) float, area in pixels)]."""
    mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found = []
    for outline in outlines:
        area = cv2.contourArea(outline)
        if not LEAST_SHEET * mask.size < area < 0.985 * mask.size:
            continue
        hull = cv2.convexHull(outline)
        for precision in (0.01, 0.015, 0.02, 0.03, 0.045):
            corners = cv2.approxPolyDP(hull, precision * cv2.arcLength(hull, True), True)
            if len(corners) <= 4:
                break
        if len(corners) != 4:
            continue
        fill = area / max(cv2.contourArea(corners), 1)
        if SHEET_FILL < fill < 2 - SHEET_FILL:
            found.append((_clockwise(corners[:, 0].astype(float)), area))
    return found


def _clockwise(corners):
    """Order four corners clockwise, starting with the one nearest to the top left."""
    centre = corners.mean(axis=0)
    corners = corners[np.argsort(np.arctan2(*(corners - centre).T[::-1]))]
    return np.roll(corners, -int(np.argmin(corners.sum(axis=1))), axis=0)


def _stands_out(level, corners):
    """Whether at least two sides lie inside the picture, and the surroundings are darker at all of those."""
    height, width = level.shape
    centre, sides = corners.mean(axis=0), 0
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        points = a + np.linspace(0.06, 0.94, 48)[:, None] * (b - a)
        normal = np.array([a[1] - b[1], b[0] - a[0]]) / max(np.hypot(*(b - a)), 1)
        normal *= np.sign((centre - a) @ normal)
        outside = points - 4 * normal
        if (outside < 0).any() or (outside > (width - 1, height - 1)).any():
            continue
        sides += 1
        x, y = (np.round(points[:, axis, None] + normal[axis] * np.array((5, -4, -12))).astype(int) for axis in (0, 1))
        seen = level[y.clip(0, height - 1), x.clip(0, width - 1)].astype(float)
        inner, outer, far = np.maximum(seen, 1).T
        if np.percentile((inner - outer) / inner.clip(40), 15) < SHEET_EDGE:
            return False
        within = (x[:, 2] >= 0) & (x[:, 2] < width) & (y[:, 2] >= 0) & (y[:, 2] < height)
        if within.any() and np.percentile(((inner - far) / inner.clip(40))[within], 30) < SHEET_EDGE:  # a fold
            return False
    return sides >= 2


def flatten_sheet(image, corners):
    """Correct the perspective of a sheet: the part of (H, W) or (H, W, 3) between its corners, as a rectangle."""
    centre = corners.mean(axis=0)
    corners = np.float32(centre + (1 - 2 * SHEET_INSET) * (corners - centre))
    top, right, bottom, left = np.hypot(*(corners - np.roll(corners, -1, axis=0)).T)
    width, height = max(2, round((top + bottom) / 2)), max(2, round((left + right) / 2))
    target = np.float32([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)])
    view = cv2.getPerspectiveTransform(corners, target)
    return cv2.warpPerspective(image, view, (width, height), borderMode=cv2.BORDER_REPLICATE)


def fitted_surface(values, scales):
    """The polynomial of degree 2 in x and y fitted to an (h, w) array by least squares, ignoring values far below it.

    Refitted once per scale: values that far below the previous surface count half, and much lower ones not at all.
    With so few degrees of freedom, it follows a lamp but not black hair; a slight ridge penalty keeps the surface flat
    where no paper is visible.
    """
    height, width = values.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    ridge = np.diag([0.0, *[0.0005 * values.size] * 5])
    target = values.ravel()
    surface = target.max()
    for scale in scales:
        weighted = terms / (1 + (np.minimum(target - surface, 0) / scale) ** 8)[:, None]
        surface = terms @ np.linalg.solve(weighted.T @ terms + ridge, weighted.T @ target)
    return surface.reshape(height, width).astype(np.float32)


# --- ruling, squares, folds -------------------------------------------------------------------------------------------


def without_lines(tone):
    """Remove the straight lines that cross the whole page from an (h, w) float32 tone, where paper is 1.

    Ruling and squares are thin, folds are wide. Each line is divided by its own tone, so strokes across it remain.
    """
    for side in (LINE_SIDE, *FOLD_SIDES):
        if min(tone.shape) * min(1, side / max(tone.shape)) < 8 * LINE_BLOCK:
            continue
        for turned in (False, True):
            page = np.ascontiguousarray(tone.T) if turned else tone
            lines = _find_lines(page, side)
            if lines:
                page = _divide_out(page.copy(), lines, radius=max(3, round(4 * max(page.shape) / side)))
                tone = np.ascontiguousarray(page.T) if turned else page
    return tone


def _find_lines(tone, side):
    """The nearly horizontal lines from the left to the right border: coefficients of y(x), in pixels of `tone`."""
    small = resize_longer(tone, side) if max(tone.shape) > side else tone
    scale = max(tone.shape) / max(small.shape)
    height, width = small.shape
    count = width // LINE_BLOCK
    dark = np.clip(1 - small[:, : count * LINE_BLOCK], 0, 0.5)
    ridge = _ridges(dark.reshape(height, count, LINE_BLOCK).mean(axis=2))
    x = (np.arange(count) + 0.5) * LINE_BLOCK - 0.5
    slopes = np.arange(-STEEPEST, STEEPEST, 1.2 / width)
    likely = _sums_along(ridge, x - width / 2, slopes)
    usual, noise = np.median(likely), 1.4826 * np.median(np.abs(likely - np.median(likely))) + 0.002
    peaks = (likely == cv2.dilate(likely, np.ones((5, 7), np.float32))) & (likely > usual + 5 * noise)
    order = np.argsort(-likely[peaks], kind="stable")[: 2 * MOST_LINES]
    chance = np.percentile(cv2.dilate(ridge, np.ones((5, 1))), 20)  # the response without a line
    found, taken = {}, np.zeros((height, count), bool)
    for k, offset in np.argwhere(peaks)[order]:
        y = offset + slopes[k] * (x - width / 2)
        if len(found) < MOST_LINES and (line := _follow(ridge, x, y, taken, chance)) is not None:
            found[int(offset)] = np.polyfit(x[line[0]], line[1], 2)
    if _is_regular(found):
        return [_scaled(path, scale) for path in _completed(ridge, x, found)]
    # A fold or a margin is fainter than strokes; straight hair is not.
    strokes = np.clip(1 - tone[::2, ::2], 0, 0.5)
    strongest = np.percentile(strokes[strokes > 0.06], 95) if (strokes > 0.06).any() else 1
    lines = [_scaled(path, scale) for path in found.values()]
    return [line for line in lines if _darkness(tone, line, 2 * scale) < 0.6 * strongest]


def _scaled(path, scale):
    """The coefficients of y(x) for a picture enlarged by `scale`."""
    a, b, c = path
    shift = 0.5 / scale - 0.5  # x of the small picture is x / scale + shift
    square, linear, constant = a / scale**2, (2 * a * shift + b) / scale, a * shift * shift + b * shift + c
    return scale * np.array([square, linear, constant + 0.5]) - (0, 0, 0.5)


def _completed(ridge, x, paths):
    """Ruling from border to border: the lines found, and those between and beyond them that strokes hide.

    paths: {offset: coefficients}. A wrongly added line has no tone of its own, so dividing by it has no effect.
    """
    offsets = np.array(sorted(paths))
    pitch = np.median(np.diff(offsets))
    numbers = np.concatenate([[0], np.cumsum(np.maximum(1, np.round(np.diff(offsets) / pitch)))])
    known = np.array([paths[offset] for offset in offsets])
    degree = 2 if len(offsets) >= 8 else 1
    fits = [np.polyfit(numbers, known[:, k], degree) for k in range(3)]
    beyond = int(len(ridge) / pitch) + 1
    lines = [known[i] for i in range(len(known))]
    for number in range(-beyond, int(numbers[-1]) + beyond + 1):
        if number in numbers:
            continue
        path = np.array([np.polyval(fit, number) for fit in fits])
        y = np.polyval(path, x)
        if not 0 <= np.median(y) < len(ridge):
            continue
        rows = np.round(y).astype(int).clip(0, len(ridge) - 1)
        means = [ridge[(rows + d).clip(0, len(ridge) - 1), np.arange(len(x))].mean() for d in (-2, -1, 0, 1, 2)]
        path[2] += int(np.argmax(means)) - 2
        lines.append(path)
    return lines


def _ridges(blocks):
    """How much darker each block is than those above and below it, (h, blocks), with the darkest clipped."""
    d = 4
    padded = np.pad(blocks, ((d, d), (0, 0)), mode="edge")
    ridge = np.maximum(blocks - np.maximum(padded[: -2 * d], padded[2 * d :]), 0)
    return np.minimum(ridge, 3 * np.median(ridge[ridge > 0.01]) if (ridge > 0.01).any() else 1)


def _follow(ridge, x, y, taken, chance):
    """Trace a candidate line y(x) -> (bool where it is visible, its rows there), or None if it fails or is taken."""
    height, count = ridge.shape
    inside = (y >= 0) & (y <= height - 1)
    if inside.mean() < 0.6:
        return None
    rows = np.round(y).astype(int)[:, None] + np.arange(-2, 3)
    columns = np.flatnonzero(inside)
    if taken[rows[columns, 2], columns].mean() > 0.3:
        return None
    values = ridge[rows.clip(0, height - 1), np.arange(count)[:, None]]
    strength, at = values.max(axis=1), values.argmax(axis=1)
    usual = np.median(strength[inside])
    seen = inside & (strength > max(0.45 * usual, 1.5 * chance))
    if usual < 3 * chance + 0.01 or seen.sum() < LINE_SUPPORT * inside.sum() or seen.sum() < 4:
        return None
    path = rows[seen, at[seen]]
    if np.median(np.abs(np.polyval(np.polyfit(x[seen], path, 2), x[seen]) - path)) > LINE_WOBBLE:
        return None
    for o in (-2, -1, 0, 1, 2):
        taken[(rows[columns, 2] + o).clip(0, height - 1), columns] = True
    return seen, path


def _is_regular(offsets):
    """Whether lines at these offsets form ruling: five or more, at multiples of one distance."""
    if len(offsets) < 5:
        return False
    gaps = np.diff(sorted(offsets))
    multiples = gaps / np.median(gaps)
    near = multiples[multiples < 3.5]  # any larger one is near a multiple
    return len(near) >= 4 and np.mean(np.abs(near - np.round(near)) < 0.15 * np.maximum(near, 1)) > 0.75


def _darkness(tone, line, reach):
    """The median darkness along a line, in its darkest row at most `reach` pixels from the middle."""
    height, width = tone.shape
    x = np.arange(0, width, 4)
    rows = np.round(np.polyval(line, x)).astype(int) + np.arange(-round(reach), round(reach) + 1)[:, None]
    return np.median(np.clip(1 - tone[rows.clip(0, height - 1), x], 0, 0.5).max(axis=0))


def _sums_along(ridge, x, slopes):
    """The mean of (h, blocks) along each slanted line: (slopes, h), with row y for the line through (middle, y)."""
    height, count = ridge.shape
    pad = int(np.ceil(np.abs(x).max() * np.abs(slopes).max())) + 2
    padded = np.ascontiguousarray(np.pad(ridge, ((pad, pad), (0, 0))).T)  # each block's rows side by side: faster
    windows = np.lib.stride_tricks.sliding_window_view(padded, height, axis=1)
    total = np.zeros((len(slopes), height), np.float32)
    for block in range(count):
        total += windows[block, np.round(slopes * x[block]).astype(int) + pad]
    return total / count


def _divide_out(tone, lines, radius):
    """Divide the page by each line's own tone, its running median along the line (in place)."""
    height, width = tone.shape
    x = np.arange(width)
    offsets = np.arange(-radius, radius + 1)
    parts = np.array_split(x, 12)
    for line in lines:
        rows = np.round(np.polyval(line, x)).astype(int) + offsets[:, None]
        inside = (rows >= 0) & (rows < height)
        strip = tone[rows.clip(0, height - 1), x]
        own = np.stack([np.median(strip[:, part], axis=1) for part in parts], axis=1)
        edge = np.maximum(own[[0, 1, -2, -1]].max(axis=0), 0.05)
        own = np.minimum(own / edge, 1)
        own = np.maximum(own, np.median(own, axis=1, keepdims=True) - 0.08)  # where a stroke covers the line
        own = np.stack([np.interp(x, [p.mean() for p in parts], row) for row in own])
        new = strip / np.maximum(own, 0.1)
        new[(own < 0.97) & (new > 1 - 0.6 * (1 - own))] = 1
        tone[rows[inside], np.broadcast_to(x, rows.shape)[inside]] = new[inside]
    return tone
