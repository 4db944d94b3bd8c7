"""Score methods on a folder of joint images: each predicts the photo from the sketch (or the sketch from the photo)."""

from pathlib import Path

from installed import command, flags

METHODS = {  # as in methods.py, which must not be imported for --help
    "mean-face": "the mean photo of --train-data, the same for every image",
    "nearest-sketch": "the photo of the nearest sketch (L2) in --train-data",
    "initialization": "refined initialization, the start of the search",
    "contextual": "the contextual GAN, with its search",
    "pix2pix": "the baseline that draws in one pass",
}
EXAMPLES = """\
  python scripts/evaluate.py --data data/celeba/test --method contextual,pix2pix --out runs/evaluation
  python scripts/evaluate.py --data data/celeba/test --method contextual --limit 100 --samples 4 --out runs/quick
  python scripts/evaluate.py --data data/celeba/test --method mean-face --train-data data/celeba/train --out runs/mean
  python scripts/evaluate.py --data data/celeba/test --method contextual,pix2pix --rough 0,0.5,1 --out runs/rough
  python scripts/evaluate.py --folder my_photos/ true_photos/
  python scripts/evaluate.py --folder results/facades/test_latest/images/

DIR/metrics.json holds all numbers, DIR/table.md the means, DIR/grid.png the first images, DIR/METHOD/ the predictions.
SSIM and PSNR compare the predicted half with the true one, sketch consistency compares the strokes of the sketch with
the edges of the photo, HOG distance compares all predictions with all true halves; see results/README.md.
You can interrupt the command and run it again, also with more images or other methods. The table lists the given
methods; existing predictions are kept.
Exit status: 0 done, 1 some images could not be used (listed; all others are scored), 2 usage error.
"""


def method_names(text):
    """An argparse type: names of methods, separated by commas."""
    for name in (names := text.split(",")):
        if name not in METHODS:
            raise command.argparse.ArgumentTypeError(f"no method {name!r}; available: {', '.join(METHODS)}")
    return names


def levels(text):
    """An argparse type: distinct numbers from 0 to 1, separated by commas, as sorted floats."""
    found = sorted({command.share(number) for number in text.split(",")})
    if len(found) < text.count(",") + 1:
        raise command.argparse.ArgumentTypeError(f"{text} names a roughness twice")
    return found


def parse(words=None):
    """The parsed command line, or `words` instead."""
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--data", metavar="DIR", help="folder of joint images, sketch | photo, 128 x 64")
    names = "; ".join(f"{name}: {what}" for name, what in METHODS.items())
    parser.add_argument("--method", type=method_names, metavar="NAME[,NAME...]", help=names)
    parser.add_argument("--out", metavar="DIR", help="folder for the results")
    folders = "score images of any origin, paired by name (also NAME_photo.png with NAME.png); --data is not used; one "
    folders += "folder is enough for pix2pix results (NAME_fake_B.png with NAME_real_B.png)"
    parser.add_argument("--folder", nargs="+", metavar=("PREDICTIONS", "TRUTH"), help=folders)
    parser.add_argument("--limit", type=command.positive, metavar="N", help="only the first N images by name")
    parser.add_argument("--train-data", metavar="DIR", help="folder of the joint images of the training set")
    samples = "results per image, for the diversity; that of lowest loss (pix2pix: the first) is scored (default: 1)"
    parser.add_argument("--samples", type=command.positive, default=1, metavar="K", help=samples)
    identity = "compare faces by dlib's embedding, 60 ms each; needs the extra [align]"
    parser.add_argument("--identity", action="store_true", help=identity)
    inception = "also measure the kernel distance on Keras's InceptionV3; PATH: its weights without the top (.h5)"
    parser.add_argument("--inception", metavar="PATH", help=inception)
    flags.add_pix2pix_argument(parser)
    parser.add_argument(
        "--no-dropout", action="store_true", help="run pix2pix without dropout, which the original keeps on"
    )
    rough = "make the sketches this rough, from 0 to 1; the results are in DIR/R/"
    parser.add_argument("--rough", type=levels, metavar="R[,R...]", help=rough)
    parser.add_argument("--overwrite", action="store_true", help="replace predictions made with other settings")
    flags.add_search_arguments(parser)
    args = parser.parse_args(words)
    missing = [f"--{name}" for name in ("data", "method", "out") if not (args.folder or getattr(args, name))]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}, or --folder")
    if args.folder and len(args.folder) > 2:
        parser.error("--folder takes PREDICTIONS and TRUTH, or one folder with both")
    others = vars(args).keys() - {"folder", "out", "limit", "direction", "overwrite", "debug"}
    if args.folder and (given := sorted(name for name in others if getattr(args, name) != parser.get_default(name))):
        named = ", ".join(f"--{name.rstrip('_').replace('_', '-')}" for name in given)
        parser.error(f"--folder only scores existing images by SSIM and PSNR; it cannot be combined with {named}")
    return args


def request(args):
    """The `evaluation.run.Request` for parsed arguments."""
    from contextual_gan.evaluation.run import Request

    names = "data", "out", "preset", "weights", "direction", "seed", "samples", "batch_size", "limit", "train_data"
    names += "identity", "inception", "pix2pix", "overwrite"
    given = {name: getattr(args, name) for name in names}
    with command.mistakes():
        search = flags.search_settings(args)
    given |= {"search": search, "faithful": flags.faithful(args, search), "dropout": not args.no_dropout}
    return Request(methods=tuple(args.method), **given)


def main(args):
    from contextual_gan.evaluation import run

    if args.folder:
        options = {"direction": args.direction, "limit": args.limit, "out": args.out, "overwrite": args.overwrite}
        return run.score_folders(args.folder[0], args.folder[-1], **options)
    if args.rough:
        from contextual_gan.evaluation.robustness import RESULTS, evaluate_rough

        there = [Path(args.out) / f"{level:g}" / "metrics.json" for level in args.rough]
        for name in RESULTS:
            command.check_file(Path(args.out) / name, args.overwrite or any(path.is_file() for path in there))
        return evaluate_rough(request(args), args.rough)
    return run.evaluate(request(args))


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)
