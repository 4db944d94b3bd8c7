"""The record of a folder of results and their inputs: a journal during the work, a sorted manifest at the end.

Both are JSON lines: first {"parameters": {...}}, then one entry per input, {"source", "sha256", "parameters": hash of
the parameters, and "output", "skipped" or "failed"}. Nothing in them depends on time, order or number of workers.
"""

import hashlib
import json
import math
import os
from pathlib import Path

from contextual_gan.files.images import ImageError, part_of, read_bytes, replace_file
from contextual_gan.files.lock import check_folder, was_interrupted

MANIFEST, JOURNAL = "manifest.jsonl", "manifest.journal"
RECORDS = (MANIFEST, "split.csv", "dataset.json")  # the last two are written when a data set is split
LARGEST_RECORD = 10**9  # bytes; an entry has about 300
START = b'{"parameters": '
NUMBERS = ("ink", "mean", "contextual", "diversity")  # numeric notes


class Manifest:
    """The entries of an output folder: {source: entry}."""

    def __init__(self, out, parameters, overwrite=False):
        """Read the folder, write nothing. Raises ValueError if the parameters differ or the manifest is damaged.

        overwrite: `begin` will remove existing files, whatever made them.
        """
        self.out, self.parameters = Path(out), parameters
        self.hash = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]
        self.entries, self.journal, self.outdated = {}, None, []
        self.overwrite = overwrite
        self.is_unknown = not overwrite  # whether the origin of existing files is unknown
        check_folder(self.out)
        for path in (self.out / MANIFEST, self.out / JOURNAL):
            found, entries = _read(path, complete=path.name == MANIFEST)
            if found is None:
                continue
            others = differences(found, parameters)
            if others and not overwrite:
                raise ValueError(
                    f"{self.out} was made with other parameters ({others}); --overwrite replaces it, "
                    "or give another output folder"
                )
            self.is_unknown = False
            safe = [entry for entry in entries if all(map(is_safe, outputs_of(entry)))]
            if len(safe) < len(entries) and not overwrite:
                raise ValueError(f"{path} lists files outside of its folder; move it away, or give --overwrite")
            self.entries |= {entry["source"]: entry for entry in safe}
        if overwrite:
            self.entries, self.outdated = {}, list(self.entries.values())

    def has(self, source, output):
        """Whether this input is done, as far as can be told without reading it."""
        entry = self.entries.get(source, {})
        return ("skipped" in entry and "refused" not in entry) or (
            entry.get("output") == output and all((self.out / name).is_file() for name in outputs_of(entry))
        )

    @property
    def is_open(self):
        """Whether there is a journal: unfinished work."""
        return (self.out / JOURNAL).exists()

    def refuse_foreign(self, names):
        """Raise ValueError if one of these files exists and the origin of the folder's files is unknown."""
        if self.is_unknown:
            self._refuse(names)

    def begin(self, planned, failed=(), replace=False):
        """Prepare the folder for {source: output}: remove outdated outputs, open the journal.

        failed: sources that exist but cannot be used. For inputs that no longer exist, only outputs are kept.
        Raises ValueError if foreign files are in the way, unless they may be replaced.
        """
        if not (replace or self.overwrite) and self.out.exists():
            own = {name for entry in self.entries.values() for name in outputs_of(entry)}
            self._refuse(output for output in planned.values() if output not in own)
        for entry in self.outdated:
            self._remove_output(entry)
        if self.overwrite:  # including a journal with other parameters and no entries
            for name in (MANIFEST, JOURNAL):
                (self.out / name).unlink(missing_ok=True)
        sources = {output: source for source, output in planned.items()}
        for source, entry in list(self.entries.items()):
            output = entry.get("output")
            if output and (
                planned.get(source, output) != output
                or any(sources.get(name, source) != source for name in outputs_of(entry))
                or any(name in sources for name in entry.get("further", ()))
            ):
                self._remove_output(entry)  # it has a new name, as another input would share the old one
                del self.entries[source]
            elif not output and source not in planned and source not in failed:
                del self.entries[source]
        self._open_journal(planned.values())

    def _refuse(self, names):
        for name in names:
            if os.path.lexists(self.out / name):
                raise ValueError(
                    f"{self.out / name} already exists, but no manifest lists it; give another output folder, or "
                    "--overwrite"
                )

    def _open_journal(self, outputs):
        """Continue the journal after its last complete line, or start one."""
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / JOURNAL
        if path.exists() or was_interrupted(self.out):
            self._remove_parts(outputs)
        if path.exists():
            text = path.read_bytes()
            os.truncate(path, text.rfind(b"\n") + 1)
        self.journal = open(path, "ab")  # noqa: SIM115  closed by finish() or with the process
        if self.journal.tell() == 0:
            self._append({"parameters": self.parameters})

    def _remove_parts(self, outputs):
        """Remove temporary files of these outputs and the records, left by a killed process."""
        known = (name for entry in self.entries.values() for name in outputs_of(entry))
        own = {part_of(name) for name in (*outputs, *known, *RECORDS)}
        for part in self.out.rglob(".*.part"):
            if part.relative_to(self.out).as_posix() in own and part.is_file() and not part.is_symlink():
                part.unlink()

    def _append(self, line):
        try:
            self.journal.write(_line(line))
            self.journal.flush()
        except OSError as error:
            error.filename = str(self.out / JOURNAL)
            raise

    def add(self, entry, data=()):
        """Record the outcome of an input, then write its outputs, if any; returns whether the entry is new.

        data: the bytes of each output. Because of this order, the record always lists all files, and a listed file that
        is missing must be made again. Earlier outputs of the input are removed.
        """
        old = self.entries.get(entry["source"], {})
        entry = {"source": entry["source"], "sha256": entry["sha256"], "parameters": self.hash} | entry
        if entry != old:
            self._remove_output(old)
            self._append(entry)
            self.entries[entry["source"]] = entry
        for name, content in zip(outputs_of(entry) if data else (), data, strict=True):
            replace_file(self.out / name, content)
        return entry != old

    def finish(self):
        """Write the sorted manifest and remove the journal."""
        self.journal.close()
        lines = [_line(self.entries[source]) for source in sorted(self.entries)]
        replace_file(self.out / MANIFEST, b"".join([_line({"parameters": self.parameters}), *lines]))
        (self.out / JOURNAL).unlink()

    def _remove_output(self, entry):
        for name in outputs_of(entry):
            path = self.out / name
            if path.parent.resolve().is_relative_to(self.out.resolve()):  # the manifest may have been edited
                path.unlink(missing_ok=True)


