"""Read the known half of an input: a drawing, a photo or a joint image, with a note for the user."""

from dataclasses import dataclass

import numpy as np

from contextual_gan.files.images import ImageError, centre_square, decode_rgba, on_background
from contextual_gan.joint import SIZE
from contextual_gan.preparation.drawings import parse_crop, read_faces
from contextual_gan.preparation.photographs import is_drawing, is_photograph

ENOUGH = 1536  # pixels of the longer side of a drawing: `prepare` reduces it to fewer
CERTAIN = 0.7  # a drawing with this face score is not taken for a photograph
NO_FACE_NOTE = "no face recognised in this drawing; see {stem}_input.png, or give --crop x,y,w,h"
PHOTO_NOTE = "this looks like a photograph; --direction sketch draws photographs, --direction photo takes drawings"
DRAWING_NOTE = "this looks like a drawing; --direction photo completes drawings, --direction sketch takes photographs"


@dataclass(frozen=True)
class Known:
    """A known half, (64, 64, 3) uint8, the other half or None, and the faces found.

    face: likeness of a sketch to a face (see `framing.face_score`), None for a photo; faces: their number in
    the drawing; note: note for the user, or None.
    """

    image: np.ndarray
    other: np.ndarray | None = None
    face: float | None = None
    faces: int = 1
    note: str | None = None


def read_known(data, task):
    """Bytes of an image file -> [Known], one for each face to be completed, the largest first.

    A joint is recognised by its size of 128 x 64 pixels unless `task.joint` says "always" or "never".
    Raises `ImageError` or another ValueError with the reason.
    """
    crop = parse_crop(task.crop)
    whole = task.direction == "sketch" or isinstance(crop, tuple)
    image, other = decode_rgba(data, enough=None if whole else ENOUGH), None
    height, width = image.shape[:2]
    joint = task.joint == "always" or (task.joint == "auto" and (height, width) == (SIZE, 2 * SIZE))
    if joint:
        if width != 2 * height:
            raise ImageError(f"{width} x {height} pixels: a joint image must be twice as wide as high")
        image, other = image[:, :height], image[:, height:]
        if task.direction == "sketch":
            image, other = other, image
        other = centre_square(on_background(other), SIZE)
    if task.direction == "sketch":
        photo = on_background(image)
        note = None if joint or not is_drawing(photo) else DRAWING_NOTE
        return [Known(centre_square(photo, SIZE), other, note=note)]
    sketches = read_faces(image, crop="none" if joint else crop)
    note = None
    if not joint and sketches[0].score < CERTAIN and is_photograph(on_background(image)):
        note = PHOTO_NOTE
    elif not sketches[0].is_face:
        note = NO_FACE_NOTE
    elif len(sketches) > 1 and task.faces == "largest":
        note = f"{len(sketches)} faces in this drawing; the largest is completed, --faces all completes each"
    wanted = sketches if task.faces == "all" else sketches[:1]
    return [Known(s.image, other, round(s.score, 3), len(sketches), None if i else note) for i, s in enumerate(wanted)]
