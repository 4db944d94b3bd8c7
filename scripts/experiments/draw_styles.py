"""Draw the styles of sketches and their presets on generated faces, which show no real person: results/styles.png."""

from installed import command

EXAMPLES = """\
  python scripts/experiments/draw_styles.py                      10 s on 2 cores
  python scripts/experiments/draw_styles.py --out /tmp/styles.png
"""
CLEAR = (3, 21, 25, 40, 47, 63)  # of the first 64 faces, those with a clear face and much contrast
FACTOR = 2  # enlargement


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--out", default="results/styles.png", metavar="FILE", help="PNG to write (%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    return parser.parse_args()


def generated_faces():
    """(6, 64, 64, 3) uint8 photos by the generator of celeba_paper, always the same ones."""
    command.import_tensorflow()
    import numpy as np

    from contextual_gan import joint
    from contextual_gan.files.images import to_uint8
    from contextual_gan.models.inference import generate
    from contextual_gan.models.weights import load_pretrained

    generator, _ = load_pretrained("celeba_paper")
    z = np.random.default_rng(0).uniform(-1, 1, (64, 100)).astype(np.float32)
    return to_uint8(joint.half(generate(generator, z[list(CLEAR)]), "photo"))


def main(args):
    import numpy as np

    from contextual_gan.files.images import enlarge, grid, write_png
    from contextual_gan.preparation.sketches import PRESETS, draw

    command.check_file(args.out, args.overwrite or args.out == "results/styles.png")  # the figure of this command
    rows, titles = [], ["photo"]
    for style, presets in PRESETS.items():  # a gap between styles
        titles += ["", *(f"{style}: {preset}" if i == 0 else preset for i, preset in enumerate(presets))]
    for photo in generated_faces():
        row = [enlarge(photo, FACTOR)]
        for style, presets in PRESETS.items():
            sketches = (draw(photo, style, preset) for preset in presets)
            row += [None, *(np.kron(sketch, np.ones((FACTOR, FACTOR, 1), np.uint8)) for sketch in sketches)]
        rows.append(row)
    write_png(args.out, grid(rows, titles=titles))
    print(args.out)
    return 0


if __name__ == "__main__":
    command.run(main, parse())
