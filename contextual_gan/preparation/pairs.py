"""Join images with matching names in two folders side by side, like pix2pix's combine_A_and_B."""

import os
from collections import defaultdict

import numpy as np

from contextual_gan.files.apply import Item
from contextual_gan.files.images import centre_square
from contextual_gan.files.sources import images_in, output_stems
from contextual_gan.joint import SIZE, join


def pair(sketches, photos, out):
    """Pair the images of two folders (or zip archives) by name -> ([`apply.Item`], refused).

    An item has the name of the sketch and is made from both files, the sketch first. The extensions may differ if each
    side has only one image of the name. refused: (name, reason) of unsafe zip members and of images without a partner.
    Raises FileNotFoundError and ValueError like `sources.images_in`, and ValueError if there is no pair.
    """
    (lefts, left_refused), (rights, right_refused) = (images_in(folder, excluded=out) for folder in (sketches, photos))
    partners = paired(lefts, rights)
    if not partners:
        raise ValueError(
            f"no image of {sketches} has a partner with the same name in {photos}: "
            f"their names are like {' and '.join(side[0].name if side else 'nothing' for side in (lefts, rights))}"
        )
    left = {source.name: source for source in lefts}
    right = {source.name: source for source in rights}
    stems = output_stems([left[name] for name in partners])
    items = [Item(s.name, f"{stem}.png", (s, right[partners[s.name]])) for stem, s in stems.items()]
    refused = [*left_refused, *right_refused]
    refused += [(name, f"not exactly one image of this name in {photos}") for name in left if name not in partners]
    used = set(partners.values())
    refused += [(name, f"not exactly one image of this name in {sketches}") for name in right if name not in used]
    return items, sorted(refused)


def paired(lefts, rights):
    """{name on the left: name on the right}: the same name, or the only one that differs just in its extension."""
    names = {source.name for source in rights}
    partners = {source.name: source.name for source in lefts if source.name in names}
    stems = defaultdict(lambda: ([], []))
    for side, sources in enumerate((lefts, rights)):
        for source in sources:
            if source.name not in partners:
                stems[os.path.splitext(source.name)[0]][side].append(source.name)
    return partners | {a[0]: b[0] for a, b in stems.values() if len(a) == len(b) == 1}


def side_by_side(left, right):
    """(H, W, 3) twice -> (H, 2 W, 3). Raises ValueError if they differ in size."""
    if left.shape != right.shape:
        sizes = [f"{image.shape[1]} x {image.shape[0]}" for image in (left, right)]
        raise ValueError(f"the left image has {sizes[0]} pixels, the right one {sizes[1]}")
    return np.concatenate([left, right], axis=1)


def joint_of_pair(image, direction="AtoB"):
    """A ready-made pair of pix2pix, A | B of any size, (H, W, 3) uint8 -> the joint image (64, 128, 3).

    direction: as in pix2pix; with "AtoB", A is the sketch and B the photo. Each half is cropped to its central square.
    Raises ValueError for an image that cannot be two images side by side.
    """
    height, width = image.shape[:2]
    if width % 2 or width <= height:
        raise ValueError(f"{width} x {height} pixels cannot be two images side by side")
    halves = (centre_square(half, SIZE) for half in (image[:, : width // 2], image[:, width // 2 :]))
    return join(*halves) if direction == "AtoB" else join(*reversed([*halves]))
