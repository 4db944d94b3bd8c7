"""The methods that evaluation compares: ways to predict one half of a joint image from the other.

In the end each is a plain function: predict(known, progress) takes halves (n, 64, 64, 3) uint8 and returns the other
halves in the same format, and a dict of notes for each. progress(n, note="") is called after each n steps. The
prediction for an image does not depend on the others.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from contextual_gan.completion.faithful import of_kinds
from contextual_gan.completion.folder import check_samples, undefined
from contextual_gan.config import SearchSettings, resolved
from contextual_gan.evaluation.metrics import diversity
from contextual_gan.evaluation.predictions import decode_joint, joint_sources
from contextual_gan.files.images import ImageError, to_uint8
from contextual_gan.files.progress import progress
from contextual_gan.joint import DIRECTIONS, SIZE, half
from contextual_gan.models.locations import Pinned, encoder_sha256, pin, pin_pix2pix
from contextual_gan.models.weights import load_encoder, load_networks, load_pix2pix
from contextual_gan.preparation.known import kinds_of


@dataclass(frozen=True)
class PredictionTask:
    """Input of the methods: the part of the command line that determines the predictions."""

    direction: str
    seed: int
    weights: str | Pinned
    search: SearchSettings
    faithful: float | dict | None = None  # as for `faithful.of_kinds`
    train_data: str | None = None
    excluded: str | None = None  # a subfolder that does not belong to train_data
    pix2pix: str = "celeba"  # weights
    dropout: bool = True  # of pix2pix, as in training
    samples: int = 1  # per image, where the method can draw several; the first is scored, diversity uses all


@dataclass(frozen=True)
class Method:
    """A way to predict the other half."""

    parameters: dict  # everything that determines the predictions; JSON values
    steps: int  # units of progress for each image
    predictor: Callable  # (batch_size) -> predict(known, progress); reads weights or images, and may raise ValueError


def contextual(task):
    """`contextual`: complete the known half; of several samples, keep the one with the lowest loss."""
    return _search(task, task.search, resolved(task.search), task.faithful)


def initialization(task):
    """`initialization`: the refined initialization alone, the start of the search of `contextual`."""
    search = replace(task.search, iterations=0, lambda_=0.0, edges=0.0)
    keys = "n_init", "init_kl", "epsilon", "start", "spread"
    numbers = {key: getattr(search, key) for key in keys}
    return _search(task, search, numbers, 0.0 if search.start == "encoder" else None)


def _search(task, search, numbers, faithful):
    weights = pin(task.weights)
    encoder = encoder_sha256(weights, task.direction, search)
    if encoder:
        numbers = numbers | {"faithful": faithful, "centre": search.centre}
    parameters = {"direction": task.direction, "seed": task.seed, "weights_sha256": weights.sha256}
    parameters |= {"encoder_sha256": encoder, "samples": task.samples, **numbers}
    check_samples(task.samples, search)

    def predictor(batch_size):
        options = {"direction": task.direction, "seed": task.seed, "batch_size": batch_size, "samples": task.samples}
        options["faithful"] = faithful
        found = load_encoder(weights, task.direction, encoder) if encoder else None
        return partial(_completed, networks=_networks(weights), encoder=found, search=search, **options)

    return Method(parameters, task.samples * (search.iterations + 1), predictor)


@lru_cache(maxsize=1)
def _networks(weights):
    return load_networks(weights)


def _completed(known, progress, *, networks, search, faithful=None, **options):
    from contextual_gan.completion.search import (
        complete,
        encoder_fit,
    )  # late: a finished evaluation needs no TensorFlow

    def advance(n, contextual):
        progress(n, f"contextual loss {contextual:.3f}")

    fit = partial(encoder_fit, networks[0], options["encoder"], batch_size=options["batch_size"])
    faithful = of_kinds(faithful, kinds_of(known, options["direction"]), known, fit)
    found = complete(*networks, known, faithful=faithful, progress=advance, **options, **asdict(search))
    if failed := int(undefined(found).sum()):
        raise FloatingPointError(
            f"the search for {failed} of {len(known)} images found no finite loss: the weights are damaged"
        )
    losses = zip(found.contextual[:, 0], found.total[:, 0], strict=True)
    notes = [{"contextual": _kept_loss(contextual, total)} for contextual, total in losses]
    made = to_uint8(half(found.joints, options["direction"]))
    return made[:, 0], [note | more for note, more in zip(notes, _diversity(made), strict=True)]


def _diversity(made):
    """Notes for each image from its K samples, (n, K, 64, 64, 3) uint8."""
    return [{"diversity": float(x)} for x in diversity(made)] if made.shape[1] > 1 else [{}] * len(made)


def _kept_loss(contextual, total):
    """The contextual loss of the z that was kept, None if no loss was finite."""
    return float(contextual[np.nanargmin(total)]) if np.isfinite(total).any() else None


def pix2pix(task):
    """`pix2pix`: the baseline."""
    weights = pin_pix2pix(task.pix2pix, task.direction)
    parameters = {"direction": task.direction, "pix2pix_sha256": weights.sha256}
    parameters |= {"dropout": task.dropout, "seed": task.seed, "samples": task.samples}

    def predictor(batch_size):
        from contextual_gan.models.pix2pix import draw_half  # late: a finished evaluation needs no TensorFlow

        generator = load_pix2pix(weights, task.direction)

        def predict(known, progress):
            seeds = range(task.seed, task.seed + task.samples)
            options = {"dropout": task.dropout, "progress": progress}
            drawn = np.stack([draw_half(generator, known, seed=seed, **options) for seed in seeds], axis=1)
            return drawn[:, 0], _diversity(drawn)

        return predict

    return Method(parameters, task.samples, predictor)


def _training_set(task, method):
    """The joint images of --train-data, and parameters that identify them."""
    if not task.train_data:
        raise ValueError(f"the method {method} needs --train-data, the folder of joint images of the training set")
    if Path(task.train_data).exists() and not Path(task.train_data).is_dir():
        raise ValueError(f"{task.train_data} is not a folder of joint images")
    sources, _ = joint_sources(task.train_data, task.excluded)
    names = "".join(f"{source.name!a} {source.path.stat().st_size}\n" for source in sources)
    sha256 = hashlib.sha256(names.encode()).hexdigest()  # hashing their content would take as long as the method itself
    parameters = {"direction": task.direction, "train_images": len(sources), "train_names_and_sizes_sha256": sha256}
    return sources, parameters


def mean_face(task):
    """`mean-face`: the mean of the wanted half over the training set, the same for every image."""
    sources, parameters = _training_set(task, "mean-face")

    def predictor(batch_size):
        mean = mean_half(sources, task.direction)

        def predict(known, progress):
            progress(len(known))
            return np.broadcast_to(mean, known.shape), [{}] * len(known)

        return predict

    return Method(parameters, 1, predictor)


def nearest(task):
    """`nearest-sketch`: the wanted half of the training image with the nearest known half in L2."""
    sources, parameters = _training_set(task, "nearest-sketch")

    def predictor(batch_size):
        halves = np.stack([half(joint, DIRECTIONS[task.direction]) for joint in _read(sources, "training set")])

        def predict(known, progress):
            chosen = nearest_rows(halves, known)
            progress(len(known))
            found = [half(decode_joint(sources[row].read()), task.direction) for row in chosen]
            return np.stack(found), [{"nearest": sources[row].name} for row in chosen]

        return predict

    return Method(parameters, 1, predictor)


def nearest_rows(halves, known, chunk=1000):
    """The row of `halves` (m, 64, 64, 3) uint8 that is nearest in L2 to each of `known` (n, 64, 64, 3) -> (n,) int."""
    known = known.reshape(len(known), -1).astype(np.float64)  # exact: float32 would round these sums
    distances = np.empty((len(known), len(halves)))
    for start in range(0, len(halves), chunk):
        part = halves[start : start + chunk].reshape(-1, known.shape[1]).astype(np.float64)
        distances[:, start : start + chunk] = np.square(part).sum(axis=1) - 2 * (known @ part.T)
    return distances.argmin(axis=1)  # without the square of the known half, which is the same for all rows


def mean_half(sources, direction):
    """The mean of the wanted half of joint images -> (64, 64, 3) uint8. Raises the errors of `_read`."""
    total = np.zeros((SIZE, SIZE, 3), np.int64)
    for joint in _read(sources, "mean of the training set"):
        total += half(joint, direction)
    return np.round(total / len(sources)).astype(np.uint8)


def _read(sources, label):
    """Yield joint images. Raises ValueError naming the first image that is not a joint."""
    with progress(len(sources), label, "images") as advance:
        for source in sources:
            try:
                yield decode_joint(source.read())
            except ImageError as error:
                raise ValueError(f"{source.path}: {error}") from error
            advance(1)


METHODS = {  # in the order of the table
    "mean-face": mean_face,
    "nearest-sketch": nearest,
    "initialization": initialization,
    "contextual": contextual,
    "pix2pix": pix2pix,
}
