"""Networks as named tensors: the tensors expected for a given width, and networks built from them.

Files are untrusted. All names and shapes are compared with those implied by the width before a network of that width
is built: a file of 2 kB can claim a width whose networks take gigabytes.
"""

from functools import lru_cache

import numpy as np

from contextual_gan.files.checkpoints import WeightsError

USUAL = 64  # networks up to this width are small enough to be built before the shapes are compared
NARROW, NARROW_PAIR = 7, 11  # primes that divide no size except multiples of the width, or of P's width


def named_variables(*models):
    """{"generator/dense.kernel": variable, ...} of all layers of the models."""
    return {f"{m.name}/{layer.name}.{v.name}": v for m in models for layer in m.layers for v in layer.weights}


def widened(shape, width, pair_width=None):
    """Scale the shape of a tensor from the widths `NARROW` and `NARROW_PAIR` to the given widths."""
    if pair_width and any(n % NARROW_PAIR == 0 for n in shape):
        return tuple(n // NARROW_PAIR * pair_width if n % NARROW_PAIR == 0 else n for n in shape)
    return tuple(n // NARROW * width if n % NARROW == 0 else n for n in shape)


def shapes_of(*models):
    """{name: shape} of the tensors of models."""
    return {name: tuple(variable.shape) for name, variable in named_variables(*models).items()}


@lru_cache
def _narrow_shapes(build):
    return shapes_of(*build(NARROW))


def shapes(build, width):
    """{name: shape} of the tensors of the models build(width), without building them at that width."""
    return {name: widened(shape, width) for name, shape in _narrow_shapes(build).items()}


def load(path, found, build, width):
    """The models build(width), set to {name: array} from a file.

    Raises `WeightsError` naming tensors that are missing, unknown, of another shape, or not finite in float32.
    """
    models = build(width) if width <= USUAL else None
    expected = shapes_of(*models) if models else shapes(build, width)
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unknown:
        raise WeightsError(f"{path} does not match these networks: missing {_few(missing)}; unknown {_few(unknown)}")
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise WeightsError(f"{path}: {name} has shape {found[name].shape}, the network needs {shape}")
    with np.errstate(over="ignore"):
        values = {name: found[name].astype(np.float32) for name in expected}
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise WeightsError(f"{path}: {name} holds non-finite values; the file is damaged")
    models = models or build(width)
    for name, variable in named_variables(*models).items():
        variable.assign(values[name])
    return models


def _few(names):
    return (", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")) or "none"
