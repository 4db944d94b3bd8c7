"""Put a drawing on paper, a board or a screen, in various kinds of light, as in a phone photo or a screenshot.

`KINDS` names the conditions; each is a function (ink, rng) -> (H, W, 3) uint8 RGB. `ink` is a float map in [0, 1] with
1 for a stroke, made by `ink_of` from a clean drawing.
"""

import cv2
import numpy as np
from conftest import ROOT

from contextual_gan.files.images import read_image

SAMPLES = sorted((ROOT / "datasets" / "samples" / "sketches").glob("*.png"))
PAGE = (900, 1200)  # width, height
HOUSE = [(80, 230), (256, 60), (430, 230), (80, 230), (80, 470), (430, 470), (430, 230)]
PENCIL, BLACK, BLUE = (70, 70, 75), (25, 25, 28), (40, 50, 130)


def ink_of(drawing):
    """The strokes of a clean drawing, (H, W, 3) uint8, dark on light or light on dark -> (H, W) float32."""
    grey = drawing.min(axis=2) if np.median(drawing) > 128 else 255 - drawing.max(axis=2)
    paper = cv2.dilate(np.ascontiguousarray(grey), np.ones((len(grey) // 8,) * 2, np.uint8)).astype(np.float32)
    paper = cv2.GaussianBlur(paper, (0, 0), len(grey) / 16)
    return ((paper - 20 - grey) / (paper - 70)).clip(0, 1)


def two_faces():
    """A sheet with two faces: samples 0, the larger, and 10."""
    inks = [ink_of(read_image(SAMPLES[k])) for k in (0, 10)]
    page = np.zeros((700, 1200), np.float32)
    for ink, side, x, y in zip(inks, (420, 320), (80, 720), (120, 200), strict=True):
        page[y : y + side, x : x + side] = cv2.resize(ink, (side, side), interpolation=cv2.INTER_AREA)
    return np.repeat((255 - 255 * page).astype(np.uint8)[..., None], 3, axis=2)


def drawn(*shapes):
    """Lines through the points of shapes such as `HOUSE`."""
    page = np.full((512, 512, 3), 255, np.uint8)
    for points in shapes:
        cv2.polylines(page, [np.int32(points)], False, (0, 0, 0), 4, cv2.LINE_AA)
    return page


def _place(ink, size=PAGE, width=0.6, at=(0.5, 0.48), angle=0.0, stretch=1.0):
    """The ink on an empty page: width as a share of the page's, centre, clockwise degrees, aspect (h / w)."""
    height, side = ink.shape
    scale = width * size[0] / side
    turn = np.deg2rad(angle)
    c, s = np.cos(turn), np.sin(turn)
    linear = np.array([[c, -s], [s, c]]) @ np.diag([scale, scale * stretch])
    centre = np.array(at) * size
    move = centre - linear @ (side / 2, height / 2)
    factor = max(1, 1 / scale)
    if factor > 1.5:
        ink = cv2.GaussianBlur(ink, (0, 0), factor / 2.5)
    return cv2.warpAffine(ink, np.c_[linear, move], size, flags=cv2.INTER_LINEAR)


def _coordinates(size):
    width, height = size
    return np.meshgrid(np.linspace(0, 1, width, dtype=np.float32), np.linspace(0, 1, height, dtype=np.float32))


def _sheet(size=PAGE, colour=(240, 239, 233)):
    return np.full((size[1], size[0], 3), colour, np.float32)


def _lay(page, ink, colour=PENCIL):
    """Draw the ink on a page."""
    return page * (1 - ink[..., None]) + np.array(colour, np.float32) * ink[..., None]


def _write(page, text, at, scale, colour, thick=1, font=cv2.FONT_HERSHEY_SIMPLEX):
    """Write a line of text on a page."""
    letters = np.zeros(page.shape[:2], np.uint8)
    cv2.putText(letters, text, at, font, scale, 255, thick, cv2.LINE_AA)
    return _lay(page, letters.astype(np.float32) / 255, colour)


def _lamp(page, strength=0.4, angle=0.6):
    x, y = _coordinates(page.shape[1::-1])
    return page * (1 - strength * (np.cos(angle) * x + np.sin(angle) * y))[..., None]


def _shadow(page, rng, taken, soft):
    """A shadow with one straight edge, which crosses the middle; soft: the width of its edge, as a share."""
    x, y = _coordinates(page.shape[1::-1])
    angle = rng.uniform(-0.6, 0.6) + rng.choice([0, np.pi])
    distance = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5) - rng.uniform(-0.12, 0.12)
    return page * (1 - taken / (1 + np.exp(-4 * distance / soft)))[..., None]


def _photo(page, rng, noise=2.5, quality=88):
    page = np.clip(page + rng.normal(0, noise, page.shape), 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", page, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


def _ruling(page, pitch, colour, horizontal=True, vertical=False, opacity=0.8, thick=2, tilt=0.0):
    """Lines at a distance of `pitch` pixels, one colour, tilted by degrees."""
    height, width = page.shape[:2]
    lines = np.zeros((2 * height, 2 * width), np.uint8)
    for wanted, count in ((horizontal, 2 * height), (vertical, 2 * width)):
        for at in range(pitch, count if wanted else 0, pitch):
            ends = ((0, at), (2 * width, at)) if wanted and count == 2 * height else ((at, 0), (at, 2 * height))
            cv2.line(lines, *ends, 255, thick, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((width, height), tilt, 1)
    turn[:, 2] -= width / 2, height / 2
    lines = cv2.warpAffine(lines, turn, (width, height)).astype(np.float32) / 255 * opacity
    return _lay(page, lines, colour)


def _wood(size, rng, colour=(92, 60, 38)):
    """A table top with rings."""
    x, y = _coordinates(size)
    rings = np.sin(2 * np.pi * (rng.uniform(18, 30) * y + 0.35 * np.sin(rng.uniform(5, 9) * x + rng.uniform(0, 6))))
    return np.array(colour, np.float32) * (1 + 0.18 * rings[..., None])


def _on_desk(page, rng, margin, desk=(92, 60, 38), slant=0.06):
    """A page on a desk: the desk's share of the picture's width, and the shift of the page's corners."""
    height, width = page.shape[:2]
    whole = round(width / (1 - 2 * margin)), round(height / (1 - 2 * margin))
    corners = np.float32([(0, 0), (width, 0), (width, height), (0, height)])
    pushed = corners + rng.uniform(-1, 1, (4, 2)) * min(slant, 0.8 * margin) * width
    pushed += (np.array(whole) - (width, height)) / 2
    view = cv2.getPerspectiveTransform(corners, np.float32(pushed))
    seen = cv2.warpPerspective(np.ones((height, width), np.float32), view, whole)
    fall = np.roll(cv2.GaussianBlur(seen, (0, 0), 9), (8, 6), (0, 1))[..., None]  # the page's own shadow
    table = _wood(whole, rng, desk) * (1 - 0.45 * fall)
    return table * (1 - seen[..., None]) + cv2.warpPerspective(page, view, whole) * seen[..., None]


def _plain(ink, rng, colour=PENCIL, **where):
    return _photo(_lamp(_lay(_sheet(), _place(ink, **where), colour), 0.15), rng)


def _paper(colour, pen=PENCIL):
    return lambda ink, rng: _photo(_lamp(_lay(_sheet(colour=colour), _place(ink), pen), 0.35), rng)


def _ruled(opacity=0.8, vertical=False, colour=(120, 140, 190), pen=PENCIL, most_tilt=2.0, pitch=(34, 52)):
    def kind(ink, rng):
        page = _ruling(
            _sheet(),
            int(rng.integers(*pitch)),
            colour,
            vertical=vertical,
            opacity=opacity,
            tilt=rng.uniform(-1, 1) * most_tilt,
        )
        return _photo(_lamp(_lay(page, _place(ink), pen), 0.3), rng)

    return kind


def _shaded(taken, soft):
    return lambda ink, rng: _photo(_shadow(_lay(_sheet(), _place(ink)), rng, taken, soft), rng)


def _desk(margin, desk=(92, 60, 38), pen=PENCIL, slant=0.06):
    def kind(ink, rng):
        page = _lamp(_lay(_sheet(), _place(ink), pen), 0.25)
        return _photo(_on_desk(page, rng, margin, desk, slant), rng)

    return kind


def _grid_shadow_perspective(ink, rng):
    page = _ruling(_sheet(), 30, (130, 150, 185), vertical=True, opacity=0.6)
    page = _shadow(_lay(page, 0.75 * _place(ink)), rng, 0.35, 0.08)
    return _photo(_on_desk(page, rng, 0.08), rng)


def _dark_screen(ink, rng):
    """A white picture in a dark chat, with lines of light text."""
    page = _sheet((1600, 900), (30, 30, 32))
    for line in range(6):
        words = "a message of some words"[: rng.integers(8, 23)]
        page = _write(page, words, (60, 80 + 130 * line), 0.8, (200, 200, 205))
    side = int(rng.integers(420, 700))
    left, top = int(rng.integers(620, 1560 - side)), int(rng.integers(40, 860 - side))
    picture = _lay(_sheet((side, side), (255, 255, 255)), _place(ink, (side, side), 0.8, (0.5, 0.5)), BLACK)
    page[top : top + side, left : left + side] = picture
    return page.round().astype(np.uint8)


def _black_bars(ink, rng):
    page = _sheet((1080, int(rng.integers(1700, 2400))), (0, 0, 0))
    top = (len(page) - 1080) // 2
    picture = _lay(_sheet((1080, 1080), (255, 255, 255)), _place(ink, (1080, 1080), 0.75, (0.5, 0.5)), BLACK)
    page[top : top + 1080] = picture
    return page.round().astype(np.uint8)


def _app(ink, rng):
    """The window of a drawing program: grey, tools at the left, a white canvas."""
    page = _sheet((1280, 800), (236, 236, 236))
    for k in range(12):
        cv2.rectangle(page, (14, 60 + 44 * k), (44, 90 + 44 * k), (90, 90, 90), 1)
    page = _write(page, "File Edit View Image Help", (10, 24), 0.5, (30, 30, 30))
    page[50:760, 80:1060] = _lay(_sheet((980, 710), (255, 255, 255)), _place(ink, (980, 710), 0.5, (0.5, 0.5)), BLACK)
    return page.round().astype(np.uint8)


def _whiteboard(ink, rng):
    size = (1400, 1000)
    page = _lay(_sheet(size, (232, 236, 238)), _place(ink, size, 0.42, (0.5, 0.5)), BLUE)
    x, y = _coordinates(size)
    page += 60 * np.exp(-(((x - 0.75) / 0.12) ** 2 + ((y - 0.25) / 0.16) ** 2))[..., None]  # a lamp's reflection
    cv2.rectangle(page, (0, 0), (size[0] - 1, size[1] - 1), (120, 124, 128), 50)
    return _photo(_lamp(page, 0.2), rng)


def _chalkboard(ink, rng):
    size = (1400, 1000)
    clouds = cv2.resize(rng.normal(0, 1, (8, 11)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    page = _sheet(size, (38, 62, 54)) + 5 * clouds[..., None]
    grain = 0.75 + 0.25 * cv2.GaussianBlur(rng.normal(0, 2, page.shape[:2]).astype(np.float32), (0, 0), 1)
    page = _lay(page, (_place(ink, size, 0.42, (0.5, 0.5)) * grain).clip(0, 1), (225, 225, 218))
    cv2.rectangle(page, (0, 0), (size[0] - 1, size[1] - 1), (125, 88, 55), 60)
    return _photo(_lamp(page, 0.2), rng)


def _creases(ink, rng):
    page = _lay(_sheet(), _place(ink))
    for horizontal in (True, False):
        at, wide = rng.uniform(0.42, 0.58), rng.uniform(6, 20)
        along = np.arange(PAGE[1] if horizontal else PAGE[0], dtype=np.float32)
        dark = 1 - 0.25 * np.exp(-(((along - at * len(along)) / wide) ** 4))
        page *= dark[:, None, None] if horizontal else dark[None, :, None]
    return _photo(page, rng)


def _night(ink, rng):
    page = _lamp(_lay(_sheet(colour=(110, 92, 70)), _place(ink), (45, 38, 30)), 0.5)
    return _photo(page, rng, noise=9, quality=40)


def _pencil_shading(ink, rng):
    """Grains of graphite over one cheek, denser to the middle."""
    drawn = _place(ink)
    x, y = _coordinates(PAGE)
    at = rng.uniform(0.55, 0.66), rng.uniform(0.45, 0.6)
    dense = 0.7 * np.exp(-(((x - at[0]) / 0.12) ** 2 + ((y - at[1]) / 0.12) ** 2))
    grains = cv2.GaussianBlur((rng.random(drawn.shape) < dense).astype(np.float32), (0, 0), 0.9)
    return _photo(_lay(_sheet(), np.maximum(drawn, 0.8 * grains)), rng, 1)


def _coloured_fill(ink, rng):
    """Skin and hair filled in with coloured pencils."""
    drawn, (x, y) = _place(ink), _coordinates(PAGE)
    uneven = 0.85 + 0.1 * rng.normal(0, 1, drawn.shape).astype(np.float32)
    skin = ((x - 0.5) / 0.25) ** 2 + ((y - 0.48) / 0.24) ** 2 < 1
    hair = (((x - 0.5) / 0.28) ** 2 + ((y - 0.36) / 0.16) ** 2 < 1) & (y < 0.33)
    page = _lay(_sheet(), (skin * uneven).clip(0, 1), (232, 196, 170))
    page = _lay(page, (hair * uneven).clip(0, 1), (240, 205, 90))
    return _photo(_lay(page, drawn, (80, 50, 40)), rng)


def _other_things(ink, rng):
    """A name, a date and holes beside the face."""
    page = _lay(_sheet(), _place(ink, width=0.5))
    page = _write(page, "Ann, 3 May", (500, 1040), 1.4, PENCIL, 2, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX)
    for k in range(24):
        cv2.circle(page, (34, 40 + 48 * k), 12, (60, 60, 60), -1, cv2.LINE_AA)
    return _photo(_lamp(page, 0.2), rng)


def _turned(low, high):
    return lambda ink, rng: _plain(ink, rng, angle=rng.uniform(low, high))


def _tilted(ink, rng):
    return _plain(ink, rng, angle=rng.choice([-1, 1]) * rng.uniform(8, 20))


KINDS = {
    "plain": _plain,
    "grey paper": _paper((150, 150, 152)),
    "kraft paper": _paper((176, 132, 88), BLACK),
    "ruled": _ruled(0.8),
    "ruled, dark": _ruled(1.0, colour=(95, 105, 130)),
    "ruled, blue pen": _ruled(0.8, pen=BLUE),
    "grid": _ruled(0.8, vertical=True, pitch=(26, 40)),
    "grid, tilted": _ruled(0.7, vertical=True, pitch=(26, 40), most_tilt=10),
    "soft shadow": _shaded(0.45, 0.15),
    "shadow": _shaded(0.4, 0.03),
    "hard shadow": _shaded(0.55, 0.006),
    "lamp": lambda ink, rng: _photo(_lamp(_lay(_sheet(), _place(ink)), 0.65), rng),
    "dark desk, 8%": _desk(0.08),
    "dark desk, 20%": _desk(0.2, slant=0.12),
    "dark desk, 30%, bold": _desk(0.3, pen=BLACK, slant=0.12),
    "light desk": _desk(0.15, desk=(190, 178, 160)),
    "grid, shadow, desk": _grid_shadow_perspective,
    "dark screen": _dark_screen,
    "black bars": _black_bars,
    "drawing program": _app,
    "whiteboard": _whiteboard,
    "chalkboard": _chalkboard,
    "creases": _creases,
    "night": _night,
    "pencil shading": _pencil_shading,
    "coloured fill": _coloured_fill,
    "name and holes": _other_things,
    "small in a corner": lambda ink, rng: _plain(ink, rng, width=0.2, at=(0.8, 0.15)),
    "tilted": _tilted,
    "upside down": _turned(176, 184),
    "lying left": _turned(-94, -86),
    "lying right": _turned(86, 94),
    "tall": lambda ink, rng: _plain(ink, rng, width=0.45, stretch=rng.uniform(1.5, 1.9)),
    "wide": lambda ink, rng: _plain(ink, rng, width=0.8, stretch=rng.uniform(0.52, 0.65)),
}
