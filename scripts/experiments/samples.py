"""Compare what generators draw at random z: whether the halves belong together, and how sharp and varied they are."""

from pathlib import Path

from installed import command

EXAMPLES = """\
  python scripts/experiments/samples.py celeba_paper celeba --data data/celeba/train --out samples.md --grid samples.png

Columns: consistency of the two halves (of true joints: 1); HOG distance of the photos to as many true ones, spread over
the data; their diversity, the mean absolute difference of two photos in levels of 255. 1,000 samples take 20 s.
"""
SHOWN = 8  # joint images in a row of --grid
SPREAD = 8  # photos compared with each other; diversity is the mean over such groups


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("weights", nargs="+", help="published names, .safetensors files or run folders")
    parser.add_argument("--data", required=True, metavar="DIR", help="joint images of true faces")
    parser.add_argument("--out", required=True, metavar="FILE", help="Markdown table to write")
    parser.add_argument("--samples", type=command.positive, default=1000, metavar="N", help="default: %(default)s")
    drawn = f"PNG to write as well: a row of {SHOWN} joint images for each of the weights, of the same z"
    parser.add_argument("--grid", metavar="FILE", help=drawn)
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    return parser.parse_args()


def row(name, joints, true, styles):
    """One line of the table: of joints (n, 64, 128, 3) uint8, against the HOG features of as many true photos."""
    from contextual_gan.evaluation.metrics import diversity
    from contextual_gan.evaluation.realism import hog_features, kernel_summary
    from contextual_gan.joint import half
    from contextual_gan.training.own_pairs import consistencies

    photos = half(joints, "photo")
    own = consistencies(joints, styles).max(axis=1).mean()
    hog = kernel_summary(hog_features(photos), true)
    whole = len(photos) // SPREAD * SPREAD
    spread = diversity(photos[:whole].reshape(-1, SPREAD, *photos.shape[1:])).mean()
    return f"| {name} | {own:.3f} | {hog['mean']:.3f} ({hog['low']:.3f} to {hog['high']:.3f}) | {spread:.1f} |"


def main(args):
    import numpy as np

    for file in filter(None, (args.out, args.grid)):
        command.check_file(file, args.overwrite)
    if args.samples < SPREAD:
        raise ValueError(f"--samples {args.samples}: at least {SPREAD} are needed")
    command.import_tensorflow()
    from contextual_gan.evaluation.realism import hog_features
    from contextual_gan.files.images import grid, replace_file, to_uint8, write_png
    from contextual_gan.joint import half
    from contextual_gan.models.dcgan import LATENT
    from contextual_gan.models.inference import generate
    from contextual_gan.models.weights import load_networks
    from contextual_gan.training.batches import joint_files, read_joints
    from contextual_gan.training.own_pairs import styles_of

    with command.mistakes():
        files = joint_files(args.data)
        if len(files) < args.samples:
            raise ValueError(f"{args.data} has {len(files)} joint images; --samples {args.samples} needs as many")
        true = read_joints(files[:: len(files) // args.samples][: args.samples])
        generators = {str(name): load_networks(name, needs_discriminator=False)[0] for name in args.weights}
    features, styles = hog_features(half(true, "photo")), styles_of(true[:24])
    z = np.random.default_rng(0).uniform(-1, 1, (args.samples, LATENT)).astype(np.float32)
    drawn, lines = [], ["| weights | own pairs | HOG distance | diversity |", "|---|---|---|---|"]
    for name, generator in generators.items():
        shown = Path(name).stem if name.endswith(".safetensors") else name
        joints = to_uint8(generate(generator, z))
        drawn.append(list(joints[:SHOWN]))
        lines.append(row(shown, joints, features, styles))
        print(lines[-1], flush=True)
    replace_file(args.out, ("\n".join(lines) + "\n").encode())
    if args.grid:
        write_png(args.grid, grid(drawn))
    return 0


if __name__ == "__main__":
    command.run(main, parse())
