"""Score the images of one folder against those of another, whichever program made them."""

import os
import re
from collections import defaultdict

import numpy as np

from contextual_gan.evaluation import metrics
from contextual_gan.files.images import ImageError, decode_rgba, on_background
from contextual_gan.files.sources import images_in, output_stems
from contextual_gan.joint import SIZE, half
from contextual_gan.preparation.pairs import paired

PIX2PIX = re.compile(r"(?P<stem>.+)_(?P<kind>real|fake)_(?P<side>[AB])")  # names of predictions and truths


def score_folders(predictions, truths, *, direction="photo", limit=None):
    """SSIM and PSNR of images with matching names -> (content for metrics.json, failed, unused).

    Both may be the same folder of pix2pix results: each x_fake_B is compared with x_real_B (or A).
    Of joint images, only the `direction` half is compared: the other one is a copy. failed: [(name, reason)] of truths
    without a prediction and of unusable images; unused: names of predictions without a truth.
    Raises FileNotFoundError and ValueError like `sources.images_in`, and ValueError if no pair is left.
    """
    made, wanted, refused = _sources(predictions, truths)
    partners = _partners(wanted, made, direction)
    sources = {source.name: source for source in made}
    rows, failed = [], refused
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


def _sources(predictions, truths):
    """(predictions, truths, refused) of two folders, or of one that holds both."""
    made, refused = images_in(predictions)
    if os.path.exists(truths) and os.path.samefile(predictions, truths):
        kinds = {source.name: PIX2PIX.fullmatch(os.path.splitext(source.name)[0]) for source in made}
        fake, real = ([s for s in made if (m := kinds[s.name]) and m["kind"] == kind] for kind in ("fake", "real"))
        sides = {kinds[source.name]["side"] for source in fake}  # the other side is the input
        if wanted := [source for source in real if kinds[source.name]["side"] in sides]:
            return fake, wanted, refused
        raise ValueError(
            f"{predictions} cannot be scored against itself: it has no x_real_B.png beside x_fake_B.png; give a second "
            "folder, of the truths"
        )
    wanted, wanted_refused = images_in(truths)
    return made, wanted, [*refused, *wanted_refused]


def _partners(truths, made, direction):
    """{name of a truth: name of its prediction}, each prediction once.

    A prediction has the name of its truth, possibly with another extension, or the name that complete.py gives it: NAME
    followed by _photo (_sketch, if that is the direction) or _joint; or the name that pix2pix gives it, see PIX2PIX.
    """
    partners = paired(truths, made)
    rest = defaultdict(list)
    for name in {source.name for source in made} - set(partners.values()):
        rest[os.path.splitext(name)[0]].append(name)
    for stem, truth in output_stems(truths).items():
        names = [f"{stem}_{direction}", f"{stem}_joint", f"{stem}_fake_B"]
        if (real := PIX2PIX.fullmatch(stem)) and real["kind"] == "real":
            names.insert(0, f"{real['stem']}_fake_{real['side']}")
        for name in names:
            if truth.name not in partners and len(rest[name]) == 1:
                partners[truth.name] = rest.pop(name)[0]
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
