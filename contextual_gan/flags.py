"""Flags that several commands share: those of completing folders, and one for every number of some settings."""

import sys
from dataclasses import fields, replace

from contextual_gan.command import not_negative, positive
from contextual_gan.config import DEFAULT_PRESET, PRESETS, EncoderSettings

BATCH_SIZE = "searched at once, in powers of two: 100 is 64 + 32 + 4, and 7 is filled up to 8 (default: 64)"


def add_completion_arguments(parser, samples=1):
    """Add what complete.py is given beside the numbers of the search; samples: the default."""
    parser.add_argument("input", nargs="+", help="image files, and folders (recursive) and zip archives of them")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--crop",
        default="auto",
        help="cut sketches: auto (to the face, brow to chin), none, ink, or x,y,w,h in pixels (default: auto)",
    )
    parser.add_argument(
        "--joint",
        choices=("auto", "always", "never"),
        default="auto",
        help="take inputs as joint images, whose other half is the ground truth; auto: those of 128x64 pixels",
    )
    parser.add_argument(
        "--faces",
        choices=("largest", "all"),
        default="largest",
        help="which to take of several faces in an input; further ones are called NAME_2, ... (default: largest)",
    )
    parser.add_argument(
        "--align",
        choices=("auto", "on", "off"),
        default="auto",
        help="turn photos (--direction sketch) upright and align the face as the training data; off: only cut their "
        "middle; auto: align those with a face that is not aligned yet (default: auto; needs the extra [align])",
    )
    different = f"different results per input (default: {samples})"
    parser.add_argument("--samples", type=int, default=samples, metavar="K", help=different)
    parser.add_argument("--overwrite", action="store_true", help="replace what DIR holds of other settings")


def add_search_arguments(parser):
    """Add what completion needs: its networks, what to make, and a flag for every number of `config.SearchSettings`."""
    weights = "published weights, a .safetensors file or a run folder of train.py (default: celeba)"
    parser.add_argument("--weights", default="celeba", help=weights)
    parser.add_argument(
        "--direction", choices=("photo", "sketch"), default="photo", help="what to make (default: photo)"
    )
    parser.add_argument("--seed", type=not_negative, default=0, help="of the random z (default: 0)")
    parser.add_argument("--batch-size", type=positive, default=64, metavar="B", help=BATCH_SIZE)
    group = parser.add_argument_group("search", "numbers that are not given come from the preset")
    group.add_argument("--preset", choices=PRESETS, default=DEFAULT_PRESET, help="default: %(default)s")
    _add_fields(group, PRESETS)


def search_settings(args):
    """The `config.SearchSettings` of parsed arguments. Raises ValueError out of range, and as `encoder_file`.

    A preset that starts from an encoder starts from random z where there is none, and this says so.
    """
    from contextual_gan.models.locations import encoder_file, refuse_pix2pix

    refuse_pix2pix(args.weights)
    settings = _settings(args, PRESETS[args.preset])
    if settings.start == "random" or (path := encoder_file(args.weights, args.direction)).is_file():
        return settings
    if args.start:
        raise ValueError(f"there is no encoder to start from, {path}: train_encoder.py makes one")
    settings = replace(settings, start="random", n_init=args.n_init or PRESETS["coauthor"].n_init)
    print(f"no encoder at {path} (train_encoder.py makes one): random starts, {settings.n_init} each", file=sys.stderr)
    return settings


def completion_task(args):
    """(`folder.CompletionTask`, its `locations.Pinned` weights) of the arguments of complete.py and compare.py.

    Raises ValueError for what does not go together, and as `search_settings`.
    """
    from contextual_gan.completion.folder import CompletionTask
    from contextual_gan.models.locations import encoder_sha256, pin

    weights = pin(args.weights)
    search = search_settings(args)
    task = CompletionTask(
        weights=args.weights,
        weights_sha256=weights.sha256,
        preset=args.preset,
        search=search,
        encoder_sha256=encoder_sha256(weights, args.direction, search),
        direction=args.direction,
        seed=args.seed,
        samples=args.samples,
        crop=args.crop,
        joint=args.joint,
        faces=args.faces,
        **alignment_settings(args),
    )
    return task, weights


def alignment_settings(args):
    """align and predictor of the `folder.CompletionTask`; without the models of [align], auto means off, in a line.

    Raises ValueError if they are indispensable.
    """
    if args.direction == "photo":
        return {"align": "off" if args.align == "auto" else args.align}
    if args.align == "off":
        return {"align": "off"}
    from contextual_gan.preparation.alignment import predictor_id

    try:
        return {"align": args.align, "predictor": predictor_id()}
    except FileNotFoundError as error:
        if args.align == "on" or args.faces == "all":
            raise ValueError(str(error)) from error
        print(f"photos are not aligned but squared about their centre: {error}", file=sys.stderr)
        return {"align": "off"}


def add_encoder_arguments(parser):
    """Add a flag for every number of `config.EncoderSettings`."""
    _add_fields(parser.add_argument_group("how"), {"default:": EncoderSettings()})


def encoder_settings(args):
    """The `config.EncoderSettings` of parsed arguments. Raises ValueError for a number out of range."""
    return _settings(args, EncoderSettings())


def _add_fields(group, presets):
    """Add a flag for every field of settings; the help names its values in {name: settings}."""
    for field in fields(next(iter(presets.values()))):
        values = ", ".join(f"{preset} {getattr(numbers, field.name)}" for preset, numbers in presets.items())
        group.add_argument(
            "--" + field.name.rstrip("_").replace("_", "-"),
            dest=field.name,
            type=field.type,
            choices=field.metadata["choices"],
            metavar=None if field.metadata["choices"] else "X",
            help=f"{field.metadata['help']} ({values})",
        )


def _settings(args, preset):
    given = {f.name: getattr(args, f.name) for f in fields(preset) if getattr(args, f.name) is not None}
    return replace(preset, **given)
