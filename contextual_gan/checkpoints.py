"""Weights on disk: safetensors files with both networks, and the published ones inside the package.

A tensor is named NETWORK/LAYER.VARIABLE, for example `generator/up1.kernel`; it may be stored in float16.
Weights are read once: what is loaded is what was hashed, also while a training run writes to the same place.
"""

import contextlib
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from contextual_gan import tensors
from contextual_gan.images import replace_file
from contextual_gan.run_checkpoints import HASHES, newest, open_newest
from contextual_gan.tensors import WeightsError, named_variables

PRETRAINED = Path(__file__).parent / "pretrained"


@dataclass(frozen=True, eq=False)
class Pinned:
    """Weights as they were when `pin` looked them up, whatever has been written to their place since."""

    name: str  # as the user gave it
    path: Path  # of a file, or of a checkpoint of a run
    sha256: str  # of the file, or of the checkpoint's list of hashes: what tells these weights from others
    data: bytes | None = None  # of a file
    files: dict | None = None  # of a checkpoint: {name: open file}, readable even after the run has removed it


def published():
    """Names of the published weights, each with a .safetensors file and a JSON card in `pretrained/`."""
    return sorted(path.stem for path in PRETRAINED.glob("*.json"))


def weights_file(weights):
    """The file whose content tells weights apart from others: published ones by name ("celeba"), or of a path.

    Of a run folder, it is the list of hashes of the newest whole checkpoint. Raises `WeightsError`.
    """
    if str(weights) in published():
        return PRETRAINED / f"{weights}.safetensors"
    path = Path(weights)
    if path.is_dir():
        return newest(path / "checkpoints") / HASHES
    if not path.is_file():
        raise WeightsError(
            f"no weights at {path}: give a .safetensors file, a run folder or a published name "
            f"({', '.join(published())})"
        )
    return path


def file_sha256(path):
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pin(weights):
    """`Pinned` weights: published ones by name, of a file or of a run's newest whole checkpoint; pinned ones stay.

    A file is read now and compared with the card beside it, if there is one. Raises `WeightsError`.
    """
    if isinstance(weights, Pinned):
        return weights
    if str(weights) not in published() and Path(weights).is_dir():
        path, sha256, files = open_newest(Path(weights) / "checkpoints", _print_warning)
        return Pinned(str(weights), path, sha256, files=files)
    return _pin_file(weights, weights_file(weights))


def _pin_file(name, path):
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}") from error
    pinned = Pinned(str(name), path, hashlib.sha256(data).hexdigest(), data=data)
    card = path.with_suffix(".json")
    if _sha256_of_card(card) not in (None, pinned.sha256):
        raise WeightsError(
            f"{path} is damaged, or not the file that its card {card.name} describes (the SHA-256 differs): export it "
            "again, or remove the card"
        )
    return pinned


def _sha256_of_card(path):
    """What the card of a weights file says of it; None if there is no card."""
    try:
        card = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError):  # some other file of this name
        return None
    return card.get("sha256") if isinstance(card, dict) else None


def _print_warning(line):
    print(f"warning: {line}", file=sys.stderr)


def save_weights(path, generator, discriminator, dtype="float16"):
    """Write both networks to a safetensors file, atomically."""
    replace_file(path, save(_tensors(dtype, generator, discriminator)))


def _tensors(dtype, *models):
    return {name: np.asarray(variable).astype(dtype) for name, variable in named_variables(*models).items()}


def load_weights(path):
    """Read a file of `save_weights` -> (generator, discriminator) in float32, as wide as they were.

    path: or the `Pinned` file. Raises `WeightsError`, before any network is built, for another file and naming the
    tensors whose name or shape does not fit the specified networks or that are not finite.
    """
    pinned = path if isinstance(path, Pinned) else _pin_file(path, Path(path))
    found = _read(pinned)
    bias = found.get("discriminator/conv0.bias")
    return tensors.load(pinned.path, found, _dcgan, bias.size if bias is not None and bias.size else 64)


def _dcgan(width):
    from contextual_gan import dcgan  # late: what only looks for a file needs no TensorFlow

    return dcgan.generator(width), dcgan.discriminator(width)


