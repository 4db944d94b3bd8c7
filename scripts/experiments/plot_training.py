"""Plot the losses of a training run, and show the images of the same z over the course of training."""

import io
from pathlib import Path

from installed import command

EXAMPLES = """\
  python scripts/experiments/plot_training.py runs/celeba --out results/celeba
  python scripts/experiments/plot_training.py results/celeba_stats.jsonl --out results/celeba

For a run folder, it writes OUT_stats.jsonl (a copy), OUT_losses.png, and OUT_samples.png: generated joint images,
one row per step, one z per column. For a stats.jsonl alone, only the losses. All pictures are generated.
"""
PLOTS = (
    ("losses", ("d_loss", "d_loss_real", "d_loss_fake", "g_loss", "g_loss_pairs")),
    ("probabilities", ("D(x)", "D(G(z))", "D(G(x))", "P(x)", "P(G(z))")),
    ("own pairs", ("own_pairs_g", "own_pairs_average")),  # of runs that log them
)
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")
GAP = 6  # between the images of samples/
SMOOTHED = 25  # lines of stats.jsonl in the moving median


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("run", metavar="RUN", help="run folder, or a stats.jsonl")
    parser.add_argument("--out", required=True, metavar="OUT", help="start of the names of the files")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.add_argument("--rows", type=command.positive, default=5, help="number of steps shown (default: %(default)s)")
    parser.add_argument("--columns", type=command.positive, default=6, help="number of z shown (default: %(default)s)")
    return parser.parse_args()


def main(args):
    run = Path(args.run)
    path = run / "stats.jsonl" if run.is_dir() else run
    if not path.is_file():
        raise command.UserError(f"no such file: {path}; give a run folder of train.py or its stats.jsonl")
    for end in ("losses.png", "stats.jsonl", "samples.png")[: 3 if run.is_dir() else 1]:
        command.check_file(f"{args.out}_{end}", args.overwrite)
    from contextual_gan.files.checkpoints import read_stats

    try:
        stats = read_stats(path)
        images = [line["images"] for line in stats]
    except (ValueError, TypeError, KeyError) as error:
        raise command.UserError(f"{path} is not a stats.jsonl of a training run") from error
    if not stats:
        raise command.UserError(f"{path} has no lines yet, or is not a stats.jsonl of a training run")
    from contextual_gan.files.images import encode_png, replace_file

    written = {}
    if run.is_dir():
        with command.mistakes():
            samples = draw_samples(run / "samples", args.rows, args.columns, images[0] // stats[0]["step"])
        written = {"stats.jsonl": path.read_bytes()} | ({} if samples is None else {"samples.png": encode_png(samples)})
    for name, content in {"losses.png": plot(stats, images), **written}.items():  # only when all are ready
        replace_file(f"{args.out}_{name}", content)
        print(f"wrote {args.out}_{name}")
    return 0


def plot(stats, images):
    """Losses and probabilities over the number of images seen, every line and a moving median -> bytes of a PNG."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise command.UserError("plots need matplotlib: pip install -e '.[plots]'") from error
    import numpy as np

    known = {name for line in stats for name in line}
    plots = [(title, [name for name in names if name in known]) for title, names in PLOTS]
    if "d_loss_real" in known:
        plots[0][1].remove("d_loss")  # their sum
    plots = [(title, names) for title, names in plots if names]
    figure = Figure((9, 3 * len(plots)), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(len(plots), sharex=True), plots, strict=True):
        for colour, name in zip(COLOURS, names, strict=False):
            lines = [(n, line[name]) for n, line in zip(images, stats, strict=True) if name in line]
            seen, values = np.array(lines).T
            around = SMOOTHED // 2 if title != "own pairs" else 0
            smooth = [np.median(values[max(i - around, 0) : i + around + 1]) for i in range(len(values))]
            axes.plot(seen, values, colour, alpha=0.2, linewidth=0.6)
            axes.plot(seen, smooth, colour, label=name)
        if title != "own pairs":
            axes.axhline(np.log(2) if title == "losses" else 0.5, color="grey", linewidth=0.8, linestyle=":")
        axes.set_ylabel(title)
        highest = np.quantile([line[name] for line in stats for name in names if name in line], 0.995)
        axes.set_ylim(0, highest if title == "losses" else 1)
        axes.legend(loc="best")
    axes.set_xlabel("images seen")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    return buffer.getvalue()


def draw_samples(folder, rows, columns, batch_size):
    """A grid of some steps, one row each, of the first fixed z, by the moving average of G or G itself -> image.

    None for pix2pix.
    """
    from contextual_gan.files.images import grid, read_image

    paths = sorted(folder.glob("step-*_average.png")) or sorted(folder.glob("step-*_generator.png"))
    if not paths and list(folder.glob("step-*_drawn.png")):
        print(f"no samples picture for {folder}: for pix2pix, it would show images of the data set")
        return None
    if not paths:
        raise command.UserError(f"there are no pictures in {folder}")
    last = len(paths) - 1
    chosen = [paths[i] for i in sorted({round(last * (i / max(rows - 1, 1)) ** 2) for i in range(rows)})]  # more early
    images = [int(path.name[5:].partition("_")[0]) * batch_size for path in chosen]
    cells = [[read_image(path)[GAP : GAP + 64, GAP : (GAP + 128) * columns]] for path in chosen]
    return grid(cells, labels=[f"{n} images seen" for n in images])


if __name__ == "__main__":
    command.run(main, parse())
