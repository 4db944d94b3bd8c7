"""Resize the images of a folder or zip archive to small squares, as PNG."""

from installed import command

EXAMPLES = """\
  python datasets/resize.py photos/ squares/
  python datasets/resize.py photos.zip squares/ --size 128
  python datasets/resize.py photos/ squares/ --stretch

OUT/a/b.png is made from IN/a/b.jpg. Run the command again to process new and failed images.
Exit status: 0 done, 1 some images failed (listed), 2 usage error.
"""


def parse():
    parser = command.ArgumentParser(
        __doc__ + "\n\nThe largest centred square is cropped, then shrunk by area or enlarged smoothly.", EXAMPLES
    )
    parser.add_argument("input", metavar="IN", help="folder of images (recursive), or a zip archive of them")
    parser.add_argument("out", metavar="OUT", help="folder for the results")
    parser.add_argument("--size", type=command.positive, default=64, help="rows and columns (default: %(default)s)")
    parser.add_argument("--stretch", action="store_true", help="keep the whole image, which changes its proportions")
    command.add_folder_arguments(parser)
    return parser.parse_args()


def main(args):
    from functools import partial

    from contextual_gan.files.images import centre_square, stretch

    if args.size > 4096:
        raise command.UserError(f"--size {args.size}: the largest is 4096")
    items, refused = command.mirrored(args.input, args.out)
    report = command.apply_to_folder(
        partial(stretch if args.stretch else centre_square, size=args.size),
        items,
        args.out,
        args,
        parameters={"step": "resize", "size": args.size, "stretch": args.stretch},
        refused=refused,
        label="resizing",
    )
    return command.report(report)


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)
