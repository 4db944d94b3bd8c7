"""Complete folders of images into a run folder that can be interrupted, continued and extended.

The run folder holds the pictures of each input and `results.json` (settings, losses, failures), `z.npz` (the results)
and `initial_z.npz` (the starts of the searches). All three are replaced after every batch and are always consistent.
"""

import hashlib
import os
import time
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from contextual_gan.completion.faithful import of_kinds
from contextual_gan.completion.record import ends
from contextual_gan.config import SearchSettings
from contextual_gan.files.apply import unfinished
from contextual_gan.files.images import ImageError, to_uint8, write_png
from contextual_gan.joint import half
from contextual_gan.preparation.drawings import parse_crop
from contextual_gan.preparation.known import read_known

LONGEST_NAME = 255 - len("._initializations.png.part")  # limit of file systems, minus the suffix of results
LONGEST_PATH = 4095 - len("._initializations.png.part")


@dataclass(frozen=True)
class CompletionTask:
    """The settings for completing every input of a run: the part of the command line that determines the pictures."""

    weights: str
    weights_sha256: str
    preset: str
    search: SearchSettings
    encoder_sha256: str | None = None
    faithful: float | dict | None = None  # see `faithful.of_kinds`
    direction: str = "photo"
    seed: int = 0
    samples: int = 1
    crop: str = "auto"
    joint: str = "auto"
    faces: str = "largest"
    align: str = "off"  # of photos
    predictor: str | None = None  # name and SHA-256 of the landmark predictor, if photos are aligned

    def __post_init__(self):
        """Raise ValueError in one line for incompatible values."""
        check_samples(self.samples, self.search)
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must not be negative")
        if self.direction == "sketch" and self.crop != "auto":
            raise ValueError("crop is for sketches; photos are aligned, see --align")
        if self.direction == "sketch" and self.faces != "largest" and self.align == "off":
            raise ValueError("--faces all needs the faces of photos to be found: give --align auto or on")
        if self.direction == "photo" and self.align != "off":
            raise ValueError(f"--align {self.align} is for photos (--direction sketch); see --crop for sketches")
        parse_crop(self.crop)

    def evaluations(self):
        """Number of loss evaluations per input: the unit of progress."""
        return self.samples * (self.search.iterations + 1)

    def settings(self):
        """Flat, as written to results.json."""
        numbers = {name.rstrip("_"): value for name, value in asdict(self.search).items()}
        numbers["centre"] = self.search.centre
        return {k: v for k, v in asdict(self).items() if k != "search"} | numbers


def check_samples(samples, search):
    """Raise ValueError if a search with these settings cannot give this number of samples."""
    if samples < 1:
        raise ValueError(f"--samples {samples}: it must be at least 1")
    if samples > search.n_init:
        raise ValueError(
            f"--samples {samples}: the search begins with {search.n_init} initializations; add --n-init {samples}"
        )


def plan(run, stems):
    """Plan the work -> [(stem, `Source`)]; unusable files go to `run.failed`.

    stems: from `sources.output_stems`. An input is done if its content is the same as when it was completed.
    Raises ValueError if the folder holds the result of another input with the same name.
    """
    todo, run.taken = [], set(stems)
    current = {source.name: stem for stem, source in stems.items()}
    for entry in list(run.results.values()):
        first = entry.get("of", entry["stem"])
        if current.get(entry["input"], first) != first:  # a new neighbour has changed its stem
            run.outdated.append(entry)
        elif "of" in entry and (entry["stem"] in stems or first not in run.results):  # or needs its stem
            run.outdated += _all_faces(run, first)
            for face in _all_faces(run, first):
                run.results.pop(face["stem"])
    for stem, source in stems.items():
        run.failed.pop(source.name, None)
        old = run.results.get(stem)
        try:
            sha256 = _sha256(source.read()) if old else None  # new ones are hashed when read
            if max(map(len, os.fsencode(stem).split(b"/"))) > LONGEST_NAME:
                raise ImageError(f"its name is too long for the names of its results (over {LONGEST_NAME} bytes)")
            if len(os.fsencode(run.out / stem)) > LONGEST_PATH:
                raise ImageError(f"its path is too long for the paths of its results (over {LONGEST_PATH} bytes)")
        except ImageError as error:
            run.failed[source.name], sha256 = str(error), None
        if old and old["sha256"] == sha256 and _has_all_faces(run, stem, old):
            continue
        if old and not run.overwrite:
            if old["input"] != source.name:
                raise ValueError(
                    f"{run.out} holds the result of {old['input']} as {stem}; give another --out for {source.name}"
                )
            if old.get("path", path := run.path_of(source)) != path:
                raise ValueError(
                    f"{run.out} holds the result of another {source.name} (at {old['path']}); give "
                    "another --out, or --overwrite"
                )
        if old:  # the file has changed, or a face is missing
            run.outdated += _all_faces(run, stem)
        if source.name not in run.failed:
            todo.append((stem, source))
    return todo


