"""Split images into training and test sets, by the hash of their names or by an existing list.

A part is "train" or "test". Images are named as in the manifest: the path below the folder, or the name in the zip
archive.
"""

import csv
import hashlib
import io
import os
import re
from collections import defaultdict
from pathlib import Path

from contextual_gan.files.apply import Item
from contextual_gan.files.images import ImageError, read_bytes, replace_file
from contextual_gan.files.manifest import Manifest, parameters_of
from contextual_gan.files.sources import IMAGE_SUFFIXES

SPLIT = "split.csv"  # in the output folder
HEADERS = ("image,split", "image_id,partition")  # ours, which we write; CelebA's list on Kaggle
PARTS = {"train": "train", "test": "test", "0": "train", "1": "train", "2": "test"}  # CelebA's 1 is for validation
QUOTED_LINE = re.compile(r'^[ \t]*"([^"\r\n]*)"[ \t]*,[ \t]*"?(\w+)"?[ \t\r]*$', re.MULTILINE)  # with spaces around
FEWEST = 500  # training images: with fewer, GANs repeat them
LARGE = 10_000  # images; of smaller sets, a tenth is for testing


def choose(names, *, test=None, seed=0, known=None, by="stem"):
    """Choose the test images by the hashes of their names -> {name: "train" or "test"}, sorted.

    The test images are those with the smallest hash of (seed, stem), exactly `test` of them; the stem is the name
    without the extension, so that a photo and a PNG made from it are in the same part. None means 1,000, or one tenth
    if there are fewer than 10,000 images (rounded, and at least 1 of 2). The order of the names does not matter.
    by: "name" also hashes the extension, as older versions did (see `rule`).
    known: {name: part} of an earlier run; these images keep their part, and the new ones with the smallest hashes are
    added to the test images up to their intended number.
    If the number is given (or there are 10,000 images), a training image never becomes a test image when others are
    added, even without `known`: more images only lower the largest hash of a test image. A tenth grows with the set, so
    there `known` keeps each image in its part.
    Raises ValueError if `test` exceeds the number of images.
    """
    names, known = sorted(set(names)), known or {}
    if test is None:
        test = 1000 if len(names) >= LARGE else max(round(len(names) / 10), int(len(names) >= 2))
    if test > len(names):
        raise ValueError(f"{test} test images requested, but there are only {len(names)} images")
    wanted = test - sum(known.get(name) == "test" for name in names)
    hashed = stem if by == "stem" else str
    new = sorted((name for name in names if name not in known), key=lambda name: _hash(seed, hashed(name)))
    chosen = set(new[: max(wanted, 0)])
    return {name: known.get(name, "test" if name in chosen else "train") for name in names}


def _hash(seed, name):
    return hashlib.sha256(f"{seed}/{spelled_out(name)}".encode()).digest()


def stem(name):
    """A name without image extensions: a/b for a/b.jpg, and for a/b.jpg.png, which is made from it."""
    while (parts := os.path.splitext(name))[1].lower() in IMAGE_SUFFIXES:
        name = parts[0]
    return name


def rule(out, key, overwrite=False):
    """How test images of the folder `out` are chosen: by "stem", or by "name" if an older version started it.

    key: the name of this choice among the parameters of its manifest. Raises ValueError for a damaged manifest.
    """
    there = None if overwrite else parameters_of(out)
    return "name" if there and there.get(key) == "name" else "stem"


