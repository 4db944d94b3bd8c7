"""The record of a run folder: results.json, z.npz and initial_z.npz, and the files that the run owns.

All three are replaced after every batch and are always consistent. The record may have been edited or come from
somebody else, so it is checked when it is read.
"""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np

from contextual_gan.files import manifest
from contextual_gan.files.archives import Member
from contextual_gan.files.images import ImageError, read_bytes, remove_parts, replace_file
from contextual_gan.files.lock import check_folder, was_interrupted
from contextual_gan.files.manifest import LARGEST_RECORD, is_number, is_safe, parse_json
from contextual_gan.files.sources import is_there

ROWS_PER_PAGE = 12  # of the grid


class Run:
    """The files of a run folder: results, failures and z of everything completed there so far.

    results.json always lists the run's own files; no other file is replaced or deleted.
    """

    def __init__(self, out, task, overwrite=False):
        """Read the folder, write nothing. Raises ValueError if the settings differ or the record is damaged."""
        check_folder(out)
        self.out, self.settings, self.samples, self.overwrite = Path(out), task.settings(), task.samples, overwrite
        self.results, self.failed, self.z, self.initial_z = {}, {}, {}, {}
        self.outdated = []  # results to be replaced: removed before the first new ones are made
        self.planned = {}  # {stem: (input, names of its pictures)} of the remaining work
        self.initial_joints = {}  # {stem: G of the initial z}, of this command's results
        self.notes = []  # (input, note for the user)
        self.taken = set()  # stems of inputs, not available to further faces
        self.figures = []  # names of figures by other commands
        self.own, self.own_pages = set(), []  # files that the run owns
        self.is_begun = False
        record = self.out / "results.json"
        if not os.path.lexists(record):
            return
        old = _read_record(record)
        results = {entry["stem"]: entry for entry in old["results"]}
        differences = manifest.differences(*(_deciding(which) for which in (old["settings"], self.settings)))
        if differences and not overwrite:
            raise ValueError(f"{self.out} was made with other settings ({differences}); --overwrite replaces it")
        self.figures, self.own_pages = old.get("figures", []), page_names(len(results))
        self.own = {output for entry in results.values() for output in entry["outputs"]}
        self.own |= {"z.npz", "initial_z.npz", *old.get("writing", ()), *self.figures, *self.own_pages}
        if differences:
            self.outdated = list(results.values())
            return
        self.failed = {e["input"]: e["reason"] for e in old["failed"] if is_there(e["input"])}
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
        """Announce the files that may be written, so that the record lists them as its own beforehand.

        todo: from `plan`; figure: (stem, rows per page) of a figure by another command.
        Raises ValueError if one of them exists and is not the run's own, unless `overwrite`.
        """
        made = ends(task, initializations)
        self.planned = {stem: (source.name, [stem + end for end in made]) for stem, source in todo}
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
                    f"{self.out / name} already exists and was not made by this run; give another --out, or --overwrite"
                )
        self.figures = sorted({*self.figures, *figures})

    def holds_foreign(self, stem):
        """Whether a file that is not the run's own has the name of one of this stem's results."""
        path = self.out / f"{stem}_input.png"
        return os.path.lexists(path) and path.name not in self.own

    def remove(self, entry):
        """Forget a result and delete its pictures."""
        for store in (self.results, self.z, self.initial_z):
            store.pop(entry["stem"], None)
        for output in entry["outputs"]:
            path = self.out / output
            if path.resolve().is_relative_to(self.out.resolve()):  # a folder in it may be a link
                path.unlink(missing_ok=True)

    def save(self):
        """Replace z.npz, initial_z.npz and results.json, in this order: a listed result always has its z."""
        if not self.is_begun:
            self._begin()
        replace_file(self.out / "z.npz", _npz(self.z))
        replace_file(self.out / "initial_z.npz", _npz(self.initial_z))
        self._save_record([self.results[stem] for stem in sorted(self.results)])

    def _begin(self):
        """Remove temporary files left by a kill; if there is no record yet, write an empty one first."""
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
        """The path of an input relative to the run folder; it distinguishes inputs with the same relative name."""
        path = os.path.join(os.path.realpath(source.path.parent), source.path.name)
        return Path(os.path.relpath(path, self.out.resolve())).as_posix()


def ends(task, initializations=False):
    """The possible suffixes of an input's pictures, after its stem."""
    samples = (f"_{task.direction}_{k}.png" for k in range(2, task.samples + 1))
    found = ["_input.png", f"_{task.direction}.png", "_joint.png", *samples]
    return found + ["_truth.png"] * (task.joint != "never") + ["_initializations.png"] * initializations


def page_names(number, stem="grid", per_page=ROWS_PER_PAGE):
    """The names of the pages of a figure with `number` rows: STEM.png, STEM_2.png, ..."""
    return [f"{stem}{f'_{page}' if page > 1 else ''}.png" for page in range(1, -(-number // per_page) + 1)]


def _read_record(path):
    """The content of results.json, checked; it may have been edited or come from somebody else. Raises ValueError."""
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
    """Whether this is a valid result as written by `complete_folder`."""
    losses = [entry[name][when] for name in ("contextual", "total") for when in ("initial", "best", "final")]
    return (
        all(isinstance(entry[key], str) for key in ("input", "stem", "sha256"))
        and all(isinstance(entry.get(key, ""), str) for key in ("path", "of", "alignment"))
        and all(is_number(entry.get(key)) for key in ("face", "faces"))
        and is_number(entry["iterations"])
        and isinstance(entry["outputs"], list)
        and all(name.startswith(f"{entry['stem']}_") and is_safe(name) for name in entry["outputs"])
        and is_safe(entry["stem"])
        and all(map(is_number, losses))
    )


def _deciding(settings):
    """The settings that determine the results: not the names of weights and presets, but their content."""
    older = {"faces": "largest", "faithful": None, "centre": "0", "align": "off", "predictor": None}
    settings = older | settings  # older results lack these
    return {key: value for key, value in settings.items() if key not in ("weights", "preset")}


def _npz(arrays):
    """The bytes of an .npz file; np.savez takes keys as keywords, and would fail for an input named "file"."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return buffer.getvalue()


def _read_npz(path, samples):
    """{stem: (samples, n) float32} of a file of `_npz`; without unreadable entries, whose inputs are done again.

    np.load would take x.npy.npy, the z of x.npy, for x.npy, the z of x.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(read_bytes(path, LARGEST_RECORD))) as archive:
            for info in archive.infolist():
                data = Member(archive, info, info.filename).read()
                array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
                if array.dtype == np.float32 and array.ndim == 2 and len(array) == samples and np.isfinite(array).all():
                    arrays[info.filename.removesuffix(".npy")] = array
    except Exception:  # missing or damaged: inputs without z count as not done
        return arrays
    return arrays
