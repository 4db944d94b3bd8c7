"""Read the known half of an input: a drawing, a photo or a joint image, with a note for the user."""

from dataclasses import dataclass, replace

import numpy as np

from contextual_gan.files.images import (
    ImageError,
    centre_square,
    decode_rgba,
    holds_several,
    on_background,
    reduction,
)
from contextual_gan.joint import SIZE
from contextual_gan.preparation.drawings import is_computed, parse_crop, read_faces
from contextual_gan.preparation.photographs import is_drawing, is_photograph
from contextual_gan.preparation.portraits import portraits, square

ENOUGH = 1536  # pixels of the longer side of a drawing: `prepare` reduces it to fewer
CERTAIN = 0.7  # a drawing with this face score is not taken for a photograph
NO_FACE_NOTE = "no face recognised in this drawing; see {stem}_input.png, or give --crop x,y,w,h"
SEVERAL_NOTE = "the first of several images in this file"
PHOTO_NOTE = "this looks like a photograph; --direction sketch draws photographs, --direction photo takes drawings"
DRAWING_NOTE = "this looks like a drawing; --direction photo completes drawings, --direction sketch takes photographs"


@dataclass(frozen=True)
class Known:
    """A known half, (64, 64, 3) uint8, the other half or None, and the faces found.

    face: likeness of a sketch to a face (see `framing.face_score`), None for a photo; faces: their number in the
    drawing or photo; alignment: how a photo was aligned (see `portraits`), None for a sketch; note: for the user, or
    None; kind: "sketch" if a filter made it from a photo, "drawing" if a person drew it, or "photo".
    """

    image: np.ndarray
    other: np.ndarray | None = None
    face: float | None = None
    faces: int = 1
    alignment: str | None = None
    note: str | None = None
    kind: str = "drawing"


def read_known(data, task):
    """Bytes of an image file -> [Known], one for each face to be completed, the largest first.

    A joint is recognised by its size of 128 x 64 pixels unless `task.joint` is "always" or "never".
    Raises `ImageError` or another ValueError with the reason.
    """
    crop = parse_crop(task.crop)
    whole = task.direction == "sketch" or isinstance(crop, tuple)
    image = decode_rgba(data, enough=None if whole else ENOUGH)
    height, width = image.shape[:2]
    if task.joint == "always" or (task.joint == "auto" and (height, width) == (SIZE, 2 * SIZE)):
        found = [_read_joint(image, task)]
    elif task.direction == "sketch":
        found = _read_photo(on_background(image), task)
    else:
        if isinstance(crop, tuple):  # in pixels of the file
            crop = tuple(round(number / reduction(data, image)) for number in crop)
        found = _read_drawing(image, crop, task)
    if holds_several(data):
        found[0] = replace(found[0], note="; ".join(filter(None, (SEVERAL_NOTE, found[0].note))))
    return found


def _read_joint(image, task):
    """A joint image, (H, 2 H, 4) uint8, of any size -> Known. Raises `ImageError`."""
    height, width = image.shape[:2]
    if width != 2 * height:
        raise ImageError(f"{width} x {height} pixels: a joint image must be twice as wide as high")
    sketch, photo = image[:, :height], centre_square(on_background(image[:, height:]), SIZE)
    if task.direction == "sketch":
        return Known(photo, centre_square(on_background(sketch), SIZE), kind="photo")
    drawing = read_faces(sketch, crop="none")[0]
    note = None if drawing.is_face else NO_FACE_NOTE
    return Known(drawing.image, photo, round(drawing.score, 3), note=note, kind=_kind(drawing))


def _read_drawing(image, crop, task):
    """A drawing that is not a joint image, (H, W, 4) uint8 -> [Known]."""
    sketches, note = read_faces(image, crop=crop), None
    if sketches[0].score < CERTAIN and is_photograph(on_background(image)):
        note = PHOTO_NOTE
    elif not sketches[0].is_face:
        note = NO_FACE_NOTE
    elif len(sketches) > 1 and task.faces == "largest":
        note = f"{len(sketches)} faces in this drawing; the largest is completed, --faces all completes each"
    wanted = sketches if task.faces == "all" else sketches[:1]
    kind = _kind(sketches[0])
    return [
        Known(sketch.image, face=round(sketch.score, 3), faces=len(sketches), note=None if i else note, kind=kind)
        for i, sketch in enumerate(wanted)
    ]


def _kind(sketch):
    return "sketch" if sketch.is_computed else "drawing"


def kinds_of(known, direction):
    """The kinds of known halves (n, 64, 64, 3) uint8 of joint images, as in `Known`."""
    if direction == "sketch":
        return ["photo"] * len(known)
    return ["sketch" if is_computed(sketch) else "drawing" for sketch in known]


def _read_photo(photo, task):
    """A photo that is not a joint image, (H, W, 3) uint8 -> [Known]."""
    if task.align == "off":
        found, faces, note = [square(photo)], 1, None
    else:
        found, faces, note = portraits(photo, always=task.align == "on", every=task.faces == "all")
    notes = "; ".join(filter(None, (DRAWING_NOTE if is_drawing(photo) else None, note))) or None
    return [
        Known(portrait.image, faces=faces, alignment=portrait.done, note=None if i else notes, kind="photo")
        for i, portrait in enumerate(found)
    ]
