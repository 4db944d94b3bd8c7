"""Weights on disk: safetensors files with both networks, and the published ones inside the package.

A tensor is named NETWORK/LAYER.VARIABLE, for example `generator/up1.kernel`; it may be stored in float16.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from contextual_gan.images import replace_file

PRETRAINED = Path(__file__).parent / "pretrained"


class WeightsError(ValueError):
    """Weights that cannot be used. The message is one line: the file, what is wrong with it, what to do."""


def published():
    """Names of the published weights, each with a .safetensors file and a JSON card in `pretrained/`."""
    return sorted(path.stem for path in PRETRAINED.glob("*.json"))


def weights_file(weights):
    """The file of published weights by name ("celeba"), or `weights` itself as a path. Raises `WeightsError`."""
    if str(weights) in published():
        return PRETRAINED / f"{weights}.safetensors"
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(
            f"no weights at {path}: give a .safetensors file or a published name ({', '.join(published())})"
        )
    return path


def file_sha256(path):
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def named_variables(*models):
    """{"generator/dense.kernel": variable, ...} of all layers of the models."""
    return {f"{m.name}/{layer.name}.{v.name}": v for m in models for layer in m.layers for v in layer.weights}


def save_weights(path, generator, discriminator, dtype="float16"):
    """Write both networks to a safetensors file, atomically."""
    tensors = {k: np.asarray(v).astype(dtype) for k, v in named_variables(generator, discriminator).items()}
    replace_file(path, save(tensors))


def load_weights(path):
    """Read a file of `save_weights` -> (generator, discriminator) in float32.

    Raises `WeightsError` naming the tensors whose name or shape does not fit the specified networks.
    """
    from contextual_gan import dcgan  # late: what only looks for a file needs no TensorFlow

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
    generator, discriminator = dcgan.generator(), dcgan.discriminator()
    variables = named_variables(generator, discriminator)
    missing, unknown = sorted(variables.keys() - tensors.keys()), sorted(tensors.keys() - variables.keys())
    if missing or unknown:
        raise WeightsError(f"{path} does not hold these networks: missing {_few(missing)}; unknown {_few(unknown)}")
    for name, variable in variables.items():
        if tensors[name].shape != tuple(variable.shape):
            raise WeightsError(
                f"{path}: {name} has shape {tensors[name].shape}, the network needs {tuple(variable.shape)}"
            )
        variable.assign(tensors[name].astype(np.float32))
    return generator, discriminator


def _few(names):
    return (", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")) or "none"


def load_pretrained(name="celeba"):
    """Load published weights -> (generator, discriminator).

    Raises `WeightsError` for an unknown name and for a file that is not the one of its card.
    """
    if name not in published():
        raise WeightsError(f"no published weights are called {name!r}, there are: {', '.join(published())}")
    path = PRETRAINED / f"{name}.safetensors"
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if not path.is_file() or file_sha256(path) != card["sha256"]:
        raise WeightsError(f"{path} is missing or damaged (its SHA-256 is not that of its card): check it out again")
    return load_weights(path)


def load_networks(weights):
    """(generator, discriminator) of published weights by name, or of a .safetensors file by path."""
    return load_pretrained(weights) if str(weights) in published() else load_weights(weights_file(weights))
