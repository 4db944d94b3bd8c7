"""Weights on disk: safetensors files with both networks, and the published ones inside the package.

A tensor is named NETWORK/LAYER.VARIABLE, for example `generator/up1.kernel`; it may be stored in float16.
"""

import contextlib
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from contextual_gan.images import replace_file

PRETRAINED = Path(__file__).parent / "pretrained"
CHECKPOINT = re.compile(r"step-(\d{6,})")
WEIGHTS, STATE = "weights.safetensors", "state.safetensors"  # of a folder: average of G and D; G itself and P
HASHES = "sha256.json"  # in a checkpoint: {file: SHA-256}


class WeightsError(ValueError):
    """Weights that cannot be used. The message is one line: the file, what is wrong with it, what to do."""


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


def named_variables(*models):
    """{"generator/dense.kernel": variable, ...} of all layers of the models."""
    return {f"{m.name}/{layer.name}.{v.name}": v for m in models for layer in m.layers for v in layer.weights}


def save_weights(path, generator, discriminator, dtype="float16"):
    """Write both networks to a safetensors file, atomically."""
    replace_file(path, save(_tensors(dtype, generator, discriminator)))


def _tensors(dtype, *models):
    return {name: np.asarray(variable).astype(dtype) for name, variable in named_variables(*models).items()}


def load_weights(path):
    """Read a file of `save_weights` -> (generator, discriminator) in float32, as wide as they were.

    Raises `WeightsError` naming the tensors whose name or shape does not fit the specified networks.
    """
    from contextual_gan import dcgan  # late: what only looks for a file needs no TensorFlow

    tensors = _read(path)
    bias = tensors.get("discriminator/conv0.bias")
    width = bias.size if bias is not None and 0 < bias.size <= 1024 else 64
    networks = dcgan.generator(width), dcgan.discriminator(width)
    _assign(path, tensors, *networks)
    return networks


def _read(path):
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error


def _save_described(path, tensors, about):
    """Write tensors and a dict about them, with the hash of the tensors, to a safetensors file, atomically."""
    about = json.dumps({**about, "tensors_sha256": _tensors_sha256(tensors)}, sort_keys=True)
    replace_file(path, save(tensors, {"about": about}))  # of several entries, safetensors would shuffle the order


def _read_described(path):
    """(tensors, the dict about them) of a file of `_save_described`. Raises `WeightsError`, also for damage."""
    tensors, about = _read(path), None
    with safe_open(path, "np") as file, contextlib.suppress(ValueError):
        about = json.loads((file.metadata() or {}).get("about", "null"))
    if not isinstance(about, dict):
        raise WeightsError(f"{path} does not say what it was made for: make it again")
    if about.get("tensors_sha256") != _tensors_sha256(tensors):
        raise WeightsError(f"{path} is damaged (its tensors are not those that were written): make it again")
    return tensors, about


def _tensors_sha256(tensors):
    sha256 = hashlib.sha256()
    for name in sorted(tensors):
        sha256.update(f"{name} {tensors[name].dtype} {tensors[name].shape}\n".encode() + tensors[name].tobytes())
    return sha256.hexdigest()


def _assign(path, tensors, *models):
    """Set the models to what was read of a file. Raises `WeightsError` naming what does not fit."""
    variables = named_variables(*models)
    missing, unknown = sorted(variables.keys() - tensors.keys()), sorted(tensors.keys() - variables.keys())
    if missing or unknown:
        raise WeightsError(f"{path} does not hold these networks: missing {_few(missing)}; unknown {_few(unknown)}")
    for name, variable in variables.items():
        if tensors[name].shape != tuple(variable.shape):
            raise WeightsError(
                f"{path}: {name} has shape {tensors[name].shape}, the network needs {tuple(variable.shape)}"
            )
        variable.assign(tensors[name].astype(np.float32))


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
    """(generator, discriminator) of published weights by name, or of a .safetensors file or run folder by path."""
    if str(weights) in published():
        return load_pretrained(weights)
    path = weights_file(weights)
    if path.name != HASHES:
        return load_weights(path)
    from contextual_gan.dcgan_training import load_run  # late: it needs this module

    return load_run(weights)


def is_single(weights):
    """Whether a name or path is of one file of weights, not of a folder."""
    return str(weights) in published() or str(weights).endswith(".safetensors")


def is_run(weights):
    """Whether a path is of a run folder, or should be: of a folder without `WEIGHTS`."""
    return Path(weights).is_dir() and not (Path(weights) / WEIGHTS).is_file()


def load_state(weights):
    """The networks of weights that are no run, with the attributes of `dcgan.DCGAN`, as wide as they were.

    weights: a published name, a file, or a folder with `WEIGHTS`. If `STATE` lies beside that, its G is the `generator`
    and that of `WEIGHTS` its `average`; otherwise, there is no `average` and no `pair_discriminator`: None.
    Raises `WeightsError`.
    """
    from contextual_gan import dcgan  # late: what only looks for a file needs no TensorFlow

    path = Path(weights) / WEIGHTS if Path(weights).is_dir() else Path(weights)
    generator, discriminator = load_networks(path if Path(weights).is_dir() else weights)
    beside, average, pair = path.with_name(STATE), None, None
    if path.name == WEIGHTS and beside.is_file():
        tensors, average = _read(beside), generator
        generator = dcgan.generator(discriminator.get_layer("conv0").filters)
        bias = tensors.get("pair/conv0.bias")
        pair = dcgan.pair_discriminator(bias.size if bias is not None and 0 < bias.size <= 1024 else 64)
        _assign(beside, tensors, generator, pair)
    names = {"generator": generator, "average": average, "discriminator": discriminator, "pair_discriminator": pair}
    return SimpleNamespace(**names)


