"""Score the images of one folder against those of another, whatever made them."""

import os
from collections import defaultdict

import numpy as np

from contextual_gan import metrics
from contextual_gan.images import ImageError, decode_rgba, on_background
from contextual_gan.joint import SIZE, half
from contextual_gan.sources import images_in


def score_folders(predictions, truths, *, direction="photo", limit=None):
    """SSIM and PSNR of images that are called alike -> (what metrics.json says, failed, unused).

    The prediction of NAME is called NAME, or else as complete.py calls it: NAME_photo (NAME_sketch, if that is the
    direction), or else NAME_joint; extensions do not matter. Of joint images, only the `direction` half is compared:
    the other one has been copied. failed: [(name, reason)] of truths without a prediction and of what cannot be used;
    unused: names of predictions without a truth.
    Raises FileNotFoundError and ValueError as `sources.images_in`, and ValueError if no pair is left.
    """
    (made, made_refused), (wanted, wanted_refused) = (images_in(folder) for folder in (predictions, truths))
    made, wanted = _by_stem(made), _by_stem(wanted)
    rows, failed, used = [], [*made_refused, *wanted_refused], set()
    for stem in sorted(wanted)[:limit]:
        name = wanted[stem][0].name
        try:
            if len(wanted[stem]) > 1:
                raise ImageError(f"{wanted[stem][1].name} is called alike")
            ends = ("", f"_{direction}", "_joint")
            found = next((made[stem + end] for end in ends if stem + end in made), [])
            if len(found) != 1:
                raise ImageError("several predictions have this name" if found else "no prediction has this name")
            used.add(found[0].name)
            pair = _comparable(_read(found[0]), _read(wanted[stem][0]), direction)
            ssim, psnr = (float(metric(*pair)[0]) for metric in (metrics.ssim, metrics.psnr))
        except ValueError as error:
            failed.append((name, str(error)))
            continue
        rows.append({"name": name, "ssim": ssim, "psnr": psnr})
    if not rows:
        reason = f" ({failed[0][0]}: {failed[0][1]})" if failed else ""
        raise ValueError(f"no image of {truths} can be compared with one of {predictions}{reason}")
    found = {name: metrics.summary(np.array([row[name] for row in rows])) for name in ("ssim", "psnr")}
    found["psnr"]["identical"] = sum(row["psnr"] == np.inf for row in rows)
    found["images"] = [row | {"psnr": metrics.json_value(row["psnr"])} for row in rows]
    return found, failed, sorted({source.name for sources in made.values() for source in sources} - used)


def _by_stem(sources):
    """{name without extension: the sources called so}."""
    stems = defaultdict(list)
    for source in sources:
        stems[os.path.splitext(source.name)[0]].append(source)
    return stems


def _read(source):
    return on_background(decode_rgba(source.read()))


def _comparable(made, wanted, direction):
    """The parts of two images to be compared, (1, H, W, 3) each. Raises `ImageError` if they differ in size."""
    if wanted.shape[:2] == (SIZE, 2 * SIZE):
        wanted = half(wanted, direction)
        made = half(made, direction) if made.shape[:2] == (SIZE, 2 * SIZE) else made
    if made.shape != wanted.shape:
        sizes = (f"{image.shape[1]} x {image.shape[0]}" for image in (made, wanted))
        raise ImageError("the prediction has {} pixels, the truth {}".format(*sizes))
    return made[None], wanted[None]
