"""Train the encoder that the presets `fast` and `edges` start from, on what the generator of some weights draws."""

import sys

try:
    from contextual_gan import command
except ModuleNotFoundError:
    print("contextual_gan is not installed: run `pip install -e .` in the repository, or `make demo`", file=sys.stderr)
    sys.exit(2)

EXAMPLES = """\
  python scripts/train_encoder.py --weights celeba.safetensors --direction photo --out runs/encoder_photo
  python scripts/train_encoder.py --weights runs/celeba --direction sketch --out runs/encoder_sketch --resume

No data are needed. The encoder is written beside the weights (of a run, into its folder), where complete.py finds it.
Ctrl-C saves and stops; --resume goes on. Exit status: 0 done or stopped, 1 a fault, 2 wrong usage.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--weights", required=True, help="a .safetensors file, a run folder or a published name")
    parser.add_argument(
        "--direction", choices=("photo", "sketch"), default="photo", help="what is wanted (default: photo)"
    )
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder of this training")
    parser.add_argument(
        "--steps", type=command.positive, default=3000, metavar="N", help="default: %(default)s, 20 minutes"
    )
    parser.add_argument("--resume", action="store_true", help="continue from the newest whole checkpoint")
    command.add_encoder_arguments(parser)
    return parser.parse_args()


def main(args):
    from contextual_gan import checkpoints

    with command.mistakes():
        settings = command.encoder_settings(args)
        weights = checkpoints.pin(args.weights)
        path = checkpoints.encoder_file(weights, args.direction)
    command.import_tensorflow()
    from contextual_gan import encoder, training

    with command.mistakes():
        about = f"encoder to {args.direction} of the generator {weights.sha256}, {args.steps} steps"
        run = training.RunFolder(args.out, settings, about, args.resume)
        start, done, made = encoder.train_encoder(run, weights, args.direction, args.steps, args.resume)
    line = f"step {done} of {args.steps}"
    if done < args.steps:
        print(f"{line}; --resume continues")
        return 0
    checkpoints.save_encoder(
        path, made, {"generator_sha256": weights.sha256, "direction": args.direction, "steps": done}
    )
    print(f"{line if done > start else f'nothing to do: {line}'}; wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    command.run(main, parse())
