"""Draw sketches of the photos of a folder or zip archive: XDoG, FDoG or photocopy."""

import statistics
import sys

from installed import command

EXAMPLES = """\
  python datasets/xdog.py faces/ sketches/
  python datasets/xdog.py faces.zip sketches/ --style fdog --preset contour
  python datasets/xdog.py faces/ sketches/ --preset bold --sigma 1.2

OUT/a/b.png is made from IN/a/b.jpg and has its size. Run the command again to process new and failed photos.
Exit status: 0 done, 1 some images failed (listed), 2 usage error.
"""
USUAL_INK = (0.05, 0.4)  # share of dark pixels: with less, no face is visible; more hides it


def parse():
    """The arguments; `numbers` holds the parameters of the style that were given."""
    from contextual_gan.preparation.sketches import CHOICES, PRESETS, RANGES, STYLES, parameters_of

    parser = command.ArgumentParser(
        __doc__ + "\n\nThe presets are made for photos of 64 pixels; results/styles.png shows them.", EXAMPLES
    )
    parser.add_argument("input", metavar="IN", help="folder of photos (recursive), or a zip archive of them")
    parser.add_argument("out", metavar="OUT", help="folder for the sketches")
    parser.add_argument("--style", choices=STYLES, default="xdog", help="default: %(default)s")
    presets = "; ".join(f"{style}: {', '.join(names)}" for style, names in PRESETS.items())
    parser.add_argument("--preset", metavar="NAME", help=f"{presets} (default: the first of the style)")
    group = parser.add_argument_group("parameters", "override the preset; see contextual_gan/preparation/sketches.py")
    defaults = {}  # {parameter: {style: value}}
    for style in STYLES:
        for name, value in parameters_of(style).items():
            defaults.setdefault(name, {})[style] = value
    for name, of in defaults.items():
        allowed = "" if name in CHOICES else "from {:g} to {:g}; ".format(*RANGES[name])
        group.add_argument(
            "--" + name.replace("_", "-"),
            type=type(next(iter(of.values()))),
            choices=CHOICES.get(name),
            metavar=None if name in CHOICES else "X",
            help=allowed + ", ".join(f"{style} {value}" for style, value in of.items()),
        )
    command.add_folder_arguments(parser)
    args = parser.parse_args()
    args.numbers = {name: value for name in defaults if (value := getattr(args, name)) is not None}
    for name in args.numbers:
        if args.style not in defaults[name]:
            owners = " or ".join(f"--style {style}" for style in defaults[name])
            parser.error(f"--{name.replace('_', '-')} is for {owners}, not for {args.style}")
    return args


def sketch_and_ink(photo, **parameters):
    """(H, W, 3) uint8 photo -> its sketch, and its ink density for the manifest."""
    from contextual_gan.preparation.sketches import draw, ink_density

    sketch = draw(photo, **parameters)
    return sketch, {"ink": round(ink_density(sketch), 4)}


def report_ink(inks):
    """Print the ink density of the sketches, and a warning if it is unusual."""
    low, high = USUAL_INK
    middle, outside = statistics.median(inks), sum(not low <= ink <= high for ink in inks)
    print(f"ink density of {len(inks)} sketches: min {min(inks):.1%}, median {middle:.1%}, max {max(inks):.1%}")
    if outside:
        print(f"warning: {outside} of {len(inks)} are outside {low:.0%} to {high:.0%}", file=sys.stderr)
    if not low <= middle <= high:
        what = "too little" if middle < low else "too much"
        advice = "presets are for photos of 64 pixels (datasets/resize.py); otherwise try another --preset or --style"
        print(f"warning: half of the sketches or more have {what} ink; {advice}", file=sys.stderr)


def main(args):
    from functools import partial

    from contextual_gan.preparation.sketches import parameters_of

    with command.mistakes():
        parameters = {"style": args.style, **parameters_of(args.style, args.preset, **args.numbers)}
    items, refused = command.mirrored(args.input, args.out)
    report = command.apply_to_folder(
        partial(sketch_and_ink, **parameters),
        items,
        args.out,
        args,
        parameters={"step": "sketch", **parameters},
        refused=refused,
        label="drawing",
    )
    if inks := [entry["ink"] for entry in report.done]:
        report_ink(inks)
    return command.report(report)


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)
