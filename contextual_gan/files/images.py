"""The only module that opens, checks and writes image files; also uint8 <-> [-1, 1], and grids for viewing.

Image files are untrusted: they may be truncated, decompression bombs, pipes, or not images. Each either becomes an
array or raises `ImageError` with a one-line reason.
"""

import contextlib
import io
import itertools
import os
import re
import stat
import warnings

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFont

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
# The first 12 bytes of these formats; other RIFF files are sound and video, and text may begin with BM.
MAGIC = re.compile(rb"\x89PNG|\xff\xd8\xff|BM.{4}\0{4}|RIFF.{4}WEBP", re.DOTALL)
TURNS = {  # EXIF orientation -> operation that makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_BYTES = 20 * 10**6
MAX_PIXELS = 25 * 10**6
MAX_SCANS = 100  # of a progressive JPEG; each costs as much as the first; encoders write about ten
MAX_SEGMENTS = 10**5  # of a file; images have a few dozen, one of 20 MB a few thousand
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)  # a marker that ends the data of a scan


class ImageError(ValueError):
    """A file that cannot be used as an image. The message is one line: the reason, without the path."""


def read_bytes(path, limit=MAX_BYTES):
    """Read a regular file of at most `limit` bytes (20 MB); pipes and devices are refused without touching them.

    Raises `ImageError` with the reason.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a FIFO would block forever, and a device has no end
            raise ImageError("not a regular file")
        if status.st_size > limit:
            raise ImageError(f"{status.st_size / 1e6:.1f} MB, the limit is {limit / 1e6:.0f} MB")
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from error


def decode_rgba(data, *, enough=None, most=MAX_PIXELS):
    """Decode the bytes of a PNG, JPEG, BMP or WebP completely -> (H, W, 4) uint8 RGBA, upright.

    EXIF orientation is applied, 16-bit values are scaled to 8 bits, palettes and CMYK are converted; an animation gives
    its first frame. The header is checked against `most` pixels (25 million) before decoding.
    enough: sufficient pixels of the longer side; a JPEG with at least twice as many is decoded at a half or less of its
    size, which takes a fraction of the time.
    Raises `ImageError` with the reason.
    """
    if not data:
        raise ImageError("empty file")
    if data[:2] == b"\xff\xd8":
        _check_scans(data)
    elif data[:4] == b"\x89PNG" and _chunks(data) > MAX_SEGMENTS:
        raise ImageError(f"more than {MAX_SEGMENTS} chunks, not a normal image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about sizes and metadata; the size is checked below
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > most:
                    limit = f"the limit is {most / 1e6:.0f} megapixels"
                    raise ImageError(f"{width} x {height} pixels, {limit}")
                if enough and max(width, height) >= 2 * enough:
                    image.draft(None, tuple(-(-side * enough // max(width, height)) for side in (width, height)))
                image.load()  # Image.verify() accepts truncated JPEGs
                return np.asarray(_to_rgba(_upright(image)))
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError("not a PNG, JPEG, BMP or WebP image") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"more than {MAX_PIXELS / 1e6:.0f} megapixels") from error
    except MemoryError as error:
        raise ImageError("not enough memory to decode it") from error
    except Exception as error:  # damaged input raises almost anything: struct.error, SyntaxError, zlib.error
        raise ImageError(f"damaged image: {' '.join(str(error).split()) or type(error).__name__}") from error


def _check_scans(data):
    """Raise `ImageError` for a JPEG that takes far longer to decode than its size suggests."""
    position, scans, segments = 2, 0, 0
    while marker := JPEG_MARKER.search(data, position):
        kind, end = marker[1][0], marker.end()
        segments, scans = segments + 1 + len(marker[0]) // 100, scans + (kind == 0xDA)
        if scans > MAX_SCANS:
            raise ImageError(f"more than {MAX_SCANS} scans; a progressive JPEG has about ten")
        if segments > MAX_SEGMENTS:
            raise ImageError(f"more than {MAX_SEGMENTS} segments, not a normal image")
        if kind == 0xD9:  # the rest is not decoded
            return
        position = end if kind in (0x01, 0xD8) else end + max(int.from_bytes(data[end : end + 2]), 2)


def _chunks(data):
    """The number of chunks of a PNG, up to any damage; counting stops beyond the limit."""
    position, number = 8, 0
    while position + 12 <= len(data) and number <= MAX_SEGMENTS:
        position, number = position + 12 + int.from_bytes(data[position : position + 4]), number + 1
    return number


def _upright(image):
    """Turn a decoded Pillow image by its EXIF orientation, if readable.

    `ImageOps.exif_transpose` also rewrites the metadata, so it fails on intact images with damaged or unusual EXIF.
    """
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # of as many types as from decoders
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_rgba(image):
    """Convert a decoded Pillow image of any mode to RGBA; 16 bits are scaled to 8, which Pillow would clip."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        transparent = image.info.get("transparency")
        grey = np.round(values.clip(0, 65535) / 257).astype(np.uint8)
        alpha = np.where(values == transparent, 0, 255).astype(np.uint8) if isinstance(transparent, int) else None
        image = Image.fromarray(grey).convert("RGBA")
        if alpha is not None:
            image.putalpha(Image.fromarray(alpha))
    return image.convert("RGBA")


