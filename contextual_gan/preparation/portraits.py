"""Align any photo like the training data: one upright face from brow to chin."""

from dataclasses import dataclass

import numpy as np

from contextual_gan.files.apply import Skip
from contextual_gan.files.images import ImageError, centre_square
from contextual_gan.joint import SIZE
from contextual_gan.preparation import alignment

TURNS = {
    0: "",
    1: "turned by 90 degrees counterclockwise",
    2: "turned upside down",
    3: "turned by 90 degrees clockwise",
}
NO_FACE_NOTE = "no face found in this photo, or the face already fills it: cropped to the central square"


@dataclass(frozen=True)
class Portrait:
    """A photo half, (64, 64, 3) uint8, and how it was made, in a few words for results.json."""

    image: np.ndarray
    done: str


def square(photo):
    """Cut the central square of a photo, (H, W, 3) uint8, without alignment."""
    return Portrait(centre_square(photo, SIZE), "squared")


def portraits(photo, *, always=False, every=False):
    """Find the faces of a photo and align them -> ([Portrait], number of faces, note or None).

    photo: (H, W, 3) uint8; if it is sideways or upside down, it is turned upright first. A face that is already aligned
    is left unchanged, unless `always`. A photo without a face is cropped to its central square. every: take all faces,
    the largest first, instead of the largest alone. The note is a message for the user.
    Raises `ImageError` for a photo without a face if `always`, FileNotFoundError without dlib's models.
    """
    photo, turns, boxes = alignment.upright_faces(photo)
    found = [_framed(photo, box, always) for box in (boxes if every else boxes[:1])]
    found = [portrait for portrait in found if portrait]
    if not found:
        if always:
            raise ImageError("no face found; --align auto crops such a photo to its central square")
        return [square(photo)], 0, NO_FACE_NOTE
    notes = []
    if turns:
        notes.append(TURNS[turns])
        found = [Portrait(portrait.image, f"{portrait.done}, {TURNS[turns]}") for portrait in found]
    if len(boxes) > 1 and not every:
        notes.append(f"{len(boxes)} faces in this photo; the largest is taken, --faces all takes each")
    return found, len(found) if every else len(boxes), "; ".join(notes) or None


def _framed(photo, box, always):
    """The `Portrait` of a face in an upright photo; None if its landmarks are implausible."""
    points = alignment.three_landmarks(photo, box)
    if not always and alignment.is_framed(photo, box, points):
        return Portrait(centre_square(photo, SIZE), "already aligned")
    try:
        return Portrait(alignment.warp(photo, points, size=SIZE), "aligned")
    except Skip:
        return None
