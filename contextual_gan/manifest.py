"""What a folder of results was made from: a journal while work goes on, a sorted manifest once it is finished.

Both are JSON lines: first {"parameters": {...}}, then one entry per input, {"source", "sha256", "parameters": hash of
the parameters, and "output", "skipped" or "failed"}. Nothing in them depends on time, order or number of workers.
"""

import hashlib
import json
import os
from pathlib import Path

from contextual_gan.images import replace_file

MANIFEST, JOURNAL = "manifest.jsonl", "manifest.journal"


def check_folder(out):
    """Raise ValueError if `out` cannot become a folder, as it, or what it is to be in, is a file."""
    for path in (Path(out), *Path(out).parents):
        if path.is_file():
            raise ValueError(f"{path} is a file, the output must be a folder")


class Manifest:
    """The entries of an output folder: {source: entry}."""

    def __init__(self, out, parameters, overwrite=False):
        """Read what is there, write nothing. Raises ValueError for other parameters and for a damaged manifest.

        overwrite: what is there will be removed by `begin`, whatever made it.
        """
        self.out, self.parameters = Path(out), parameters
        self.hash = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]
        self.entries, self.journal, self.outdated = {}, None, []
        self.overwrite = overwrite
        self.is_unknown = not overwrite  # whether nothing says what made the files that may be there
        check_folder(self.out)
        for path in (self.out / MANIFEST, self.out / JOURNAL):
            found, entries = _read(path, complete=path.name == MANIFEST)
            if found is None:
                continue
            differences = _differences(found, parameters)
            if differences and not overwrite:
                raise ValueError(
                    f"{self.out} was made with other parameters ({differences}); --overwrite starts anew, "
                    "or give another output folder"
                )
            self.is_unknown = False
            self.entries |= {entry["source"]: entry for entry in entries}
        if overwrite:
            self.entries, self.outdated = {}, list(self.entries.values())

    def has(self, source, output):
        """Whether this input was dealt with, so far as can be told without reading it."""
        entry = self.entries.get(source, {})
        return ("skipped" in entry and "refused" not in entry) or (
            entry.get("output") == output and (self.out / output).is_file()
        )

    def begin(self, planned, failed=()):
        """Make the folder ready for {source: output}: remove what is outdated, open the journal.

        failed: sources that are there too, but cannot be used. Of inputs that are gone, only outputs are kept.
        Raises ValueError if files of another origin are in the way.
        """
        if self.is_unknown and self.out.exists():
            for output in planned.values():
                if os.path.lexists(self.out / output):
                    raise ValueError(
                        f"{self.out / output} is there, but no manifest says what made it; give another output folder"
                    )
        for entry in self.outdated:
            self._remove_output(entry)
        if self.overwrite:  # also a journal of nothing but other parameters
            for name in (MANIFEST, JOURNAL):
                (self.out / name).unlink(missing_ok=True)
        sources = {output: source for source, output in planned.items()}
        for source, entry in list(self.entries.items()):
            output = entry.get("output")
            if output and (planned.get(source, output) != output or sources.get(output, source) != source):
                self._remove_output(entry)  # another name now, as a new input would share the old one
                del self.entries[source]
            elif not output and source not in planned and source not in failed:
                del self.entries[source]
        self._open_journal()

    def _open_journal(self):
        """Continue the journal after its last whole line, or start one."""
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / JOURNAL
        if path.exists():
            for part in self.out.rglob(".*.part"):  # of a process that was killed while it wrote
                part.unlink()
            text = path.read_bytes()
            os.truncate(path, text.rfind(b"\n") + 1)
        self.journal = open(path, "ab")  # noqa: SIM115  closed by finish() or with the process
        if self.journal.tell() == 0:
            self._append({"parameters": self.parameters})

    def _append(self, line):
        try:
            self.journal.write(_line(line))
            self.journal.flush()
        except OSError as error:
            error.filename = str(self.out / JOURNAL)
            raise

    def add(self, entry):
        """Record what became of an input; returns whether that is news. An output it had before is removed."""
        old = self.entries.get(entry["source"], {})
        entry = {"source": entry["source"], "sha256": entry["sha256"], "parameters": self.hash} | entry
        if entry == old:
            return False
        if "output" not in entry:
            self._remove_output(old)
        self._append(entry)
        self.entries[entry["source"]] = entry
        return True

    def finish(self):
        """Write the sorted manifest and remove the journal."""
        self.journal.close()
        lines = [_line(self.entries[source]) for source in sorted(self.entries)]
        replace_file(self.out / MANIFEST, b"".join([_line({"parameters": self.parameters}), *lines]))
        (self.out / JOURNAL).unlink()

    def _remove_output(self, entry):
        if "output" in entry:
            path = self.out / entry["output"]
            if path.parent.resolve().is_relative_to(self.out.resolve()):  # the manifest may have been edited
                path.unlink(missing_ok=True)


def _line(value):
    return json.dumps(value, allow_nan=False).encode() + b"\n"


def _read(path, complete):
    """(parameters, entries) of a manifest, (None, []) if there is none; a journal counts up to its last whole line."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return None, []
    if not complete and lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    try:
        header, *entries = map(json.loads, lines) if lines or complete else [{"parameters": None}]
        if not all(isinstance(entry["source"], str) for entry in entries):
            raise TypeError
        return header["parameters"], entries
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged; move it away, or give another output folder") from error


def _differences(old, new):
    return ", ".join(f"{k}: {old.get(k)} there, {new.get(k)} now" for k in {**new, **old} if old.get(k) != new.get(k))
