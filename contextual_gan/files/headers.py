"""Checks of image files before decoding: their kind, and the cost of decoding them.

Decoding a small file may take hours or gigabytes; such files are refused here.
"""

import re

MAX_PIXELS = 25 * 10**6
MAX_JPEG_PIXELS = 200 * 10**6  # for a JPEG, which is reduced while it is decoded
MAX_COEFFICIENTS = 1.25e9  # bytes that the decoder of a progressive JPEG keeps in memory
MAX_SCANS = 100  # for a progressive JPEG: each costs as much as the first; encoders write about ten
MAX_SEGMENTS = 10**5  # for any file: images have a few dozen, one of 20 MB a few thousand
MAX_COMMENTS = 10**6  # bytes before the first image of a GIF; Pillow collects them in quadratic time
MAX_BLOCKS = 10**6  # for a GIF: one of 20 MB has 80,000 of up to 255 bytes
LARGEST_TILE = 4  # for a TIFF, relative to the image: libtiff decodes whole tiles
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)  # a marker that ends the data of a scan
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
FOREIGN = (  # files that people mistake for images: kind, start, and advice
    ("PDF", re.compile(rb"\s{0,9}%PDF"), "export the pages of a PDF as PNG or JPEG"),
    (
        "SVG",
        re.compile(rb"(\xef\xbb\xbf)?\s*<(svg|(\?xml|!--|!DOCTYPE).{0,4000}?<svg)[\s>]", re.DOTALL | re.IGNORECASE),
        "export an SVG as PNG, for example with a browser",
    ),
    ("zip archive", re.compile(rb"PK\x03\x04"), "give a zip archive by itself, or unpack it"),
)


class ImageError(ValueError):
    """A file that cannot be used as an image. The message is one line: the reason, without the path."""


def check(data):
    """Raise `ImageError` for a file that takes far longer to decode than its size suggests, or is known not to be an
    image.

    Returns the (width, height) in the header of a JPEG; None for other formats.
    """
    for kind, start, advice in FOREIGN:
        if start.match(data[:5000]):
            raise ImageError(f"{'an' if kind == 'SVG' else 'a'} {kind}, not an image: {advice}")
    if data[:2] == b"\xff\xd8":
        return _check_jpeg(data)
    if data[:4] == b"\x89PNG" and _chunks(data) > MAX_SEGMENTS:
        raise ImageError(f"more than {MAX_SEGMENTS} chunks, not a normal image")
    if data[:4] == b"GIF8":
        _gif_pictures(data)
    return None


def check_tiff(image):
    """Raise `ImageError` for an open TIFF whose tiles are far larger than its image."""
    width, height = image.size
    tile = [image.tag_v2.get(tag, side) for tag, side in ((322, width), (323, height))]  # TileWidth, TileLength
    if not all(isinstance(side, int) for side in tile) or tile[0] * tile[1] > max(LARGEST_TILE * width * height, 10**6):
        raise ImageError(f"tiles of {tile[0]} x {tile[1]} pixels, but the image has {width} x {height}")


def is_heic(data):
    """Whether these are the first bytes of a HEIC file, by its major or compatible brands."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4]), 4096)
    brands = {data[8:12], *(data[start : start + 4] for start in range(16, end, 4))}
    return bool(brands & HEIC_BRANDS) and b"avif" not in brands


def holds_several(data, image):
    """Whether a file holds more than one image; image: the file opened by Pillow.

    The previews that phones append to a JPEG do not count.
    """
    if image.format == "GIF":
        return _gif_pictures(data) > 1
    return image.format not in ("JPEG", "MPO", "BMP") and getattr(image, "is_animated", False)


def _check_jpeg(data):
    """The (width, height) in the header of a JPEG, or None. Raises `ImageError` if it is too costly to decode."""
    position, scans, segments, size, components, progressive = 2, 0, 0, None, (), False
    while marker := JPEG_MARKER.search(data, position):
        kind, end = marker[1][0], marker.end()
        segments, scans = segments + 1 + len(marker[0]) // 100, scans + (kind == 0xDA)
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC) and size is None:
            size, components = _frame(data[end : end + 100])
            progressive = kind in (0xC2, 0xC6, 0xCA, 0xCE)
        pixels = size[0] * size[1] if size else 0
        if scans > (most := min(MAX_SCANS, MAX_SCANS * MAX_PIXELS // max(pixels, 1))) and pixels <= MAX_JPEG_PIXELS:
            raise ImageError(f"more than {most} scans; a progressive JPEG has about ten")
        if segments > MAX_SEGMENTS:
            raise ImageError(f"more than {MAX_SEGMENTS} segments, not a normal image")
        if kind == 0xD9:  # the rest is not decoded
            break
        position = end if kind in (0x01, 0xD8) else end + max(int.from_bytes(data[end : end + 2]), 2)
    if size and pixels <= MAX_JPEG_PIXELS and (progressive or scans > 1):
        most = [max((c[axis] for c in components), default=1) or 1 for axis in (0, 1)]
        needed = sum(2 * pixels * c[0] * c[1] / (most[0] * most[1]) for c in components)
        if needed > MAX_COEFFICIENTS:
            raise ImageError(
                f"{size[0]} x {size[1]} pixels, progressive: decoding would take {needed / 1e9:.1f} GB; save it "
                "smaller, or as a baseline JPEG"
            )
    return size


def _frame(segment):
    """((width, height), [(horizontal, vertical sampling)]) from the frame header of a JPEG, as far as it is intact."""
    height, width = int.from_bytes(segment[3:5]), int.from_bytes(segment[5:7])
    factors = segment[9 : 8 + 3 * segment[7] : 3] if len(segment) > 7 else b""
    return (width, height), [(factor >> 4, factor & 15) for factor in factors]


def _chunks(data):
    """The number of chunks of a PNG, up to the first damage; counting stops beyond the limit."""
    position, number = 8, 0
    while position + 12 <= len(data) and number <= MAX_SEGMENTS:
        position, number = position + 12 + int.from_bytes(data[position : position + 4]), number + 1
    return number


def _gif_pictures(data):
    """The number of images in a GIF, at most 2. Raises `ImageError` for too many blocks or comments."""
    position = 13 + _colour_table(data[10:11])
    pictures = comments = blocks = 0
    while position < len(data) and data[position] in b"\x21\x2c":
        is_picture = data[position] == 0x2C
        if is_picture and pictures == 1:
            return 2
        pictures += is_picture
        start = position
        position += 11 + _colour_table(data[position + 9 : position + 10]) if is_picture else 2
        while position < len(data) and data[position]:
            position, blocks = position + 1 + data[position], blocks + 1
            if blocks > MAX_BLOCKS:
                raise ImageError(f"more than {MAX_BLOCKS} blocks, not a normal image")
        position += 1
        comments += 0 if is_picture else position - start
        if comments > MAX_COMMENTS:
            raise ImageError(f"more than {MAX_COMMENTS / 1e6:.0f} MB of comments, not a normal image")
    return pictures


def _colour_table(flags):
    """The size in bytes of the colour table of a GIF, from the flags of the header before it."""
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0
