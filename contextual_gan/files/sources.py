"""Sources of images: files, folders and zip archives, read in place, and the names of their results."""

import errno
import os
import re
import zipfile
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from contextual_gan.files.archives import members
from contextual_gan.files.headers import FOREIGN
from contextual_gan.files.images import MAGIC, READ, ImageError, read_image_bytes
from contextual_gan.files.manifest import JOURNAL, MANIFEST, RECORDS
from contextual_gan.terminal import postpone, printable

# Image extensions; unreadable files with these are reported. Other files are checked for an image header.
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".heic", ".avif"}
IMAGE_SUFFIXES |= {".heif", ".avifs", ".heics"}
START = 512  # bytes of a file that are checked
RUN_RECORD = re.compile(rb"\s*\{\s*\"settings\"\s*:")  # start of the results.json of a run folder
RUN, LINK, OTHER = "run folder", "linked folder", "other file"
OWN, OWN_RUN = "our own record", "our own results.json"  # not reported
ADVICE = {kind: advice for kind, _, advice in FOREIGN} | {LINK: "give a linked folder by its own name"}
OWN_FILES = {MANIFEST, JOURNAL, *RECORDS, "results.json", "z.npz", "initial_z.npz", "metrics.json", "table.md"}


@dataclass(frozen=True, slots=True)
class Source:
    """An input file: its path, its name in reports, and its place in the mirrored tree."""

    path: Path
    name: str  # as given by the user
    relative: Path  # below the output folder, with the extension

    def read(self):
        """The bytes of the file. Raises `ImageError`."""
        return read_image_bytes(self.path)

    def moved(self, relative):
        """The same source at another place in the mirrored tree."""
        return replace(self, relative=relative)


def images_in(location, excluded=None):
    """The images of a folder (with subfolders) or a zip archive, or one image -> ([`Source` or `Member`], refused).

    Sources are sorted by name, their posix path below the folder or in the archive; refused are (name, reason) of
    members with unsafe or ambiguous names. Run folders and files with neither an image extension nor an image header
    are passed over, and the command reports them in one line at its end; hidden files and the folder `excluded` (the
    output) are left out.
    Raises FileNotFoundError, and ValueError if the input is of another kind, holds no image, or lies inside `excluded`.
    """
    location = Path(location)
    if not os.path.lexists(location):
        raise FileNotFoundError(f"no such folder or zip archive: {location}")
    kind = None if location.is_dir() or _is_archive(location) else _kind_of(location.name, partial(_peek, location))
    if kind in ADVICE:
        raise ValueError(f"{location}: {ADVICE[kind]}")
    if location.is_dir() or (location.is_file() and not _is_archive(location) and kind is None):
        found, refused, passed = find_images([location], excluded)
        sources = [replace(source, name=source.relative.as_posix()) for source in found]
    else:
        sources, refused, passed = _members(location)
    if not sources and not refused:
        raise no_images(location, passed)
    for line in passed_over(passed):
        postpone(line)
    return sorted(sources, key=lambda source: source.name), sorted(refused)


def find_images(inputs, excluded=None):
    """Files, zip archives and folders (searched recursively) -> ([`Source` or `Member`], refused, passed over).

    Files given by name are always taken; in folders and archives, those with an image extension or header, except
    hidden files, run folders below the input and the folder `excluded` (the output). With several inputs, the name of
    each folder or archive is prepended; if that is ambiguous, the whole path below their common folder.
    refused: (name, reason) as in `images_in`; passed over: (path, kind).
    Raises FileNotFoundError, and ValueError for an input folder inside `excluded` and for a damaged archive.
    """
    inputs = list(dict.fromkeys(Path(i) for i in inputs))
    for path in inputs:
        if not os.path.lexists(path) and not _is_too_long(path):
            raise FileNotFoundError(f"no such file or folder: {path}")
        if os.path.isdir(path) and _inside(path, excluded):
            raise ValueError(f"{path} lies in the output folder {excluded}; give another output folder")
    trees = [path for path in inputs if os.path.isdir(path) or _is_archive(path)]
    prefixes = _prefixes(trees) if len(inputs) > 1 else {}
    found, refused, passed = {}, [], []
    for given in inputs:
        prefix = prefixes.get(given, Path())
        if os.path.isdir(given):
            paths, others = _images_below(given, excluded)
            passed += others
            taken = [Source(path, str(path), prefix / path.relative_to(given)) for path in paths]
        elif given in trees:
            inside, unsafe, others = _members(given)
            refused += [(f"{given}/{name}", reason) for name, reason in unsafe]
            passed += [(f"{given}/{name}", kind) for name, kind in others]
            taken = [replace(m, name=f"{given}/{m.name}", below=(prefix / m.name).as_posix()) for m in inside]
        else:
            taken = [Source(given, str(given), Path(given.name))]
        for source in taken:
            found.setdefault(os.path.abspath(source.path), source)
    return _told_apart(list(found.values())), refused, passed


def is_there(name):
    """Whether the input of this name, or the archive that it came from, exists."""
    return os.path.lexists(name) or any(parent.is_file() for parent in Path(name).parents)


def passed_over(passed):
    """[A line that counts what `find_images` passed over], or [] if there is nothing."""
    described = _described(passed)
    return [f"passed over: {described}"] if described else []


