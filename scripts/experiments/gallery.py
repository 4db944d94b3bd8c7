"""Draw completions of the same drawings by several searches, and by pix2pix, beside each other: one picture of all."""

from pathlib import Path

from installed import command, flags

EXAMPLES = """\
  python scripts/complete.py drawings/ --out runs/gallery/default
  python scripts/complete.py drawings/ --preset coauthor --out runs/gallery/coauthor
  python scripts/experiments/gallery.py runs/gallery/default runs/gallery/coauthor --out runs/gallery.png

Columns: the drawing as it was read, the photo in each run (with the name of its folder as title), pix2pix.
It takes 5 s.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders of complete.py, of the same drawings")
    parser.add_argument("--out", required=True, metavar="FILE", help="PNG to write")
    blocks = "blocks of rows beside each other (default: %(default)s)"
    parser.add_argument("--blocks", type=command.positive, default=3, metavar="B", help=blocks)
    flags.add_pix2pix_argument(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    return parser.parse_args()


def stems(run):
    """The names of the completed drawings of a run folder, without their endings. Raises ValueError if it has none."""
    ending = "_input.png"
    found = [path.relative_to(run).as_posix().removesuffix(ending) for path in Path(run).rglob(f"*{ending}")]
    if not found:
        raise ValueError(f"{run} has no completed drawings: make them with complete.py")
    return sorted(found, key=lambda stem: Path(stem).name)


def main(args):
    import numpy as np

    from contextual_gan.files import images

    command.check_file(args.out, args.overwrite)
    with command.mistakes():
        names = stems(args.runs[0])
        for run in args.runs[1:]:
            if differing := set(names) ^ set(stems(run)):
                raise ValueError(f"{args.runs[0]} and {run} are of different drawings, such as {min(differing)}")
        drawings = np.stack([images.read_image(Path(args.runs[0]) / f"{name}_input.png") for name in names])
        photos = [[images.read_image(Path(run) / f"{name}_photo.png") for name in names] for run in args.runs]
    command.import_tensorflow()
    from contextual_gan.completion import figures
    from contextual_gan.models.pix2pix import draw_half
    from contextual_gan.models.weights import load_pix2pix

    with command.mistakes():
        network = load_pix2pix(args.pix2pix, "photo")
    columns = [drawings, *photos, draw_half(network, drawings, seed=0)]
    rows = [[images.enlarge(cell, 2) for cell in row] for row in zip(*columns, strict=True)]
    titles = ["drawing", *(Path(run).name for run in args.runs), "pix2pix"]
    labels = [Path(name).name for name in names]
    images.write_png(args.out, figures.in_blocks(rows, titles, labels, args.blocks))
    print(args.out)
    return 0


if __name__ == "__main__":
    command.run(main, parse())
