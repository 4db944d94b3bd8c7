"""Apply a function to every image of a folder or archive: in parallel, resumable after a kill, with a manifest.

Workers get the bytes of the inputs and return the bytes of the outputs; only this process reads and writes files. An
output gets its final name when it is complete, and the journal lists it beforehand; at the end the journal becomes the
manifest. So the folder depends only on the inputs and the parameters, not on interruptions or the number of workers.
"""

import errno
import hashlib
import os
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import cv2

from contextual_gan.files import pools
from contextual_gan.files.images import ImageError, decode_rgba, encode_png, holds_several, on_background, reduction
from contextual_gan.files.manifest import Manifest, outputs_of
from contextual_gan.files.progress import progress

LONGEST_NAME = 255 - len("..part")  # bytes of a file name in most file systems, minus the suffix of temporary files
LONGEST_PATH = 4095 - len("/..part")  # the same for whole paths


class Skip(Exception):
    """The function has no result for this image; the message is the reason, for example "no face found"."""


@dataclass(slots=True)
class Item:
    """One output: its inputs and its path."""

    source: str  # its name in the manifest and in messages
    output: str  # below the output folder, posix, ending in .png
    files: tuple  # of `sources.Source` or `sources.Member`; usually one
    arguments: dict = field(default_factory=dict)  # of the function, for this image alone; JSON values


@dataclass(frozen=True)
class Report:
    """The outcome for all inputs. An entry is a dict as in the manifest, with "output", "skipped" or "failed"."""

    out: Path
    entries: list  # of all inputs that ever went into the folder, sorted by source
    new: int  # entries that are new or have changed
    gone: int  # entries whose input no longer exists
    replaced: list = field(default_factory=list)  # sources whose content has changed and whose results were made again

    @property
    def done(self):
        return [entry for entry in self.entries if "output" in entry]

    @property
    def skipped(self):
        return [entry for entry in self.entries if "skipped" in entry]

    @property
    def failed(self):
        return [entry for entry in self.entries if "failed" in entry]


def apply_to_folder(
    function,
    items,
    out,
    *,
    parameters,
    refused=(),
    overwrite=False,
    workers=None,
    scheduler=None,
    label=None,
    refuse=None,
    with_reduction=False,
):
    """Write function(*images, **item.arguments) of every `Item` to out/item.output as PNG -> `Report`.

    function: pure and picklable; gets (H, W, 3) uint8 RGB arrays and returns one (or (H, W)), or a list of them for
    NAME.png, NAME_2.png and so on; alone or with a dict of notes for the manifest. It raises `Skip` for an image
    without a result, ValueError for an invalid one.
    parameters: flat JSON dict of everything that determines the outputs. If the folder was made with others, ValueError
    names the difference, unless `overwrite`, which removes all listed files and starts again.
    refused: (source, reason) of inputs to list as failed. refuse(item, sha256): called for every item in order, returns
    a reason to skip it, or None. label: label of the progress, None for silence. with_reduction: function also takes
    `reduction`, the factor by which its image was reduced (see `images.reduction`).
    workers, scheduler: see `pools.connect`. Outputs with unchanged content and arguments are kept; failed inputs are
    retried.
    """
    manifest = Manifest(out, parameters, overwrite)
    before = {source: entry["sha256"] for source, entry in manifest.entries.items() if "output" in entry}
    failures = [*refused, *impossible(items, out)]
    unusable = {source for source, _ in failures}
    items = [item for item in items if item.source not in unusable]
    with pools.connect(workers, scheduler) as pool:
        manifest.begin({item.source: item.output for item in items}, unusable)
        news = [manifest.add({"source": name, "sha256": None, "failed": reason}) for name, reason in failures]
        left = sum(not manifest.has(item.source, item.output) for item in items)
        with progress(left, label, "images") if label and left else nullcontext(lambda n: None) as advance:
            planned = {item.output for item in items}

            def settle(entry, data=()):
                news.append(_recorded(manifest, entry, data))
                advance(1)

            tasks = _tasks(function, items, manifest, refuse, settle)
            work = partial(_work, with_reduction=with_reduction)
            with closing(pools.run(work, tasks, pool)) as results:
                for (item, entry), result in results:
                    settle(*_outcome(entry, result, item.output, partial(_is_free, manifest, planned, item.source)))
    manifest.finish()
    entries = [manifest.entries[source] for source in sorted(manifest.entries)]
    known = unusable | {item.source for item in items}
    gone = sum(entry["source"] not in known for entry in entries)
    replaced = [e["source"] for e in entries if before.get(e["source"], e["sha256"]) != e["sha256"]]
    return Report(manifest.out, entries, sum(news), gone, replaced)


