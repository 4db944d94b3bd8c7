"""Decoded images of Pillow, of any mode and orientation, to upright RGBA of 8 bits."""

import numpy as np
from PIL import ExifTags, Image

TURNS = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image):
    """Turn a decoded Pillow image as its EXIF orientation says, if that can be read.

    `ImageOps.exif_transpose` also rewrites the metadata, and so fails on whole pictures with damaged or odd EXIF.
    """
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # as many kinds as decoders raise
        turn = None
    return image if turn is None else image.transpose(turn)


def to_rgba(image):
    """Convert a decoded Pillow image of any mode to RGBA; 16 bits become 8 by scaling, where Pillow would clip."""
    if image.mode == "F":  # of a TIFF: from 0 to 1, to 255 or to 65535
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
