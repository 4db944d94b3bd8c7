"""Score the images of one folder against those of another, whichever program made them."""

import os
from collections import defaultdict

import numpy as np

from contextual_gan.evaluation import metrics
from contextual_gan.files.images import ImageError, decode_rgba, on_background
from contextual_gan.files.sources import images_in, output_stems
from contextual_gan.joint import SIZE, half
from contextual_gan.preparation.pairs import paired


def score_folders(predictions, truths, *, direction="photo", limit=None):
    """SSIM and PSNR of images with matching names -> (content for metrics.json, failed, unused).

    Of joint images, only the `direction` half is compared: the other one is a copy. failed: [(name, reason)] of truths
    without a prediction and of unusable images; unused: names of predictions without a truth.
    Raises FileNotFoundError and ValueError like `sources.images_in`, and ValueError if no pair is left.
    """
    (made, made_refused), (wanted, wanted_refused) = (images_in(folder) for folder in (predictions, truths))
    partners = _partners(wanted, made, direction)
    sources = {source.name: source for source in made}
    rows, failed = [], [*made_refused, *wanted_refused]
    for truth in sorted(wanted, key=lambda source: source.name)[:limit]:
        try:
            if truth.name not in partners:
                raise ImageError("not exactly one prediction matches this name")
            pair = _comparable(_read(sources[partners[truth.name]]), _read(truth), direction=direction)
            values = {metric: float(value[0]) for metric, value in metrics.likeness(*pair).items()}
        except ValueError as error:
            failed.append((truth.name, str(error)))
            continue
        rows.append({"name": truth.name, **values})
    if not rows:
        reason = f" ({failed[0][0]}: {failed[0][1]})" if failed else ""
        raise ValueError(f"no image of {truths} can be compared with one of {predictions}{reason}")
    found = metrics.summaries({metric: np.array([row[metric] for row in rows]) for metric in ("ssim", "psnr")})
    found["images"] = [row | {"psnr": metrics.json_value(row["psnr"])} for row in rows]
    return found, failed, sorted(sources.keys() - set(partners.values()))


def _partners(truths, made, direction):
    """{name of a truth: name of its prediction}, each prediction once.

    It has the name of the truth, possibly with another extension, or else a name that complete.py gives: NAME followed
    by _photo (_sketch, if that is the direction) or _joint.
    """
    partners = paired(truths, made)
    rest = defaultdict(list)
    for name in {source.name for source in made} - set(partners.values()):
        rest[os.path.splitext(name)[0]].append(name)
    for stem, truth in output_stems(truths).items():
        for end in (f"_{direction}", "_joint"):
            if truth.name not in partners and len(rest[stem + end]) == 1:
                partners[truth.name] = rest.pop(stem + end)[0]
    return partners


def _read(source):
    return on_background(decode_rgba(source.read()))


def _comparable(*pair, direction):
    """The parts of two images to be compared, (1, H, W, 3) each. Raises `ImageError` if they differ in size."""
    made, true = (half(image, direction) if image.shape[:2] == (SIZE, 2 * SIZE) else image for image in pair)
    if made.shape != true.shape:
        sizes = (f"{image.shape[1]} x {image.shape[0]}" for image in (made, true))
        raise ImageError("the prediction has {} pixels, the truth {}".format(*sizes))
    return made[None], true[None]