def _tasks(function, items, manifest, refuse, settle):
    """Yield ((item, entry), arguments of `_work`) of the remaining work; call settle(entry) for unusable inputs."""
    for item in items:
        entry = {"source": item.source, "sha256": None}
        if item.arguments:
            entry["arguments"] = item.arguments
        try:
            files = [file.read() for file in item.files]
        except ImageError as error:
            settle(entry | {"failed": str(error)})
            continue
        entry["sha256"] = " ".join(hashlib.sha256(data).hexdigest() for data in files)
        if reason := refuse and refuse(item, entry["sha256"]):
            settle(entry | {"skipped": reason, "refused": True})
            continue
        old = manifest.entries.get(item.source, {})
        same = all(old.get(key) == entry.get(key) for key in ("sha256", "arguments"))
        if not (same and manifest.has(item.source, item.output)):
            yield (item, entry), (function, files, item.arguments)


def _work(function, files, arguments, with_reduction=False):
    """In a worker: bytes of the inputs -> the end of a manifest entry, whose "output" and "further" are PNG bytes."""
    cv2.setNumThreads(1)  # there is one worker per core
    try:
        images = [on_background(decode_rgba(data)) for data in files]
        factor = {"reduction": reduction(files[0], images[0])} if with_reduction else {}
        result = function(*images, **arguments, **factor)
        made, notes = result if isinstance(result, tuple) else (result, {})
        output, *further = map(encode_png, made if isinstance(made, list) else [made])
        notes |= {"several": True} if any(map(holds_several, files)) else {}
        return {"output": output} | ({"further": further} if further else {}) | notes
    except Skip as reason:
        return {"skipped": str(reason)}
    except ValueError as error:  # ImageError is one
        return {"failed": str(error)}
    except Exception as error:  # no error may affect the other images
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def _outcome(entry, result, output, is_free):
    """(complete manifest entry, bytes of its PNGs) from a result of `_work`; is_free(name): whether a name is free."""
    if isinstance(result, pools.WorkerDied):
        return entry | {"failed": "the process working on it died"}, ()
    if "output" not in result:
        return entry | result, ()
    data, names = [result["output"], *result.get("further", ())], []
    for number in range(2, len(data) + 1):
        stem = output.removesuffix(".png")
        unique = hashlib.sha256(os.fsencode(output)).hexdigest()[:8]
        names.append(next(filter(is_free, (f"{stem}_{number}.png", f"{stem}_{number}_{unique}.png")), None))
    if None in names:
        return entry | {"failed": f"names for its further images, such as {stem}_{unique}.png, are taken"}, ()
    return entry | result | {"output": output} | ({"further": names} if names else {}), data


def _is_free(manifest, planned, source, name):
    """Whether a further image of a source may have this name: no other image and no foreign file has it."""
    own = outputs_of(manifest.entries.get(source, {}))
    return name not in planned and (name in own or not os.path.lexists(manifest.out / name))


def _recorded(manifest, entry, data):
    """`Manifest.add`; a path that is too long for this file system fails only its own input."""
    try:
        return manifest.add(entry, data)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return manifest.add({key: entry[key] for key in ("source", "sha256")} | {"failed": error.strerror})


def impossible(items, out=""):
    """[(source, reason)] of the items whose output cannot be stored below `out` together with the others."""
    folders = {item.output.rpartition("/")[0] for item in items}
    folders |= {str(parent) for folder in folders for parent in PurePosixPath(folder).parents}
    reasons, longest = [], LONGEST_PATH - len(os.fsencode(out))
    for item in items:
        if item.output in folders:
            reasons.append((item.source, f"its result {item.output} would have the name of another result's folder"))
        elif 4 * len(item.output) > min(LONGEST_NAME, longest) and (  # a character has at most 4 bytes
            len(name := os.fsencode(item.output)) > longest or max(map(len, name.split(b"/"))) > LONGEST_NAME
        ):
            reasons.append((item.source, "its name is too long"))
    return reasons


def unfinished(items, size, is_left):
    """Split all items into batches of `size` and keep those with an item for which is_left(item) is true.

    A batch is always processed as a whole, so interrupted and uninterrupted work do exactly the same.
    """
    cut = [items[start : start + size] for start in range(0, len(items), size)]
    return [batch for batch in cut if any(map(is_left, batch))]
