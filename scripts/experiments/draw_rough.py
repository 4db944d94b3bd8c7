"""Draw sketches of generated faces at several roughnesses: results/rough.png. No real person is shown."""

from draw_styles import generated_faces
from installed import command

EXAMPLES = """\
  python scripts/experiments/draw_rough.py                       10 s on 2 cores
  python scripts/experiments/draw_rough.py --out /tmp/rough.png
"""
LEVELS = (0, 0.25, 0.5, 0.75, 1)
FACTOR = 2  # enlargement


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--out", default="results/rough.png", metavar="FILE", help="PNG to write (%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    return parser.parse_args()


def main(args):
    import numpy as np

    command.check_file(args.out, args.overwrite or args.out == "results/rough.png")  # the figure of this command
    photos = generated_faces()
    from contextual_gan.files.images import enlarge, grid, write_png
    from contextual_gan.preparation.rough import rough
    from contextual_gan.preparation.sketches import xdog

    sketches = np.stack([xdog(photo) for photo in photos])
    columns = [photos, *(rough(sketches, level) for level in LEVELS)]
    rows = [[enlarge(cell, FACTOR) for cell in row] for row in zip(*columns, strict=True)]
    write_png(args.out, grid(rows, titles=["photo", "sketch", *(f"{level:g}" for level in LEVELS[1:])]))
    print(args.out)
    return 0


if __name__ == "__main__":
    command.run(main, parse())
