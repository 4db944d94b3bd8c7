"""Draw the sample sketches, stroke by stroke, as a person with a pen would: 12 into `sketches/`, 12 into `more/`.

A `Pen` has one primitive: a smooth line through a few points that wobbles, drifts, overshoots, and swells and thins
with pressure. A feature (eyes, nose, jaw, ...) is a few strokes; a face is a row of features in a table of `faces.py`
or `more_faces.py`. Positions use the frame of the training photos: a square from the brows to the chin, (0, 0) top
left, inner eye corners near (.364, .178) and (.619, .173), bottom lip near (.50, .75). Most features are symmetric and
give x as the distance from the middle line. Whole heads use the same frame, only smaller than their sheet, with hair,
ears and neck outside it. Everything is seeded: two runs write identical bytes.

    python datasets/samples/draw.py --out /tmp/samples
"""

import argparse
from pathlib import Path

from faces import FACES
from more_faces import MORE_FACES
from pen import Pen

from contextual_gan.files.images import write_png

FOLDERS = {"sketches": FACES, "more": MORE_FACES}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here, help="write into OUT/sketches and OUT/more (default: here)")
    out = parser.parse_args().out
    for folder, faces in FOLDERS.items():
        for name, (keywords, *features) in faces.items():
            pen = Pen(**{"seed": int(name[:2])} | keywords)
            for draw in features:
                draw(pen)
            write_png(out / folder / f"{name}.png", pen.page())
        print(f"{len(faces)} sketches in {out / folder}")


if __name__ == "__main__":
    main()
