"""Draw the story of the discriminator that cannot see whether sketch and photo belong together, in one figure."""

import io
import re
from pathlib import Path

from installed import command

EXAMPLES = """\
  python scripts/experiments/draw_blind.py --out results/blind --overwrite

It measures what D of celeba_paper sees together in joint images drawn by celeba, and writes OUT.md, the numbers, and
OUT.png. Two of the four panels are drawn from files in --results. All images are generated. It takes half a minute.
"""
SHOWN = 3  # joint image in the figure
PLACE = (8, 44)  # row and column of the square there: an eye of the sketch
WEIGHTS = {"celeba_paper": "tab:grey", "celeba": "tab:blue"}  # their colours
SEARCHES = ("paper_coauthor_200.md", "coauthor_200.md")  # the paper's search with each, on the same faces
METRICS = ("SSIM", "sketch consistency", "verification")


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--out", required=True, metavar="OUT", help="start of the names of the files")
    results = f"folder with pairs_stats.jsonl, samples.md, {' and '.join(SEARCHES)} (default: %(default)s)"
    parser.add_argument("--results", type=Path, default="results", metavar="DIR", help=results)
    joints = f"generated joint images, at least {SHOWN + 1} (default: %(default)s)"
    parser.add_argument("--samples", type=command.positive, default=48, metavar="N", help=joints)
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    return parser.parse_args()


def tables(distances, found):
    """The numbers as Markdown. distances: of `over_distance`; found: {name: (`shares`, `preference`)}."""
    from contextual_gan.evaluation.metrics import summary
    from contextual_gan.evaluation.receptive_field import PARTS

    lines = [
        f"| two squares, columns apart | {' | '.join(map(str, distances))} |",
        "|---" * (len(distances) + 1) + "|",
        f"| change only by both / change by one | {' | '.join(f'{value:.2g}' for value in distances.values())} |",
        "",
        f"| share of the variance | {' | '.join(PARTS.values())} | own photo preferred to another |",
        "|---" * (len(PARTS) + 2) + "|",
    ]
    for name, (share, own) in found.items():
        interval = "{mean:.3f} ({low:.3f} to {high:.3f})".format(**summary(own))
        lines.append(f"| {name} | {' | '.join(f'{share[part]:.1%}' for part in PARTS)} | {interval} |")
    return "\n".join(lines) + "\n"


def read_row(path, columns):
    """The numbers in some columns of the first row of a Markdown table. Raises ValueError if a column is missing."""
    head, _, row, *_ = [[cell.strip() for cell in line.split("|")] for line in path.read_text().splitlines()] + 3 * [[]]
    found = dict(zip(head, row, strict=False))
    if missing := [column for column in columns if not re.search(r"\d", found.get(column, ""))]:
        raise ValueError(f"{path}: the first table has no number in the column {missing[0]!r}")
    return [[float(number) for number in re.findall(r"[\d.]+", found[column])] for column in columns]


def read_results(folder):
    """(stats with own pairs, own pairs of celeba_paper, [(mean, low, high) of METRICS for each of SEARCHES], faces).

    Raises OSError and ValueError.
    """
    from contextual_gan.files.checkpoints import read_stats

    stats = [line for line in read_stats(folder / "pairs_stats.jsonl") if "own_pairs_g" in line]
    if not stats:
        raise ValueError(f"{folder}/pairs_stats.jsonl is missing, or has no own pairs")
    before = read_row(folder / "samples.md", ["own pairs"])[0][0]
    searches = [read_row(folder / name, METRICS) for name in SEARCHES]
    faces = (folder / SEARCHES[1]).read_text().partition(" half of ")[2].partition(" ")[0]
    return stats, before, searches, faces


