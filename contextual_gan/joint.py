"""The joint image: the sketch on the left half, the photo of the same face on the right half.

All functions take one image or any batch of them: (..., 64, 128, 3) joints and (..., 64, 64, 3) halves, NumPy arrays of
any dtype; `split` and `half` also take TensorFlow tensors.
"""

import numpy as np

SIZE = 64  # rows and columns of a half
HALVES = {"sketch": slice(None, SIZE), "photo": slice(SIZE, None)}  # columns of each half
DIRECTIONS = {"photo": "sketch", "sketch": "photo"}  # direction (the wanted half) -> the known half


def join(sketch, photo):
    """Put halves side by side: (..., 64, 64, 3) twice -> (..., 64, 128, 3). Raises ValueError on another shape."""
    for name, image in (("sketch", sketch), ("photo", photo)):
        if image.shape[-3:] != (SIZE, SIZE, 3):
            raise ValueError(f"a {name} half must be (..., {SIZE}, {SIZE}, 3), got {image.shape}")
    return np.concatenate([sketch, photo], axis=-2)


def half(joint, name):
    """One half, "sketch" or "photo", of (..., 64, 128, 3) joints -> (..., 64, 64, 3)."""
    return joint[..., HALVES[name], :]
