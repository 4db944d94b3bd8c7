"""Images in zip archives, read in place: nothing is unpacked, and no member can exceed its claimed size."""

import os
import struct
import zipfile
from bz2 import BZ2Decompressor
from copy import copy
from dataclasses import dataclass, replace
from lzma import FILTER_LZMA1, FORMAT_RAW, LZMADecompressor
from pathlib import Path, PurePosixPath
from zlib import crc32

from contextual_gan.files.images import MAX_BYTES, ImageError, largest_bytes

LONGEST_PART = 255 - len("..png.part")  # limit of file systems for one name, minus the suffix of its result
LONGEST_PATH = 1024  # for whole paths, without the user's path to the archive
CHUNK = 2**16  # compressed bytes to read at once


@dataclass(slots=True)
class Member:
    """A `sources.Source` in a zip archive."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    name: str  # in reports: the name in the archive, possibly with the path of the archive
    below: str = ""  # its place in the mirrored tree, if it differs from the name

    @property
    def relative(self):
        return PurePosixPath(self.below or self.name)

    @property
    def path(self):
        """Where it is, as if the archive were a folder."""
        return Path(self.archive.filename, self.info.filename)

    def moved(self, relative):
        """The same member at another place in the mirrored tree."""
        return replace(self, below=relative.as_posix())

    def read(self):
        """The content of the member, at most `largest_bytes`. Raises `ImageError`."""
        limit = MAX_BYTES if self.info.file_size <= MAX_BYTES else largest_bytes(self.peek(3))
        if self.info.file_size > limit:
            raise ImageError(f"{self.info.file_size / 1e6:.1f} MB, the limit is {limit / 1e6:.0f} MB")
        return self.peek(limit)

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
        """`peek` of bzip2 and LZMA members: zipfile would fully decompress their first 4 kB, to as much as 11 GB."""
        claimed, content = self.info.file_size, b""
        stored = copy(self.info)
        stored.compress_type, stored.file_size = zipfile.ZIP_STORED, stored.compress_size
        del stored.CRC  # the checksum of the decompressed content
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


def members(path, kind_of):
    """The images of a zip archive -> ([`Member`], refused, passed over).

    kind_of(name, peek): the kind of a file, None for an image; peek(n): its first n bytes. refused: (name, reason) of
    images with unsafe or ambiguous names. passed over: (name, kind) of other files. Hidden files are left out.
    Raises ValueError if it is not a valid zip archive.
    """
    try:
        if not path.is_file():
            raise zipfile.BadZipFile
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is neither a folder nor a valid zip archive; unpack other archives first") from error
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    found, refused, passed, seen = [], [], [], {}
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
        if kind := kind_of(name, member.peek):
            passed.append((name, kind))
            continue
        if reason := _unsafe(name):
            refused.append((info.filename, reason))
            continue
        other = seen.setdefault(name.casefold(), member)
        if other is member:
            found.append(member)
        elif other.name == name:
            refused.append((f"{name} (member {number})", "duplicate name in the archive"))
        else:  # the same name in some file systems
            refused.append((name, f"its name differs only in case from {other.name}"))
    return found, refused, passed


def _unsafe(name):
    """Why this member's name is not allowed, or None."""
    parts = name.split("/")
    if parts[0].endswith(":") or ".." in parts or "" in parts:
        return "unsafe name in the archive"
    if not name.isprintable():
        return "its name contains characters that cannot be printed"
    if len(name) > LONGEST_PART // 4 and (  # a character has at most 4 bytes
        len(os.fsencode(name)) > LONGEST_PATH or max(len(os.fsencode(part)) for part in parts) > LONGEST_PART
    ):
        return "its name is too long"
    return None
