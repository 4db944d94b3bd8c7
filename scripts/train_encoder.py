"""Train the encoder that starts the search, on joint images and on those that a trained generator draws."""

from contextlib import nullcontext
from pathlib import Path

from installed import command, flags

MADE = "encoder.sha256"  # in the run folder: hash of the encoder it wrote
EXAMPLES = """\
  python scripts/train_encoder.py --weights celeba.safetensors --data data/celeba --out runs/encoder_photo
  python scripts/train_encoder.py --weights runs/celeba --direction sketch --out runs/encoder_sketch --resume

With --data, it learns from true sketches that are roughened; without, from generated joint images alone. The encoder is
written beside the weights (for a run, into its folder), where complete.py finds it.
Ctrl-C saves and stops; --resume continues. Exit status: 0 done or stopped, 1 failure, 2 usage error.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument(
        "--weights", required=True, help="of the GAN: a .safetensors file, a run folder, celeba or celeba_paper"
    )
    parser.add_argument(
        "--direction", choices=("photo", "sketch"), default="photo", help="half to generate (default: photo)"
    )
    data = "data set; DIR/train, or DIR itself, holds joint images like those the generator was trained on"
    parser.add_argument("--data", metavar="DIR", help=data)
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder of this training")
    parser.add_argument(
        "--steps", type=command.positive, default=1500, metavar="N", help="train until step N (default: %(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="continue from the newest complete checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="replace an encoder written by another run")
    flags.add_encoder_arguments(parser)
    return parser.parse_args()


def joints_of(data):
    """The joint images of a data set that an encoder may be trained on; none if there is no data set."""
    from contextual_gan.training.batches import joint_files, without_choosing

    if data is None:
        return []
    folder = Path(data) / "train"
    return without_choosing(joint_files(folder if folder.is_dir() else data))


def is_made_by(run, path):
    """Whether the encoder at `path` is the one written by this run, by its hash."""
    from contextual_gan.files.checkpoints import file_sha256

    made = Path(run) / MADE
    return made.is_file() and path.is_file() and made.read_bytes().split() == [file_sha256(path).encode()]


def main(args):
    from contextual_gan.files.checkpoints import file_sha256
    from contextual_gan.files.images import replace_file
    from contextual_gan.models.locations import encoder_file, pin
    from contextual_gan.models.weights import save_encoder

    with command.mistakes():
        settings = flags.encoder_settings(args)
        weights = pin(args.weights)
        path = encoder_file(weights, args.direction)
    command.check_file(path, args.overwrite or is_made_by(args.out, path))
    command.import_tensorflow()
    from contextual_gan.files.progress import progress
    from contextual_gan.training import encoder
    from contextual_gan.training.run import about as named
    from contextual_gan.training.run_folder import RunFolder

    with command.mistakes():
        files = joints_of(args.data)
        about = f"encoder to {args.direction} of the generator {weights.sha256}, {args.steps} steps"
        about += f", {named(args.data, files)}" if files else ""
        run = RunFolder(args.out, settings, about, args.resume)
    with progress(len(files), "reading", "images") if files else nullcontext() as show, command.mistakes():
        options = {"files": files, "show": show or (lambda n: None)}
        start, done, made = encoder.train_encoder(run, weights, args.direction, args.steps, args.resume, **options)
    line = f"step {done} of {args.steps}"
    if done < args.steps:
        print(f"{line}; --resume continues")
        return 0
    seen = {"steps": done, "joint_images": len(files)}
    save_encoder(path, made, {"generator_sha256": weights.sha256, "direction": args.direction, **seen})
    replace_file(Path(args.out) / MADE, f"{file_sha256(path)}\n".encode())
    print(f"{line if done > start else f'nothing to do: {line}'}; wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)
