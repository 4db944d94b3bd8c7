"""Join sketches and photos with matching names into one image: sketch on the left, photo on the right."""

from installed import command

EXAMPLES = """\
  python datasets/combine.py sketches/ photos/ joints/
  python datasets/combine.py sketches.zip photos.zip joints/
  python datasets/combine.py --fold_A sketches/ --fold_B photos/ --fold_AB joints/    (as for pix2pix)

OUT/a/b.png is made from SKETCHES/a/b.* and PHOTOS/a/b.*; their extensions may differ. Both must have the same size,
which may be any. Run it again to process new and failed images.
Exit status: 0 done, 1 some images failed (listed; for example without a partner), 2 usage error.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    for name, flag, text in (
        ("SKETCHES", "--fold_A", "folder of the left halves, or a zip archive"),
        ("PHOTOS", "--fold_B", "folder of the right halves, or a zip archive"),
        ("OUT", "--fold_AB", "folder for the results"),
    ):
        parser.add_argument(f"positional_{flag[7:]}", metavar=name, nargs="?", help=text)
        parser.add_argument(flag, dest=f"named_{flag[7:]}", metavar=name, help=f"same as {name}")
    command.add_folder_arguments(parser)
    args = parser.parse_args()
    positional = [args.positional_A, args.positional_B, args.positional_AB]
    named = [args.named_A, args.named_B, args.named_AB]
    if (None in positional) == (None in named) or (any(positional) and any(named)):
        parser.error("give SKETCHES PHOTOS OUT, or --fold_A, --fold_B and --fold_AB")
    args.sketches, args.photos, args.out = named if None in positional else positional
    return args


def main(args):
    from contextual_gan.preparation import pairs

    with command.mistakes():
        items, refused = pairs.pair(args.sketches, args.photos, args.out)
    report = command.apply_to_folder(
        pairs.side_by_side, items, args.out, args, parameters={"step": "combine"}, refused=refused, label="combining"
    )
    return command.report(report)


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)
