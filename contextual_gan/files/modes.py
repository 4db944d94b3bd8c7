"""Convert decoded Pillow images of any mode and orientation to upright 8-bit RGBA."""

import numpy as np
from PIL import ExifTags, Image

TURNS = {  # EXIF orientation -> operation that makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image):
    """Turn a decoded Pillow image by its EXIF orientation, if readable.

    `ImageOps.exif_transpose` also rewrites the metadata, so it fails on intact images with damaged or unusual EXIF.
    """
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # of almost any type, as from decoders
        turn = None
    return image if turn is None else image.transpose(turn)


def to_rgba(image):
    """Convert a decoded Pillow image of any mode to RGBA; 16 bits are scaled to 8, which Pillow would clip."""
    if image.mode == "F":  # of a TIFF; the range is 0 to 1, 255 or 65535
        values = np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0)
        highest = next((high for high in (1, 255) if values.max(initial=0) <= high), 65535)
        image = Image.fromarray(np.round(values.clip(0, highest) * (255 / highest)).astype(np.uint8))
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        transparent = image.info.get("transparency")
        grey = np.round(values.clip(0, 65535) / 257).astype(np.uint8)
        alpha = np.where(values == transparent, 0, 255).astype(np.uint8) if isinstance(transparent, int) else None
        image = Image.fromarray(grey).convert("RGBA")
        if alpha is not None:
            image.putalpha(Image.fromarray(alpha))
    return image.convert("RGBA")
