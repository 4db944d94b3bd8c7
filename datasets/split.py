"""Split the images of a folder or zip archive into OUT/train and OUT/test, as PNG."""

import sys

from installed import command

EXAMPLES = """\
  python datasets/split.py joints/ data/mine/
  python datasets/split.py joints/ data/mine/ --test 500 --seed 1
  python datasets/split.py joints/ data/celeba/ --csv list_eval_partition.txt

The test images are those whose names, without extensions, have the smallest hashes, so images can be added later.
Training images with the same content as a test image are left out. OUT/split.csv records the set of each image and is
valid input for --csv.
Exit status: 0 done, 1 some images failed (listed), 2 usage error.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("input", metavar="IN", help="folder of images (recursive), or a zip archive of them")
    parser.add_argument("out", metavar="OUT", help="folder for the results")
    parser.add_argument(
        "--test",
        type=command.not_negative,
        metavar="N",
        help="number of test images (default: 1000, or one tenth if there are fewer than 10,000)",
    )
    parser.add_argument("--seed", type=int, help="seed for choosing the test images (default: 0)")
    parser.add_argument(
        "--csv",
        metavar="FILE",
        help="list with the header image,split, or CelebA's partition; extensions may differ; other images are skipped",
    )
    command.add_folder_arguments(parser)
    args = parser.parse_args()
    if args.csv and (args.test is not None or args.seed is not None):
        parser.error("--csv determines the split; --test and --seed are for splits without it")
    return args


def same(image):
    """The image as it is."""
    return image


def main(args):
    from contextual_gan.preparation import splits

    items, refused = command.mirrored(args.input, args.out)
    choice = {"test": args.test, "seed": args.seed or 0}
    with command.mistakes():
        by = "list" if args.csv else splits.rule(args.out, "by", args.overwrite)
        parameters = {"step": "split", "by": by} | ({} if args.csv else choice)
        items, refuse, parts, unused = splits.divide(
            items, args.out, parameters, listed=args.csv, by=by, overwrite=args.overwrite, **choice
        )
    if unused:
        print(f"{unused} lines of {args.csv} name images that do not exist", file=sys.stderr)
    report = command.apply_to_folder(
        same, items, args.out, args, parameters=parameters, refused=refused, refuse=refuse, label="splitting"
    )
    splits.finish(report, parts)
    counts = {part: sum(entry["output"].startswith(f"{part}/") for entry in report.done) for part in ("train", "test")}
    print("\n".join(f"{part}: {count}" for part, count in counts.items()))
    if line := splits.few(counts["train"]):
        print(f"warning: {line}", file=sys.stderr)
    return command.report(report)


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)
