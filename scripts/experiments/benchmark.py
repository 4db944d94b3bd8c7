"""Measure speed as ratios within one run: unlike seconds, they are comparable across machines."""

import argparse
import importlib

from installed import command

EXAMPLES = """\
  python scripts/experiments/benchmark.py completion            about a minute on 2 cores
  python scripts/experiments/benchmark.py completion --direction sketch --batch-size 1
  python scripts/experiments/benchmark.py search --data data/celeba/test --limit 64    about ten minutes on 2 cores
  python scripts/experiments/benchmark.py training              about nine minutes on 2 cores
  python scripts/experiments/benchmark.py training --data data/celeba --precision bfloat16
  python scripts/experiments/benchmark.py data                  about two minutes on 2 cores
  python scripts/experiments/benchmark.py data --images img_align_celeba.zip --limit 10000
"""
DEFAULTS = {  # of the flags of each subject
    "completion": {"repeats": 5, "batch_size": 64, "iterations": 10, "direction": "photo"},
    "search": {
        "data": None,
        "limit": 64,
        "presets": "coauthor,edges",
        "batch_size": 64,
        "direction": "photo",
        "weights": "celeba",
        "samples": 1,
        "metrics": False,
        "again": False,
        "plot": None,
        "out": "runs/benchmark",
    },
    "training": {
        "repeats": 5,
        "batch_size": 64,
        "precision": "float32",
        "g_updates": 2,
        "pairs": False,
        "data": None,
        "deterministic": False,
    },
    "data": {"repeats": 3, "images": None, "limit": 2000},
}


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    what = "rate of the search; losses of its presets over time; training; preparing photos and reading joints"
    parser.add_argument("what", choices=DEFAULTS, help=what)
    parser.add_argument("--repeats", type=command.positive, help="measurements (default: 5; for data 3)")
    parser.add_argument("--batch-size", type=command.positive, metavar="B", help="not for data (default: 64)")
    group = parser.add_argument_group("completion and search")
    group.add_argument("--direction", choices=("photo", "sketch"), help="default: photo")
    group.add_argument("--iterations", type=command.positive, help="completion: per measurement (default: 10)")
    group = parser.add_argument_group("search")
    group.add_argument(
        "--presets",
        metavar="NAME[,NAME...]",
        help="the others are compared with the first (default: coauthor,edges)",
    )
    group.add_argument("--weights", help="as for complete.py (default: celeba)")
    group.add_argument("--samples", type=command.positive, metavar="K", help="results per sketch (default: 1)")
    group.add_argument("--metrics", action="store_true", default=None, help="also SSIM, PSNR and sketch consistency")
    group.add_argument("--plot", metavar="PNG", help="plot the median loss over time")
    group.add_argument("--out", metavar="DIR", help="folder for the results (default: runs/benchmark)")
    group.add_argument(
        "--again", action="store_true", default=None, help="measure again, ignoring earlier results in --out"
    )
    group = parser.add_argument_group("training")
    group.add_argument("--precision", choices=("float32", "bfloat16"), help="of the networks (default: float32)")
    group.add_argument("--g-updates", type=command.positive, metavar="N", help="of G per update of D (default: 2)")
    group.add_argument(
        "--data",
        metavar="DIR",
        help="DIR/train holds joint images (default: made from one photo); search: DIR itself holds them",
    )
    group.add_argument(
        "--pairs", action="store_true", default=None, help="also a step with train.pairs 1 and train.edges 5"
    )
    group.add_argument("--deterministic", action="store_true", default=None, help="like the flag of train.py")
    group = parser.add_argument_group("data")
    group.add_argument("--images", metavar="IN", help="folder or zip archive of photos (default: made from one photo)")
    limit = "photos, spread over IN (default: 2000); search: joint images (default: 64)"
    group.add_argument("--limit", type=command.positive, metavar="N", help=limit)
    args = parser.parse_args()
    given = {name: value for name, value in vars(args).items() if value is not None}
    for name in given.keys() - DEFAULTS[args.what] - {"what", "debug"}:
        parser.error(f"--{name.replace('_', '-')} does not apply to {args.what}")
    return argparse.Namespace(**DEFAULTS[args.what] | given)


def main(args):
    command.import_tensorflow()
    return importlib.import_module(f"benchmarks.{args.what}").main(args)


if __name__ == "__main__":
    command.run(main, parse())
