"""Weights on disk: safetensors files with both networks, and the published ones inside the package.

A tensor is named NETWORK/LAYER.VARIABLE, for example `generator/up1.kernel`; it may be stored in float16.
Weights are read once, so the loaded bytes are the hashed ones even while a training run writes to the same place.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from contextual_gan import config
from contextual_gan.files.checkpoints import WeightsError, of_others, read, readable
from contextual_gan.files.images import replace_file
from contextual_gan.models import tensors
from contextual_gan.models.locations import (
    STATE,
    WEIGHTS,
    Pinned,
    encoder_file,
    pin,
    pin_file,
    pin_pix2pix,
    published,
)
from contextual_gan.models.tensors import NARROW, NARROW_PAIR, named_variables, widened


def save_weights(path, generator, discriminator, dtype="float16"):
    """Write both networks to a safetensors file, atomically."""
    replace_file(path, save(_tensors(dtype, generator, discriminator)))


def _tensors(dtype, *models):
    return {name: np.asarray(variable).astype(dtype) for name, variable in named_variables(*models).items()}


def load_weights(path, needs_discriminator=True):
    """Read a file of `save_weights` -> (generator, discriminator) in float32, with their saved width.

    path: a path or a `Pinned` file. needs_discriminator: if false, D is None and not built.
    Raises `WeightsError`, before any larger network is built, for an unreadable file, and for tensors with an unknown
    name, a wrong shape or non-finite values, which it names.
    """
    pinned = path if isinstance(path, Pinned) else pin_file(path, Path(path))
    found = _read(pinned)
    bias = found.get("discriminator/conv0.bias")
    width = bias.size if bias is not None and bias.size else 64
    if needs_discriminator:
        return tensors.load(pinned.path, found, _dcgan, width)
    held = {name: value for name, value in found.items() if not name.startswith("discriminator/")}
    return *tensors.load(pinned.path, held, _generator, width), None


def _dcgan(width):
    from contextual_gan.models import dcgan  # late: callers that only look for a file need no TensorFlow

    return dcgan.generator(width), dcgan.discriminator(width)


def _read(pinned):
    """{name: array} of a `Pinned` file."""
    try:
        return load(pinned.data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:  # the last two: a type unknown to NumPy
        raise WeightsError(f"{pinned.path} is not a readable safetensors file: {error}") from error


def save_described(path, named, about):
    """Atomically write tensors, their hash and a dict about them to a safetensors file."""
    about = json.dumps({**about, "tensors_sha256": _tensors_sha256(named)}, sort_keys=True)
    replace_file(path, save(named, {"about": about}))  # safetensors would shuffle several entries


def _read_described(pinned):
    """(tensors, the dict about them) from a file of `save_described`. Raises `WeightsError`, also if damaged."""
    found, about = _read(pinned), None
    header = json.loads(pinned.data[8 : 8 + int.from_bytes(pinned.data[:8], "little")])  # `_read` has checked it
    with contextlib.suppress(ValueError):
        about = json.loads((header.get("__metadata__") or {}).get("about", "null"))
    if not isinstance(about, dict):
        raise WeightsError(f"{pinned.path} does not record its purpose: make it again")
    if about.get("tensors_sha256") != _tensors_sha256(found):
        raise WeightsError(f"{pinned.path} is damaged (the hash of its tensors differs): make it again")
    return found, about


def _tensors_sha256(named):
    sha256 = hashlib.sha256()
    for name in sorted(named):
        sha256.update(f"{name} {named[name].dtype} {named[name].shape}\n".encode() + named[name].tobytes())
    return sha256.hexdigest()


def load_pretrained(name="celeba"):
    """Load published weights -> (generator, discriminator).

    Raises `WeightsError` for an unknown name and for a file whose hash differs from its card.
    """
    if name not in published():
        raise WeightsError(f"there are no published weights {name!r}; available: {', '.join(published())}")
    return load_weights(pin(name))


def load_networks(weights, needs_discriminator=True):
    """(generator, discriminator) from a published name, a .safetensors file, a run folder, or `Pinned` weights.

    needs_discriminator: as for `load_weights`.
    """
    pinned = pin(weights)
    return load_dcgan_run(pinned) if pinned.data is None else load_weights(pinned, needs_discriminator)


def load_state(weights):
    """The networks of weights outside a run, with the attributes of `dcgan.DCGAN` and their saved width.

    weights: a published name, a file, or a folder with `WEIGHTS`. If `STATE` is beside it, its G is the `generator` and
    that of `WEIGHTS` its `average`; otherwise `average` and `pair_discriminator` are None.
    Raises `WeightsError`.
    """
    path = Path(weights) / WEIGHTS if Path(weights).is_dir() else Path(weights)
    generator, discriminator = load_networks(path if Path(weights).is_dir() else weights)
    beside, average, pair = path.with_name(STATE), None, None
    if path.name == WEIGHTS and beside.is_file():
        held, average = _read(pin_file(beside, beside)), generator
        live = {name: value for name, value in held.items() if name.startswith("generator/")}
        (generator,) = tensors.load(beside, live, _generator, discriminator.get_layer("conv0").filters)
        others = {name: value for name, value in held.items() if name not in live}
        bias = others.get("pair/conv0.bias")
        (pair,) = tensors.load(beside, others, _pair, bias.size if bias is not None and bias.size else 64)
    networks = {"generator": generator, "average": average, "discriminator": discriminator, "pair_discriminator": pair}
    return SimpleNamespace(**networks)


def _generator(width):
    from contextual_gan.models import dcgan  # late: needs TensorFlow

    return (dcgan.generator(width),)


def _pair(width):
    from contextual_gan.models import dcgan  # late: needs TensorFlow

    return (dcgan.pair_discriminator(width),)


# --- encoders, each of which belongs to one generator -----------------------------------------------------------------


def save_encoder(path, encoder, about, dtype="float16"):
    """Write an `encoder.Encoder`, and a dict about it: "generator_sha256", that of `weights_file`, and "direction"."""
    save_described(path, _tensors(dtype, encoder.network) | {"curvature": encoder.curvature}, about)


def load_encoder(weights, direction, sha256=None):
    """The `encoder.Encoder` of some weights for a direction, "photo" or "sketch".

    sha256: expected hash of its file, if recorded. Raises `WeightsError` if the file is missing, damaged, made for
    another generator or direction, or no longer has the hash `sha256`.
    """
    weights = pin(weights)
    path = encoder_file(weights, direction)
    pinned = pin_file(path, path)
    if sha256 not in (None, pinned.sha256):
        raise WeightsError(f"{path} was replaced while this command was starting: run it again")
    found, about = _read_described(pinned)
    if (about.get("generator_sha256"), about.get("direction")) != (weights.sha256, direction):
        raise WeightsError(
            f"{path} was not made for the weights {weights.name} and the direction {direction}: remove it, "
            "or make another with train_encoder.py"
        )
    curvature, kernel = found.pop("curvature", None), found.get("encoder/conv0.kernel")
    if curvature is None or curvature.ndim != 2 or not np.isfinite(curvature).all():
        raise WeightsError(f"{path}: its curvature is missing or not finite; make it again")
    width = kernel.shape[-1] if kernel is not None and kernel.ndim == 4 and kernel.size else 32
    (network,) = tensors.load(path, found, _encoder, width)
    if curvature.shape != 2 * network.output_shape[-1:]:
        raise WeightsError(f"{path}: its curvature has shape {curvature.shape}; make it again")
    from contextual_gan.models.encoder import Encoder  # late: needs TensorFlow

    return Encoder(network, curvature)


def learned_from_joints(weights, direction):
    """Whether the encoder of some weights was trained on true joint images, so that its own result is plausible.

    False if there is no encoder. Only the header of its file is read: `load_encoder` checks the rest.
    """
    try:
        with safe_open(encoder_file(weights, direction), "numpy") as file:
            about = json.loads((file.metadata() or {}).get("about", "null"))
    except (OSError, ValueError, SafetensorError):
        return False
    return isinstance(about, dict) and bool(about.get("joint_images"))


def _encoder(width):
    from contextual_gan.models.encoder import encoder  # late: needs TensorFlow

    return (encoder(width),)


# --- the baseline -----------------------------------------------------------------------------------------------------


def save_pix2pix(path, generator, about, dtype="float16"):
    """Write G and a dict about it, whose "direction" names the half that G draws."""
    save_described(path, _tensors(dtype, generator), about)


def load_pix2pix(weights, direction):
    """G from a published name, a file, a run, or `Pinned` weights.

    Raises `WeightsError`, also for the other direction, and ValueError for a run of other networks.
    """
    pinned = pin_pix2pix(weights, direction)
    if pinned.data is None:
        generator, drawn = load_pix2pix_run(pinned)
    else:
        found, about = _read_described(pinned)
        bias, drawn = found.get("generator/down0.bias"), about.get("direction")
        width = bias.size if bias is not None and bias.size else 64
        (generator,) = tensors.load(pinned.path, found, _unet, width)
    if drawn != direction:
        raise WeightsError(f"{pinned.name} draws a {drawn}, not a {direction}: give pix2pix weights of that direction")
    return generator


def _unet(ngf):
    from contextual_gan.models.pix2pix import unet  # late: needs TensorFlow

    return (unet(ngf),)


# --- networks of run folders ------------------------------------------------------------------------------------------


def load_dcgan_run(weights):
    """(generator, discriminator) of a run, a folder or `Pinned`; the average of G if there is one.

    Raises ValueError in one line if the folder is not a run or has no complete checkpoint.
    """
    model = load_run(weights)
    return model.average or model.generator, model.discriminator


def load_run(weights):
    """All networks of a run, as `dcgan.DCGAN`. Raises the errors of `load_dcgan_run`."""
    from contextual_gan.models import dcgan  # late: needs TensorFlow

    pinned = pin(weights)
    settings = config.load(Path(pinned.name) / "config.yaml", "train", config.TrainSettings)

    def build(width, pair_width=None):
        return dcgan.DCGAN(width=width, ema=settings.ema > 0, pair_width=pair_width)

    return load_checkpoint(pinned, build, settings.width, settings.pair_width if settings.pairs else None)


def load_pix2pix_run(weights):
    """(G, its direction) of a run, a folder or `Pinned`. Raises the errors of `load_dcgan_run`."""
    from contextual_gan.models import pix2pix  # late: needs TensorFlow

    pinned = pin(weights)
    settings = config.load(Path(pinned.name) / "config.yaml", "pix2pix", config.Pix2PixSettings)
    model = load_checkpoint(pinned, lambda ngf: pix2pix.Pix2Pix(ngf=ngf), settings.ngf)
    return model.generator, settings.direction


def load_checkpoint(pinned, build, *widths):
    """build(*widths), a tf.Module, set to a `checkpoints.Pinned` checkpoint. Raises `WeightsError` like `restore`.

    The shapes in the checkpoint are compared with those of that width before any network of that width is built.
    """
    import tensorflow as tf

    narrow = build(*(n if width else None for n, width in zip((NARROW, NARROW_PAIR), widths, strict=False)))
    expected = sorted(widened(variable.shape, *widths) for variable in narrow.variables)
    with readable(pinned.files) as prefix:
        try:
            held = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
        except (ValueError, tf.errors.OpError) as error:
            raise of_others(pinned.path) from error
    if sorted(tuple(shape) for name, shape in held.items() if name != "_CHECKPOINTABLE_OBJECT_GRAPH") != expected:
        raise of_others(pinned.path)
    state = build(*widths)
    read(pinned.path, pinned.files, state)
    return state
