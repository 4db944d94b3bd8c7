"""Folders of images: which files there are, and what their results are called."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from contextual_gan.images import MAGIC

# Names that claim to be an image; what cannot be read of them is reported. Other files are looked into.
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".heic", ".avif"}


@dataclass(frozen=True)
class Source:
    """An input file: where it is, what it is called in reports, and its place in the mirrored tree."""

    path: Path
    name: str  # as the user gave it
    relative: Path  # below the output folder, with the extension


def find_images(inputs, excluded):
    """Files and folders (searched recursively, hidden files left out) -> ([`Source`], [ignored files]).

    Files given by name are always taken, in folders those which are called like an image or begin like one, except in
    the folder `excluded` (the output). With several inputs the name of each folder comes in front; where that is not
    enough to tell all apart, their whole path below the common folder.
    Raises FileNotFoundError, and ValueError for an input folder inside `excluded`.
    """
    inputs = list(dict.fromkeys(Path(i) for i in inputs))
    excluded = Path(excluded).resolve()
    for path in inputs:
        if not os.path.lexists(path):
            raise FileNotFoundError(f"no such file or folder: {path}")
        if path.is_dir() and path.resolve().is_relative_to(excluded):
            raise ValueError(f"{path} lies in the output folder {excluded}, which must be another")
    prefixes = _prefixes([path for path in inputs if path.is_dir()]) if len(inputs) > 1 else {}
    found, ignored = {}, []
    for given in inputs:
        files = _walk(given) if given.is_dir() else [given]
        for path in files:
            resolved = Path(os.path.abspath(path))
            if resolved in found:
                continue
            if given.is_dir():
                if path.parent.resolve().is_relative_to(excluded):
                    continue
                if not _looks_like_image(path):
                    ignored.append(path)
                    continue
                relative = prefixes.get(given, Path()) / path.relative_to(given)
            else:
                relative = Path(path.name)
            found[resolved] = Source(path, str(path), relative)
    return _told_apart(list(found.values())), ignored


def _walk(folder):
    def failed(error):
        raise error

    for parent, folders, files in os.walk(folder, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def _looks_like_image(path):
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return MAGIC.match(file.read(12)) is not None
    except OSError:
        return False


def _prefixes(folders):
    """The name of each folder, or its path below the common parent where two folders have the same name."""
    absolute = {folder: Path(os.path.abspath(folder)) for folder in folders}
    names = Counter(path.name for path in absolute.values())
    common = os.path.commonpath([path.parent for path in absolute.values()]) if folders else ""
    return {f: Path(p.name) if names[p.name] == 1 else p.relative_to(common) for f, p in absolute.items()}


def _told_apart(sources):
    """The sources; if two of them share their place, all get their path below the common folder instead."""
    if len({source.relative for source in sources}) == len(sources):
        return sources
    common = os.path.commonpath([os.path.abspath(source.path.parent) for source in sources])
    return [replace(source, relative=Path(os.path.abspath(source.path)).relative_to(common)) for source in sources]


def output_stems(sources):
    """{output stem: `Source`}, sorted: `a/b` for a/b.png; `a/b.png` and `a/b.jpg` where they would share the name.

    Bytes of a name that are no UTF-8 (old zip files have such names) are spelled out: results must be listed as text.
    """
    places = Counter(place for source in sources for place in (source.relative, source.relative.with_suffix("")))
    named = {}
    for source in sources:
        stem = source.relative.with_suffix("")
        stem = (source.relative if places[stem] > 1 else stem).as_posix()
        named[stem.encode("utf-8", "backslashreplace").decode()] = source
    return dict(sorted(named.items()))