def read_split(path, names):
    """Read the part of each image in `names` -> ({name: part}, [names without a line], lines without an image).

    path: a CSV with the header `image,split` and the parts train and test, as written by `divide`, or CelebA's
    list_eval_partition.txt (`000001.jpg 0`, with 0 train, 1 validation, which counts as train, 2 test). An entry may be
    an image's whole name or the end of it, such as 000001.jpg for img_align_celeba/000001.jpg; or a longer name that
    ends in it. Its extension may differ if no entry has the right one. Lines without an image are only counted.
    Raises ValueError, in one line with path and line, for anything else: another format, an unknown part, an image in
    two parts, a short name that fits two images, or a list that names none of the images.
    """
    names, by_base, parts, first, unused = sorted(names), defaultdict(list), {}, {}, 0
    for name in names:
        by_base[_base(stem(name))].append(name)
    others = []  # entries whose extension differs from that of their image
    for line, entry, part in _entries(path):
        candidates = by_base.get(_base(stem(entry)), ()) or by_base.get(_base(stem(entry.strip())), ())
        name = _image(entry, candidates, str, f"{path}, line {line}") if candidates else None
        if name is None:
            others.append((line, entry, part, candidates))
        else:
            _assign(parts, first, name, part, line, path)
    exact = set(parts)
    for line, entry, part, candidates in others:
        candidates = [name for name in candidates if name not in exact]
        name = _image(entry.strip(), candidates, stem, f"{path}, line {line}")
        if name is None:
            unused += 1
        else:
            _assign(parts, first, name, part, line, path)
    if names and not parts:
        raise ValueError(f"{path}: none of its {unused} lines names one of the images, such as {names[0]}")
    return {name: parts[name] for name in names if name in parts}, [n for n in names if n not in parts], unused


def _assign(parts, first, name, part, line, path):
    """Record the part of an image. Raises ValueError if an earlier line gives another one."""
    if parts.setdefault(name, part) != part:
        raise ValueError(f"{path}, line {line}: {name} is in {part}, but line {first[name]} has it in {parts[name]}")
    first.setdefault(name, line)


def _entries(path):
    """Yield (line, image, part) of a list in either format. Raises ValueError in one line."""
    text = QUOTED_LINE.sub(r'"\1",\2', _read(path))
    header = text.partition("\n")[0].strip()
    if ",".join(cell.strip(' "').lower() for cell in header.split(",")) in HEADERS:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        next(rows)
        numbered = ((rows.line_num, row) for row in rows)
    elif re.fullmatch(r"\S.*\s[012]", header):
        numbered = ((number, line.rsplit(None, 1)) for number, line in enumerate(text.split("\n"), 1))
    else:
        raise ValueError(f"{path}, line 1: it must be {HEADERS[0]}, or every line must have the form 000001.jpg 0")
    line = 1
    try:
        for line, row in numbered:
            if not row:
                continue
            if len(row) != 2:
                raise ValueError(f"{path}, line {line}: it must hold an image and its part")
            entry, part = row[0], row[1].strip(' "')
            if part not in PARTS:
                raise ValueError(f"{path}, line {line}: the part of {entry} is {part!r}; it must be train or test")
            yield line, entry, PARTS[part]
    except csv.Error as error:
        raise ValueError(f"{path}, line {line + 1}: {error}") from error


def _read(path):
    try:
        return read_bytes(path).decode("utf-8-sig")
    except ImageError as error:
        raise ValueError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8") from error


def _image(entry, candidates, spelled, where):
    """The name of an entry's image, or None; spelled(name): the part of names to compare."""
    if len(candidates) > 1 and entry in candidates:
        return entry
    entry = spelled(entry)
    ends = [name for name in candidates if f"/{spelled(name)}".endswith(f"/{entry}")]
    ends = ends or [name for name in candidates if f"/{entry}".endswith(f"/{spelled(name)}")]
    if len(ends) > 1:
        raise ValueError(f"{where}: {entry} is ambiguous: {ends[0]} or {ends[1]}")
    return ends[0] if ends else None


def _base(name):
    return name.rpartition("/")[2]


def write_split(path, parts):
    """Write {name: part} as a CSV that `read_split` reads, sorted by name, atomically."""
    replace_file(path, _csv(parts))


def _csv(parts):
    def quoted(name):  # csv.writer does not quote a lone carriage return
        return '"' + name.replace('"', '""') + '"' if re.search(r'[",\r\n]', name) else name

    lines = [HEADERS[0], *(f"{quoted(name)},{part}" for name, part in sorted(parts.items()))]
    return spelled_out("\n".join(lines) + "\n").encode()


