"""Draw what the generator makes between pairs of z, to show that the two halves move together."""

from installed import command

EXAMPLES = """\
  python scripts/experiments/walk.py --out walk.png
  python scripts/experiments/walk.py --weights celeba_paper --rows 8 --seed 1 --out walk_paper.png

Each row leads from one random z to another: the photo halves, and the sketch halves below them.
It takes 5 s.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--out", required=True, metavar="FILE", help="PNG to write")
    weights = "published name, .safetensors file or run folder (default: %(default)s)"
    parser.add_argument("--weights", default="celeba", help=weights)
    parser.add_argument("--rows", type=command.positive, default=4, metavar="N", help="pairs of z (default: 4)")
    parser.add_argument("--steps", type=command.positive, default=8, metavar="N", help="at least 2 (default: 8)")
    parser.add_argument("--seed", type=command.not_negative, default=0, help="of the random z (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    return parser.parse_args()


def between(first, second, steps):
    """z from `first` to `second`, both (n, 100) in [-1, 1] -> (n, steps, 100), ends included, in [-1, 1].

    On a straight line, the z in the middle are shorter than any that G was trained on: their values have a variance of
    1/6 instead of 1/3. So the path is an arc (White 2016, "Sampling generative networks"): random z are nearly
    orthogonal, and weights that are the cosine and the sine of an angle keep their length. Values that leave [-1, 1]
    are clipped, as in the search; in the middle, these are 9%.
    """
    import numpy as np

    angle = np.linspace(0, np.pi / 2, steps)[:, None]
    return np.clip(np.cos(angle) * first[:, None] + np.sin(angle) * second[:, None], -1, 1)


def main(args):
    import numpy as np

    command.check_file(args.out, args.overwrite)
    if args.steps < 2:
        raise command.UserError(f"--steps {args.steps}: at least 2 are needed")
    command.import_tensorflow()
    from contextual_gan.files.images import enlarge, grid, to_uint8, write_png
    from contextual_gan.joint import half
    from contextual_gan.models.dcgan import LATENT
    from contextual_gan.models.inference import generate
    from contextual_gan.models.weights import load_networks

    with command.mistakes():
        generator, _ = load_networks(args.weights, needs_discriminator=False)
    z = np.random.default_rng(args.seed).uniform(-1, 1, (2, args.rows, LATENT))
    path = between(*z, args.steps).reshape(-1, LATENT).astype(np.float32)
    joints = to_uint8(generate(generator, path)).reshape(args.rows, args.steps, 64, 128, 3)
    cells = np.concatenate([half(joints, "photo"), half(joints, "sketch")], axis=2)
    write_png(args.out, grid([[enlarge(cell, 2) for cell in row] for row in cells]))
    print(args.out)
    return 0


if __name__ == "__main__":
    command.run(main, parse())
