"""Compare sketches with the results of pix2pix and the contextual GAN in one figure."""

import json
from pathlib import Path

from installed import command, flags

EXAMPLES = """\
  python scripts/compare.py datasets/samples/sketches --out runs/compare
  python scripts/compare.py my_sketches/ --out runs/compare --samples 5 --pix2pix runs/pix2pix
  python scripts/compare.py photos/ --out runs/drawn --direction sketch

DIR becomes a run folder of complete.py, plus compare.png (and compare_2.png, ... if there are many inputs) with rows of
the input, pix2pix, and K different results of the contextual GAN.
You can interrupt the command and run it again.
Exit status: 0 done, 1 some inputs failed (listed in results.json), 2 usage error.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    flags.add_completion_arguments(parser, samples=3)
    flags.add_pix2pix_argument(parser)
    flags.add_search_arguments(parser)
    return parser.parse_args()


def main(args):
    from contextual_gan.models.weights import load_pix2pix

    with command.mistakes():
        command.import_tensorflow()
        network = load_pix2pix(args.pix2pix, args.direction)  # before the search, which takes longer
        task, weights = flags.completion_task(args)
    from contextual_gan.completion import figures
    from contextual_gan.completion.run import complete_inputs

    options = {"batch_size": args.batch_size, "overwrite": args.overwrite}
    figure = "compare", figures.ROWS_PER_FIGURE
    status = complete_inputs(args.input, args.out, task, weights, figure=figure, **options)
    draw(args, network)
    return status


def draw(args, network):
    """Draw the figure from the run folder."""
    import numpy as np

    from contextual_gan.completion import figures
    from contextual_gan.files import images
    from contextual_gan.models.pix2pix import draw_half

    out = Path(args.out)
    record = json.loads((out / "results.json").read_text(encoding="utf-8"))
    if not (results := record["results"]):
        return
    stems = [entry["stem"] for entry in results]
    known = np.stack([images.read_image(out / f"{stem}_input.png") for stem in stems])
    drawn = draw_half(network, known, seed=args.seed)
    ends = ["", *(f"_{k}" for k in range(2, args.samples + 1))]
    rows = [
        [image, theirs, *(images.read_image(out / f"{stem}_{args.direction}{end}.png") for end in ends)]
        for stem, image, theirs in zip(stems, known, drawn, strict=True)
    ]
    titles = ["input", "pix2pix", "Contextual GAN", *[""] * (args.samples - 1)]
    names = figures.draw_rows(out, "compare", rows, titles, stems)
    for name in {*record["figures"]} - {*names}:  # pages of an earlier run with more results
        (out / name).unlink(missing_ok=True)
    content = json.dumps(record | {"figures": names}, indent=1, allow_nan=False) + "\n"
    images.replace_file(out / "results.json", content.encode())
    print(f"comparison with pix2pix: {out / names[0]}")


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)
