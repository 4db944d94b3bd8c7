"""The only module that opens, checks and writes image files; also uint8 <-> [-1, 1], and grids for viewing.

Image files are untrusted: they may be truncated, decompression bombs, pipes, or not images. Each either becomes an
array or raises `ImageError` with a one-line reason.
"""

import contextlib
import io
import itertools
import math
import os
import re
import stat
import warnings

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.JpegImagePlugin import JpegImageFile

from contextual_gan.files import headers
from contextual_gan.files.headers import MAX_JPEG_PIXELS, MAX_PIXELS, ImageError
from contextual_gan.files.modes import to_rgba, upright
from contextual_gan.terminal import silent_libraries

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "AVIF")  # and HEIC, with the extra [heic]
READ = "PNG, JPEG, BMP, WebP, TIFF, GIF, AVIF or HEIC"  # the same for messages
# The first 12 bytes of these formats; other RIFF files are sound and video, and text may begin with BM.
MAGIC = re.compile(
    rb"\x89PNG|\xff\xd8\xff|BM.{4}\0{4}|RIFF.{4}WEBP|II[*+]\0|MM\0[*+]|GIF8[79]a"
    rb"|.{4}ftyp(avi[fs]|hei[cmsx]|hev[cx]|mif1|msf1)",
    re.DOTALL,
)
MAX_BYTES = 20 * 10**6
MAX_JPEG_BYTES = 60 * 10**6


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


def largest_bytes(start):
    """The size limit in bytes of an image file with this start: 60 MB for a JPEG, otherwise 20 MB."""
    return MAX_JPEG_BYTES if start[:3] == b"\xff\xd8\xff" else MAX_BYTES


def read_image_bytes(path):
    """`read_bytes` of an image file, with the limit for its format."""
    try:
        if os.path.isfile(path) and os.path.getsize(path) > MAX_BYTES:
            with open(path, "rb") as file:
                return read_bytes(path, largest_bytes(file.read(3)))
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from error
    return read_bytes(path)


def decode_rgba(data, *, enough=None, most=MAX_PIXELS):
    """Decode the bytes of an image file of `FORMATS` completely -> (H, W, 4) uint8 RGBA, upright.

    EXIF orientation is applied, 16-bit values are scaled to 8 bits, palettes and CMYK are converted; of a file with
    several images, the first is used (see `holds_several`). The header is checked against `most` pixels (25 million)
    before decoding; a JPEG of 25 to 200 megapixels is decoded at a half, a quarter or an eighth of its size, unless
    `most` is less.
    enough: sufficient pixels of the longer side; a JPEG with at least twice as many is decoded at a half or less of its
    size, which takes a fraction of the time.
    Raises `ImageError` with the reason.
    """
    if not data:
        raise ImageError("empty file")
    with _opened(data, most) as image:
        _reduce_while_decoding(image, enough)
        with silent_libraries() if image.format == "TIFF" else contextlib.nullcontext():  # libtiff prints errors
            image.load()  # Image.verify() accepts truncated JPEGs
        return np.asarray(to_rgba(upright(image)))


def holds_several(data):
    """Whether an image file holds several images, such as an animation or a TIFF of several pages.

    Raises `ImageError` like `decode_rgba`.
    """
    if data[:3] == b"\xff\xd8\xff":
        return False
    with _opened(data) as image:
        return headers.holds_several(data, image)


def reduction(data, image):
    """The factor by which `decode_rgba` reduced an image: 1 except for large JPEGs."""
    size = headers.check(data)
    return max(size) / max(image.shape[:2]) if size else 1


