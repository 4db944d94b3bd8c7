"""Random candidates for refined initialization; without TensorFlow, so that other programs can draw the same ones."""

import hashlib

import numpy as np


def draw_candidates(known, shape, seed):
    """Random z for each known half: (n, 64, 64, 3) float32 and (N, 100) -> (n, N, 100) float32 from U(-1, 1).

    They depend only on the seed and the pixels, not on the batch or the order.
    """
    z = np.empty((len(known), *shape), np.float32)
    for i, image in enumerate(known):
        content = hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
        z[i] = np.random.default_rng([seed, *np.frombuffer(content, "<u4")]).uniform(-1, 1, shape)
    return z
