"""An experiment: what the discriminator D sees of a joint image together, measured by differences of its logit."""

import numpy as np
from keras import Model

from contextual_gan.joint import SIZE, half, join
from contextual_gan.models.consistency import consistency, grey
from contextual_gan.models.inference import folded, groups, padded

SQUARE = 4  # pixels; 64 columns apart, two squares are at least 61 columns apart, and D's convolutions see 61
DISTANCES = (4, 8, 16, 32, 48, 56, 60, 64, 80)  # columns
PARTS = {"sketch": "the sketch", "photo": "the photo", "combination": "their combination"}


def split_logit(discriminator):
    """A function of joints (n, 64, 128, 3) -> (n, units) float64: the terms whose sum is the logit without its bias.

    Each is the output of a unit before the last, linear layer times its weight. Without rounding by the sum, the
    difference of two logits is exactly 0 wherever the units do not differ.
    """
    network = folded(Model(discriminator.input, discriminator.get_layer("flat").output))
    kernel = discriminator.get_layer("dense").kernel.numpy()[:, 0].astype(np.float64)

    def terms(joints):
        rows = groups(len(joints), 64)
        return np.concatenate([network(padded(joints[r]))[: r.stop - r.start] for r in rows]) * kernel

    return terms


def inverted(joints, places):
    """Joints (n, 64, 128, 3) in [-1, 1], each with an inverted square; places: its rows (n,) and columns (n,)."""
    joints = joints.copy()
    for joint, row, column in zip(joints, *places, strict=True):
        joint[row : row + SQUARE, column : column + SQUARE] *= -1
    return joints


def together(before, first, second, both):
    """The mixed second difference of the logit: its change by two squares at once, less its changes by one of them.

    Terms (n, units) of the same joints with no square inverted, the one, the other, and both. -> its magnitude (n,),
    relative to the mean magnitude of the change by one square; exactly 0 if D never sees both.
    """
    change = np.mean([np.abs((one - before).sum(axis=1)).mean() for one in (first, second)])
    return np.abs(((both - first) - (second - before)).sum(axis=1)) / change


def over_distance(terms, joints):
    """{distance in columns: mean of `together`} of two squares in the same rows, at a random place in each joint."""
    rng = np.random.default_rng(0)
    rows = rng.integers(SIZE // SQUARE, size=len(joints)) * SQUARE
    columns = rng.integers((2 * SIZE - max(DISTANCES)) // SQUARE, size=len(joints)) * SQUARE
    one = inverted(joints, (rows, columns))
    before, first, found = terms(joints), terms(one), {}
    for distance in DISTANCES:
        second, both = (terms(inverted(images, (rows, columns + distance))) for images in (joints, one))
        found[distance] = together(before, first, second, both).mean()
    return found


def around(terms, joint, place):
    """`together` of one square of a joint (64, 128, 3), at (row, column) `place`, with every square -> (16, 32)."""
    shape = SIZE // SQUARE, 2 * SIZE // SQUARE
    places = np.indices(shape).reshape(2, -1) * SQUARE
    joints = np.stack([joint, *inverted(joint[None], np.reshape(place, (2, 1)))])
    before, first = terms(joints)[:, None]
    second, both = (terms(inverted(np.repeat(image[None], places.shape[1], axis=0), places)) for image in joints)
    return together(before, first, second, both).reshape(shape)


def combinations(terms, joints):
    """The logit and the sketch consistency of each sketch half (rows) with each photo half: {name: (n, n)}."""
    logits, fits = [], []
    for joint in joints:
        sketches, photos = np.repeat(half(joint, "sketch")[None], len(joints), axis=0), half(joints, "photo")
        logits.append(terms(join(sketches, photos)).sum(axis=1))
        fits.append(consistency(grey(sketches), grey(photos)))
    return {"D's logit": np.array(logits), "sketch consistency": np.array(fits, np.float64)}


def shares(values):
    """Two-way analysis of variance of one of `combinations` -> {part: its share} for each of PARTS."""
    rest = values - values.mean()
    sketch, photo = rest.mean(axis=1, keepdims=True), rest.mean(axis=0, keepdims=True)
    parts = {"sketch": sketch, "photo": photo, "combination": rest - sketch - photo}
    return {name: float(np.square(part).mean() / np.square(rest).mean()) for name, part in parts.items()}


def preference(values):
    """For each sketch of one of `combinations`, the share of the other photos that have a lower value than its own."""
    return (values < np.diag(values)[:, None]).sum(axis=1) / (len(values) - 1)