def no_images(where, passed):
    """The ValueError for inputs without images: the files found instead, advice, and the formats that are read."""
    described = _described(passed) or "no other files were found"
    advice = [ADVICE[kind] for kind in dict.fromkeys(kind for _, kind in passed) if kind in ADVICE]
    return ValueError(f"no images in {where}: {'; '.join([described, *advice])}; {READ} files are read")


def _described(passed, most=3):
    """The files passed over, counted by kind: "2 PDFs (a.pdf, b.pdf), 1 linked folder (faces)"."""
    kinds = defaultdict(list)
    for name, kind in passed:
        kinds[kind].append(printable(name))
    counted = []
    for kind, names in kinds.items():
        if kind not in (OWN, OWN_RUN):
            listed = ", ".join(names[:most]) + ", ..." * (len(names) > most)
            counted.append(f"{len(names)} {kind}{'s' * (len(names) > 1)} ({listed})")
    return ", ".join(counted)


def _is_too_long(path):
    """Whether this path is too long for the system, which reading it then reports."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def _images_below(folder, excluded):
    """([path], [(path, kind)]) of the images and of the other files below a folder."""
    images, passed = [], []
    for path, kind in _walk(folder, excluded):
        kind = kind or _kind_of(path.name, partial(_peek, path))
        if kind is None or (kind == OTHER and _is_too_long(path)):
            images.append(path)
        else:
            passed.append((path, kind))
    return images, passed


def _members(archive):
    """`archives.members`, except that those of run folders are passed over."""
    found, refused, passed = members(archive, _kind_of)
    runs = {name.removesuffix("results.json") for name, kind in passed if kind == OWN_RUN} - {""}
    if runs:
        found = [member for member in found if not member.name.startswith(tuple(runs))]
        passed = [(name, kind) for name, kind in passed if not name.startswith(tuple(runs))]
        passed += [(run.rstrip("/"), RUN) for run in sorted(runs)]
    return found, refused, passed


def _walk(folder, excluded):
    """(path, kind or None if unknown) of the files below a folder and of folders that are not searched.

    Folders whose paths are too long to read count as files, so that they are reported.
    """
    too_long = []

    def failed(error):
        if error.errno != errno.ENAMETOOLONG:
            raise error
        too_long.append(Path(error.filename))

    for parent, folders, files in os.walk(folder, onerror=failed):
        if _inside(parent, excluded):
            folders.clear()
            continue
        if parent != os.fspath(folder) and "results.json" in files and _is_run_record(Path(parent, "results.json")):
            folders.clear()
            yield Path(parent), RUN
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from ((Path(parent, name), LINK) for name in folders if os.path.islink(os.path.join(parent, name)))
        yield from ((Path(parent, name), None) for name in sorted(files) if not name.startswith("."))
    yield from ((path, None) for path in too_long)


def _kind_of(name, peek):
    """The kind of a file that is not an image, or None; peek(n): its first n bytes."""
    if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
        return None
    try:
        start = peek(START)
    except (ImageError, OSError):
        start = b""
    if MAGIC.match(start[:12]):
        return None
    if (base := name.rpartition("/")[2]) in OWN_FILES:
        return OWN_RUN if base == "results.json" and RUN_RECORD.match(start) else OWN
    return next((kind for kind, pattern, _ in FOREIGN if pattern.match(start)), OTHER)


def _peek(path, size):
    """The first bytes of a regular file, otherwise none: opening a pipe would block."""
    if not path.is_file():
        return b""
    with open(path, "rb") as file:
        return file.read(size)


def _is_run_record(path):
    return RUN_RECORD.match(_peek(path, START)) is not None


def _is_archive(path):
    """Whether a file is a zip archive or named like one; an image with an appended archive is an image."""
    try:
        if not path.is_file() or MAGIC.match(_peek(path, 12)):
            return False
        return path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)
    except OSError:
        return False


def _inside(path, folder):
    return folder is not None and Path(path).resolve().is_relative_to(Path(folder).resolve())


def _prefixes(folders):
    """The name of each folder (or archive), or its path below the common parent if two have the same name."""
    absolute = {folder: Path(os.path.abspath(folder)) for folder in folders}
    absolute |= {path: place.with_suffix("") for path, place in absolute.items() if not os.path.isdir(path)}
    names = Counter(path.name for path in absolute.values())
    common = os.path.commonpath([path.parent for path in absolute.values()]) if folders else ""
    return {f: Path(p.name) if names[p.name] == 1 else p.relative_to(common) for f, p in absolute.items()}


def _told_apart(sources):
    """The sources; if two of them have the same place, all get their path below the common folder."""
    if len({source.relative for source in sources}) == len(sources):
        return sources
    common = os.path.commonpath([os.path.abspath(source.path.parent) for source in sources])
    return [source.moved(Path(os.path.abspath(source.path)).relative_to(common)) for source in sources]


def output_stems(sources):
    """{output stem: source}, sorted: `a/b` for a/b.png; `a/b.png` and `a/b.jpg` if they would have the same name.

    Bytes of a name that are not UTF-8 (from old zip files) are escaped, as results are listed as text.
    """
    names = [(source.relative.as_posix(), source) for source in sources]
    stems = [stem if suffix != "." else name for name, _ in names for stem, suffix in [os.path.splitext(name)]]
    places = Counter(stems) + Counter(name for name, _ in names)
    named = {}
    for (name, source), stem in zip(names, stems, strict=True):
        named[(name if places[stem] > 1 else stem).encode("utf-8", "backslashreplace").decode()] = source
    return dict(sorted(named.items()))
