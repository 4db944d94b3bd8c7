"""Whether a photo shows a face, and whether two show the same person, by dlib (`pip install -e ".[align]"`).

In dlib_face_recognition_resnet_model_v1, two embeddings (128 numbers) of the same person lie within a Euclidean
distance of 0.6. The network was trained on whole heads of 150 pixels, so it is less reliable for generated faces of 64
pixels.
"""

from functools import lru_cache

import cv2
import numpy as np

from contextual_gan.preparation.alignment import model_file
from contextual_gan.preparation.faces import detect_faces

ENLARGED = 256  # pixels; the landmark model was trained on larger faces than 64
BORDER = 128  # pixels of repeated edge, added because the face fills its image
CHIP, PADDING = 150, 0.25  # as in the training of the embedding


def embeddings(photos, progress=lambda n: None):
    """Aligned photos (n, H, W, 3) uint8, faces from brow to chin -> (n, 128) float64.

    Raises FileNotFoundError if the models are not installed. progress(n) is called after each n photos.
    """
    predictor, network = _models()
    found = np.empty((len(photos), 128))
    for i, photo in enumerate(photos):
        found[i] = network.compute_face_descriptor(_chip(photo, predictor))
        progress(1)
    return found


def finds_faces(photos):
    """Whether dlib's detector finds a face in aligned photos (n, H, W, 3) uint8 -> (n,) bool; in 92% of true ones."""
    return np.array([bool(detect_faces(cv2.cvtColor(_enlarged(photo), cv2.COLOR_RGB2GRAY))) for photo in photos])


def distances(a, b):
    """Euclidean distances of embeddings, row by row: (n, 128) twice -> (n,)."""
    return np.linalg.norm(a - b, axis=1)


def verification(made, true, seed=0):
    """How well a threshold separates pairs of one person from pairs of two: embeddings (n, 128), rows paired -> dict.

    A random half of the rows (the same for every order of the rows) sets the distance threshold. The other half gives
    the accuracy: each row is tested on its true pair and on a pair shuffled within that half.
    Returns {"threshold", "correct"}; "correct" holds, for each row of the other half, the share of correct decisions.
    Raises ValueError for fewer than 4 rows.
    """
    if len(made) < 4:
        raise ValueError(f"verification needs at least 4 images, got {len(made)}")
    rows = sorted(range(len(true)), key=lambda row: true[row].tobytes())
    rows = np.array(rows)[np.random.default_rng(seed).permutation(len(true))]
    halves = rows[::2], rows[1::2]
    same = [distances(made[half], true[half]) for half in halves]
    others = [distances(made[half], true[np.roll(half, 1)]) for half in halves]
    candidates = np.unique(np.concatenate([same[0], others[0]]))
    candidates = np.concatenate([[0.0], (candidates[1:] + candidates[:-1]) / 2, [np.inf]])
    right = [(same[0] < t).mean() + (others[0] >= t).mean() for t in candidates]
    threshold = candidates[int(np.argmax(right))]
    correct = ((same[1] < threshold).astype(float) + (others[1] >= threshold)) / 2
    return {"threshold": float(threshold), "correct": correct}


@lru_cache(maxsize=1)
def _models():
    import dlib

    predictor = dlib.shape_predictor(str(model_file("models/shape_predictor_5_face_landmarks.dat")))
    network = dlib.face_recognition_model_v1(str(model_file("models/dlib_face_recognition_resnet_model_v1.dat")))
    return predictor, network


def _chip(photo, predictor):
    """The face as input of the embedding; its place is known, so no detector is needed."""
    import dlib

    large, box = _enlarged(photo), dlib.rectangle(BORDER, BORDER, BORDER + ENLARGED, BORDER + ENLARGED)
    return dlib.get_face_chip(large, predictor(large, box), CHIP, PADDING)


def _enlarged(photo):
    large = cv2.resize(photo, (ENLARGED, ENLARGED), interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(large, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
