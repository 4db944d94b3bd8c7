"""The features of a face, each a few strokes of a `Pen`, which `draw.py` puts together."""

import numpy as np
from pen import BOTH, MIDDLE, RIGHT, Pen, place, spline

JAWS = {  # temple to chin
    "round": [(0.45, -0.03), (0.475, 0.2), (0.47, 0.45), (0.41, 0.7), (0.28, 0.88), (0.12, 0.965), (-0.02, 0.975)],
    "long": [(0.41, -0.03), (0.425, 0.25), (0.405, 0.5), (0.355, 0.73), (0.25, 0.91), (0.1, 0.985), (-0.02, 0.985)],
    "square": [(0.45, -0.03), (0.455, 0.25), (0.445, 0.5), (0.42, 0.72), (0.31, 0.87), (0.17, 0.96), (-0.02, 0.965)],
    "narrow": [(0.45, -0.02), (0.46, 0.18), (0.43, 0.42), (0.335, 0.68), (0.19, 0.87), (0.07, 0.965), (-0.02, 0.97)],
}
CIRCLE = np.array([(np.cos(a), np.sin(a)) for a in np.linspace(-2.2, 4.4, 11)])
ROUND_RIM = CIRCLE * (0.145, 0.135)
SQUARE_RIM = [
    (-0.14, -0.06),
    (-0.13, -0.085),
    (0.0, -0.09),
    (0.15, -0.085),
    (0.165, -0.06),
    (0.15, 0.07),
    (0.12, 0.1),
    (-0.08, 0.105),
    (-0.12, 0.08),
    (-0.14, -0.02),
    (-0.135, -0.08),
]
BRIDGES = {  # the line from the brow down, around the tip of the nose
    "profile": [(-0.055, -0.33), (-0.05, -0.2), (-0.075, -0.09), (-0.1, -0.015), (-0.08, 0.025), (-0.04, 0.032)],
    "button": [(0.05, -0.3), (0.04, -0.22), (0.045, -0.15)],
    "long": [(-0.075, -0.36), (-0.055, -0.25), (-0.06, -0.1), (-0.1, -0.02), (-0.085, 0.03), (-0.04, 0.02)],
}


def feature(draw):
    """Let draw(pen, ...) be called without the pen: it then returns a function of the pen, as in FACES."""
    return lambda *args, **keywords: lambda pen: draw(pen, *args, **keywords)


stroke, mirrored, strands = feature(Pen.stroke), feature(Pen.mirrored), feature(Pen.strands)
smudge = feature(Pen.smudge)


@feature
def jaw(pen, kind, weight=1.0, start=0):
    """Each cheek in two strokes: the pen is set down again below it, never quite at the same point."""
    for part in (slice(start, 5), slice(4, None)):
        pen.mirrored(JAWS[kind][part], weight)


@feature
def nose(pen, kind, x=0.492, y=0.475, size=1.0, side=1):
    wings = RIGHT if BRIDGES[kind][0][0] < 0 else BOTH  # a bridge on the left runs on into its wing
    pen.stroke(place(BRIDGES[kind], x, y, side, size), 0.9 if wings == RIGHT else 0.5)
    for wing in wings:
        outline = [(0.083, -0.045), (0.105, 0.0), (0.08, 0.03), (0.05, 0.02)]
        pen.stroke(place(outline, x, y, side * wing, size), 0.75)
    pen.stroke(place([(-0.045, 0.022), (0.0, 0.047), (0.047, 0.022)], x, y, side, size), 0.9)


@feature
def brows(pen, y=0.07, weight=1.4, arch=0.03, tilt=0.0, strokes=2, sides=BOTH):
    for side in np.repeat(sides, strokes):
        line = [(-0.125, 0.015), (-0.04, -arch * 0.6), (0.05, -arch), (0.14, 0.012)]
        pen.stroke(place(line, MIDDLE + 0.235 * side, y, side, 1, tilt), weight)