def divide(items, out, parameters, *, test=None, seed=0, listed=None, by="stem", overwrite=False, also=()):
    """Assign images to train/ or test/ below the folder `out` -> (items, refuse, {name: part}, lines without an image).

    items: `apply.Item`s without a part. The returned ones have it in front of their output, the test images first; pass
    them and `refuse` to `apply.apply_to_folder`, with the same out, parameters (everything that determines the outputs)
    and overwrite, and its report to `finish`.
    listed: a file for `read_split`, whose last result is returned too; images that are not in it are skipped.
    Without it, `choose` decides, `by` the value of `rule`; images of an earlier run in `out` keep their part and are
    counted, even if their input no longer exists. also: names of further files that will be written into `out`.
    Raises ValueError like the functions above, for other parameters, and if a file of unknown origin is in the way.
    """
    out, names = Path(out), {item.source: spelled_out(item.source) for item in items}
    manifest = Manifest(out, parameters, overwrite)
    manifest.refuse_foreign([SPLIT, *also])
    known, missing, unused = {}, set(), 0
    if manifest.entries and (out / SPLIT).exists():
        known = {name: part for _, name, part in _entries(out / SPLIT)}
    if listed:
        parts, missing, unused = read_split(listed, names.values())
        missing = set(missing)
        known = {name: part for name, part in known.items() if name not in missing}
    else:
        parts = choose({*names.values(), *known}, test=test, seed=seed, known=known, by=by)
    items = [
        Item(item.source, f"{parts.get(names[item.source], 'train')}/{item.output}", item.files, item.arguments)
        for item in items
    ]
    items.sort(key=lambda item: not item.output.startswith("test/"))
    skip = {source: f"not in {Path(listed).name}" for source, name in names.items() if name in missing}
    gone = [entry for source, entry in manifest.entries.items() if source not in names]
    return items, disjoint(skip, gone), known | parts, unused


def few(number):
    """A warning about a training set of fewer than `FEWEST` images, or None."""
    if number >= FEWEST:
        return None
    return f"only {number} training images: networks memorise so few; use at least {FEWEST}, preferably thousands"


def finish(report, parts):
    """Check that no content is in both parts, and write OUT/split.csv. Raises RuntimeError if any is."""
    assert_disjoint(report.entries)
    write_split(report.out / SPLIT, parts)


def spelled_out(name):
    """A name as valid UTF-8, with other bytes escaped."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def disjoint(skip=None, gone=()):
    """A `refuse` for `apply.apply_to_folder` that keeps copies of test images out of the training images.

    The items of outputs below test/ must come first: training images with the same content as one of them are refused,
    with the reason. skip: {source: reason} of images to refuse in any case. gone: entries of the manifest whose output
    exists but whose input does not, for example because it was renamed: copies of these images in the other part are
    refused too.
    """
    skip, contents = skip or {}, {"train": {}, "test": {}}
    for entry in gone:
        if "output" in entry:
            contents[_part(entry["output"])][entry["sha256"]] = entry["source"]

    def refuse(item, sha256):
        if item.source in skip:
            return skip[item.source]
        if _part(item.output) == "train":
            test = contents["test"].get(sha256)
            return test and f"same content as the test image {spelled_out(test)}"
        if train := contents["train"].get(sha256):
            return f"same content as the training image {spelled_out(train)}, whose input no longer exists"
        contents["test"].setdefault(sha256, item.source)
        return None

    return refuse


def assert_disjoint(entries):
    """Raise RuntimeError if an image of train/ has the same content as one of test/; `entries` as in `apply.Report`."""
    contents = {"train": {}, "test": {}}
    for entry in entries:
        if "output" in entry:
            contents[_part(entry["output"])][entry["sha256"]] = entry["source"]
    if both := contents["train"].keys() & contents["test"].keys():
        train, test = (contents[part][min(both)] for part in ("train", "test"))
        raise RuntimeError(f"the training image {train} has the same content as the test image {test}")


def _part(output):
    return output.partition("/")[0]
