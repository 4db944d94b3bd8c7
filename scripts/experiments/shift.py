"""Score photos with a wrong brightness or range by SSIM and PSNR: why 8.99 dB with an SSIM of 0.85 is implausible."""

from pathlib import Path

from installed import command

EXAMPLES = """\
  python scripts/experiments/shift.py --data data/celeba/test
  python scripts/experiments/shift.py --data data/celeba/test --predictions runs/evaluation/pix2pix --out runs/shift

After each change, it scores the true photos and predictions of evaluate.py against the true photos. OUT/shift.md
holds the table.
"""
CHANGES = {  # name: function of float levels from 0 to 255
    "as they are": lambda x: x,
    "90 levels brighter": lambda x: x + 90,
    "90 levels darker": lambda x: x - 90,
    "half the range: 0 to 127": lambda x: x / 2,
    "half the range: 128 to 255": lambda x: 127.5 + x / 2,
    "range [-1, 1] taken for [0, 1]": lambda x: 2 * x - 255,
}


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of joint images")
    parser.add_argument("--predictions", metavar="DIR", help="OUT/METHOD of evaluate.py on them")
    parser.add_argument("--out", metavar="DIR", help="folder for the table")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.add_argument("--limit", type=command.positive, metavar="N", help="only the first N images by name")
    return parser.parse_args()


def main(args):
    import numpy as np

    from contextual_gan import joint
    from contextual_gan.evaluation import metrics, predictions
    from contextual_gan.evaluation.scores import table
    from contextual_gan.files import images

    if args.out:
        command.check_file(Path(args.out) / "shift.md", args.overwrite)
    with command.mistakes():
        joints, failed = predictions.usable_joints(args.data, excluded=args.out, limit=args.limit)
        photos = {"true photos": np.stack([joint.half(found.pixels, "photo") for found in joints])}
        if args.predictions:
            photos[Path(args.predictions).name] = predictions.predictions(args.predictions, joints)
    command.report_failed(failed)
    scores = {}
    for name, made in photos.items():
        for change, function in CHANGES.items():
            changed = np.clip(np.round(function(made.astype(np.float32))), 0, 255).astype(np.uint8)
            values = metrics.likeness(changed, photos["true photos"])
            scores[f"{name}, {change}"] = metrics.summaries(values)
    table = table(scores, f"{len(joints)} images")
    print(table, end="")
    if args.out:
        images.replace_file(Path(args.out) / "shift.md", table.encode())
    return 1 if failed else 0


if __name__ == "__main__":
    command.run(main, parse())