@feature
def eyes(pen, y=0.175, size=1.0, tall=1.0, gaze=0.0, lashes=0, crease=True, tilt=0.0, iris=1.0, sides=BOTH):
    """Open eyes: heavy upper lid, an iris scribbled dark around its glint, light lower lid."""
    for side in sides:
        x, high = MIDDLE + 0.225 * side + pen.rng.normal(0, 0.005), y + pen.rng.normal(0, 0.006)

        def line(points, weight, x=x, high=high, side=side, **how):
            pen.stroke(place(np.array(points) * (1, tall), x, high, side, size, tilt), weight, **how)

        turns = np.linspace(0, 1, 14)
        scribble = iris * (0.036 - 0.03 * turns)[:, None] * np.stack([np.cos(15 * turns), np.sin(15 * turns) / tall], 1)
        line(place(scribble, gaze * side, 0.002), 0.7)
        line(place([(-0.008, -0.012), (-0.003, -0.014)], gaze * side, side=side), 0.45, ink=0)
        line([(-0.105, 0.022), (-0.06, -0.02), (0.0, -0.043), (0.06, -0.03), (0.118, 0.012)], 1.05)
        line([(-0.075, 0.03), (-0.01, 0.043), (0.05, 0.036), (0.095, 0.015)], 0.55)
        if crease:
            line([(-0.07, -0.055), (0.0, -0.078), (0.08, -0.055)], 0.4)
        for i in range(lashes):
            line([(0.07 + 0.02 * i, -0.018 + 0.012 * i), (0.1 + 0.024 * i, -0.045 + 0.014 * i)], 0.55)


@feature
def comic_eyes(pen, y=0.2):
    """Large oval irises with two glints below a heavy lid."""
    for side in BOTH:

        def line(points, weight, side=side, **how):
            pen.stroke(place(points, MIDDLE + 0.225 * side, y, side), weight, **how)

        line([(-0.125, 0.02), (-0.09, -0.07), (0.0, -0.115), (0.09, -0.085), (0.15, 0.03)], 1.9)
        line(CIRCLE * (0.068, 0.1) + (0.005, 0.005), 0.6, fill=True)
        for spot, size in (((-0.022, -0.045), (0.022, 0.026)), ((0.03, 0.045), (0.01, 0.014))):
            line(CIRCLE * size + np.array(spot) * (side, 1), 0.4, fill=True, ink=0)
        line([(-0.06, 0.11), (0.0, 0.122), (0.08, 0.1)], 0.7)
        line([(0.14, 0.0), (0.175, -0.03)], 0.7)


@feature
def shut_eyes(pen, bow=1.0, lashes=0, sides=BOTH):
    """Closed eyes; bow 1 arches up (laughing), -1 hangs down (a wink)."""
    lid = np.array([(0.12, 0.025), (0.175, -0.018), (0.24, -0.028), (0.295, -0.008), (0.34, 0.03)]) * (1, bow)
    pen.mirrored(place(lid, 0, 0.175), 1.15, sides)
    pen.mirrored([(0.165, 0.225), (0.235, 0.237), (0.295, 0.225)], 0.5, sides)
    for i in range(lashes):
        pen.mirrored([(0.26 + 0.03 * i, 0.203 - 0.01 * i), (0.285 + 0.042 * i, 0.235 - 0.01 * i)], 0.5, sides)


@feature
def closed_mouth(pen, smile=0.03, x=0.495, y=0.69, width=0.2, full=1.0, tilt=0.0):
    """Lips shut; smile > 0 lifts the corners, < 0 lets them hang; full scales the lips, 0 leaves only a line."""

    def line(points, weight):
        pen.stroke(place(points, x, y, 1, width / 0.2, tilt), weight)

    line([(-0.2, -smile), (-0.11, 0.004), (-0.04, 0.008), (0, 0.016), (0.05, 0.006), (0.12, 0.004), (0.2, -smile)], 1.2)
    for s in BOTH:
        line([(s * 0.205, -smile - 0.018), (s * 0.222, -smile + 0.02)], 0.6)
        if full:
            line([(s * 0.155, -0.02 - smile * 0.5), (s * 0.06, -0.058 * full), (-s * 0.004, -0.04 * full)], 0.6)
    line([(-0.115, 0.045), (-0.05, 0.06 + 0.01 * full), (0.03, 0.062 + 0.01 * full), (0.11, 0.047)], 0.8)


