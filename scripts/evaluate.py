"""Score methods on a folder of joint images: each predicts the photo from the sketch (or the sketch from the photo)."""

import sys
from contextlib import nullcontext
from pathlib import Path

try:
    from contextual_gan import command
except ModuleNotFoundError:
    print("contextual_gan is not installed: run `pip install -e .` in the repository, or `make demo`", file=sys.stderr)
    sys.exit(2)

METHODS = {
    "mean-face": "the mean over --train-data, the same for all",
    "nearest-sketch": "the photo of the sketch in --train-data that is nearest in L2",
    "initialization": "refined initialization, where the search starts",
    "contextual": "the completion",
    "pix2pix": "the baseline that draws in one pass",
}
EXAMPLES = """\
  python scripts/evaluate.py --data data/celeba/test --method contextual,pix2pix --out runs/evaluation
  python scripts/evaluate.py --data data/celeba/test --method contextual --limit 100 --samples 4 --out runs/quick
  python scripts/evaluate.py --data data/celeba/test --method mean-face --train-data data/celeba/train --out runs/mean
  python scripts/evaluate.py --folder my_photos/ true_photos/

DIR/metrics.json holds all numbers, DIR/table.md the means, DIR/grid.png the first images, DIR/METHOD/ the predictions.
SSIM and PSNR compare the half that was predicted with the true one, sketch consistency the strokes of the sketch with
the edges of the photo, HOG distance all predictions with all true halves; results/README.md says more.
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
    parser.add_argument("--data", metavar="DIR", help="folder of joint images, sketch | photo, 128 x 64")
    names = "; ".join(f"{name}: {what}" for name, what in METHODS.items())
    parser.add_argument("--method", type=method_names, metavar="NAME[,NAME...]", help=names)
    parser.add_argument("--out", metavar="DIR", help="folder for the results")
    folders = "score images of any origin, paired by name (NAME_photo.png with NAME.png too); needs only these"
    parser.add_argument("--folder", nargs=2, metavar=("PREDICTIONS", "TRUTH"), help=folders)
    parser.add_argument("--limit", type=command.positive, metavar="N", help="only the first N images by name")
    parser.add_argument("--train-data", metavar="DIR", help="folder of the joint images of the training set")
    samples = "results per image, for the diversity; the one of lowest loss is scored (default: 1)"
    parser.add_argument("--samples", type=command.positive, default=1, metavar="K", help=samples)
    identity = "compare faces by dlib's embedding, 60 ms each; needs the extra [align]"
    parser.add_argument("--identity", action="store_true", help=identity)
    inception = "also KID, with these weights of Keras's InceptionV3 without top (an .h5 file)"
    parser.add_argument("--inception", metavar="PATH", help=inception)
    pix2pix = "of the baseline: published, a .safetensors file or a run (default: celeba)"
    parser.add_argument("--pix2pix", default="celeba", metavar="WEIGHTS", help=pix2pix)
    parser.add_argument(
        "--no-dropout", action="store_true", help="pix2pix without dropout, which the original leaves on"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace predictions of other settings")
    command.add_search_arguments(parser)
    args = parser.parse_args()
    missing = [f"--{name}" for name in ("data", "method", "out") if not (args.folder or getattr(args, name))]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}, or --folder")
    if args.folder and (args.data or args.method):
        parser.error("--folder scores what is there; it goes with neither --data nor --method")
    return args


def main(args):
    if args.folder:
        return score_folders(args)
    from contextual_gan import evaluation, methods
    from contextual_gan.progress import progress

    out = Path(args.out)
    with command.mistakes():
        if args.identity and args.direction == "sketch":
            raise ValueError("--identity is for photos: dlib knows no faces in sketches")
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out} is a file, the output must be a folder")
        task = methods.Task(
            direction=args.direction,
            seed=args.seed,
            weights=args.weights,
            search=command.search_settings(args),
            train_data=args.train_data,
            excluded=args.out,
            pix2pix=args.pix2pix,
            dropout=not args.no_dropout,
            samples=args.samples,
        )
        chosen = {name: methods.METHODS[name](task) for name in METHODS if name in args.method}
        joints, failed = evaluation.read_joints(args.data, excluded=args.out, limit=args.limit)
        plans = {
            name: evaluation.plan(out / name, method.parameters, joints, args.overwrite)
            for name, method in chosen.items()
        }
    if not joints:
        report(failed)
        print(f"none of the {len(failed)} images could be used")
        return 1
    faces = progress((1 + len(plans)) * len(joints), "comparing faces", "faces")
    with faces if args.identity else nullcontext(lambda n: None) as advance:
        with command.mistakes():
            options = {"inception": args.inception, "identity": args.identity, "progress": advance}
            truth = evaluation.truth(joints, args.direction, **options)
        if any(left for _, left in plans.values()):
            predict(args, chosen, plans, joints)
        else:
            print("nothing to do: all predictions are there")
        report(failed)
        predicted, scores = {}, {}
        for name, (manifest, _) in plans.items():
            predicted[name] = evaluation.predictions(manifest, joints)
            notes = [manifest.entries[joint.name] for joint in joints]
            scores[name] = evaluation.score(predicted[name], truth, notes, advance)
    settings = {"data": args.data, "limit": args.limit, "images": len(joints), "train_data": args.train_data}
    settings |= {"weights": args.weights, "preset": args.preset}
    for method in chosen.values():
        settings |= method.parameters
    evaluation.write(out, scores, settings, failed, joints, predicted)
    print(evaluation.table(scores), end="")
    print(f"{len(joints)} images, {len(failed)} failed   pictures: {out}/grid.png   numbers: {out}/metrics.json")
    return 1 if failed else 0


def report(failed):
    for name, reason in failed:
        print(f"failed: {command.printable(name)}: {reason}", file=sys.stderr)


def predict(args, chosen, plans, joints):
    """Make the predictions that are left."""
    from contextual_gan import evaluation
    from contextual_gan.progress import progress

    todo = {name: plan for name, plan in plans.items() if plan[1]}
    if todo.keys() - {"mean-face", "nearest-sketch"}:  # which need no networks
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


def score_folders(args):
    """Score one folder against another."""
    from contextual_gan import evaluation, folder_scores
    from contextual_gan.images import replace_file

    with command.mistakes():
        found, failed, unused = folder_scores.score_folders(*args.folder, direction=args.direction, limit=args.limit)
    report(failed)
    print(table := evaluation.table({"predictions": found}), end="")
    print(f"{len(found['images'])} pairs, {len(failed)} failed, {len(unused)} images of {args.folder[0]} not used")
    if args.out:
        replace_file(Path(args.out) / "table.md", table.encode())
        evaluation.write_json(args.out, {"predictions": found}, {"folder": args.folder}, failed)
    return 1 if failed else 0


if __name__ == "__main__":
    command.run(main, parse())