def draw_measured(axes, joint, near, found):
    """What D sees together with a square of a joint (64, 128, 3) uint8, and the shares of the variance."""
    import numpy as np
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    from contextual_gan.evaluation.receptive_field import PARTS, SQUARE

    seen, decides = axes
    whole = {"extent": (0, 128, 64, 0)}
    seen.imshow(joint.mean(axis=2), cmap="gray", vmin=0, vmax=255, alpha=0.6, **whole)
    shown = np.ma.masked_equal(near, 0)
    heat = seen.imshow(shown, cmap="YlOrRd", norm=LogNorm(1e-3, 1, clip=True), alpha=0.6, **whole)
    label = "change only by both / change by one; grey: exactly 0"
    seen.figure.colorbar(heat, ax=seen, orientation="horizontal", aspect=40, label=label)
    for right, style in ((0, "-"), (64, ":")):
        corner = PLACE[1] + right, PLACE[0]
        seen.add_patch(Rectangle(corner, SQUARE, SQUARE, fill=False, edgecolor="blue", linewidth=2, linestyle=style))
    seen.axvline(64, color="black", linewidth=1)
    seen.set(xticks=range(0, 129, 16), yticks=(), title="1. D never sees a square together with its counterpart")

    left = np.zeros(len(found))
    for part, colour in zip(PARTS, ("tab:grey", "lightgrey", "tab:blue"), strict=True):
        width = np.array([100 * share[part] for share, _ in found.values()])
        bars = decides.barh(list(found), width, 0.5, left=left, color=colour, label=PARTS[part])
        decides.bar_label(bars, fmt="%.0f", label_type="center")
        left += width
    decides.set(
        xlim=(0, 100), xlabel="share of the variance, %", title="2. So the combination hardly changes its logit"
    )
    decides.invert_yaxis()
    decides.legend(loc="center", ncols=3, handlelength=1, columnspacing=1)  # between the bars


def draw_results(axes, stats, before, searches, faces):
    """The values of `read_results`: own pairs in training, and the scores of the paper's search."""
    import numpy as np

    course, effect = axes
    images = [line["images"] for line in stats]
    course.axhline(before, color="tab:grey", label="celeba_paper, trained with D alone")
    course.plot(
        images, [line["own_pairs_g"] for line in stats], color="lightblue", label="from there with P and edges: G"
    )
    course.plot(images, [line["own_pairs_average"] for line in stats], color="tab:blue", label="the average of G")
    course.set(xscale="log", ylim=(0, 1.05), xlabel="images seen with P and edges", ylabel="own pairs")
    course.set_title("3. The cure: a second discriminator P, and edges")
    course.legend(loc="lower right")
    for i, (weights, colour) in enumerate(WEIGHTS.items()):
        mean, low, high = np.transpose(searches[i])
        bars = effect.bar(
            np.arange(len(METRICS)) + 0.4 * i, mean, 0.4, yerr=(mean - low, high - mean), color=colour, capsize=3
        )
        bars.set_label(weights)
        effect.bar_label(bars, fmt="%.3f")
    effect.set(xticks=np.arange(len(METRICS)) + 0.2, xticklabels=METRICS, ylim=(0, 1.05))
    effect.set_title(f"4. The paper's search, unchanged, on {faces} faces")
    effect.legend(loc="upper left")


def main(args):
    import numpy as np

    for end in ("md", "png"):
        command.check_file(f"{args.out}.{end}", args.overwrite)
    if args.samples <= SHOWN:
        raise command.UserError(f"--samples {args.samples}: at least {SHOWN + 1} are needed")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise command.UserError("plots need matplotlib: pip install -e '.[plots]'") from error
    with command.mistakes():
        results = read_results(args.results)
    command.import_tensorflow()

    from contextual_gan.evaluation import receptive_field
    from contextual_gan.files.images import replace_file, to_uint8
    from contextual_gan.models.dcgan import LATENT
    from contextual_gan.models.inference import generate
    from contextual_gan.models.weights import load_networks

    paper, ours = WEIGHTS
    terms = receptive_field.split_logit(load_networks(paper)[1])
    z = np.random.default_rng(0).uniform(-1, 1, (args.samples, LATENT)).astype(np.float32)
    joints = generate(load_networks(ours, needs_discriminator=False)[0], z)
    near = receptive_field.around(terms, joints[SHOWN], PLACE)
    values = receptive_field.combinations(terms, joints)
    found = {name: (receptive_field.shares(v), receptive_field.preference(v)) for name, v in values.items()}
    table = tables(receptive_field.over_distance(terms, joints), found)

    figure, buffer = Figure((11, 6.4), layout="constrained"), io.BytesIO()
    upper, lower = figure.subplots(2, 2, width_ratios=(1.25, 1))
    draw_measured(upper, to_uint8(joints[SHOWN]), near, found)
    draw_results(lower, *results)
    figure.savefig(buffer, dpi=100)
    for end, content in {"png": buffer.getvalue(), "md": table.encode()}.items():
        replace_file(f"{args.out}.{end}", content)
        print(f"wrote {args.out}.{end}")
    print(table, end="")
    return 0


if __name__ == "__main__":
    command.run(main, parse())
