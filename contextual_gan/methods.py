"""The methods that evaluation compares: ways to predict one half of a joint image from the other.

In the end each is a plain function: predict(known, progress) of (n, 64, 64, 3) uint8 halves returns the other halves,
of the same kind, and a dict of notes for each. progress(n, note="") is called after each n steps. What it predicts of
one image does not depend on the others.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from contextual_gan import checkpoints
from contextual_gan.config import Search, resolved
from contextual_gan.evaluation import decode_joint, joint_sources
from contextual_gan.images import ImageError, to_uint8
from contextual_gan.joint import SIZE, half
from contextual_gan.progress import progress


@dataclass(frozen=True)
class Task:
    """What the methods are given: the part of the command line that decides the predictions."""

    direction: str
    seed: int
    weights: str
    search: Search
    train_data: str | None = None
    excluded: str | None = None  # a folder that is not part of train_data


@dataclass(frozen=True)
class Method:
    """A way to predict the other half."""

    parameters: dict  # all that decides the predictions; JSON values
    steps: int  # units of progress for each image
    prepare: Callable  # (batch_size) -> predict(known, progress); reads weights or images, and may raise ValueError


def contextual(task):
    """`contextual`: the completion of the known half, one sample."""
    return _search(task, task.search, resolved(task.search))


def initialization(task):
    """`initialization`: the refined initialization alone, that is where the search of `contextual` starts."""
    search = replace(task.search, iterations=0, lambda_=0.0)
    keys = "n_init", "init_kl", "epsilon", "start", "spread"
    return _search(task, search, {key: getattr(search, key) for key in keys})


def _search(task, search, numbers):
    sha256 = checkpoints.file_sha256(checkpoints.weights_file(task.weights))
    encoder_sha256 = checkpoints.encoder_sha256(task.weights, task.direction, search)
    parameters = {"direction": task.direction, "seed": task.seed, "weights_sha256": sha256}
    parameters |= {"encoder_sha256": encoder_sha256, **numbers}

    def prepare(batch_size):
        options = {"direction": task.direction, "seed": task.seed, "batch_size": batch_size}
        encoder = checkpoints.load_encoder(task.weights, task.direction) if encoder_sha256 else None
        return partial(_completed, networks=_networks(task.weights), encoder=encoder, search=search, **options)

    return Method(parameters, search.iterations + 1, prepare)


@lru_cache(maxsize=1)
def _networks(weights):
    return checkpoints.load_networks(weights)


def _completed(known, progress, *, networks, search, **options):
    from contextual_gan.completion import complete  # late: a finished evaluation needs no TensorFlow

    def advance(n, contextual):
        progress(n, f"contextual loss {contextual:.3f}")

    found = complete(*networks, known, progress=advance, **options, **asdict(search))
    losses = zip(found.contextual[:, 0], found.total[:, 0], strict=True)
    notes = [{"contextual": _kept_loss(contextual, total)} for contextual, total in losses]
    return to_uint8(half(found.joints[:, 0], options["direction"])), notes


def _kept_loss(contextual, total):
    """The contextual loss of the z that was kept, None if no loss was finite."""
    return float(contextual[np.nanargmin(total)]) if np.isfinite(total).any() else None


def mean_face(task):
    """`mean-face`: the mean of that half over the training set, the same for all."""
    if not task.train_data:
        raise ValueError("the method mean-face needs --train-data, the folder of joint images to take the mean of")
    if Path(task.train_data).exists() and not Path(task.train_data).is_dir():
        raise ValueError(f"{task.train_data} is not a folder of joint images")
    sources, _ = joint_sources(task.train_data, task.excluded)
    names = "".join(f"{source.name!a} {source.path.stat().st_size}\n" for source in sources)
    sha256 = hashlib.sha256(names.encode()).hexdigest()  # all their content would take as long as the mean itself
    parameters = {"direction": task.direction, "train_images": len(sources), "train_names_and_sizes_sha256": sha256}

    def prepare(batch_size):
        mean = mean_half(sources, task.direction)

        def predict(known, progress):
            progress(len(known))
            return np.broadcast_to(mean, known.shape), [{}] * len(known)

        return predict

    return Method(parameters, 1, prepare)


def mean_half(sources, direction):
    """The mean of the wanted half of joint images -> (64, 64, 3) uint8.

    Raises ValueError with the first name of an image that is not a joint.
    """
    total = np.zeros((SIZE, SIZE, 3), np.int64)
    with progress(len(sources), "mean of the training set", "images") as advance:
        for source in sources:
            try:
                total += half(decode_joint(source.read()), direction)
            except ImageError as error:
                raise ValueError(f"{source.path}: {error}") from error
            advance(1)
    return np.round(total / len(sources)).astype(np.uint8)


METHODS = {"mean-face": mean_face, "initialization": initialization, "contextual": contextual}  # order of the table
