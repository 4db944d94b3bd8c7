"""Complete folders of images into a run folder that can be interrupted, continued and added to.

The run folder holds the pictures of each input beside `results.json` (settings, losses, failures), `z.npz` (what was
found) and `initial_z.npz` (where the searches began). All are replaced after every batch and agree at any moment.
"""

import hashlib
import io
import json
import os
import re
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from contextual_gan.config import Search
from contextual_gan.images import (
    ImageError,
    centre_square,
    decode_rgba,
    on_background,
    read_bytes,
    replace_file,
    to_uint8,
    write_png,
)
from contextual_gan.joint import SIZE, half
from contextual_gan.manifest import check_folder
from contextual_gan.sketches import parse_crop, prepare

LONGEST_NAME = 255 - len("._initializations.png.part")  # what file systems allow, less what results add


@dataclass(frozen=True)
class Task:
    """How every input of a run is completed: the part of the command line that decides the pictures."""

    weights: str
    weights_sha256: str
    preset: str
    search: Search
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


class Run:
    """The files of a run folder: results, failures and z of everything completed there so far."""

    def __init__(self, out, task, overwrite=False):
        """Read what is there, write nothing. Raises ValueError for other settings and for a damaged record."""
        check_folder(out)
        self.out, self.settings = Path(out), task.settings()
        self.results, self.failed, self.z, self.initial_z = {}, {}, {}, {}
        self.outdated = []  # results to be replaced: removed before the first new ones are made
        record = self.out / "results.json"
        if not record.exists():
            return
        try:
            old = json.loads(record.read_text(encoding="utf-8"))
            results = {entry["stem"]: entry for entry in old["results"]}
            differences = _differences(old["settings"], self.settings)
            failed = {entry["input"]: entry["reason"] for entry in old["failed"]}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{record} is damaged; move it away, or give another --out") from error
        if differences and overwrite:
            self.outdated = list(results.values())
            return
        if differences:
            raise ValueError(f"{self.out} holds results of other settings ({differences}); --overwrite starts anew")
        self.failed = {name: reason for name, reason in failed.items() if os.path.lexists(name)}
        z, initial_z = _read_npz(self.out / "z.npz"), _read_npz(self.out / "initial_z.npz")
        for stem, entry in results.items():
            complete = all((self.out / output).is_file() for output in entry["outputs"])
            if complete and stem in z and stem in initial_z:
                self.results[stem], self.z[stem], self.initial_z[stem] = entry, z[stem], initial_z[stem]

    def pages(self):
        """The pages of the grid that exist."""
        return [path for path in sorted(self.out.glob("grid*.png")) if re.fullmatch(r"grid(_\d+)?\.png", path.name)]

    def remove(self, entry):
        """Forget a result and delete its pictures."""
        for store in (self.results, self.z, self.initial_z):
            store.pop(entry["stem"], None)
        for output in entry["outputs"]:
            path = self.out / output
            if path.resolve().is_relative_to(self.out.resolve()):  # the record may have been edited
                path.unlink(missing_ok=True)

    def save(self):
        """Replace z.npz, initial_z.npz and results.json, in this order: a result that is listed has its z."""
        replace_file(self.out / "z.npz", _npz(self.z))
        replace_file(self.out / "initial_z.npz", _npz(self.initial_z))
        record = {
            "settings": self.settings,
            "results": [self.results[stem] for stem in sorted(self.results)],
            "failed": [{"input": name, "reason": reason} for name, reason in sorted(self.failed.items())],
        }
        replace_file(self.out / "results.json", (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())


def _differences(old, new):
    """The settings that differ, in words; names of weights and presets do not matter if their content is the same."""
    keys = [key for key in {**new, **old} if key not in ("weights", "preset")]
    return ", ".join(f"{k}: {old.get(k)} there, {new.get(k)} now" for k in keys if old.get(k) != new.get(k))


def _npz(arrays):
    """The bytes of an .npz file; np.savez would take keys as keywords, and stumble over an input called "file"."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return buffer.getvalue()


def _read_npz(path):
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception:  # missing or damaged: what has no z counts as not done
        return {}


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
            if len(os.fsencode(Path(stem).name)) > LONGEST_NAME:
                raise ImageError(f"its name is too long for results named after it (over {LONGEST_NAME} bytes)")
        except ImageError as error:
            run.failed[source.name], sha256 = str(error), None
        if old and old["sha256"] == sha256:
            continue
        if old and old["input"] != source.name:
            raise ValueError(
                f"{run.out} holds the result of {old['input']} as {stem}, give {source.name} another --out"
            )
        if old:  # the file has changed
            run.outdated.append(old)
        if sha256:
            todo.append((stem, source, sha256))
    return todo


def complete_folder(run, task, todo, networks, *, encoder=None, batch_size=64, progress=None):
    """Complete what `plan` returned, batch by batch, into the run folder.

    networks: (generator, discriminator); encoder: as of `completion.complete`. Inputs that cannot be used go to
    `run.failed`.
    progress: called with the number of evaluations (see `completion.descend`) and a note, also for failed inputs.
    """
    from contextual_gan.completion import complete  # late: a finished run needs no TensorFlow

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
    for batch in _read_batches(run, task, todo, max(1, batch_size // task.samples), skip):
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
            if failed[i]:
                run.failed[source.name] = f"no loss of its search was finite: the weights {task.weights} are damaged"
                continue
            pictures = _pictures(task, known, other, to_uint8(found.joints[i]))
            for suffix, picture in pictures.items():
                write_png(run.out / f"{stem}{suffix}", picture)
            run.z[stem], run.initial_z[stem] = found.z[i], found.initial_z[i]
            run.results[stem] = {
                "input": source.name,
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


def _read_batches(run, task, todo, size, skip):
    """Lists of `size` tuples (stem, source, sha256, known, other half); calls skip() for each failed input."""
    batch = []
    for stem, source, sha256 in todo:
        try:
            batch.append((stem, source, sha256, *read_known(read_bytes(source.path), task)))
        except ValueError as error:
            run.failed[source.name] = str(error)
            skip()
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


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