def parameters_of(out):
    """The parameters of a finished or unfinished folder; None if there is no record.

    Raises ValueError for a damaged manifest.
    """
    found = (_read(Path(out) / name, complete=name == MANIFEST)[0] for name in (MANIFEST, JOURNAL))
    return next((parameters for parameters in found if parameters), None)


def outputs_of(entry):
    """The files of an entry: its output, and the further ones of an input with several."""
    return [entry["output"], *entry.get("further", ())] if "output" in entry else []


def _line(value):
    return json.dumps(value, allow_nan=False).encode() + b"\n"


def _read(path, complete):
    """(parameters, entries) of a manifest, (None, []) if there is none; a journal ends at its last complete line."""
    if not os.path.lexists(path):
        return None, []
    try:
        lines = read_bytes(path, LARGEST_RECORD).splitlines(keepends=True)
        if not complete and lines and not lines[-1].endswith(b"\n"):
            cut = lines.pop()
            if not lines and cut[: len(START)] != START[: len(cut)]:
                raise ValueError("not a journal")
        header, *entries = map(parse_json, lines) if lines or complete else [{"parameters": None}]
        if not isinstance(header["parameters"], dict | None) or not all(map(_is_entry, entries)):
            raise TypeError
        return header["parameters"], entries
    except ImageError as error:
        raise ValueError(f"{path}: {error}; move it away, or give another output folder") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged; move it away, or give another output folder") from error


def _is_entry(entry):
    """Whether this is a valid entry of `Manifest.add`; a record may have been edited or come from somebody else."""
    return (
        isinstance(entry, dict)
        and isinstance(entry["source"], str)
        and isinstance(entry["sha256"], str | None)
        and isinstance(entry.get("arguments", {}), dict)
        and isinstance(entry.get("further", []), list)
        and sum(key in entry for key in ("output", "skipped", "failed")) == 1
        and all(isinstance(entry.get(key, ""), str) for key in ("output", "skipped", "failed"))
        and all(is_number(entry.get(key)) for key in NUMBERS)
    )


def parse_json(data):
    """Standard JSON, without NaN and Infinity -> value. Raises ValueError (or RecursionError)."""

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    def finite(text):
        return number if math.isfinite(number := float(text)) else refuse(text)

    return json.loads(data, parse_constant=refuse, parse_float=finite)


def is_number(value):
    """Whether this is None or a finite number, as in a record."""
    return value is None or (type(value) in (int, float) and abs(value) < 1e300)


def is_safe(name):
    """Whether a name in a record is text and a normalised path of a file below the folder."""
    if not isinstance(name, str) or "\0" in name or {"", ".", ".."} & set(name.split("/")):
        return False
    try:
        return bool(os.fsencode(name))
    except UnicodeEncodeError:
        return False


def differences(old, new):
    """The differences of two dicts, in words: "lr: 0.1 there, 0.2 now"; "" if there are none."""
    return ", ".join(f"{k}: {old.get(k)} there, {new.get(k)} now" for k in {**new, **old} if old.get(k) != new.get(k))
