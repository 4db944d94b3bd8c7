"""Make the z that search.py (JAX) found the predictions of an evaluation, without a search (TensorFlow).

    python scripts/experiments/on_jax/finish_search.py z.npz --data data/celeba/test --out runs/coauthor
    python scripts/evaluate.py --method contextual --preset coauthor --data data/celeba/test --out runs/coauthor

The first command also checks that the library finds the same losses for these z, to 1e-3.
"""

import argparse
import hashlib
from functools import partial
from pathlib import Path

import numpy as np


def from_z(known, progress, *, rows, found, networks, settings, direction):
    """A predictor, see `evaluation.methods`. rows: {SHA-256 of a known half: its row in found}."""
    from contextual_gan.completion.search import losses_of
    from contextual_gan.files.images import to_float, to_uint8
    from contextual_gan.joint import half
    from contextual_gan.models.inference import generate

    at = [rows[hashlib.sha256(image.tobytes()).hexdigest()] for image in known]
    z = found["z"][at]
    contextual, total = losses_of(*networks, to_float(known), z, direction=direction, settings=settings)
    if not np.allclose(total, found["total"][at], rtol=1e-3):
        raise SystemExit("the library finds other losses for these z: give the --weights and --data of the search")
    progress(len(at))
    made = to_uint8(half(generate(networks[0], z), direction))
    return made, [{"contextual": float(value)} for value in contextual]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("found", metavar="FILE", help=".npz of search.py")
    parser.add_argument("--weights", default="celeba", help="those of the search (default: celeba)")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of joint images, as for search.py")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the evaluation")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images by name")
    args = parser.parse_args()
    from contextual_gan.config import PRESETS
    from contextual_gan.evaluation import methods, predictions
    from contextual_gan.models.locations import pin
    from contextual_gan.models.weights import load_networks

    found = dict(np.load(args.found))
    preset, direction = str(found["preset"]), str(found["direction"])
    task = methods.PredictionTask(direction, 0, pin(args.weights), PRESETS[preset])
    joints, _ = predictions.load_joints(args.data, excluded=args.out, limit=args.limit)
    manifest, left = predictions.plan(Path(args.out, "contextual"), methods.contextual(task).parameters, joints)
    predictions.begin(args.out, [(manifest, left)], joints)
    rows = {str(sha256): i for i, sha256 in enumerate(found["sha256"])}
    options = {"rows": rows, "found": found, "networks": load_networks(task.weights), "settings": task.search}
    batches = predictions.batches_to_predict(joints, left, 64)
    predictions.predict(manifest, left, batches, partial(from_z, direction=direction, **options), direction=direction)
    print(f"{len(left)} predictions in {args.out}/contextual")


if __name__ == "__main__":
    main()