@feature
def open_mouth(pen, x=0.495, y=0.665, width=0.215, drop=0.09, teeth=5, laugh=False, tilt=0.0):
    """A smile that shows teeth; `laugh` adds a dark throat below them."""

    def line(points, weight, **how):
        pen.stroke(place(points, x, y, 1, width / 0.215, tilt), weight, **how)

    top = [(-0.215, -0.05), (-0.12, -0.012), (0.0, 0.0), (0.12, -0.014), (0.215, -0.055)]
    low = [(0.2, -0.04), (0.13, drop * 0.55), (0.0, drop), (-0.13, drop * 0.58), (-0.2, -0.035)]
    if laugh:
        bite = [(0.11, 0.035), (0.0, 0.05), (-0.11, 0.037)]
        tongue = [(-0.08, 0.86), (-0.04, 0.7), (0.0, 0.76), (0.05, 0.7), (0.09, 0.84)] * np.array((1, drop))
        line([*top, *low], 0.5, fill=True)
        line([(-0.15, -0.018), (0.0, 0.018), (0.15, -0.02), *bite], 0.2, fill=True, ink=0)
        line(tongue, 0.35, ink=0)
    line(top, 1.2)
    line(low, 1.0)
    for t in np.linspace(-0.12, 0.12, teeth):
        line([(t, -0.002), (t * 0.97, 0.042 if laugh else 0.03 + drop * 0.35)], 0.3)
    for s in BOTH:
        line([(s * 0.15, -0.058), (s * 0.06, -0.068), (-s * 0.004, -0.048)], 0.5)
        line([(s * 0.225, -0.085), (s * 0.238, -0.035)], 0.7)
    line([(-0.09, drop + 0.02), (0.0, drop + 0.045), (0.09, drop + 0.02)], 0.8)


@feature
def folds(pen, weight=0.6, length=1.0):
    """The lines from the wings of the nose around the mouth."""
    pen.mirrored([(0.155, 0.5), (0.21, 0.55), (0.25, 0.61), (0.26, 0.62 + 0.07 * length)], weight)


@feature
def glasses(pen, rim, weight=0.85):
    """Two rims that do not quite close, a bridge and the arms."""
    pen.mirrored(place(rim, 0.23, 0.19), weight)
    pen.mirrored([(0.385, 0.15), (0.43, 0.135), (0.49, 0.12)], weight)
    pen.stroke([(0.41, 0.16), (0.46, 0.135), (0.53, 0.135), (0.58, 0.16)], weight)


@feature
def moustache(pen, count=6, weight=0.8):
    pen.strands(
        [(0.0, 0.56), (0.08, 0.57), (0.17, 0.605), (0.23, 0.665)],
        [(0.015, 0.61), (0.07, 0.627), (0.13, 0.645), (0.19, 0.67)],
        count,
        weight,
        0.006,
    )


@feature
def beard(pen, count=110, weight=0.5):
    """Flicks that grow down and out, between the mouth and the jaw."""
    for a, r in zip(np.linspace(-0.35, np.pi + 0.35, count), pen.rng.uniform(0.66, 0.98, count), strict=True):
        root = np.array([np.cos(a) * 0.42 * r, 0.6 + np.sin(a) * 0.36 * r])
        grow = np.array([np.cos(a) * 0.025, 0.065]) + pen.rng.normal(0, 0.008, 2)
        pen.mirrored([root, root + grow * 0.6 + pen.rng.normal(0, 0.004, 2), root + grow], weight, RIGHT)


@feature
def curls(pen, path, count, size=0.08, weight=0.6, sides=BOTH):
    """Loops along a path, as on a head of curly hair."""
    for centre in spline(np.array(path), count):
        for side in sides:
            loop = CIRCLE * size * pen.rng.uniform(0.7, 1.2, 2) + centre + pen.rng.normal(0, size * 0.2, 2)
            pen.stroke(place(loop, side=side), weight)


@feature
def freckles(pen, count=9, weight=0.7):
    """Dots on the cheeks."""
    for x, y in np.stack([pen.rng.uniform(0.14, 0.33, count), pen.rng.uniform(0.36, 0.5, count)], 1):
        pen.mirrored([(x, y), (x + 0.008, y + 0.004)], weight)
