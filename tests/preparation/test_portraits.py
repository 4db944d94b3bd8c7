"""Ordinary photos are turned upright and aligned; photos that are already aligned stay as they are."""

import itertools

import cv2
import numpy as np
import pytest
import skimage.data

from contextual_gan.files.apply import Skip
from contextual_gan.files.images import ImageError, centre_square, decode_rgba
from contextual_gan.preparation import alignment
from contextual_gan.preparation.alignment import align
from contextual_gan.preparation.faces import find_faces
from contextual_gan.preparation.portraits import portraits

BLANK = np.full((150, 150, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def photo():
    """(512, 512, 3): Eileen Collins, astronaut, by NASA; in the public domain."""
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def group(photo):
    """Two heads side by side, the left one larger."""
    head = photo[20:260, 110:340]
    large = cv2.resize(head, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    return np.hstack([large, cv2.copyMakeBorder(head, 60, 60, 0, 0, cv2.BORDER_REPLICATE)])


def difference(a, b):
    return np.abs(a.astype(int) - b).mean()


@pytest.mark.parametrize(("turns", "how"), [(1, "90 degrees clockwise"), (2, "upside down"), (3, "counterclockwise")])
def test_a_portrait_on_its_side_or_upside_down_is_turned(photo, turns, how):
    turned = np.rot90(photo, turns)
    assert find_faces(turned)[0] == 4 - turns
    (portrait,), faces, note = portraits(turned)
    assert difference(portrait.image, align(photo, size=64)) < 1 and faces == 1
    assert note.startswith("turned ") and how in note and portrait.done == f"aligned, {note}"
    assert difference(align(turned, size=128), align(photo, size=128)) < 1  # in the preparation of data too


def test_an_upright_portrait_is_aligned_like_the_training_data(photo):
    (portrait,), faces, note = portraits(photo)
    assert np.array_equal(portrait.image, align(photo, size=64))
    assert (portrait.done, faces, note) == ("aligned", 1, None)


@pytest.mark.parametrize("size", [64, 128, 256, 500])
def test_a_photo_in_the_framing_stays_as_it_is(photo, size):
    framed = align(photo, size=size)
    wide = cv2.copyMakeBorder(framed, 0, 0, size // 4, size // 4, cv2.BORDER_REPLICATE)  # its middle is the framing
    for image in (framed, wide):
        (portrait,), _, _ = portraits(image)
        assert np.array_equal(portrait.image, centre_square(image, 64))
    (portrait,), _, _ = portraits(framed, always=True)
    assert portrait.done == "aligned" and difference(portrait.image, centre_square(framed, 64)) < 25


def test_is_framed_recognises_the_framing():
    photo, places = np.zeros((200, 300, 3), np.uint8), np.array(alignment.LANDMARKS["inner-eyes-bottom-lip"]["places"])
    points, box, middle = places * 200 + (50, 0), np.array((60, 10, 180, 180)), np.array((150, 100))
    assert alignment.is_framed(photo, box, points) and alignment.is_framed(photo, box, points + 20)
    assert not alignment.is_framed(photo, box, points + 45) and not alignment.is_framed(photo, box, points - (50, 0))
    assert not alignment.is_framed(photo, box * 0.6, (points - middle) * 0.6 + middle)  # a smaller face


def test_a_face_that_is_too_small_for_the_framing_is_aligned(photo):
    small = cv2.resize(photo[40:250, 120:330], (256, 256), interpolation=cv2.INTER_AREA)
    (portrait,), _, _ = portraits(small)
    assert portrait.done == "aligned" and difference(portrait.image, align(photo, size=64)) < 8


def test_the_largest_or_all_of_several_faces_are_aligned(photo, group):
    found, faces, note = portraits(group)
    assert len(found) == 1 and faces == 2 and note.startswith("2 faces in this photo; the largest is taken")
    both, faces, note = portraits(group, every=True)
    assert len(both) == faces == 2 and note is None
    assert np.array_equal(both[0].image, found[0].image)
    assert difference(both[1].image, align(photo, size=64)) < 8
    aligned = align(group, size=64, multiple="all")
    assert len(aligned) == 2 and np.array_equal(aligned[0], align(group, size=64))


def test_a_photo_without_a_face_is_cropped_to_its_centre_with_a_note(photo):
    (portrait,), faces, note = portraits(BLANK)
    assert np.array_equal(portrait.image, BLANK[:64, :64]) and portrait.done == "squared" and faces == 0
    assert note.startswith("no face found")
    with pytest.raises(ImageError, match="no face found; --align auto"):
        portraits(BLANK, always=True)
    with pytest.raises(Skip, match="no face found"):
        align(BLANK, size=64, multiple="all")


def test_prepared_faces_are_not_realigned(data):
    content = (data / "faces.pack").read_bytes()
    count = int.from_bytes(content[:4], "little")
    ends = 4 + 4 * count + np.cumsum(np.frombuffer(content[4 : 4 + 4 * count], "<u4"))
    for start, end in list(itertools.pairwise(ends))[:: count // 200]:
        face = decode_rgba(content[start:end])[..., :3]
        assert np.array_equal(portraits(face)[0][0].image, face)
