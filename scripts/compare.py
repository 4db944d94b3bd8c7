"""Sketches beside what pix2pix and the contextual GAN make of them, in one figure."""

import json
import subprocess
import sys
from pathlib import Path

try:
    from contextual_gan import command
except ModuleNotFoundError:
    print("contextual_gan is not installed: run `pip install -e .` in the repository, or `make demo`", file=sys.stderr)
    sys.exit(2)

EXAMPLES = """\
  python scripts/compare.py datasets/samples/sketches --out runs/compare
  python scripts/compare.py my_sketches/ --out runs/compare --samples 5 --pix2pix runs/pix2pix
  python scripts/compare.py photos/ --out runs/drawn --direction sketch

DIR becomes a run folder of complete.py, to which all other flags go, with compare.png in addition (and compare_2.png,
... of many inputs): rows of the input, pix2pix, and K different results of the contextual GAN.
It can be interrupted and run again. Exit status: 0 done, 1 some inputs failed (listed in results.json), 2 wrong usage.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("input", nargs="+", help="image files, and folders of them (recursive)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--samples", type=command.positive, default=3, metavar="K", help="results (default: 3)")
    parser.add_argument("--direction", choices=("photo", "sketch"), default="photo", help="what to make: %(default)s")
    parser.add_argument("--seed", type=command.not_negative, default=0, help="of z and of dropout (default: 0)")
    pix2pix = "published, a .safetensors file or a run (default: celeba)"
    parser.add_argument("--pix2pix", default="celeba", metavar="WEIGHTS", help=pix2pix)
    return parser.parse_known_args()


def main(args, others):
    from contextual_gan import checkpoints

    with command.mistakes():
        if not (path := checkpoints.pix2pix_file(args.pix2pix, args.direction)).is_file():
            raise ValueError(
                f"there are no pix2pix weights at {path}: train.py --config configs/pix2pix.yaml makes some"
            )
    own = {name: getattr(args, name) for name in ("out", "samples", "direction", "seed")}
    flags = [text for name, value in own.items() for text in (f"--{name}", str(value))]
    script = Path(__file__).with_name("complete.py")
    status = subprocess.run([sys.executable, script, *args.input, *flags, *others], check=False).returncode
    if status in (0, 1) and (Path(args.out) / "results.json").is_file():
        draw(args)
    return status


def draw(args):
    """Draw the figure of what is in the run folder."""
    command.import_tensorflow()
    import numpy as np

    from contextual_gan import checkpoints, figures, images, pix2pix_training

    out = Path(args.out)
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))["results"]
    if not results:
        return
    with command.mistakes():
        network = checkpoints.load_pix2pix(args.pix2pix, args.direction)
    stems = [entry["stem"] for entry in results]
    known = np.stack([images.read_image(out / f"{stem}_input.png") for stem in stems])
    drawn = pix2pix_training.draw(network, known, seed=args.seed)
    ends = ["", *(f"_{k}" for k in range(2, args.samples + 1))]
    rows = [
        [image, theirs, *(images.read_image(out / f"{stem}_{args.direction}{end}.png") for end in ends)]
        for stem, image, theirs in zip(stems, known, drawn, strict=True)
    ]
    titles = ["input", "pix2pix", "Contextual GAN", *[""] * (args.samples - 1)]
    print(f"beside pix2pix: {figures.draw_rows(out / 'compare.png', rows, titles, stems)}")


if __name__ == "__main__":
    arguments, unknown = parse()
    command.run(lambda args: main(args, unknown), arguments)
