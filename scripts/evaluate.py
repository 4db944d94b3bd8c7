"""Score methods on a folder of joint images: each predicts the photo from the sketch (or the sketch from the photo)."""

import sys
from pathlib import Path

try:
    from contextual_gan import command
except ModuleNotFoundError:
    print("contextual_gan is not installed: run `pip install -e .` in the repository, or `make demo`", file=sys.stderr)
    sys.exit(2)

METHODS = {
    "mean-face": "the mean over --train-data, the same for all",
    "initialization": "refined initialization, where the search starts",
    "contextual": "the completion",
}
EXAMPLES = """\
  python scripts/evaluate.py --data data/celeba/test --method initialization,contextual --out runs/evaluation
  python scripts/evaluate.py --data data/celeba/test --method contextual --limit 100 --iterations 200 --out runs/quick
  python scripts/evaluate.py --data data/celeba/test --method mean-face --train-data data/celeba/train --out runs/mean

DIR/metrics.json holds all numbers, DIR/table.md the means, DIR/grid.png the first images, DIR/METHOD/ the predictions.
SSIM and PSNR compare the half that was predicted with the true one, sketch consistency the strokes of the sketch with
the edges of the photo; contextual_gan/metrics.py defines them.
It can be interrupted and run again, also with more images or other methods: the table is of those that are named, and
what has been predicted is not predicted again.
Exit status: 0 done, 1 some images could not be used (listed, all others are scored), 2 wrong usage.
"""


def method_names(text):
    """An argparse type: names of methods, separated by commas."""
    for name in (names := text.split(",")):
        if name not in METHODS:
            raise command.argparse.ArgumentTypeError(f"no method {name!r}, there are {', '.join(METHODS)}")
    return names


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of joint images, sketch | photo, 128 x 64")
    parser.add_argument(
        "--method",
        required=True,
        type=method_names,
        metavar="NAME[,NAME...]",
        help="; ".join(f"{name}: {what}" for name, what in METHODS.items()),
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--limit", type=command.positive, metavar="N", help="only the first N images by name")
    parser.add_argument("--train-data", metavar="DIR", help="folder of the joint images of the training set")
    parser.add_argument("--overwrite", action="store_true", help="replace predictions of other settings")
    command.add_search_arguments(parser)
    return parser.parse_args()


def main(args):
    from contextual_gan import evaluation, methods

    out = Path(args.out)
    with command.mistakes():
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out} is a file, the output must be a folder")
        task = methods.Task(
            direction=args.direction,
            seed=args.seed,
            weights=args.weights,
            search=command.search_settings(args),
            train_data=args.train_data,
            excluded=args.out,
        )
        chosen = {name: methods.METHODS[name](task) for name in METHODS if name in args.method}
        joints, failed = evaluation.read_joints(args.data, excluded=args.out, limit=args.limit)
        plans = {
            name: evaluation.plan(out / name, method.parameters, joints, args.overwrite)
            for name, method in chosen.items()
        }
    if any(left for _, left in plans.values()):
        predict(args, chosen, plans, joints)
    elif joints:
        print("nothing to do: all predictions are there")
    for name, reason in failed:
        print(f"failed: {command.printable(name)}: {reason}", file=sys.stderr)
    if not joints:
        print(f"none of the {len(failed)} images could be used")
        return 1
    settings = {"data": args.data, "limit": args.limit, "images": len(joints), "train_data": args.train_data}
    settings |= {"weights": args.weights, "preset": args.preset}
    predicted, scores = {}, {}
    for name, (manifest, _) in plans.items():
        predicted[name] = evaluation.predictions(manifest, joints)
        notes = [manifest.entries[joint.name] for joint in joints]
        scores[name] = evaluation.score(predicted[name], joints, args.direction, notes)
        settings |= chosen[name].parameters
    evaluation.write(out, scores, settings, failed, joints, predicted)
    print(evaluation.table(scores), end="")
    print(f"{len(joints)} images, {len(failed)} failed   pictures: {out}/grid.png   numbers: {out}/metrics.json")
    return 1 if failed else 0


def predict(args, chosen, plans, joints):
    """Make the predictions that are left."""
    from contextual_gan import evaluation
    from contextual_gan.progress import progress

    todo = {name: plan for name, plan in plans.items() if plan[1]}
    if todo.keys() - {"mean-face"}:  # which needs no networks
        command.import_tensorflow()
    with command.mistakes():
        predictors = {name: chosen[name].prepare(args.batch_size) for name in todo}
        evaluation.begin(args.out, plans.values(), joints)
    for name, (manifest, left) in todo.items():
        steps = chosen[name].steps
        unit = "iterations" if steps > 1 else "images"
        with progress(steps * len(left), f"{name}, {len(left)} images", unit) as advance:
            options = {"direction": args.direction, "batch_size": args.batch_size, "progress": advance}
            evaluation.predict(manifest, left, predictors[name], **options)


if __name__ == "__main__":
    command.run(main, parse())