# --- encoders, each of which belongs to one generator -----------------------------------------------------------------


def encoder_file(weights, direction):
    """Where the encoder of some weights is, or would be: beside their file, or in the run. Raises `WeightsError`."""
    path = weights_file(weights)
    if path.name == HASHES:
        return Path(weights) / f"encoder_{direction}.safetensors"
    return path.with_name(f"{path.stem}_encoder_{direction}.safetensors")


def encoder_sha256(weights, direction, search):
    """SHA-256 of the encoder's file if a `config.Search` starts from it, else None. Raises FileNotFoundError."""
    return file_sha256(encoder_file(weights, direction)) if search.start == "encoder" else None


def save_encoder(path, encoder, about, dtype="float16"):
    """Write an `encoder.Encoder`, and a dict about it: "generator_sha256", that of `weights_file`, and "direction"."""
    _save_described(path, _tensors(dtype, encoder.network) | {"curvature": encoder.curvature}, about)


def load_encoder(weights, direction):
    """The `encoder.Encoder` of some weights, for what is wanted: "photo" or "sketch".

    Raises `WeightsError` for no file, a damaged one, and one that was made for another generator or direction.
    """
    path = encoder_file(weights, direction)
    tensors, about = _read_described(path)
    made_for = about.get("generator_sha256"), about.get("direction")
    if made_for != (file_sha256(weights_file(weights)), direction):
        raise WeightsError(
            f"{path} was made for other weights than {weights}, or another direction than {direction}: remove it, or "
            "make another with train_encoder.py"
        )
    from contextual_gan.encoder import Encoder, encoder  # late: needs TensorFlow

    kernel, curvature = tensors.get("encoder/conv0.kernel"), tensors.pop("curvature", None)
    network = encoder(kernel.shape[-1] if kernel is not None and kernel.ndim == 4 and kernel.shape[-1] <= 1024 else 32)
    _assign(path, tensors, network)
    n = network.output_shape[-1]
    if curvature is None or curvature.shape != (n, n) or not np.isfinite(curvature).all():
        raise WeightsError(f"{path}: there is no curvature of {n} x {n} numbers in it; make it again")
    return Encoder(network, curvature)


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


def load_pix2pix(weights, direction):
    """G of published weights by name, of a file or a run. Raises `WeightsError`, also for the other direction.

    Raises ValueError for a run of other networks.
    """
    path = pix2pix_file(weights, direction)
    if path.name == HASHES:
        from contextual_gan.pix2pix_training import load_run  # late: it needs this module

        generator, drawn = load_run(weights)
    else:
        from contextual_gan.pix2pix import unet  # late: needs TensorFlow

        tensors, about = _read_described(path)
        bias, drawn = tensors.get("generator/down0.bias"), about.get("direction")
        generator = unet(bias.size if bias is not None and 0 < bias.size <= 256 else 64)
        _assign(path, tensors, generator)
    if drawn != direction:
        raise WeightsError(f"{weights} draws a {drawn}, not a {direction}: give pix2pix weights of that direction")
    return generator


# --- what is in a run folder, which training.py writes ----------------------------------------------------------------


def read_stats(path):
    """The lines of a stats.jsonl as dicts, up to one that was cut off or is being written; [] if there is no file."""
    path, lines = Path(path), []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def found(folder):
    """The checkpoints of a folder, the newest first, damaged ones included."""
    paths = [path for path in Path(folder).glob("step-*") if CHECKPOINT.fullmatch(path.name)]
    return sorted(paths, key=step_of, reverse=True)


def step_of(checkpoint):
    """The number of steps after which a checkpoint was written."""
    return int(CHECKPOINT.fullmatch(Path(checkpoint).name)[1])


def damage(checkpoint):
    """What is wrong with a checkpoint, or None if it is whole."""
    try:
        hashes = json.loads((checkpoint / HASHES).read_text())
        for name, sha256 in hashes.items():
            if file_sha256(checkpoint / name) != sha256:
                return f"{name} is damaged"
    except (OSError, ValueError, AttributeError) as error:
        return f"{getattr(error, 'filename', None) or HASHES} is missing or damaged"
    return None if "state.index" in hashes else "state.index is missing"


def newest(folder, warn=lambda line: None):
    """The newest whole checkpoint of a folder; warn(line) of each damaged one before. Raises `WeightsError`."""
    checkpoints = found(folder)
    for checkpoint in checkpoints:
        if not (reason := damage(checkpoint)):
            return checkpoint
        warn(f"{checkpoint} cannot be used ({reason}); taking the one before")
    what = f"none of the {len(checkpoints)} checkpoints can be read" if checkpoints else "there is no checkpoint"
    raise WeightsError(f"{folder}: {what}")