def on_background(rgba, level=255):
    """Blend (H, W, 4) uint8 RGBA over a uniform background of `level` (255: white) -> (H, W, 3) uint8."""
    if rgba[..., 3].min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    alpha = rgba[..., 3:].astype(np.uint16)
    blended = (rgba[..., :3] * alpha + level * (255 - alpha) + 127) // 255
    return blended.astype(np.uint8)


def read_rgba(path):
    """Read an image file with its transparency -> (H, W, 4) uint8. Raises `ImageError`."""
    return decode_rgba(read_bytes(path))


def read_image(path):
    """Read an image file, blended over white -> (H, W, 3) uint8 RGB. Raises `ImageError`."""
    return on_background(read_rgba(path))


def replace_file(path, data):
    """Write bytes so that `path` appears only when complete: to a temporary file beside it, then `os.replace`.

    The temporary file is always new: nothing is written through a link, and no foreign file is replaced.
    """
    try:
        try:
            file, beside = _open_beside(path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            file, beside = _open_beside(path)
        try:
            with open(file, "wb") as opened:
                opened.write(data)
            os.replace(beside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
    except OSError as error:
        error.filename = str(path)  # the error of a full disk has no path
        raise


def _open_beside(path):
    """(file descriptor, path) of a new hidden file beside `path`, .NAME.part if there is none yet."""
    for number in itertools.count():
        beside = part_of(path, f".{number}" if number else "")
        with contextlib.suppress(FileExistsError):
            return os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), beside


def part_of(path, number=""):
    """The temporary file of `replace_file` for `path`."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}{number}.part")


def remove_parts(paths):
    """Remove the temporary files that a killed process left for these files; links and folders of that name stay."""
    for path in paths:
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.lstat(part := part_of(path)).st_mode):
                os.unlink(part)


def encode_png(image):
    """An (H, W, 3) or (H, W) uint8 image -> the bytes of a PNG."""
    if image.dtype != np.uint8:
        raise TypeError(f"images are written as uint8, got {image.dtype}")
    buffer = io.BytesIO()
    # for joint images, level 3 takes 60% of the time and 92% of the bytes of Pillow's default 6
    Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def write_png(path, image):
    """Write an (H, W, 3) or (H, W) uint8 image as PNG, atomically, creating folders as needed."""
    replace_file(path, encode_png(image))


def centre_square(image, size):
    """Crop the largest centred square of an (H, W, 3) uint8 image and resize it by area to (size, size, 3)."""
    height, width = image.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    return stretch(image[top : top + edge, left : left + edge], size)


def stretch(image, size):
    """Resize (H, W, 3) uint8 to (size, size, 3): longer sides are shrunk by area, shorter ones enlarged."""
    shrunk = tuple(min(side, size) for side in image.shape[1::-1])
    image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)  # Pillow's BOX rounds up twice
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)


def to_float(image):
    """uint8 0..255 -> float32 in [-1, 1], the range of the networks."""
    return np.asarray(image, np.float32) / 127.5 - 1


def to_uint8(image):
    """Float in [-1, 1] (values outside are clipped) -> uint8 0..255, the inverse of `to_float`."""
    return np.clip(np.round((np.asarray(image) + 1) * 127.5), 0, 255).astype(np.uint8)


def enlarge(image, factor):
    """Enlarge an (H, W, 3) uint8 image smoothly for viewing."""
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(image).resize((width * factor, height * factor), Image.Resampling.BICUBIC))


def framed(image, colour=(255, 0, 0), width=4):
    """Copy of an (H, W, 3) uint8 image with a frame of `width` pixels along its border."""
    out = image.copy()
    out[:width] = out[-width:] = colour
    out[:, :width] = out[:, -width:] = colour
    return out


def grid(rows, titles=(), labels=(), gap=6):
    """Lay out rows of (H, W, 3) uint8 images on white -> (H', W', 3) uint8.

    A cell may be None; the images of a column may differ in width, but all have one height. `titles` are above the
    columns, `labels` above the rows.
    """
    height = next(cell.shape[0] for row in rows for cell in row if cell is not None)
    widths = [max((c.shape[1] for c in column if c is not None), default=0) for column in zip(*rows, strict=True)]
    lefts = np.cumsum([gap] + [width + gap for width in widths])
    top, label_height = gap + 24 * bool(titles), 18 * bool(labels)
    pitch = label_height + height + gap
    canvas = Image.new("RGB", (int(lefts[-1]), top + pitch * len(rows)), "white")
    draw = ImageDraw.Draw(canvas)
    for left, width, title in zip(lefts, widths, titles):  # noqa: B905  there may be fewer titles
        draw.text((left + width // 2, top // 2), title, "black", ImageFont.load_default(size=16), anchor="mm")
    for y, label in enumerate(labels):
        draw.text((gap, top + y * pitch + 9), label, "dimgrey", ImageFont.load_default(size=12), anchor="lm")
    for y, row in enumerate(rows):
        for left, cell in zip(lefts, row):  # noqa: B905  the last of lefts is the right border
            if cell is not None:
                canvas.paste(Image.fromarray(cell), (int(left), top + y * pitch + label_height))
    return np.asarray(canvas)
