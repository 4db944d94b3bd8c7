"""Draw the twelve sample sketches of the demo into `sketches/`, stroke by stroke, as a person with a pen would.

A `Pen` has one primitive: a smooth line through a few points that wobbles, drifts, overshoots, and swells and thins
with pressure. A feature (eyes, nose, jaw, ...) is a few strokes; a face is a row of features in the table `FACES`.
Positions use the frame of the training photos: a square from the brows to the chin, (0, 0) top left, inner eye
corners near (.364, .178) and (.619, .173), bottom lip near (.50, .75). Most features are symmetric and give x as the
distance from the middle line. Whole heads use the same frame, only smaller than their sheet, with hair, ears and neck
outside it. Everything is seeded: two runs write identical bytes.

    python datasets/samples/draw.py --out /tmp/sketches
"""

import argparse
from pathlib import Path

from features import (
    CIRCLE,
    ROUND_RIM,
    SQUARE_RIM,
    beard,
    brows,
    closed_mouth,
    eyes,
    folds,
    glasses,
    jaw,
    mirrored,
    moustache,
    nose,
    open_mouth,
    shut_eyes,
    strands,
    stroke,
)
from pen import LEFT, RIGHT, Pen

from contextual_gan.files.images import write_png

# fmt: off  (a table: one entry per face)
FACES = {  # name of the file: keywords of its Pen, then its features in drawing order
    "01_smile": (
        {},
        jaw("round"),
        brows(arch=0.04, weight=1.2),
        eyes(lashes=2),
        nose("button"),
        open_mouth(),
        folds(),
        strands([(0.2, -0.05), (0.38, 0.0), (0.46, 0.16)], [(0.4, -0.05), (0.47, 0.02), (0.51, 0.12)], 5),
    ),
    "02_glasses": (
        {"width": 7.5},
        jaw("long"),
        brows(y=0.05, arch=0.015),
        eyes(crease=False, size=0.85),
        glasses(SQUARE_RIM),
        nose("profile"),
        closed_mouth(smile=0.015, full=0),
        folds(0.5, 0.5),
        stroke([(0.44, 0.86), (0.49, 0.85), (0.55, 0.86)], 0.6),
        strands([(0.42, -0.04), (0.43, 0.06), (0.43, 0.17)], [(0.5, -0.02), (0.48, 0.1), (0.46, 0.26)], 5),
    ),
    "03_laugh": (
        {"width": 8.5},
        jaw("round"),
        brows(y=0.06, arch=0.045),
        shut_eyes(),
        nose("button", size=1.22),
        open_mouth(y=0.65, width=0.235, drop=0.17, teeth=4, laugh=True),
        folds(0.9),
        strands([(0.3, 0.36), (0.26, 0.42)], [(0.4, 0.37), (0.36, 0.43)], 4, 0.5, 0.006),
    ),
    "04_beard": (
        {"size": (512, 512), "width": 14},
        jaw("square", 0.7),
        brows(weight=1.6, arch=0.012, tilt=-0.08),
        eyes(tall=0.85),
        nose("long"),
        moustache(),
        closed_mouth(smile=0.01, y=0.705, width=0.17, full=0),
        beard(),
        strands([(0.4, -0.04), (0.43, 0.05), (0.43, 0.2)], [(0.49, 0.0), (0.48, 0.1), (0.46, 0.25)], 5),
        strands([(0.45, 0.22), (0.44, 0.34)], [(0.43, 0.45), (0.4, 0.6)], 7, 0.5),
    ),
    "05_grandfather": (
        {"size": (300, 340), "width": 3.4, "passes": 2, "shake": 1.2, "paper": "grey"},
        jaw("long", 1.1),
        strands([(0.11, 0.1), (0.15, 0.05)], [(0.33, 0.07), (0.4, 0.065)], 9, 1.4),  # bushy brows
        eyes(size=0.92, tall=0.85, tilt=0.1),
        nose("button", size=1.25),
        closed_mouth(full=0.6),
        folds(1.1, 1.2),
        mirrored([(0.15, 0.25), (0.23, 0.275), (0.32, 0.245)], 0.8),  # bags under the eyes, crow's feet, cheeks, frown
        strands([(0.355, 0.17), (0.42, 0.12)], [(0.355, 0.2), (0.415, 0.25)], 3, 0.7, 0.004),
        mirrored([(0.33, 0.45), (0.3, 0.56), (0.31, 0.68)], 0.8),
        strands([(0.4, 0.3), (0.36, 0.42)], [(0.38, 0.55), (0.33, 0.68)], 6, 0.6),
        mirrored([(0.022, 0.02), (0.018, 0.09)], 0.8),
        stroke([(0.42, 0.85), (0.5, 0.835), (0.58, 0.85)], 0.8),
        strands([(0.41, -0.05), (0.45, 0.05), (0.43, 0.15)], [(0.47, -0.02), (0.51, 0.1), (0.46, 0.22)], 5, 0.7),
    ),
    "06_long_hair": (
        {"size": (512, 512), "width": 3.8, "frame": (131, 178, 250)},
        jaw("narrow", start=1),
        brows(y=0.06, arch=0.045, weight=1.2, strokes=3),
        eyes(lashes=3),
        nose("button"),
        closed_mouth(smile=0.045),
        mirrored([(0.16, 0.9), (0.17, 1.05), (0.22, 1.18), (0.5, 1.26), (0.7, 1.31)]),  # neck and shoulders
        strands(
            [(0.04, -0.5), (0.27, -0.36), (0.45, -0.06), (0.52, 0.3), (0.49, 0.8), (0.58, 1.15)],
            [(-0.03, -0.64), (0.52, -0.58), (0.7, -0.1), (0.74, 0.4), (0.72, 0.9), (0.82, 1.2)],
            14,
            0.85,
            0.022,
        ),
    ),
    "07_sad": (
        {"width": 7},
        jaw("narrow"),
        brows(arch=0.02, tilt=0.3, weight=1.1),
        eyes(tilt=0.12, gaze=-0.01, tall=1.1),
        nose("profile", side=-1),
        closed_mouth(smile=-0.045, y=0.67, width=0.17, full=1.1),
        strands([(0.1, -0.05), (0.3, -0.01), (0.45, 0.14)], [(0.4, -0.05), (0.46, 0.1), (0.49, 0.3)], 5),
        strands([(0.47, 0.3), (0.44, 0.6), (0.4, 1.03)], [(0.5, 0.3), (0.5, 0.7), (0.49, 1.03)], 3),
    ),
    "08_professor": (
        {"size": (512, 512), "width": 3.4, "frame": (128, 188, 252), "passes": 2},
        jaw("square", start=1),
        brows(y=0.02, weight=1.6),
        eyes(size=0.85, crease=False),
        glasses(ROUND_RIM),
        nose("profile"),
        moustache(6, 1.0),
        closed_mouth(smile=0.02, y=0.71, width=0.17, full=0),
        mirrored([(0.47, 0.12), (0.55, 0.05), (0.6, 0.15), (0.56, 0.33), (0.5, 0.42), (0.46, 0.38)]),  # ears
        mirrored([(0.5, 0.15), (0.55, 0.16), (0.53, 0.28)], 0.7),
        mirrored([(0.33, 0.88), (0.34, 1.05), (0.4, 1.13), (0.75, 1.25)]),  # neck and bow tie
        mirrored([(0.02, 1.2), (0.15, 1.12), (0.3, 1.1), (0.22, 1.26), (0.04, 1.22)]),
        stroke([(0.03, 0.1), (0.02, -0.2), (0.16, -0.48), (0.45, -0.62), (0.8, -0.5), (0.97, -0.2), (0.97, 0.1)]),
        strands([(0.48, -0.1), (0.6, -0.1), (0.63, 0.05)], [(0.47, 0.08), (0.56, 0.08), (0.6, 0.15)], 6),
    ),
    "09_chalk_surprise": (
        {"paper": "black", "width": 7.5},
        jaw("round"),
        brows(y=0.04, arch=0.04, weight=1.0, strokes=1),
        eyes(size=1.05, tall=1.25, crease=False),
        nose("button", size=0.9),
        stroke(CIRCLE * (0.085, 0.095) + (0.495, 0.685)),
        stroke([(0.42, 0.815), (0.49, 0.835), (0.57, 0.815)], 0.8),
        mirrored([(0.0, 0.565), (0.04, 0.55), (0.12, 0.6)], 0.6),
        mirrored([(0.16, 0.51), (0.19, 0.57)], 0.5),
        strands([(0.24, -0.05), (0.4, 0.05), (0.48, 0.3)], [(0.49, -0.05), (0.49, 0.1), (0.5, 0.5)], 4),
    ),
    "10_wink": (
        {},
        jaw("narrow"),
        brows(arch=0.05, y=0.06, sides=LEFT),
        brows(arch=0.02, y=0.085, sides=RIGHT),
        eyes(lashes=3, sides=LEFT),
        shut_eyes(bow=-1, lashes=3, sides=RIGHT),
        nose("long"),
        closed_mouth(smile=0.05, tilt=-0.08),
        folds(),
        strands([(-0.3, -0.06), (0.1, 0.02), (0.44, 0.1)], [(0.2, -0.06), (0.42, 0.0), (0.5, 0.12)], 6, sides=RIGHT),
        strands([(0.33, -0.06), (0.42, 0.04), (0.46, 0.2)], [(0.46, -0.06), (0.49, 0.1), (0.5, 0.35)], 4, sides=LEFT),
    ),
    "11_bad_crooked": (
        {"shake": 2.4},
        jaw("square"),
        brows(y=0.03, tilt=0.2, strokes=1, sides=LEFT),
        brows(y=0.1, tilt=-0.25, strokes=1, sides=RIGHT),
        nose("profile", x=0.54, y=0.5, size=1.15),
        eyes(y=0.15, size=1.25, gaze=0.02, crease=False, sides=LEFT),
        eyes(y=0.23, size=0.8, gaze=-0.02, crease=False, sides=RIGHT),
        open_mouth(x=0.46, y=0.7, teeth=6, tilt=0.16),
    ),
    "12_bad_child": (
        {"shake": 2, "width": 9},
        stroke(CIRCLE * (0.47, 0.55) + (0.5, 0.42)),
        stroke(CIRCLE * (0.1, 0.075) + (0.27, 0.19), 0.8),
        stroke(CIRCLE * (0.1, 0.07) + (0.7, 0.17), 0.8),
        mirrored([(0.23, 0.16), (0.25, 0.19), (0.21, 0.2), (0.22, 0.16), (0.25, 0.18)]),
        stroke([(0.47, 0.2), (0.42, 0.48), (0.56, 0.5)]),
        brows(y=0.06, arch=0.01, tilt=-0.1, strokes=1, weight=1),
        stroke([(0.24, 0.62), (0.35, 0.75), (0.52, 0.78), (0.7, 0.72), (0.77, 0.6)], 1.2),
        mirrored([(0.31, 0.45), (0.4, 0.42), (0.32, 0.5), (0.41, 0.46), (0.34, 0.54)], 0.5),  # rosy cheeks
        strands([(0.44, 0.0), (0.53, 0.03)], [(0.45, 0.5), (0.55, 0.53)], 6, 0.8, 0.02),
    ),
}
# fmt: on


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).parent / "sketches"
    parser.add_argument("--out", type=Path, default=beside, help="folder to write into (default: sketches/ here)")
    out = parser.parse_args().out
    for seed, (name, (keywords, *features)) in enumerate(FACES.items(), 1):
        pen = Pen(**{"seed": seed} | keywords)
        for draw in features:
            draw(pen)
        write_png(out / f"{name}.png", pen.page())
    print(f"{len(FACES)} sketches in {out}")


if __name__ == "__main__":
    main()
