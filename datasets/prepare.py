"""Make the training and test set of joint images from a folder or zip archive of photos, in one go."""

import json
import sys
from pathlib import Path

from installed import command

CELEBA = Path(__file__).parent.parent / "configs" / "celeba.yaml"
EXAMPLES = """\
  python datasets/prepare.py --images img_align_celeba.zip --out data/celeba
  python datasets/prepare.py --images img_align_celeba.zip --out data/celeba --split-file list_eval_partition.txt
  python datasets/prepare.py --images my_faces/ --out data/mine --set data.test=100 --multiple all
  python datasets/prepare.py --images cars_train.zip --out data/cars --config configs/cars.yaml
  python datasets/prepare.py --images img_align_celeba.zip --out data/styles --styles xdog,fdog,photocopy

DIR/train/000001.png and DIR/test/ hold the joint images, DIR/dataset.json the settings and the photos left out,
DIR/split.csv the set of each photo, DIR/manifest.jsonl the source of each joint.
You can interrupt the command; run it again to continue and to process new and failed photos.
Exit status: 0 done, 1 some photos could not be read (listed; a photo without a face is not an error), 2 usage error.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument(
        "--images", required=True, metavar="IN", help="folder (recursive) or zip archive of photos, or one photo"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the data set")
    config = "configuration with a section data: (default: configs/celeba.yaml)"
    parser.add_argument("--config", default=str(CELEBA), metavar="YAML", help=config)
    parser.add_argument(
        "--set", action="append", default=[], metavar="data.KEY=VALUE", help="override a value of the configuration"
    )
    parser.add_argument("--styles", metavar="A,B", help="sketch styles: xdog, fdog, photocopy; short for --set")
    several = "which of several faces to use (all: the others as NAME_2, ...); short for --set"
    parser.add_argument("--multiple", choices=("largest", "skip", "all"), help=several)
    parser.add_argument("--split-file", metavar="FILE", help="list with the header image,split, or CelebA's partition")
    parser.add_argument(
        "--celeba-landmarks", metavar="FILE", help="align by list_landmarks_align_celeba.txt instead of dlib"
    )
    command.add_folder_arguments(parser)
    return parser.parse_args()


def main(args):
    from contextual_gan import config
    from contextual_gan.preparation import prepare, splits

    if args.multiple and args.celeba_landmarks:
        raise command.UserError("--multiple is for detected faces; nothing is detected with --celeba-landmarks")
    overrides = args.set + ([f"data.styles=[{args.styles}]"] if args.styles else [])
    overrides += [f"data.multiple={args.multiple}"] if args.multiple else []
    with command.mistakes():
        report = prepare.prepare(
            args.images,
            args.out,
            config.load(args.config, "data", config.DataSettings, overrides),
            split_file=args.split_file,
            celeba_landmarks=args.celeba_landmarks,
            label="preparing",
            **command.folder_flags(args),
        )
    status = command.report(report)
    counts = json.loads((report.out / "dataset.json").read_text())["counts"]
    print(f"{counts['train']} for training, {counts['test']} for testing; details: {report.out}/dataset.json")
    if line := splits.few(counts["train"]):
        print(f"warning: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)
