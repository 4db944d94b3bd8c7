"""Write the networks of a training run to one file for --weights (or --pix2pix), or to SavedModels."""

import os
from pathlib import Path

from installed import command

EXAMPLES = """\
  python scripts/export.py runs/celeba celeba.safetensors
  python scripts/export.py runs/celeba celeba.safetensors --dtype float32 --overwrite
  python scripts/export.py runs/celeba saved/ --saved-model

It exports the newest complete checkpoint, with the moving average of the generator if there is one.
OUT.json, written beside OUT.safetensors, describes the weights: SHA-256, images seen, settings, final losses.
For a run of pix2pix, OUT.safetensors holds the generator alone and its own description.
The SavedModels (TensorFlow's own format) are OUT/generator, from z (n, 100) to joint images (n, 64, 128, 3), and
OUT/discriminator, from joint images to logits.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("run", metavar="RUN", help="run folder of train.py (or other weights)")
    parser.add_argument("out", metavar="OUT", help="file to write, .safetensors; with --saved-model a folder")
    parser.add_argument(
        "--dtype", choices=("float16", "float32"), default="float16", help="type of the numbers (default: %(default)s)"
    )
    parser.add_argument("--saved-model", action="store_true", help="write SavedModels, which are float32")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    args = parser.parse_args()
    if not args.saved_model and Path(args.out).suffix != ".safetensors":
        parser.error(f"{args.out} does not end in .safetensors; use --saved-model to write a folder")
    return args


def main(args):
    out = Path(args.out)
    if not args.saved_model:
        command.check_file(out, args.overwrite)
    elif os.path.lexists(out) and not (args.overwrite and out.is_dir()):
        raise command.UserError(f"{out} already exists: give another name{', or --overwrite' * out.is_dir()}")
    with command.locked(out.parent, name=f".{out.name}.lock"):
        return export(args, out)


def export(args, out):
    """Write the file, or the SavedModels."""
    command.import_tensorflow()
    from contextual_gan import config
    from contextual_gan.models import saved_models
    from contextual_gan.models.locations import pin
    from contextual_gan.models.weights import load_networks, save_weights
    from contextual_gan.training import dcgan

    if Path(args.run).is_dir() and not args.saved_model:
        command.check_file(out.with_suffix(".json"), args.overwrite)  # the card
    with command.mistakes():
        if args.saved_model:
            saved_models.check(out)
        weights = pin(args.run)
        path = Path(args.run) / "config.yaml"
        if path.is_file() and config.trained_section(path) == "pix2pix":
            return export_pix2pix(args, out, weights)
        generator, discriminator = load_networks(weights)
    if args.saved_model:
        saved_models.write(out, generator, discriminator)
        print(f"wrote {out}/generator and {out}/discriminator")
        return 0
    if Path(args.run).is_dir():
        out.with_suffix(".json").unlink(missing_ok=True)  # the card of the replaced file
    save_weights(out, generator, discriminator, args.dtype)
    if Path(args.run).is_dir():
        dcgan.write_card(weights, out)
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0


def export_pix2pix(args, out, weights):
    """Write G alone; drawing needs no more."""
    from contextual_gan.models.weights import load_pix2pix_run, save_pix2pix
    from contextual_gan.training import pix2pix

    if args.saved_model:
        raise command.UserError("--saved-model is for runs of train:, not of pix2pix:")
    generator, _ = load_pix2pix_run(weights)
    save_pix2pix(out, generator, pix2pix.card(weights), args.dtype)
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    command.run(main, parse())
