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
    read_bytes,
    replace_file,
    to_uint8,
    write_png,
)
from contextual_gan.joint import half
from contextual_gan.known import read_known
from contextual_gan.manifest import check_folder
from contextual_gan.sketches import parse_crop

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
    faces: str = "largest"

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
        if self.direction == "sketch" and self.faces != "largest":
            raise ValueError("faces is for sketches; photos are squared about their centre")
        parse_crop(self.crop)

    def evaluations(self):
        """Evaluations of the search per input: the units of its progress."""
        return self.samples * (self.search.iterations + 1)

    def settings(self):
        """Flat, as written to results.json."""
        numbers = {name.rstrip("_"): value for name, value in asdict(self.search).items()}
        return {k: v for k, v in asdict(self).items() if k != "search"} | numbers


class Run:
    """The files of a run folder: results, failures and z of everything completed there so far."""

    def __init__(self, out, task, overwrite=False):
        """Read what is there, write nothing. Raises ValueError for other settings and for a damaged record."""
        check_folder(out)
        self.out, self.settings = Path(out), task.settings()
        self.results, self.failed, self.z, self.initial_z = {}, {}, {}, {}
        self.outdated = []  # results to be replaced: removed before the first new ones are made
        self.notes = []  # (input, what to tell the user about it)
        self.taken = set()  # stems of inputs, which no further face of a drawing may have
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
    old = {"faces": "largest"} | old  # results of before there was a choice
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
    todo, run.taken = [], set(stems)
    current = {source.name: stem for stem, source in stems.items()}
    for entry in list(run.results.values()):
        first = entry.get("of", entry["stem"])
        if current.get(entry["input"], first) != first:  # a new neighbour has changed its name
            run.outdated.append(entry)
        elif "of" in entry and (entry["stem"] in stems or first not in run.results):  # or wants its name
            run.outdated += _all_faces(run, first)
            for face in _all_faces(run, first):
                run.results.pop(face["stem"])
    for stem, source in stems.items():
        run.failed.pop(source.name, None)
        old = run.results.get(stem)
        try:
            sha256 = hashlib.sha256(read_bytes(source.path)).hexdigest()
            if len(os.fsencode(Path(stem).name)) > LONGEST_NAME:
                raise ImageError(f"its name is too long for results named after it (over {LONGEST_NAME} bytes)")
        except ImageError as error:
            run.failed[source.name], sha256 = str(error), None
        if old and old["sha256"] == sha256 and _has_all_faces(run, stem, old):
            continue
        if old and old["input"] != source.name:
            raise ValueError(
                f"{run.out} holds the result of {old['input']} as {stem}, give {source.name} another --out"
            )
        if old:  # the file has changed, or a face is missing
            run.outdated += _all_faces(run, stem)
        if sha256:
            todo.append((stem, source, sha256))
    return todo


def _all_faces(run, stem):
    """The entries of all faces of the input with this stem."""
    return [entry for entry in run.results.values() if stem in (entry["stem"], entry.get("of"))]


def _has_all_faces(run, stem, entry):
    return run.settings["faces"] == "largest" or len(_all_faces(run, stem)) == entry.get("faces", 1)


def _face_stem(run, stem, number):
    """What the results of a further face are called: `b_2`, or `b_face_2` where that is another input."""
    name = f"{stem}_{number}"
    while name in run.taken or name in run.results:
        name = f"{stem}_face{name.removeprefix(stem)}"
    run.taken.add(name)
    return name


def complete_folder(run, task, todo, networks, *, encoder=None, batch_size=64, progress=None):
    """Complete what `plan` returned, batch by batch, into the run folder.

    networks: (generator, discriminator); encoder: as of `completion.complete`. Inputs that cannot be used go to
    `run.failed`.
    progress: called with the number of evaluations (see `completion.descend`) and a note, also for failed inputs.
    """
    from contextual_gan.completion import complete  # late: a finished run needs no TensorFlow

    def advance(n, contextual):
        if progress:  # the total counts inputs, not faces
            progress(n * inputs // len(batch), f"contextual loss {contextual:.3f}")

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
        inputs = sum(of is None for _, of, *_ in batch)
        found = complete(
            *networks,
            np.stack([known.image for *_, known in batch]),
            encoder=encoder,
            direction=task.direction,
            preset=task.preset,
            seed=task.seed,
            samples=task.samples,
            batch_size=batch_size,
            progress=advance,
            **asdict(task.search),
        )
        seconds = (time.monotonic() - start) / len(batch)
        for i, (stem, of, source, sha256, known) in enumerate(batch):
            pictures = _pictures(task, known.image, known.other, to_uint8(found.joints[i]))
            for suffix, picture in pictures.items():
                write_png(run.out / f"{stem}{suffix}", picture)
            run.z[stem], run.initial_z[stem] = found.z[i], found.initial_z[i]
            run.results[stem] = {
                "input": source.name,
                "stem": stem,
                "sha256": sha256,
                "outputs": [stem + suffix for suffix in pictures],
                **_seen(known, of),
                **_losses(found.contextual[i, 0], found.total[i, 0]),
                "seconds": round(seconds, 3),
            }
            if known.note:
                run.notes.append((source.name, known.note.format(stem=stem)))
        run.save()
    run.save()  # files that failed after the last batch


def _seen(known, of):
    """What results.json says of the faces of a drawing; of: the stem of the first face, for a further one."""
    if known.face is None:
        return {}
    return {"face": known.face, "faces": known.faces} | ({"of": of} if of else {})


def _read_batches(run, task, todo, size, skip):
    """Lists of `size` tuples (stem, stem of the first face or None, source, sha256, known), or some more faces.

    Calls skip() for each failed input.
    """
    batch = []
    for stem, source, sha256 in todo:
        try:
            first, *others = read_known(read_bytes(source.path), task)
        except ValueError as error:
            run.failed[source.name] = str(error)
            skip()
        else:
            batch.append((stem, None, source, sha256, first))
            for number, known in enumerate(others, start=2):
                batch.append((_face_stem(run, stem, number), stem, source, sha256, known))
        if len(batch) >= size:
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
