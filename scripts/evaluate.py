"""Score methods on a folder of joint images: each predicts the photo from the sketch (or the sketch from the photo)."""

import sys
from contextlib import nullcontext
from pathlib import Path

try:
    from contextual_gan import command, flags
except ModuleNotFoundError:
    print("contextual_gan is not installed: run `pip install -e .` in the repository, or `make demo`", file=sys.stderr)
    sys.exit(2)

METHODS = {  # those of methods.py, which this file must not import for --help
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


def parse(words=None):
    """The parsed command line, or `words` in its place."""
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--data", metavar="DIR", help="folder of joint images, sketch | photo, 128 x 64")
    names = "; ".join(f"{name}: {what}" for name, what in METHODS.items())
    parser.add_argument("--method", type=method_names, metavar="NAME[,NAME...]", help=names)
    parser.add_argument("--out", metavar="DIR", help="folder for the results")
    folders = "score images of any origin, paired by name (NAME_photo.png with NAME.png too); needs only these"
    parser.add_argument("--folder", nargs=2, metavar=("PREDICTIONS", "TRUTH"), help=folders)
    parser.add_argument("--limit", type=command.positive, metavar="N", help="only the first N images by name")
    parser.add_argument("--train-data", metavar="DIR", help="folder of the joint images of the training set")
    samples = (
        "results per image, for the diversity; the one of lowest loss (of pix2pix, the first) is scored (default: 1)"
    )
    parser.add_argument("--samples", type=command.positive, default=1, metavar="K", help=samples)
    identity = "compare faces by dlib's embedding, 60 ms each; needs the extra [align]"
    parser.add_argument("--identity", action="store_true", help=identity)
    inception = "also the kernel distance on Keras's InceptionV3, of these weights without top (an .h5 file)"
    parser.add_argument("--inception", metavar="PATH", help=inception)
    pix2pix = "of the baseline: published, a .safetensors file or a run (default: celeba)"
    parser.add_argument("--pix2pix", default="celeba", metavar="WEIGHTS", help=pix2pix)
    parser.add_argument(
        "--no-dropout", action="store_true", help="pix2pix without dropout, which the original leaves on"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace predictions of other settings")
    flags.add_search_arguments(parser)
    args = parser.parse_args(words)
    missing = [f"--{name}" for name in ("data", "method", "out") if not (args.folder or getattr(args, name))]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}, or --folder")
    others = vars(args).keys() - {"folder", "out", "limit", "direction", "overwrite", "debug"}
    if args.folder and (given := sorted(name for name in others if getattr(args, name) != parser.get_default(name))):
        named = ", ".join(f"--{name.rstrip('_').replace('_', '-')}" for name in given)
        parser.error(f"--folder scores SSIM and PSNR of what is there; it does not go with {named}")
    return args


def main(args):
    if args.folder:
        return score_folders(args)
    from contextual_gan.evaluation import methods
    from contextual_gan.evaluation import predictions as evaluation
    from contextual_gan.evaluation.scores import read_json, read_scores, score, table
    from contextual_gan.models.locations import pin

    out = Path(args.out)
    with command.mistakes():
        if args.identity and args.direction == "sketch":
            raise ValueError("--identity is for photos: dlib knows no faces in sketches")
        record = read_json(out, of_folders=False)
        task = methods.PredictionTask(
            direction=args.direction,
            seed=args.seed,
            weights=pin(args.weights),
            search=flags.search_settings(args),
            train_data=args.train_data,
            excluded=args.out,
            pix2pix=args.pix2pix,
            dropout=not args.no_dropout,
            samples=args.samples,
        )
        chosen = {name: methods.METHODS[name](task) for name in METHODS if name in args.method}
        joints, failed = evaluation.load_joints(args.data, excluded=args.out, limit=args.limit)
        plans = {
            name: evaluation.plan(out / name, method.parameters, joints, args.overwrite)
            for name, method in chosen.items()
        }
        settings = settings_of(args, chosen, joints)
        if not args.overwrite:
            evaluation.refuse_foreign(out, record, plans.values())
    if not joints:
        command.report_failed(failed)
        print(f"none of the {len(failed)} images could be used")
        return 1
    scores = None
    if not any(left for _, left in plans.values()):
        print("nothing to do: all predictions are there")
        evaluation.close(out, plans.values())
        with command.mistakes():
            scores = read_scores(out, plans, settings, failed, joints)
    if not scores:
        scores = score(args, chosen, plans, joints, failed, settings)
    command.report_failed(failed)
    print(table(scores), end="")
    print(f"{len(joints)} images, {len(failed)} failed   pictures: {out}/grid.png   numbers: {out}/metrics.json")
    return 1 if failed else 0


def settings_of(args, chosen, joints):
    """All that decides the numbers, for metrics.json."""
    from contextual_gan.files.checkpoints import file_sha256

    settings = {"data": args.data, "limit": args.limit, "images": len(joints), "train_data": args.train_data}
    settings |= {"weights": args.weights, "preset": args.preset, "identity": args.identity}
    is_there = args.inception and Path(args.inception).is_file()  # or else it is refused later
    settings["inception_sha256"] = file_sha256(args.inception) if is_there else None
    for method in chosen.values():
        settings |= method.parameters
    return settings


def score(args, chosen, plans, joints, failed, settings):
    """Predict what is left, score all, write the results -> scores."""
    from contextual_gan.evaluation import predictions as evaluation
    from contextual_gan.evaluation.scores import score, truth, write

    out, scores = Path(args.out), {}
    if args.inception:
        command.import_tensorflow()
    with command.mistakes(), recognising(args, len(joints)) as advance:  # before the search, which takes long
        truth = truth(joints, args.direction, args.inception, args.identity, advance)
    if any(left for _, left in plans.values()):
        predict(args, chosen, plans, joints)
    with command.mistakes():
        predicted = {name: evaluation.predictions(out / name, joints) for name in plans}
    with recognising(args, len(plans) * len(joints)) as advance:
        for name, (manifest, _) in plans.items():
            notes = [manifest.entries[joint.name] for joint in joints]
            scores[name] = score(predicted[name], truth, notes, advance)
    write(out, scores, settings, failed, joints, predicted)
    return scores


def recognising(args, n):
    """The progress of dlib over n photos, if it is asked for."""
    from contextual_gan.files.progress import progress

    return progress(n, "recognising faces", "faces") if args.identity else nullcontext(lambda n: None)


def predict(args, chosen, plans, joints):
    """Make the predictions that are left."""
    from contextual_gan.evaluation import predictions as evaluation
    from contextual_gan.files.progress import progress

    todo = {name: plan for name, plan in plans.items() if plan[1]}
    if todo.keys() - {"mean-face", "nearest-sketch"}:  # which need no networks
        command.import_tensorflow()
    with command.mistakes():
        predictors = {name: chosen[name].predictor(args.batch_size) for name in todo}
        evaluation.close(args.out, plans.values())
        evaluation.begin(args.out, plans.values(), joints, args.overwrite)
    for name, (manifest, left) in todo.items():
        steps, batches = chosen[name].steps, evaluation.batches_to_predict(joints, left, args.batch_size)
        unit = "iterations" if steps > 1 else "images"
        n = sum(map(len, batches))
        with progress(steps * n, f"{name}, {n} images", unit) as advance:
            options = {"direction": args.direction, "progress": advance}
            evaluation.predict(manifest, left, batches, predictors[name], **options)


def score_folders(args):
    """Score one folder against another."""
    from contextual_gan.evaluation import predictions as evaluation
    from contextual_gan.evaluation import two_folders
    from contextual_gan.evaluation.scores import read_json, table, write_json
    from contextual_gan.files.images import replace_file

    predictions, truths = args.folder
    with command.mistakes():
        if args.out:
            record = read_json(args.out, of_folders=True)
            if not args.overwrite:
                evaluation.refuse_foreign(args.out, record)
        found, failed, unused = two_folders.score_folders(
            predictions, truths, direction=args.direction, limit=args.limit
        )
    command.report_failed(failed)
    print(table := table({"predictions": found}), end="")
    print(f"{len(found['images'])} pairs, {len(failed)} failed, {len(unused)} images of {predictions} not used")
    if unused:
        print(f"not used: {', '.join(map(command.printable, unused[:10]))}{' ...' * (len(unused) > 10)}")
    if args.out:
        settings = {"folder": args.folder, "direction": args.direction, "limit": args.limit}
        write_json(args.out, {"predictions": found}, settings, failed, unused=unused)  # first: what made both
        replace_file(Path(args.out) / "table.md", table.encode())
    return 1 if failed else 0


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)
