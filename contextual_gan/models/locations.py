"""Find weights: published ones by name, files, run folders, and their encoders and pix2pix networks.

Weights are read once, so the loaded bytes are the hashed ones even while a training run writes to the same place.
Nothing here needs TensorFlow.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from contextual_gan import config
from contextual_gan.files.checkpoints import HASHES, WeightsError, file_sha256, newest, open_newest

WEIGHTS, STATE = "weights.safetensors", "state.safetensors"  # in a folder: average of G, and D; G itself, and P
PRETRAINED = Path(__file__).parent.parent / "pretrained"


@dataclass(frozen=True, eq=False)
class Pinned:
    """Weights as they were when `pin` looked them up, even if they have been overwritten since."""

    name: str  # as the user gave it
    path: Path  # path of a file, or of a checkpoint of a run
    sha256: str  # identifies these weights: hash of the file, or of the checkpoint's list of hashes
    data: bytes | None = None  # content of a file
    files: dict | None = None  # {name: open file} of a checkpoint, readable even after the run has removed it


def published():
    """Names of the published weights, each with a .safetensors file, encoders and a JSON card in `pretrained/`."""
    return sorted(path.stem for path in PRETRAINED.glob("*.json"))


def weights_file(weights):
    """The file that identifies weights by its content: published ones by name ("celeba", "celeba_paper"), or a path.

    For a run folder, it is the list of hashes of the newest complete checkpoint. Raises `WeightsError`.
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


def pin(weights):
    """The `Pinned` weights of a published name, a file, or the newest complete checkpoint of a run.

    Pinned weights are returned as they are. A file is read and compared with its card, if it has one. Raises
    `WeightsError`.
    """
    if isinstance(weights, Pinned):
        return weights
    if str(weights) not in published() and Path(weights).is_dir():
        path, sha256, files = open_newest(Path(weights) / "checkpoints", _print_warning)
        return Pinned(str(weights), path, sha256, files=files)
    return pin_file(weights, weights_file(weights))


def pin_file(name, path):
    """The `Pinned` file at `path`. Raises `WeightsError`."""
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
    """The card of a weights file; None if it has none."""
    try:
        card = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError):  # an unrelated file of this name
        return None
    return card.get("sha256") if isinstance(card, dict) else None


def _print_warning(line):
    print(f"warning: {line}", file=sys.stderr)


def is_single(weights):
    """Whether a name or path denotes one weights file, not a folder."""
    return str(weights) in published() or str(weights).endswith(".safetensors")


def is_run(weights):
    """Whether a path denotes a run folder, that is, a folder without `WEIGHTS`."""
    return Path(weights).is_dir() and not (Path(weights) / WEIGHTS).is_file()


def refuse_pix2pix(weights):
    """Raise `WeightsError` for a run folder or file of pix2pix, where weights of a contextual GAN are needed."""
    path, is_pix2pix = Path(weights), False
    if is_run(weights) and (path / "config.yaml").is_file():
        is_pix2pix = config.trained_section(path / "config.yaml") == "pix2pix"
    elif path.suffix == ".safetensors" and path.is_file():
        with open(path, "rb") as file:
            is_pix2pix = b'"generator/down0.' in file.read(10**5)  # the header, which names the tensors
    if is_pix2pix:
        raise WeightsError(f"{weights} holds pix2pix, not a contextual GAN: use it with compare.py --pix2pix {weights}")


def encoder_file(weights, direction):
    """The path for the encoder of some weights: beside their file, or in the run. Raises `WeightsError`."""
    if isinstance(weights, Pinned):
        path, is_run = weights.path, weights.data is None
    else:
        path = weights_file(weights)
        is_run = path.name == HASHES
    if is_run:
        return Path(getattr(weights, "name", weights)) / f"encoder_{direction}.safetensors"
    return path.with_name(f"{path.stem}_encoder_{direction}.safetensors")


def encoder_sha256(weights, direction, search):
    """SHA-256 of the encoder's file if the search starts from it, else None. Raises FileNotFoundError."""
    return file_sha256(encoder_file(weights, direction)) if search.start == "encoder" else None


def published_pix2pix(direction):
    """The published pix2pix networks that draw a "photo" or a "sketch": {name: file}."""
    end = f"_pix2pix_{direction}.safetensors"
    return {path.name.removesuffix(end): path for path in sorted(PRETRAINED.glob(f"*{end}"))}


def pin_pix2pix(weights, direction):
    """Like `pin`, for pix2pix, whose published weights are one file for each direction."""
    if isinstance(weights, Pinned):
        return weights
    files = published_pix2pix(direction)
    if str(weights) in files:
        return pin_file(weights, files[str(weights)])
    if str(weights) in {*published(), *published_pix2pix("photo"), *published_pix2pix("sketch")}:
        names = " or ".join(files)
        raise WeightsError(f"{weights} has no pix2pix that draws a {direction}: use {names}, or train your own")
    return pin(weights)