def batches_to_complete(stems, todo, size):
    """Batches of all inputs, from `apply.unfinished` -> [[(stem, `Source`, whether to complete it)]].

    stems, todo: the argument and the result of `plan`.
    """
    left = {stem for stem, _ in todo}
    items = [(stem, source, stem in left) for stem, source in stems.items()]
    return unfinished(items, size, lambda item: item[2])


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _all_faces(run, stem):
    """The entries of all faces of the input with this stem."""
    return [entry for entry in run.results.values() if stem in (entry["stem"], entry.get("of"))]


def _has_all_faces(run, stem, entry):
    return run.settings["faces"] == "largest" or len(_all_faces(run, stem)) == max(entry.get("faces", 1), 1)


def _face_stem(run, stem, number):
    """The stem of a further face: `b_2`, or `b_face_2` if another input has that stem."""
    name = f"{stem}_{number}"
    while name in run.taken or name in run.results or run.holds_foreign(name):
        name = f"{stem}_face{name.removeprefix(stem)}"
    run.taken.add(name)
    return name


def complete_folder(run, task, todo, networks, *, encoder=None, batch_size=64, progress=None):
    """Complete the result of `batches_to_complete` into the run folder.

    networks: (generator, discriminator); encoder: as in `search.complete`. Unusable inputs go to `run.failed`.
    progress: called with the number of evaluations (see `search.descend`) and a note, also for failed inputs.
    """
    from contextual_gan.completion.search import complete, encoder_fit  # late: a finished run needs no TensorFlow

    fit = partial(encoder_fit, networks[0], encoder, batch_size=batch_size)

    def advance(n, contextual):
        if progress:  # the total counts inputs, not faces
            progress(n * sum(of is None for _, of, *_ in batch) // len(batch), f"contextual loss {contextual:.3f}")

    def skip():
        if progress:
            progress(task.evaluations(), "an input failed")

    for page in run.pages():  # existing pages show everything
        page.unlink()
    for entry in run.outdated:
        run.remove(entry)
    run.save()
    for inputs in todo:
        batch = _read(run, task, inputs, skip)
        if not batch:
            continue
        run.save()  # the record must list further faces before they are written
        start, images = time.monotonic(), np.stack([known.image for *_, known in batch])
        faithful = of_kinds(task.faithful, [known.kind for *_, known in batch], images, fit)
        found = complete(
            *networks,
            images,
            encoder=encoder,
            direction=task.direction,
            preset=task.preset,
            faithful=faithful,
            seed=task.seed,
            samples=task.samples,
            batch_size=batch_size,
            progress=advance,
            **asdict(task.search),
        )
        seconds, failed = (time.monotonic() - start) / len(batch), undefined(found)
        for i, (stem, of, source, sha256, known) in enumerate(batch):
            if sha256 is None:  # completed earlier
                continue
            if failed[i]:
                run.failed[source.name] = f"its search found no finite loss: the weights {task.weights} are damaged"
                continue
            pictures = _pictures(task, known.image, known.other, to_uint8(found.joints[i]))
            for suffix, picture in pictures.items():
                write_png(run.out / f"{stem}{suffix}", picture)
            run.initial_joints[stem] = to_uint8(found.initial_joints[i, 0])
            run.z[stem], run.initial_z[stem] = found.z[i], found.initial_z[i]
            about = {"input": source.name, "path": run.path_of(source), "stem": stem, "sha256": sha256}
            about["outputs"] = [stem + suffix for suffix in pictures]
            about |= {} if faithful is None else {"kind": known.kind, "faithful": float(faithful[i])}
            losses = _losses(found.contextual[i, 0], found.total[i, 0])
            run.results[stem] = {**about, **_seen(known, of), **losses, "seconds": round(seconds, 3)}
            if known.note:
                run.notes.append((source.name, known.note.format(stem=stem)))
        run.save()
    run.save()  # files that failed after the last batch


def undefined(found):
    """Which inputs of a `Completion` have a sample that is not finite or never had a finite loss: (n,) bool."""
    is_finite = np.isfinite(found.total).any(axis=2).all(axis=1)
    return ~(is_finite & np.isfinite(found.joints).all(axis=(1, 2, 3, 4)))


def _seen(known, of):
    """The entries in results.json about the faces of an input; of: for a further face, the stem of the first."""
    seen = {name: value for name in ("face", "alignment") if (value := getattr(known, name)) is not None}
    return (seen | {"faces": known.faces} if seen else {}) | ({"of": of} if of else {})


def _read(run, task, inputs, skip):
    """Yield a batch as tuples (stem, stem of the first face or None, source, SHA-256 or None if it is done, known).

    There is one tuple per face; skip() is called for each unusable input.
    """
    batch = []
    for stem, source, is_left in inputs:
        try:
            data = source.read()
            first, *others = read_known(data, task)
        except ValueError as error:
            run.failed[source.name] = str(error)
            skip()
            continue
        sha256 = _sha256(data) if is_left else None
        batch.append((stem, None, source, sha256, first))
        for number, known in enumerate(others if is_left else (), start=2):
            face = _face_stem(run, stem, number)
            run.planned[face] = source.name, [face + end for end in ends(task)]
            batch.append((face, stem, source, sha256, known))
    return batch


def _pictures(task, known, other, joints):
    """{suffix of the file name: picture} of one input; joints (K, 64, 128, 3) uint8, the best first."""
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
