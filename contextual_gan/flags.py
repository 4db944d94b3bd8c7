"""Flags shared by several commands: those for completing folders, and one for every field of some settings."""

import sys
from dataclasses import fields, replace

from contextual_gan.command import not_negative, positive, share
from contextual_gan.config import DEFAULT_PRESET, PRESETS, EncoderSettings

BATCH_SIZE = "inputs searched at once, split into powers of two: 100 is 64 + 32 + 4, 7 is padded to 8 (default: 64)"


def add_completion_arguments(parser, samples=1):
    """Add the flags of complete.py other than the search settings; samples: the default."""
    parser.add_argument("input", nargs="+", help="image files, or folders (recursive) or zip archives of images")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--crop",
        default="auto",
        help="crop of sketches: auto (the face, brow to chin), none (the whole image), ink (all strokes), or x,y,w,h "
        "in pixels (default: auto)",
    )
    parser.add_argument(
        "--joint",
        choices=("auto", "always", "never"),
        default="auto",
        help="treat inputs as joint images, whose other half is the ground truth; auto: those of 128x64 pixels",
    )
    parser.add_argument(
        "--faces",
        choices=("largest", "all"),
        default="largest",
        help="faces to complete if an input has several; further ones are named NAME_2, ... (default: largest)",
    )
    parser.add_argument(
        "--align",
        choices=("auto", "on", "off"),
        default="auto",
        help="turn photos (--direction sketch) upright and align the face like the training data; off: use the centred "
        "square; auto: align only faces that are not aligned yet (default: auto; needs the extra [align])",
    )
    different = f"number of different results per input (default: {samples})"
    parser.add_argument("--samples", type=int, default=samples, metavar="K", help=different)
    parser.add_argument("--overwrite", action="store_true", help="replace results made with other settings in DIR")


def add_search_arguments(parser):
    """Add the flags of completion: networks, direction, and one flag for every field of `config.SearchSettings`."""
    weights = "celeba, celeba_paper, a .safetensors file or a run folder of train.py (default: celeba)"
    parser.add_argument("--weights", default="celeba", help=weights)
    parser.add_argument(
        "--direction", choices=("photo", "sketch"), default="photo", help="half to generate (default: photo)"
    )
    parser.add_argument("--seed", type=not_negative, default=0, help="seed of the random z (default: 0)")
    parser.add_argument("--batch-size", type=positive, default=64, metavar="B", help=BATCH_SIZE)
    group = parser.add_argument_group("search", "the preset sets all values that are not given")
    preset = "readme: the original README's; coauthor: the paper's, as far as known; edges: ours (default: %(default)s)"
    group.add_argument("--preset", choices=PRESETS, default=DEFAULT_PRESET, help=preset)
    faithful = (
        "how closely to follow the strokes, from 0 to 1; 0: the encoder's plausible face, without a "
        "search; 1: a free search (default: depends on the kind of input; 0 for drawings by people)"
    )
    group.add_argument("--faithful", type=share, metavar="F", help=faithful)
    _add_fields(group, PRESETS)


def add_pix2pix_argument(parser):
    """Add the flag for the weights of the baseline."""
    weights = "pix2pix weights: celeba, celeba_rough, a .safetensors file or a run (default: celeba)"
    parser.add_argument("--pix2pix", default="celeba", metavar="WEIGHTS", help=weights)


def search_settings(args):
    """The `config.SearchSettings` from parsed arguments. Raises ValueError for a value out of range, and the errors of
    `encoder_file`.

    If a preset needs an encoder and there is none, it starts from random z, and a line on stderr says so.
    """
    _check_faithful(args)
    from contextual_gan.models.locations import encoder_file, refuse_pix2pix

    refuse_pix2pix(args.weights)
    settings = _settings(args, PRESETS[args.preset])
    if settings.start == "random" or (path := encoder_file(args.weights, args.direction)).is_file():
        return settings
    if args.start:
        raise ValueError(f"there is no encoder {path} to start from: make it with train_encoder.py")
    settings = replace(settings, start="random", n_init=args.n_init or PRESETS["coauthor"].n_init)
    unused = "" if args.faithful is None else ", and --faithful has no effect"
    line = f"no encoder at {path} (make it with train_encoder.py): random starts, {settings.n_init} each{unused}"
    print(line, file=sys.stderr)
    return settings


def _check_faithful(args):
    """Raise ValueError if --faithful conflicts with another flag."""
    if args.faithful is None:
        return
    if args.prior is not None:
        raise ValueError("--faithful sets the weight of the prior: leave out --prior")
    if PRESETS[args.preset].start == "random":
        others = ", ".join(name for name, settings in PRESETS.items() if settings.start == "encoder")
        raise ValueError(f"--faithful is not for --preset {args.preset}, only for {others}")
    if args.start == "random":
        raise ValueError("--faithful starts from the encoder: leave out --start random")


def faithful(args, search):
    """The value of --faithful, or the value for each kind of input, for a search that starts from an encoder.

    None, so that the prior of the preset applies, if the search starts from random z, if --prior is given, or if the
    encoder was not trained on true joint images.
    """
    from contextual_gan.completion.faithful import BY_KIND
    from contextual_gan.models.weights import learned_from_joints

    if search.start == "random" or args.prior is not None:
        return None
    if args.faithful is None:
        return BY_KIND if learned_from_joints(args.weights, args.direction) else None
    return args.faithful


def completion_task(args):
    """(`folder.CompletionTask`, its `locations.Pinned` weights) from the arguments of complete.py and compare.py.

    Raises ValueError for flags that exclude each other, and the errors of `search_settings`.
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
        faithful=faithful(args, search),
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
    """align and predictor of the `folder.CompletionTask`; without [align], auto means off, and a line says so.

    Raises ValueError if its models are required.
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
        print(f"photos are not aligned but cropped to their central square: {error}", file=sys.stderr)
        return {"align": "off"}


def add_encoder_arguments(parser):
    """Add a flag for every field of `config.EncoderSettings`."""
    _add_fields(parser.add_argument_group("training"), {"default:": EncoderSettings()})


def encoder_settings(args):
    """The `config.EncoderSettings` from parsed arguments. Raises ValueError for a number out of range."""
    return _settings(args, EncoderSettings())


def _add_fields(group, presets):
    """Add a flag for every field of settings; the help lists its values in {name: settings}."""
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
