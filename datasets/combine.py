"""Join sketches and photos with matching names into one image: sketch on the left, photo on the right.

Ready-made pairs of pix2pix become joint images of 128 x 64 pixels.
"""

from installed import command

EXAMPLES = """\
  python datasets/combine.py sketches/ photos/ joints/
  python datasets/combine.py sketches.zip photos.zip joints/
  python datasets/combine.py --fold_A sketches/ --fold_B photos/ --fold_AB joints/    (as for pix2pix)
  python datasets/combine.py --pairs facades/ data/facades/ --direction BtoA    (photo | labels of any size)

OUT/a/b.png is made from SKETCHES/a/b.* and PHOTOS/a/b.*; their extensions may differ. Both must have the
same size, but any size is allowed. Run the command again to process new and failed images.
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
    pairs = "folder or zip archive of ready-made pairs A | B; needs only OUT"
    parser.add_argument("--pairs", metavar="DIR", help=pairs)
    direction = "for --pairs; AtoB: A is the sketch and B the photo; BtoA: the reverse (default: AtoB)"
    parser.add_argument("--direction", choices=("AtoB", "BtoA"), help=direction)
    command.add_folder_arguments(parser)
    args = parser.parse_args()
    if args.pairs:
        given = [*filter(None, (args.positional_A, args.positional_B, args.positional_AB, args.named_AB))]
        if len(given) != 1 or args.named_A or args.named_B:
            parser.error("--pairs DIR needs OUT, and nothing else")
        args.out = given[0]
        return args
    if args.direction:
        parser.error("--direction is for --pairs")
    positional = [args.positional_A, args.positional_B, args.positional_AB]
    named = [args.named_A, args.named_B, args.named_AB]
    if (None in positional) == (None in named) or (any(positional) and any(named)):
        parser.error("give SKETCHES PHOTOS OUT, or --fold_A, --fold_B and --fold_AB")
    args.sketches, args.photos, args.out = named if None in positional else positional
    return args


def main(args):
    from functools import partial

    from contextual_gan.preparation import pairs

    if args.pairs:
        items, refused = command.mirrored(args.pairs, args.out)
        direction = args.direction or "AtoB"
        function, parameters = partial(pairs.joint_of_pair, direction=direction), {"step": "pairs", "from": direction}
        report = command.apply_to_folder(
            function, items, args.out, args, parameters=parameters, refused=refused, label="combining"
        )
        return command.report(report)
    with command.mistakes():
        items, refused = pairs.pair(args.sketches, args.photos, args.out)
    report = command.apply_to_folder(
        pairs.side_by_side, items, args.out, args, parameters={"step": "combine"}, refused=refused, label="combining"
    )
    return command.report(report)


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)
