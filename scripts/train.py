"""Train a contextual GAN, or the pix2pix baseline, on the joint images of datasets/prepare.py."""

from pathlib import Path

from installed import command

SHOWN = 6  # joints drawn in samples/
EXAMPLES = """\
  python scripts/train.py --config configs/celeba.yaml --data data/celeba
  python scripts/train.py --config configs/celeba.yaml --data data/celeba --resume
  python scripts/train.py --config configs/celeba.yaml --data data/celeba --out runs/one --set train.g_updates=1
  tensorboard --logdir runs --port 8888

Ctrl-C saves and stops; --resume continues as if never stopped. Exit status: 0 done or stopped, 1 failure (earlier
checkpoints stay valid), 2 usage error.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument(
        "--config", required=True, metavar="YAML", help="configuration with a section train: or pix2pix:"
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="data set; DIR/train holds joint images")
    parser.add_argument("--out", metavar="RUN", help="run folder (default: runs/ plus the name of the configuration)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=command.positive, metavar="N", help="train until step N")
    length.add_argument("--epochs", type=float, metavar="N", help="passes over the data")
    parser.add_argument("--save-every", type=command.positive, metavar="N", help="steps between checkpoints")
    parser.add_argument("--seed", type=int, help="seed of the run")
    parser.add_argument("--resume", action="store_true", help="continue from the newest complete checkpoint")
    parser.add_argument("--deterministic", action="store_true", help="make runs bitwise reproducible; may be slower")
    parser.add_argument(
        "--strategy",
        choices=("one", "mirrored", "multi-worker"),
        default="one",
        help="train on one device, on all GPUs of this machine, or on all workers of TF_CONFIG (default: %(default)s)",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override a value of the configuration"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, print the configuration, and exit")
    return parser.parse_args()


def settings_of(args):
    """The settings from the file and the flags."""
    from contextual_gan import config

    section = config.trained_section(args.config)
    flags = {"epochs": args.epochs, "save_every": args.save_every, "seed": args.seed}
    overrides = [f"{section}.{name}={value}" for name, value in flags.items() if value is not None]
    return config.load(args.config, section, config.SECTIONS[section], [*args.set, *overrides])


def main(args):
    with command.mistakes():
        settings = settings_of(args)
    tf = command.import_tensorflow()
    from contextual_gan import config
    from contextual_gan.training import batches, devices
    from contextual_gan.training.run import about, steps_of
    from contextual_gan.training.run_folder import NoRunFolder, RunFolder

    if args.deterministic:
        tf.config.experimental.enable_op_determinism()
    out = args.out or Path("runs") / Path(args.config).stem
    with command.mistakes():
        is_chief = devices.is_chief(args.strategy)
    with command.locked(out if is_chief and not args.dry_run else None):
        folder, test = Path(args.data) / "train", Path(args.data) / "test"
        with command.mistakes():
            files = batches.joint_files(folder)
            if config.section_of(settings) == "pix2pix":
                files = batches.without_choosing(files)
            shown = batches.joint_files(test) if test.is_dir() and any(test.iterdir()) else files
            steps = args.steps or steps_of(settings.epochs, len(files), settings.batch_size)
            run_folder = RunFolder if is_chief else NoRunFolder
            run = run_folder(out, settings, about(folder, files), args.resume)
        print(f"{len(files)} joint images, {steps} steps of {settings.batch_size}: {out}")
        if args.dry_run:
            print(run.text(), end="")
            return 0
        return train(args, run, files, shown[:SHOWN], steps)


def train(args, run, files, shown, steps):
    from contextual_gan.files.progress import progress
    from contextual_gan.training import devices
    from contextual_gan.training.run import train_on_joints

    with command.mistakes():
        strategy = devices.create(args.strategy)
    with progress(len(files), "reading", "images") as show, command.mistakes():
        start, done = train_on_joints(run, files, shown, steps=steps, strategy=strategy, resume=args.resume, show=show)
    line = f"step {done} of {steps}" + ("" if done >= steps else "; --resume continues")
    if steps:  # after 0 epochs, nothing is left behind
        run.log(line)
    print(line if done > start else f"nothing to do: {line}")
    return 0


if __name__ == "__main__":
    command.run(main, parse())
