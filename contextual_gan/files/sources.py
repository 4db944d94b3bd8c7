"""Sources of images: files, folders and zip archives, read in place, and the names of their results."""

import errno
import os
import struct
import zipfile
from bz2 import BZ2Decompressor
from collections import Counter
from copy import copy
from dataclasses import dataclass, replace
from lzma import FILTER_LZMA1, FORMAT_RAW, LZMADecompressor
from pathlib import Path, PurePosixPath
from zlib import crc32

from contextual_gan.files.images import MAGIC, MAX_BYTES, ImageError, read_bytes

# Image extensions; unreadable files with these are reported. Other files are checked for an image header.
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".heic", ".avif"}
LONGEST_PART = 255 - len("..png.part")  # limit of file systems for one name, minus the suffix of its result
CHUNK = 2**16  # compressed bytes to read at once
LONGEST_PATH = 1024  # of whole paths, without the user's path to the archive


@dataclass(frozen=True, slots=True)
class Source:
    """An input file: its path, its name in reports, and its place in the mirrored tree."""

    path: Path
    name: str  # as given by the user
    relative: Path  # below the output folder, with the extension

    def read(self):
        """The bytes of the file. Raises `ImageError`."""
        return read_bytes(self.path)


@dataclass(slots=True)
class Member:
    """The same for a file in a zip archive; the name is the one in the archive."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    name: str

    @property
    def relative(self):
        return PurePosixPath(self.name)

    def read(self):
        """The content of the member, at most `MAX_BYTES`. Raises `ImageError`."""
        if self.info.file_size > MAX_BYTES:
            raise ImageError(f"{self.info.file_size / 1e6:.1f} MB, the limit is {MAX_BYTES / 1e6:.0f} MB")
        return self.peek(MAX_BYTES)

    def peek(self, size):
        """The first bytes of the member, never more than it claims to have. Raises `ImageError`."""
        if self.info.flag_bits & 0x1:
            raise ImageError("encrypted in the archive")
        try:
            if self.info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
                return self._decompressed(size)
            with self.archive.open(self.info) as file:
                return file.read(min(size, self.info.file_size))
        except Exception as error:  # BadZipFile, zlib.error, NotImplementedError, EOFError, OSError and more
            raise ImageError(f"damaged in the archive: {' '.join(str(error).split())}") from error

    def _decompressed(self, size):
        """`peek` of bzip2 and LZMA, whose first 4 kB zipfile decompresses fully, up to 11 GB."""
        claimed, content = self.info.file_size, b""
        stored = copy(self.info)
        stored.compress_type, stored.file_size = zipfile.ZIP_STORED, stored.compress_size
        del stored.CRC  # it is the checksum of the content
        with self.archive.open(stored) as raw:
            decompressor = _lzma(raw, claimed) if self.info.compress_type == zipfile.ZIP_LZMA else BZ2Decompressor()
            while (missing := min(size, claimed + 1) - len(content)) > 0 and not decompressor.eof:
                data = raw.read(CHUNK) if decompressor.needs_input else b""
                if not data and decompressor.needs_input:
                    break
                content += decompressor.decompress(data, missing)
        if len(content) > claimed:
            raise zipfile.BadZipFile(f"it has more than the {claimed} bytes that it claims")
        if len(content) < min(size, claimed):
            raise EOFError("it is truncated")
        if len(content) == claimed and crc32(content) != self.info.CRC:
            raise zipfile.BadZipFile("Bad CRC-32")
        return content


def _lzma(raw, claimed):
    """The decompressor of an LZMA member, whose data start with its settings; memory is limited by the claimed size."""
    _, length, numbers, dictionary = struct.unpack("<2sHBI", raw.read(9))
    if length != 5:
        raise zipfile.BadZipFile("unknown settings of LZMA")
    rest, lc = divmod(numbers, 9)
    pb, lp = divmod(rest, 5)
    settings = {"id": FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": min(dictionary, max(claimed, 4096))}
    return LZMADecompressor(FORMAT_RAW, filters=[settings])


def images_in(location, excluded=None):
    """The images of a folder (with subfolders) or of a zip archive -> ([`Source` or `Member`], refused).

    Sources are sorted by name, their posix path below the folder or in the archive; refused are (name, reason) of
    members with unsafe or ambiguous names. Files with neither an image extension nor an image header, hidden files and
    the folder `excluded` (the output) are left out.
    Raises FileNotFoundError, and ValueError if it is neither, holds no image, or lies inside `excluded`.
    """
    location, refused = Path(location), []
    if not os.path.lexists(location):
        raise FileNotFoundError(f"no such folder or zip archive: {location}")
    if location.is_dir():
        found, _ = find_images([location], excluded)
        sources = [replace(source, name=source.relative.as_posix()) for source in found]
    else:
        sources, refused = _members(location)
    if not sources and not refused:
        raise ValueError(f"no images in {location}")
    return sorted(sources, key=lambda source: source.name), sorted(refused)


def _members(path):
    try:
        if not path.is_file():
            raise zipfile.BadZipFile
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is neither a folder nor a valid zip archive; unpack other archives first") from error
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    members, refused, seen = [], [], {}
    for number, info in enumerate(archive.infolist(), 1):
        name = info.filename
        if "\\" in name or "." in name[:1] or "/." in name:  # rare: an archive may have 200,000 members
            parts = [part for part in name.replace("\\", "/").split("/") if part != "."]
            name = "/".join(parts)
            if any(part.startswith(".") and part != ".." for part in parts):
                continue
        if name.endswith("/"):
            continue
        member = Member(archive, info, name)
        if not _called_like_image(name) and not _begins_like_image(member):
            continue
        if reason := _unsafe(name):
            refused.append((info.filename, reason))
            continue
        other = seen.setdefault(name.casefold(), member)
        if other is member:
            members.append(member)
        elif other.name == name:
            refused.append((f"{name} (member {number})", "duplicate name in the archive"))
        else:  # the same name in some file systems
            refused.append((name, f"its name differs only in case from {other.name}"))
    return members, refused


def _unsafe(name):
    """Why this member's name is not allowed, or None."""
    parts = name.split("/")
    if parts[0].endswith(":") or ".." in parts or "" in parts:
        return "unsafe name in the archive"
    if not name.isprintable():
        return "its name has characters that cannot be printed"
    if len(name) > LONGEST_PART // 4 and (  # a character has at most 4 bytes
        len(os.fsencode(name)) > LONGEST_PATH or max(len(os.fsencode(part)) for part in parts) > LONGEST_PART
    ):
        return "its name is too long"
    return None


