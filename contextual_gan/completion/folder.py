"""Complete folders of images into a run folder that can be interrupted, continued and added to.

The run folder holds the pictures of each input beside `results.json` (settings, losses, failures), `z.npz` (what was
found) and `initial_z.npz` (where the searches began). All are replaced after every batch and agree at any moment.
"""

import hashlib
import os
import time
from dataclasses import asdict, dataclass

import numpy as np

from contextual_gan.config import SearchSettings
from contextual_gan.files.images import (
    ImageError,
    centre_square,
    decode_rgba,
    on_background,
    read_bytes,
    to_uint8,
    write_png,
)
from contextual_gan.joint import SIZE, half
from contextual_gan.preparation.sketches import parse_crop, prepare

LONGEST_NAME = 255 - len("._initializations.png.part")  # what file systems allow, less what results add
LONGEST_PATH = 4095 - len("._initializations.png.part")


@dataclass(frozen=True)
class Task:
    """How every input of a run is completed: the part of the command line that decides the pictures."""

    weights: str
    weights_sha256: str
    preset: str
    search: SearchSettings
    encoder_sha256: str | None = None
    direction: str = "photo"
    seed: int = 0
    samples: int = 1
    crop: str = "auto"
    joint: str = "auto"

    def __post_init__(self):
        """Raises ValueError, one line, for what does not go together."""
        if not 1 <= self.samples <= self.search.n_init:
            raise ValueError(
                f"samples is {self.samples}, it must be from 1 to the {self.search.n_init} initializations"
            )
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, it must not be negative")
        if self.direction == "sketch" and self.crop != "auto":
            raise ValueError("crop is for sketches; photos are squared about their centre")
        parse_crop(self.crop)

    def evaluations(self):
        """Evaluations of the search per input: the units of its progress."""
        return self.samples * (self.search.iterations + 1)

    def settings(self):
        """Flat, as written to results.json."""
        numbers = {name.rstrip("_"): value for name, value in asdict(self.search).items()}
        return {k: v for k, v in asdict(self).items() if k != "search"} | numbers


def read_known(data, task):
    """Bytes of an image file -> (the known half, the other half or None), (64, 64, 3) uint8 each.

    A joint is recognised by its size of 128 x 64 pixels unless `task.joint` says "always" or "never".
    Raises `ImageError` or another ValueError with the reason.
    """
    image, other = decode_rgba(data), None
    height, width = image.shape[:2]
    joint = task.joint == "always" or (task.joint == "auto" and (height, width) == (SIZE, 2 * SIZE))
    if joint:
        if width != 2 * height:
            raise ImageError(f"{width} x {height} pixels is no joint image, which is twice as wide as high")
        image, other = image[:, :height], image[:, height:]
        if task.direction == "sketch":
            image, other = other, image
        other = centre_square(on_background(other), SIZE)
    if task.direction == "sketch":
        return centre_square(on_background(image), SIZE), other
    return prepare(image, crop="none" if joint else parse_crop(task.crop)), other


def plan(run, stems):
    """What is to be done -> [(stem, `Source`, SHA-256 of the file)]; files that cannot be read go to `run.failed`.

    stems: from `sources.output_stems`. Done is what has the same content as when it was completed.
    Raises ValueError if the folder holds the result of another input under the same name.
    """
    todo = []
    current = {source.name: stem for stem, source in stems.items()}
    for entry in list(run.results.values()):
        if current.get(entry["input"], entry["stem"]) != entry["stem"]:  # a new neighbour has changed its name
            run.outdated.append(entry)
    for stem, source in stems.items():
        run.failed.pop(source.name, None)
        old = run.results.get(stem)
        try:
            sha256 = hashlib.sha256(read_bytes(source.path)).hexdigest()
            if max(map(len, os.fsencode(stem).split(b"/"))) > LONGEST_NAME:
                raise ImageError(f"its name is too long for results named after it (over {LONGEST_NAME} bytes)")
            if len(os.fsencode(run.out / stem)) > LONGEST_PATH:
                raise ImageError(f"its path is too long for results named after it (over {LONGEST_PATH} bytes)")
        except ImageError as error:
            run.failed[source.name], sha256 = str(error), None
        if old and old["sha256"] == sha256:
            continue
        if old and not run.overwrite:
            if old["input"] != source.name:
                raise ValueError(
                    f"{run.out} holds the result of {old['input']} as {stem}, give {source.name} another --out"
                )
            if old.get("path", path := run.path_of(source)) != path:
                raise ValueError(
                    f"{run.out} holds the result of another {source.name} ({old['path']}, seen from there); give "
                    "this one another --out, or --overwrite"
                )
        if old:  # the file has changed
            run.outdated.append(old)
        if sha256:
            todo.append((stem, source, sha256))
    return todo


