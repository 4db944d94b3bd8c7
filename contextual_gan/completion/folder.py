"""Complete folders of images into a run folder that can be interrupted, continued and added to.

The run folder holds the pictures of each input beside `results.json` (settings, losses, failures), `z.npz` (what was
found) and `initial_z.npz` (where the searches began). All are replaced after every batch and agree at any moment.
"""

import hashlib
import io
import json
import os
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from contextual_gan.config import Search
from contextual_gan.files.images import (
    ImageError,
    centre_square,
    decode_rgba,
    on_background,
    read_bytes,
    remove_parts,
    replace_file,
    to_uint8,
    write_png,
)
from contextual_gan.files.lock import check_folder, was_interrupted
from contextual_gan.files.manifest import LARGEST_RECORD, is_number, is_safe, parse_json
from contextual_gan.files.sources import Member
from contextual_gan.joint import SIZE, half
from contextual_gan.preparation.sketches import parse_crop, prepare

LONGEST_NAME = 255 - len("._initializations.png.part")  # what file systems allow, less what results add
LONGEST_PATH = 4095 - len("._initializations.png.part")
ROWS_PER_PAGE = 12  # of the grid


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
    """The files of a run folder: results, failures and z of everything completed there so far.

    results.json says at any moment which files are the run's own: nothing else is replaced or deleted.
    """

    def __init__(self, out, task, overwrite=False):
        """Read what is there, write nothing. Raises ValueError for other settings and for a damaged record."""
        check_folder(out)
        self.out, self.settings, self.samples, self.overwrite = Path(out), task.settings(), task.samples, overwrite
        self.results, self.failed, self.z, self.initial_z = {}, {}, {}, {}
        self.outdated = []  # results to be replaced: removed before the first new ones are made
        self.planned = {}  # {stem: (input, names of its pictures)} of what is to be made
        self.figures = []  # names of figures by other commands
        self.own, self.own_pages = set(), []  # files that are the run's own
        self.is_begun = False
        record = self.out / "results.json"
        if not os.path.lexists(record):
            return
        old = _read_record(record)
        results = {entry["stem"]: entry for entry in old["results"]}
        differences = _differences(old["settings"], self.settings)
        if differences and not overwrite:
            raise ValueError(f"{self.out} holds results of other settings ({differences}); --overwrite starts anew")
        self.figures, self.own_pages = old.get("figures", []), page_names(len(results))
        self.own = {output for entry in results.values() for output in entry["outputs"]}
        self.own |= {"z.npz", "initial_z.npz", *old.get("writing", ()), *self.figures, *self.own_pages}
        if differences:
            self.outdated = list(results.values())
            return
        self.failed = {e["input"]: e["reason"] for e in old["failed"] if os.path.lexists(e["input"])}
        z, initial_z = (_read_npz(self.out / name, self.samples) for name in ("z.npz", "initial_z.npz"))
        for stem, entry in results.items():
            complete = all((self.out / output).is_file() for output in entry["outputs"])
            if complete and stem in z and stem in initial_z:
                self.results[stem], self.z[stem], self.initial_z[stem] = entry, z[stem], initial_z[stem]

    def pages(self):
        """The pages of the grid that exist."""
        return [path for path in map(self.out.joinpath, self.own_pages) if path.is_file()]

    def lacks_pages(self):
        """Whether a page of the grid of all results is missing."""
        return not all((self.out / name).is_file() for name in page_names(len(self.results)))

    def announce(self, todo, task, initializations=False, figure=None):
        """Say which files are going to be written, all at most, so that the record can call them its own beforehand.

        todo: from `plan`; figure: (stem, rows per page) of a figure by another command.
        Raises ValueError if one of them is there, but not the run's own, unless `overwrite`.
        """
        samples = (f"_{task.direction}_{k}.png" for k in range(2, task.samples + 1))
        ends = ["_input.png", f"_{task.direction}.png", "_joint.png", *samples]
        ends += ["_truth.png"] * (task.joint != "never") + ["_initializations.png"] * initializations
        self.planned = {stem: (source.name, [stem + end for end in ends]) for stem, source, _ in todo}
        if initializations:
            made = {stem: [f"{stem}_initializations.png"] for stem in self.results.keys() - self.planned.keys()}
            self.planned |= {stem: (self.results[stem]["input"], names) for stem, names in made.items()}
        names = ["z.npz", "initial_z.npz", *(name for _, names in self.planned.values() for name in names)]
        total = len(self.results.keys() | self.planned.keys())
        pages = page_names(total) if todo or self.outdated or self.lacks_pages() or initializations else []
        figures = page_names(total, *figure) if figure else []
        for name in (*names, *pages, *figures):
            if not self.overwrite and name not in self.own and os.path.lexists(self.out / name):
                raise ValueError(
                    f"{self.out / name} is there, but this run has not made it; give another --out, or --overwrite"
                )
        self.figures = sorted({*self.figures, *figures})

    def remove(self, entry):
        """Forget a result and delete its pictures."""
        for store in (self.results, self.z, self.initial_z):
            store.pop(entry["stem"], None)
        for output in entry["outputs"]:
            path = self.out / output
            if path.resolve().is_relative_to(self.out.resolve()):  # a folder in it may be a link
                path.unlink(missing_ok=True)

    def save(self):
        """Replace z.npz, initial_z.npz and results.json, in this order: a result that is listed has its z."""
        if not self.is_begun:
            self._begin()
        replace_file(self.out / "z.npz", _npz(self.z))
        replace_file(self.out / "initial_z.npz", _npz(self.initial_z))
        self._save_record([self.results[stem] for stem in sorted(self.results)])

    def _begin(self):
        """Remove what a kill has left of writing; where there is no record yet, it is the first file."""
        self.is_begun = True
        is_new = not os.path.lexists(self.out / "results.json")
        if not is_new or was_interrupted(self.out):
            remove_parts(self.out / name for name in ("results.json", "z.npz", "initial_z.npz", *self.own))
        if is_new:
            self._save_record([])

    def _save_record(self, results):
        record = {
            "settings": self.settings,
            "results": results,
            "failed": [{"input": name, "reason": reason} for name, reason in sorted(self.failed.items())],
        }
        listed = {output for entry in results for output in entry["outputs"]}
        made = {entry["stem"] for entry in results}
        writing = [
            name
            for stem, (source, names) in self.planned.items()
            for name in names
            if source not in self.failed
            and name not in listed
            and (stem not in made or name.endswith("_initializations.png"))
        ]
        record |= ({"figures": self.figures} if self.figures else {}) | ({"writing": writing} if writing else {})
        replace_file(self.out / "results.json", (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())

    def path_of(self, source):
        """Where an input lies, seen from the run folder: what tells inputs of one relative name apart."""
        path = os.path.join(os.path.realpath(source.path.parent), source.path.name)
        return Path(os.path.relpath(path, self.out.resolve())).as_posix()


def page_names(number, stem="grid", per_page=ROWS_PER_PAGE):
    """The names of the pages of a figure of so many rows: STEM.png, STEM_2.png, ..."""
    return [f"{stem}{f'_{page}' if page > 1 else ''}.png" for page in range(1, -(-number // per_page) + 1)]


def _read_record(path):
    """The content of results.json, checked; it may have been edited, or come from somebody else. Raises ValueError."""
    try:
        record = parse_json(read_bytes(path, LARGEST_RECORD))
        whole = (
            isinstance(record["settings"], dict)
            and all(isinstance(record.get(key, []), list) for key in ("results", "failed", "figures", "writing"))
            and all(map(_is_entry, record["results"]))
            and all(isinstance(e["input"], str) and isinstance(e["reason"], str) for e in record["failed"])
            and all(is_safe(name) for key in ("figures", "writing") for name in record.get(key, ()))
        )
        if not whole:
            raise TypeError
        return record
    except ImageError as error:
        raise ValueError(f"{path}: {error}; move it away, or give another --out") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged; move it away, or give another --out") from error


def _is_entry(entry):
    """Whether this is a result as `complete_folder` lists it."""
    losses = [entry[name][when] for name in ("contextual", "total") for when in ("initial", "best", "final")]
    return (
        all(isinstance(entry[key], str) for key in ("input", "stem", "sha256"))
        and isinstance(entry.get("path", ""), str)
        and isinstance(entry["outputs"], list)
        and all(name.startswith(f"{entry['stem']}_") and is_safe(name) for name in entry["outputs"])
        and is_safe(entry["stem"])
        and all(map(is_number, losses))
    )


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


def _read_npz(path, samples):
    """{stem: (samples, n) float32} of a file of `_npz`; what cannot be read is left out, so that it is done again.

    np.load would take x.npy.npy, which is the z of x.npy, for another name of x.npy, which is that of x.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(read_bytes(path, LARGEST_RECORD))) as archive:
            for info in archive.infolist():
                data = Member(archive, info, info.filename).read()
                array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
                if array.dtype == np.float32 and array.ndim == 2 and len(array) == samples and np.isfinite(array).all():
                    arrays[info.filename.removesuffix(".npy")] = array
    except Exception:  # missing or damaged: what has no z counts as not done
        return arrays
    return arrays


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
