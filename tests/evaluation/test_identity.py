"""Face recognition: real dlib on a real face, and the accuracy of a threshold in cases with known answers."""

import cv2
import numpy as np
import pytest
from skimage import data as skimage_data

from contextual_gan.evaluation import identity
from contextual_gan.preparation import alignment


@pytest.fixture(scope="module")
def faces():
    """Eileen Collins, framed like the joints; also brighter, blurred and mirrored: (4, 64, 64, 3)."""
    face = alignment.align(skimage_data.astronaut(), size=64)
    bright = np.clip(face * 1.2, 0, 255).astype(np.uint8)
    return np.stack([face, bright, cv2.GaussianBlur(face, (0, 0), 0.7), face[:, ::-1]])


def test_photos_of_one_person_are_near(faces):
    found = identity.embeddings(faces)
    assert found.shape == (4, 128)
    assert identity.distances(found[:1].repeat(3, axis=0), found[1:]).max() < 0.6, "dlib's threshold"


def test_an_embedding_depends_on_its_photo_alone(faces):
    found = identity.embeddings(faces)
    assert np.array_equal(identity.embeddings(faces[2:3])[0], found[2])
    assert np.array_equal(identity.embeddings(faces[::-1])[::-1], found)
    counted = []
    identity.embeddings(faces[:2], counted.append)
    assert counted == [1, 1]


def test_distances_are_euclidean():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 128))
    plain = [sum((x - y) ** 2 for x, y in zip(p, q, strict=True)) ** 0.5 for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(identity.distances(a, b), plain, rtol=1e-12)


def test_accuracy_with_known_answers():
    rng = np.random.default_rng(1)
    true = rng.normal(size=(400, 128))
    perfect = identity.verification(true + 0.1 * rng.normal(size=true.shape), true)
    assert perfect["correct"].shape == (200,) and perfect["correct"].mean() == 1
    assert 1.5 < perfect["threshold"] < 15
    guesses = identity.verification(rng.normal(size=true.shape), true)
    assert 0.44 < guesses["correct"].mean() < 0.56, "chance level if there is no signal"
    known = identity.verification(np.concatenate([true[:200], rng.normal(size=(200, 128))]), true)
    assert 0.7 < known["correct"].mean() < 0.8, "half of the true pairs are recognised, no false one is accepted"


def test_accuracy_matches_plain_loops():
    rng = np.random.default_rng(2)
    made, true = rng.normal(size=(2, 21, 128))
    made += 0.1 * true
    found = identity.verification(made, true)
    rows = sorted(range(21), key=lambda i: true[i].tobytes())
    rows = [rows[i] for i in np.random.default_rng(0).permutation(21)]
    first, second = rows[::2], rows[1::2]

    def decisions(half, threshold):
        right = []
        for place, i in enumerate(half):
            same, other = (np.sqrt(((made[i] - true[j]) ** 2).sum()) for j in (i, half[place - 1]))
            right.append((int(same < threshold) + int(other >= threshold)) / 2)
        return right

    assert np.allclose(found["correct"], decisions(second, found["threshold"]))
    best = np.mean(decisions(first, found["threshold"]))
    assert all(np.mean(decisions(first, t)) <= best + 1e-12 for t in np.linspace(10, 22, 500))


def test_order_does_not_matter_and_too_few_are_refused():
    rng = np.random.default_rng(3)
    made, true = rng.normal(size=(2, 30, 128))
    order = rng.permutation(30)
    a, b = identity.verification(made, true), identity.verification(made[order], true[order])
    assert a["threshold"] == b["threshold"] and np.array_equal(a["correct"], b["correct"])
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        identity.verification(made[:3], true[:3])