def find_images(inputs, excluded=None):
    """Files and folders (searched recursively, hidden files left out) -> ([`Source`], [ignored files]).

    Files given by name are always taken; in folders, those with an image extension or header, except in the folder
    `excluded` (the output). With several inputs, the name of each folder is prepended; if that is ambiguous, the whole
    path below their common folder.
    Raises FileNotFoundError, and ValueError for an input folder inside `excluded`.
    """
    inputs = list(dict.fromkeys(Path(i) for i in inputs))
    for path in inputs:
        if not os.path.lexists(path) and not _is_too_long(path):
            raise FileNotFoundError(f"no such file or folder: {path}")
        if os.path.isdir(path) and _inside(path, excluded):
            raise ValueError(f"{path} lies in the output folder {excluded}; give another output folder")
    prefixes = _prefixes([path for path in inputs if os.path.isdir(path)]) if len(inputs) > 1 else {}
    found, ignored = {}, []
    for given in inputs:
        files = _walk(given, excluded) if os.path.isdir(given) else [given]
        for path in files:
            resolved = os.path.abspath(path)
            if resolved in found:
                continue
            if os.path.isdir(given):
                if not _called_like_image(path.name) and not _looks_like_image(path):
                    ignored.append(path)
                    continue
                relative = prefixes.get(given, Path()) / path.relative_to(given)
            else:
                relative = Path(path.name)
            found[resolved] = Source(path, str(path), relative)
    return _told_apart(list(found.values())), ignored


def _is_too_long(path):
    """Whether this path is too long for the system; reading it reports that too."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def _walk(folder, excluded):
    """The files below a folder, and folders whose paths are too long to read, which are reported."""
    too_long = []

    def failed(error):
        if error.errno != errno.ENAMETOOLONG:
            raise error
        too_long.append(Path(error.filename))

    for parent, folders, files in os.walk(folder, onerror=failed):
        if _inside(parent, excluded):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))
    yield from too_long


def _inside(path, folder):
    return folder is not None and Path(path).resolve().is_relative_to(Path(folder).resolve())


def _called_like_image(name):
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _looks_like_image(path):
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return MAGIC.match(file.read(12)) is not None
    except OSError:
        return _is_too_long(path)


def _begins_like_image(member):
    try:
        return MAGIC.match(member.peek(12)) is not None
    except ImageError:
        return False


def _prefixes(folders):
    """The name of each folder, or its path below the common parent if two folders have the same name."""
    absolute = {folder: Path(os.path.abspath(folder)) for folder in folders}
    names = Counter(path.name for path in absolute.values())
    common = os.path.commonpath([path.parent for path in absolute.values()]) if folders else ""
    return {f: Path(p.name) if names[p.name] == 1 else p.relative_to(common) for f, p in absolute.items()}


def _told_apart(sources):
    """The sources; if two of them have the same place, all get their path below the common folder."""
    if len({source.relative for source in sources}) == len(sources):
        return sources
    common = os.path.commonpath([os.path.abspath(source.path.parent) for source in sources])
    return [replace(source, relative=Path(os.path.abspath(source.path)).relative_to(common)) for source in sources]


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