def batches(stems, todo, size):
    """Cut all inputs into batches and keep those of which something is to be done -> [[(stem, `Source`, SHA-256)]].

    stems, todo: as for and of `plan`; the SHA-256 is None for what is done. A batch is always completed as a whole, so
    that a run that was interrupted does exactly what it would have done otherwise.
    """
    left, everything = {stem: sha256 for stem, _, sha256 in todo}, list(stems.items())
    cut = [everything[start : start + size] for start in range(0, len(everything), size)]
    return [[(*item, left.get(item[0])) for item in batch] for batch in cut if any(stem in left for stem, _ in batch)]


def complete_folder(run, task, todo, networks, *, encoder=None, batch_size=64, progress=None):
    """Complete the `batches` that are to be done into the run folder.

    networks: (generator, discriminator); encoder: as of `completion.complete`. Inputs that cannot be used go to
    `run.failed`.
    progress: called with the number of evaluations (see `completion.descend`) and a note, also for failed inputs.
    """
    from contextual_gan.completion.search import complete  # late: a finished run needs no TensorFlow

    def advance(n, contextual):
        if progress:
            progress(n, f"contextual loss {contextual:.3f}")

    def skip():
        if progress:
            progress(task.evaluations(), "an input failed")

    for page in run.pages():  # a page that is there shows everything
        page.unlink()
    for entry in run.outdated:
        run.remove(entry)
    run.save()
    for inputs in todo:
        batch = _read(run, task, inputs, skip)
        if not batch:
            continue
        start = time.monotonic()
        found = complete(
            *networks,
            np.stack([known for *_, known, _ in batch]),
            encoder=encoder,
            direction=task.direction,
            preset=task.preset,
            seed=task.seed,
            samples=task.samples,
            batch_size=batch_size,
            progress=advance,
            **asdict(task.search),
        )
        seconds, failed = (time.monotonic() - start) / len(batch), undefined(found)
        for i, (stem, source, sha256, known, other) in enumerate(batch):
            if sha256 is None:  # done before
                continue
            if failed[i]:
                run.failed[source.name] = f"no loss of its search was finite: the weights {task.weights} are damaged"
                continue
            pictures = _pictures(task, known, other, to_uint8(found.joints[i]))
            for suffix, picture in pictures.items():
                write_png(run.out / f"{stem}{suffix}", picture)
            run.z[stem], run.initial_z[stem] = found.z[i], found.initial_z[i]
            run.results[stem] = {
                "input": source.name,
                "path": run.path_of(source),
                "stem": stem,
                "sha256": sha256,
                "outputs": [stem + suffix for suffix in pictures],
                **_losses(found.contextual[i, 0], found.total[i, 0]),
                "seconds": round(seconds, 3),
            }
        run.save()
    run.save()  # files that failed after the last batch


def undefined(found):
    """Of which inputs of a `completion.Completion` a sample never had a finite loss, or is not finite: (n,) bool."""
    is_finite = np.isfinite(found.total).any(axis=2).all(axis=1)
    return ~(is_finite & np.isfinite(found.joints).all(axis=(1, 2, 3, 4)))


def _read(run, task, inputs, skip):
    """A batch as tuples (stem, source, sha256, known, other half); calls skip() for each input that cannot be used."""
    batch = []
    for stem, source, sha256 in inputs:
        try:
            batch.append((stem, source, sha256, *read_known(read_bytes(source.path), task)))
        except ValueError as error:
            run.failed[source.name] = str(error)
            skip()
    return batch


def _pictures(task, known, other, joints):
    """{end of the file name: picture} of one input; joints (K, 64, 128, 3) uint8, the best first."""
    wanted = half(joints, task.direction)
    pictures = {"_input.png": known, f"_{task.direction}.png": wanted[0], "_joint.png": joints[0]}
    pictures |= {f"_{task.direction}_{k}.png": picture for k, picture in enumerate(wanted[1:], start=2)}
    return pictures | ({} if other is None else {"_truth.png": other})


def _losses(contextual, total):
    """Losses (iterations + 1,), NaN after a search that stopped -> numbers of results.json, None where undefined."""
    iterations = max(int(np.isfinite(total).sum()) - 1, 0)
    best = int(np.nanargmin(total)) if np.isfinite(total).any() else 0

    def summary(losses):
        values = {"initial": losses[0], "best": losses[best], "final": losses[iterations]}
        return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}

    return {"contextual": summary(contextual), "total": summary(total), "iterations": iterations}
