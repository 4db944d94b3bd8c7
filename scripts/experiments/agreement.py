"""Compare two evaluations of the same images: means, paired differences, correlation over the images."""

from pathlib import Path

from installed import command

EXAMPLES = """\
  python scripts/experiments/agreement.py runs/edges_200 runs/coauthor_200 --out agreement.md

FIRST and SECOND are folders of evaluate.py. Images missing from either are left out.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    for name in ("first", "second"):
        parser.add_argument(name, metavar=name.upper(), help="folder of evaluate.py")
    parser.add_argument("--method", default="contextual", help="a method in both (default: %(default)s)")
    parser.add_argument("--out", metavar="FILE", help="Markdown file for the table")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    return parser.parse_args()


def read(folder, method):
    """{name: {metric: value}} of the images of an evaluation. Raises ValueError."""
    from contextual_gan.evaluation import scores
    from contextual_gan.files.manifest import is_number

    record = scores.read_json(folder, of_folders=False)
    if method not in record:
        raise ValueError(f"{folder}: there is no method {method} in its metrics.json; evaluate.py writes it")
    try:
        images = {image["name"]: image for image in record[method]["images"]}
        metrics = {tuple(image) for image in images.values()}
        values = [value for image in images.values() for name, value in image.items() if name != "name"]
        if len(metrics) > 1 or not all(value == "inf" or is_number(value) for value in values):
            raise TypeError
        return images
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder}/metrics.json is damaged: make it again with evaluate.py") from error


def main(args):
    import numpy as np

    from contextual_gan.evaluation import metrics
    from contextual_gan.files import images

    if args.out:
        command.check_file(args.out, args.overwrite)
    with command.mistakes():
        first, second = (read(folder, args.method) for folder in (args.first, args.second))
        if len(names := sorted(first.keys() & second.keys())) < 3:
            raise ValueError(
                f"{args.first} and {args.second} have {len(names)} images in common; at least 3 are needed"
            )
    lines = [
        f"| {len(names)} images | {Path(args.first).name} | {Path(args.second).name} | difference | correlation |",
        "|---|---|---|---|---|",
    ]
    for metric in first[names[0]]:
        if metric == "name" or metric not in second[names[0]]:
            continue
        a, b = (np.array([run[name][metric] for name in names], np.float64) for run in (first, second))
        finite = np.isfinite(a) & np.isfinite(b)  # "inf" becomes infinite, None NaN
        a, b = a[finite], b[finite]
        if len(a) < 3 or not (a.std() and b.std()):
            continue
        d = metrics.summary(b - a)
        interval = f"{d['mean']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})"
        lines.append(f"| {metric} | {a.mean():.3f} | {b.mean():.3f} | {interval} | {np.corrcoef(a, b)[0, 1]:.2f} |")
    print(table := "\n".join(lines))
    if args.out:
        images.replace_file(Path(args.out), f"{table}\n".encode())
    return 0


if __name__ == "__main__":
    command.run(main, parse())
