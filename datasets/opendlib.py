"""Align faces like OpenFace: find them with dlib, warp them to one framing, write them as PNG."""

from installed import command

EXAMPLES = """\
  python datasets/opendlib.py photos/ faces/
  python datasets/opendlib.py img_align_celeba.zip faces/ --celeba-landmarks list_landmarks_align_celeba.txt
  python datasets/opendlib.py photos.zip faces/ --size 96 --landmarks outer-eyes-nose --multiple skip
  python datasets/opendlib.py aligned/ faces/ --no-detect 25,45,128,128

OUT/a/b.png is made from IN/a/b.jpg. Run the command again to process new and failed photos.
The landmarks come from `pip install -e ".[align]"`; their model is licensed for research, not for commercial use.
Exit status: 0 done, 1 some photos could not be read (listed; a photo without a face is not an error), 2 usage error.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("input", metavar="IN", help="folder of photos (recursive), or a zip archive of them")
    parser.add_argument("out", metavar="OUT", help="folder for the results")
    parser.add_argument("--size", type=command.positive, default=128, help="rows and columns (default: %(default)s)")
    parser.add_argument(
        "--landmarks",
        choices=("inner-eyes-bottom-lip", "outer-eyes-nose"),
        help="landmarks at fixed positions (default: inner-eyes-bottom-lip, the framing of the published weights)",
    )
    several = "which of several faces to use (all: the others as NAME_2, ...; default: largest)"
    parser.add_argument("--multiple", choices=("largest", "skip", "all"), help=several)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--predictor", metavar="FILE", help="another dlib predictor, of 68 points or (for outer eyes) 5")
    how.add_argument("--celeba-landmarks", metavar="FILE", help="align by list_landmarks_align_celeba.txt, not dlib")
    how.add_argument("--no-detect", metavar="X,Y,W,H", help="crop this box, in pixels, from aligned photos")
    command.add_folder_arguments(parser)
    return parser.parse_args()


def refuse_idle_flags(args):
    """Refuse flags that have no effect."""
    if args.size > 4096:
        raise command.UserError(f"--size {args.size}: the largest is 4096")
    if args.multiple and (args.celeba_landmarks or args.no_detect):
        raise command.UserError("--multiple is for detected faces; no faces are detected here")
    if args.landmarks and args.no_detect:
        raise command.UserError("--landmarks has no effect on the box of --no-detect")


def method(args):
    """(function from a photo to its face, its record for the manifest). Raises the errors of `alignment`."""
    from functools import partial
    from pathlib import Path

    from contextual_gan.preparation import alignment

    if args.no_detect:
        function = partial(alignment.crop_fixed, box=alignment.parse_box(args.no_detect))
        return function, {"aligned by": f"box {args.no_detect}"}
    landmarks, multiple = args.landmarks or "inner-eyes-bottom-lip", args.multiple or "largest"
    if args.celeba_landmarks:
        recorded = {"aligned by": alignment.file_id(args.celeba_landmarks), "landmarks": landmarks}
        return partial(alignment.align_by_points, landmarks=landmarks), recorded
    predictor = args.predictor and str(Path(args.predictor).resolve())
    if predictor:
        alignment.load_predictor(args.predictor, landmarks)
    recorded = {"aligned by": alignment.predictor_id(predictor), "landmarks": landmarks, "multiple": multiple}
    return partial(alignment.align, predictor=predictor, landmarks=landmarks, multiple=multiple), recorded


def with_points(items, path):
    """The items, with points for those in the landmarks file. Raises ValueError for an invalid file."""
    from dataclasses import replace
    from pathlib import PurePosixPath

    from contextual_gan.preparation.alignment import read_celeba_landmarks

    known = {PurePosixPath(name).stem: {"points": points} for name, points in read_celeba_landmarks(path).items()}
    return [replace(item, arguments=known.get(PurePosixPath(item.source).stem, {})) for item in items]


def main(args):
    import os
    from functools import partial

    refuse_idle_flags(args)
    items, refused = command.mirrored(args.input, args.out)
    lacking = None
    with command.mistakes():
        if args.celeba_landmarks:
            items = with_points(items, args.celeba_landmarks)
            lacking = f"not in {os.path.basename(args.celeba_landmarks)}"
        function, recorded = method(args)
    report = command.apply_to_folder(
        partial(function, size=args.size),
        items,
        args.out,
        args,
        parameters={"step": "align", "size": args.size} | recorded,
        refused=refused,
        label="aligning",
        with_reduction=bool(args.no_detect),  # the box is in pixels of the file
        refuse=lambda item, sha256: lacking if lacking and not item.arguments else None,
    )
    return command.report(report)


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)