def _read(pinned):
    """{name: array} of a `Pinned` file."""
    try:
        return load(pinned.data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:  # the last two: of a type that NumPy lacks
        raise WeightsError(f"{pinned.path} is not a readable safetensors file: {error}") from error


def _save_described(path, named, about):
    """Write tensors and a dict about them, with the hash of the tensors, to a safetensors file, atomically."""
    about = json.dumps({**about, "tensors_sha256": _tensors_sha256(named)}, sort_keys=True)
    replace_file(path, save(named, {"about": about}))  # of several entries, safetensors would shuffle the order


def _read_described(pinned):
    """(tensors, the dict about them) of a file of `_save_described`. Raises `WeightsError`, also for damage."""
    found, about = _read(pinned), None
    header = json.loads(pinned.data[8 : 8 + int.from_bytes(pinned.data[:8], "little")])  # `_read` has checked it
    with contextlib.suppress(ValueError):
        about = json.loads((header.get("__metadata__") or {}).get("about", "null"))
    if not isinstance(about, dict):
        raise WeightsError(f"{pinned.path} does not say what it was made for: make it again")
    if about.get("tensors_sha256") != _tensors_sha256(found):
        raise WeightsError(f"{pinned.path} is damaged (its tensors are not those that were written): make it again")
    return found, about


def _tensors_sha256(named):
    sha256 = hashlib.sha256()
    for name in sorted(named):
        sha256.update(f"{name} {named[name].dtype} {named[name].shape}\n".encode() + named[name].tobytes())
    return sha256.hexdigest()


def load_pretrained(name="celeba"):
    """Load published weights -> (generator, discriminator).

    Raises `WeightsError` for an unknown name and for a file that is not the one of its card.
    """
    if name not in published():
        raise WeightsError(f"no published weights are called {name!r}, there are: {', '.join(published())}")
    return load_weights(pin(name))


def load_networks(weights):
    """(generator, discriminator) of published weights by name, of a .safetensors file or run folder, or `Pinned`."""
    pinned = pin(weights)
    if pinned.data is not None:
        return load_weights(pinned)
    from contextual_gan.dcgan_training import load_run  # late: it needs this module

    return load_run(pinned)


# --- encoders, each of which belongs to one generator -----------------------------------------------------------------


def encoder_file(weights, direction):
    """Where the encoder of some weights is, or would be: beside their file, or in the run. Raises `WeightsError`."""
    if isinstance(weights, Pinned):
        path, is_run = weights.path, weights.data is None
    else:
        path = weights_file(weights)
        is_run = path.name == HASHES
    if is_run:
        return Path(getattr(weights, "name", weights)) / f"encoder_{direction}.safetensors"
    return path.with_name(f"{path.stem}_encoder_{direction}.safetensors")


def encoder_sha256(weights, direction, search):
    """SHA-256 of the encoder's file if a `config.Search` starts from it, else None. Raises FileNotFoundError."""
    return file_sha256(encoder_file(weights, direction)) if search.start == "encoder" else None


def save_encoder(path, encoder, about, dtype="float16"):
    """Write an `encoder.Encoder`, and a dict about it: "generator_sha256", that of `weights_file`, and "direction"."""
    _save_described(path, _tensors(dtype, encoder.network) | {"curvature": encoder.curvature}, about)


def load_encoder(weights, direction, sha256=None):
    """The `encoder.Encoder` of some weights, for what is wanted: "photo" or "sketch".

    sha256: of its file, where that has been recorded. Raises `WeightsError` for no file, a damaged one, one that was
    made for another generator or direction, and one that has been replaced since `sha256` was taken.
    """
    weights = pin(weights)
    path = encoder_file(weights, direction)
    pinned = _pin_file(path, path)
    if sha256 not in (None, pinned.sha256):
        raise WeightsError(f"{path} was replaced while this command started: run it again")
    found, about = _read_described(pinned)
    if (about.get("generator_sha256"), about.get("direction")) != (weights.sha256, direction):
        raise WeightsError(
            f"{path} was made for other weights than {weights.name}, or another direction than {direction}: remove it, "
            "or make another with train_encoder.py"
        )
    curvature, kernel = found.pop("curvature", None), found.get("encoder/conv0.kernel")
    if curvature is None or curvature.ndim != 2 or not np.isfinite(curvature).all():
        raise WeightsError(f"{path}: its curvature is missing, or not finite; make it again")
    width = kernel.shape[-1] if kernel is not None and kernel.ndim == 4 and kernel.size else 32
    (network,) = tensors.load(path, found, _encoder, width)
    if curvature.shape != 2 * network.output_shape[-1:]:
        raise WeightsError(f"{path}: its curvature has shape {curvature.shape}; make it again")
    from contextual_gan.encoder import Encoder  # late: needs TensorFlow

    return Encoder(network, curvature)


def _encoder(width):
    from contextual_gan.encoder import encoder  # late: needs TensorFlow

    return (encoder(width),)


# --- the baseline -----------------------------------------------------------------------------------------------------


def pix2pix_file(weights, direction):
    """As `weights_file`, of pix2pix: published ones by name, which are one file for each direction."""
    if str(weights) not in published():
        return weights_file(weights)
    path = PRETRAINED / f"{weights}_pix2pix_{direction}.safetensors"
    if not path.is_file():
        raise WeightsError(f"there are no pix2pix weights {path}: train.py --config configs/pix2pix.yaml makes some")
    return path


def save_pix2pix(path, generator, about, dtype="float16"):
    """Write G, and a dict about it, of which "direction" is what it draws."""
    _save_described(path, _tensors(dtype, generator), about)


def pin_pix2pix(weights, direction):
    """As `pin`, of pix2pix."""
    is_published = not isinstance(weights, Pinned) and str(weights) in published()
    return _pin_file(weights, pix2pix_file(weights, direction)) if is_published else pin(weights)


def load_pix2pix(weights, direction):
    """G of published weights by name, of a file or a run, or `Pinned`.

    Raises `WeightsError`, also for the other direction, and ValueError for a run of other networks.
    """
    pinned = pin_pix2pix(weights, direction)
    if pinned.data is None:
        from contextual_gan.pix2pix_training import load_run  # late: it needs this module

        generator, drawn = load_run(pinned)
    else:
        found, about = _read_described(pinned)
        bias, drawn = found.get("generator/down0.bias"), about.get("direction")
        width = bias.size if bias is not None and bias.size else 64
        (generator,) = tensors.load(pinned.path, found, _unet, width)
    if drawn != direction:
        raise WeightsError(f"{pinned.name} draws a {drawn}, not a {direction}: give pix2pix weights of that direction")
    return generator


def _unet(ngf):
    from contextual_gan.pix2pix import unet  # late: needs TensorFlow

    return (unet(ngf),)