@contextlib.contextmanager
def _opened(data, most=MAX_PIXELS):
    """Open an image file with Pillow and convert its errors to `ImageError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about sizes and metadata; the size is checked here
            size = headers.check(data)
            pixels = size[0] * size[1] if size else 0
            if pixels > MAX_JPEG_PIXELS and most == MAX_PIXELS:
                limit = f"the limit is {MAX_JPEG_PIXELS / 1e6:.0f} megapixels for a JPEG"
                raise ImageError(f"{size[0]} x {size[1]} pixels, {limit}")
            if is_large := most == MAX_PIXELS and pixels > MAX_PIXELS:
                opened = JpegImageFile(io.BytesIO(data))  # Image.open would refuse more than 179 megapixels
            else:
                opened = Image.open(io.BytesIO(data), formats=_formats(data))
            with opened as image:
                width, height = image.size
                if width * height > (MAX_JPEG_PIXELS if is_large else most):
                    limit = f"the limit is {most / 1e6:.0f} megapixels"
                    raise ImageError(f"{width} x {height} pixels, {limit}")
                if image.format == "TIFF":
                    headers.check_tiff(image)
                yield image
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"not a {READ} image") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"more than {MAX_PIXELS / 1e6:.0f} megapixels") from error
    except MemoryError as error:
        raise ImageError("not enough memory to decode it") from error
    except Exception as error:  # damaged input raises almost anything: struct.error, SyntaxError, zlib.error
        raise ImageError(f"damaged image: {' '.join(str(error).split()) or type(error).__name__}") from error


def _formats(data):
    """The formats that Pillow may try for a file. Raises `ImageError` for a HEIC without the extra [heic]."""
    if not headers.is_heic(data):
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        advice = 'run `pip install -e ".[heic]"` in the repository, or save it as JPEG'
        raise ImageError(f"a HEIC photo, which needs an extra package: {advice}") from error
    register_heif_opener(thumbnails=False)
    return (*FORMATS, "HEIF")


def _reduce_while_decoding(image, enough):
    """Decode a JPEG at a fraction of its size if it has more than 25 megapixels or more than `enough`."""
    width, height = image.size
    if enough and max(width, height) >= 2 * enough:
        image.draft(None, tuple(-(-side * enough // max(width, height)) for side in (width, height)))
    elif width * height > MAX_PIXELS:
        parts = next(parts for parts in (2, 4, 8) if -(-width // parts) * -(-height // parts) <= MAX_PIXELS)
        image.draft(None, (width // parts, height // parts))


def on_background(rgba, level=255):
    """Blend (H, W, 4) uint8 RGBA over a uniform background of `level` (255: white) -> (H, W, 3) uint8."""
    if rgba[..., 3].min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    alpha = rgba[..., 3:].astype(np.uint16)
    blended = (rgba[..., :3] * alpha + level * (255 - alpha) + 127) // 255
    return blended.astype(np.uint8)


def read_rgba(path):
    """Read an image file with its transparency -> (H, W, 4) uint8. Raises `ImageError`."""
    return decode_rgba(read_image_bytes(path))


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
        raise TypeError(f"images to write must be uint8, got {image.dtype}")
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

    A cell may be None; the images of a column may differ in width, but all images have the same height. `titles` are
    above the columns, which are at least as wide; `labels` above the rows, shortened in the middle if they are too
    long.
    """
    height = next(cell.shape[0] for row in rows for cell in row if cell is not None)
    widths = [max((c.shape[1] for c in column if c is not None), default=0) for column in zip(*rows, strict=True)]
    title_font, label_font = ImageFont.load_default(size=16), ImageFont.load_default(size=12)
    for i, title in enumerate(titles):
        widths[i] = max(widths[i], math.ceil(title_font.getlength(title)))
    lefts = np.cumsum([gap] + [width + gap for width in widths])
    top, label_height = gap + 24 * bool(titles), 18 * bool(labels)
    pitch = label_height + height + gap
    canvas = Image.new("RGB", (int(lefts[-1]), top + pitch * len(rows)), "white")
    draw = ImageDraw.Draw(canvas)
    for left, width, title in zip(lefts, widths, titles):  # noqa: B905  there may be fewer titles
        draw.text((left + width // 2, top // 2), title, "black", title_font, anchor="mm")
    for y, label in enumerate(labels):
        label = _shortened(label, label_font, canvas.width - 2 * gap)
        draw.text((gap, top + y * pitch + 9), label, "dimgrey", label_font, anchor="lm")
    for y, row in enumerate(rows):
        for left, cell in zip(lefts, row):  # noqa: B905  the last value in lefts is the right border
            if cell is not None:
                canvas.paste(Image.fromarray(cell), (int(left), top + y * pitch + label_height))
    return np.asarray(canvas)


def _shortened(text, font, width):
    """The text, without its middle if it is wider than `width` pixels."""
    short, kept = text, len(text)
    while kept and font.getlength(short) > width:
        kept -= 1
        short = f"{text[: kept // 2]}...{text[len(text) - kept // 2 :]}"
    return short
