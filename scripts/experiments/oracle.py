"""Find the limits of completion: search for z with a growing weight of the true photo, up to the photo alone."""

from pathlib import Path

from installed import command, flags

EXAMPLES = """\
  python scripts/experiments/oracle.py --data data/celeba/test --out runs/oracle

OUT/ROW/ holds the joint images found by each search, OUT/oracle.md the tables: how close each half is to the true one,
and how well the two halves fit each other. You can interrupt the command and run it again.
"""
BALANCES = {  # row: weights of the sketch and of the photo
    "nothing: random z": None,
    "the sketch": [1, 0],
    "the sketch and 1 x the photo": [1, 1],
    "the sketch and 10 x the photo": [1, 10],
    "the sketch and 100 x the photo": [1, 100],
    "the photo": [0, 1],
}


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of joint images")
    parser.add_argument("--out", required=True, metavar="OUT", help="folder for the images and tables")
    parser.add_argument("--limit", type=command.positive, default=100, metavar="N", help="images (default: 100)")
    parser.add_argument("--iterations", type=command.positive, default=200, metavar="N", help="steps (default: 200)")
    parser.add_argument("--batch-size", type=command.positive, default=64, metavar="N", help=flags.BATCH_SIZE)
    parser.add_argument("--overwrite", action="store_true", help="replace results made with other settings in OUT")
    parser.add_argument("--weights", default="celeba", help="as for complete.py (default: celeba)")
    return parser.parse_args()


def main(args):
    import numpy as np

    from contextual_gan import joint
    from contextual_gan.evaluation import metrics, predictions
    from contextual_gan.evaluation.scores import table
    from contextual_gan.files import images
    from contextual_gan.files.checkpoints import file_sha256
    from contextual_gan.files.manifest import check_folder
    from contextual_gan.models.locations import encoder_file, pin

    out = Path(args.out)
    with command.mistakes():
        check_folder(out)
        joints, failed = predictions.usable_joints(args.data, excluded=args.out, limit=args.limit)
        weights = pin(args.weights)
        path = encoder_file(weights, "photo")
        if not path.is_file():
            raise ValueError(f"there is no encoder {path} to start from: make it with train_encoder.py")
        sha256 = file_sha256(path)
        parameters = {"networks": [weights.sha256, sha256], "iterations": args.iterations}
        plans = {}
        for row, balance in BALANCES.items():
            folder = out / "".join(c if c.isalnum() else "_" for c in row)
            plans[row] = predictions.plan(folder, parameters | {"balance": balance}, joints, args.overwrite)
        target = out / "oracle.md"
        if all(manifest.is_unknown for manifest, _ in plans.values()):
            command.check_file(target, args.overwrite)
    command.report_failed(failed)
    if any(left for _, left in plans.values()):
        search(args, plans, joints, weights, sha256)
    else:
        predictions.close(out, plans.values())
        print("nothing to do: all searches are done")
    tables = []
    with command.mistakes():
        made = {row: predictions.predictions(manifest.out, joints, 128) for row, (manifest, _) in plans.items()}
    for name in ("photo", "sketch"):
        true = joint.half(np.stack([found.pixels for found in joints]), name)
        scores = {row: metrics.summaries(metrics.likeness(joint.half(m, name), true)) for row, m in made.items()}
        tables.append(table(scores, f"{name} half, the search sees"))
    fit = {row: metrics.sketch_consistency(joint.half(m, "sketch"), joint.half(m, "photo")) for row, m in made.items()}
    scores = {row: metrics.summaries({"consistency": values}) for row, values in fit.items()}
    tables.append(table(scores, "its halves fit each other, the search sees"))
    print(text := "\n".join(tables), end="")
    images.replace_file(target, text.encode())
    return 1 if failed else 0


def search(args, plans, joints, weights, encoder_sha256):
    """Make the missing joint images, with `Pinned` weights."""
    command.import_tensorflow()
    import numpy as np

    from contextual_gan.evaluation import oracle, predictions
    from contextual_gan.files import images
    from contextual_gan.files.progress import progress
    from contextual_gan.models.weights import load_encoder, load_networks

    with command.mistakes():
        generator, _ = load_networks(weights)
        encoder = load_encoder(weights, "photo", encoder_sha256)
        for manifest, _ in plans.values():
            manifest.begin({found.name: found.output for found in joints}, replace=args.overwrite)
    batches = {row: predictions.batches_to_predict(joints, left, args.batch_size) for row, (_, left) in plans.items()}
    evaluations = sum(sum(map(len, batches[row])) for row in plans if BALANCES[row]) * (args.iterations + 1)
    with progress(evaluations, "searching", "iterations") as advance:
        for row, (manifest, left) in plans.items():
            find = oracle.searcher(generator, encoder, BALANCES[row], args.iterations)
            names = {found.name for found in left}
            for batch in batches[row]:
                pixels = np.stack([found.pixels for found in batch])
                for found, image in zip(batch, find(pixels, lambda n, _: advance(n, row)), strict=True):  # noqa: B023
                    if found.name in names:
                        entry = {"source": found.name, "sha256": found.sha256, "output": found.output}
                        manifest.add(entry, [images.encode_png(image)])
            manifest.finish()


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)
