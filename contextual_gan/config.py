"""Settings as frozen dataclasses, and the YAML files and `--set` options they come from.

Imports nothing heavy, so that a command can answer `--help` at once.
"""

import difflib
from dataclasses import dataclass, fields

from contextual_gan import yaml_reader
from contextual_gan.fields import check, converted, key_of, refusal, setting, shown

KL_DIRECTIONS = (  # KL(input || generated), KL(generated || input)
    "input-generated",
    "generated-input",
)


@dataclass(frozen=True)
class SearchSettings:
    """The settings of refined initialization and of the search for z. Raises ValueError for values out of range."""

    n_init: int = setting(30, "N: number of candidates of refined initialization", low=1, high=10**6)
    lambda_: float = setting(0.01, "weight of the perceptual loss", low=0, high=1e6)
    prior: float = setting(
        0.0,
        "weight of the mean squared distance of z from the encoder's z (from 0 with a random start)",
        low=0,
        high=1e6,
    )
    edges: float = setting(
        0.0, "weight of 1 - sketch consistency, the mismatch of the strokes and the photo's edges", low=0, high=1e6
    )
    update: str = setting("momentum", "update rule of z", choices=("momentum", "nesterov", "lbfgs"))
    lr: float = setting(0.01, "learning rate; for lbfgs, the largest change of a component per step", low=0, high=1e6)
    momentum: float = setting(0.9, "momentum of the updates (not for lbfgs)", low=0, high=1)
    iterations: int = setting(1000, "iterations of the search", low=0, high=10**7)
    start: str = setting(
        "random",
        "source of the initializations: U(-1, 1), or the encoder's z and its neighbourhood",
        choices=("random", "encoder"),
    )
    spread: float = setting(1.0, "size of that neighbourhood", low=0, high=2)
    epsilon: float = setting(1e-8, "added to each grey pixel before normalisation to a distribution", low=0, high=1)
    init_kl: str = setting("input-generated", "KL divergence that selects the initialization", choices=KL_DIRECTIONS)
    search_kl: str = setting("generated-input", "KL divergence that the search minimises", choices=KL_DIRECTIONS)
    contextual: str = setting(
        "kl",
        "contextual loss that the search minimises: KL, or the mean absolute (l1) or squared (l2) difference of grey "
        "pixels in [0, 1]; the reported loss, part of the total that selects the result, is always KL",
        choices=("kl", "l1", "l2"),
    )
    perceptual: str = setting(
        "non-saturating", "-log D(G(z)), or log(1 - D(G(z))) if saturating", choices=("non-saturating", "saturating")
    )

    __post_init__ = check

    @property
    def centre(self):
        """The centre of the prior."""
        return "encoder" if self.start == "encoder" else "0"


PRESETS = {
    # the settings of the original README
    "readme": SearchSettings(update="momentum", lr=0.01),
    # the settings of a co-author's code: lr 0.001 on 100 KL + 1 adversarial, which is lr 0.1 on KL + 0.01 adversarial
    "coauthor": SearchSettings(update="nesterov", lr=0.1),
    # our settings, found by measurement (results/search.md)
    "edges": SearchSettings(
        n_init=8, start="encoder", spread=0.5, lambda_=0.0, prior=0.1, edges=2.0, update="lbfgs", lr=0.3, iterations=50
    ),
}
DEFAULT_PRESET = "edges"


@dataclass(frozen=True)
class DataSettings:
    """Settings for making joint images: `data:` in a configuration. Raises ValueError for an invalid value."""

    crop: str = setting(
        "align",
        "align: by the eyes and mouth of a face; centre: the largest centred square; boxes: a square around the box "
        "in bounding_boxes.txt, which must be beside images.txt in the folder of images; none: the whole image",
        choices=("align", "centre", "boxes", "none"),
    )
    landmarks: str = setting(
        "inner-eyes-bottom-lip",
        "landmarks that alignment moves to fixed positions",
        choices=("inner-eyes-bottom-lip", "outer-eyes-nose"),
    )
    multiple: str = setting("largest", "choice if several faces are found", choices=("largest", "skip", "all"))
    styles: tuple[str, ...] = setting(
        ("xdog",), "styles of the sketches; if several, one for each image", choices=("xdog", "fdog", "photocopy")
    )
    test: int | None = setting(
        None, "number of test images; null: 1,000, or one tenth if there are fewer than 10,000", low=0, high=10**9
    )
    seed: int = setting(0, "determines the test images, and the style of each image", low=0, high=2**63 - 1)

    __post_init__ = check


# Settings are chosen on the first training images by name (a tenth of small sets); no encoder or pix2pix is trained on
# them. `evaluate.py --data data/celeba/train --limit 500` scores them.
CHOOSING = 500

SHARED = {  # fields shared by several trainings: help, low, high
    "batch_size": ("joint images per step, on all devices together", 1, 2**16),
    "epochs": ("passes over the training set", 0, 1e6),
    "lr": ("learning rate of all Adam optimizers", 0, 10),
    "lr_decay": ("last share of the steps, in which the learning rate falls to 0", 0, 1),
    "beta_1": ("decay of Adam's mean of gradients", 0, 0.9999),
    "log_every": ("steps between lines of stats.jsonl", 1, 10**9),
    "sample_every": ("steps between pictures in samples/", 1, 10**9),
    "save_every": ("steps between checkpoints", 1, 10**9),
    "keep": ("number of newest checkpoints to keep", 1, 1000),
    "cache_gb": ("memory for decoded joint images; if they do not fit, none is kept", 0, 1e4),
}


def _shared(name, default, low=None):
    """The field of SHARED with this default, and its own lower limit if that differs."""
    help, least, high = SHARED[name]
    return setting(default, help, low=least if low is None else low, high=high)


@dataclass(frozen=True)
class TrainSettings:
    """Settings for training a contextual GAN: `train:` in a configuration. Raises ValueError for an invalid value."""

    width: int = setting(64, "feature maps of the widest layers: gf and df", low=1, high=1024)
    batch_size: int = _shared("batch_size", 64, low=2)
    epochs: float = _shared("epochs", 50.0)
    lr: float = _shared("lr", 2e-4)
    lr_decay: float = _shared("lr_decay", 0.0)
    beta_1: float = _shared("beta_1", 0.5)
    g_updates: int = setting(2, "updates of G per update of D", low=1, high=100)
    pairs: float = setting(0.0, "weight of the pair discriminator in the loss of G; 0: none", low=0, high=1e6)
    mismatched: float = setting(
        0.5,
        "share of its false pairs that join a sketch and another face's photo; the rest are generated",
        low=0,
        high=1,
    )
    pair_width: int = setting(64, "feature maps of its first convolution", low=1, high=1024)
    edges: float = setting(
        0.0, "weight of 1 - consistency of the two halves in G's loss, for XDoG sketches", low=0, high=1e6
    )
    ema: float = setting(0.999, "decay of the moving average of G, warmed up; 0: none", low=0, high=1)
    precision: str = setting(
        "float32",
        "precision of the arithmetic; with bfloat16, weights and accumulators stay float32",
        choices=("float32", "bfloat16"),
    )
    flip: bool = setting(True, "mirror half of the joint images, each half in place")
    seed: int = setting(0, "seed of the initial weights, the order of images, the flips and z", low=0, high=2**63 - 1)
    init_from: str | None = setting(
        None, "initial weights: a published name or a file; or a run, to continue all its networks; null: none"
    )
    log_every: int = _shared("log_every", 20)
    sample_every: int = _shared("sample_every", 500)
    save_every: int = _shared("save_every", 250)
    keep: int = _shared("keep", 3)
    cache_gb: float = _shared("cache_gb", 6.0)

    __post_init__ = check


@dataclass(frozen=True)
class Pix2PixSettings:
    """Settings for training the baseline: `pix2pix:` in a configuration. Raises ValueError for an invalid value."""

    direction: str = setting("photo", "half to draw from the other", choices=("photo", "sketch"))
    ngf: int = setting(32, "feature maps of the outermost layers of G and D; the original has 64", low=1, high=256)
    batch_size: int = _shared("batch_size", 16)
    epochs: float = _shared("epochs", 19.5)
    lr: float = _shared("lr", 2e-4)
    lr_decay: float = _shared("lr_decay", 0.5)
    beta_1: float = _shared("beta_1", 0.5)
    l1: float = setting(100.0, "weight of the mean absolute error added to the adversarial loss", low=0, high=1e6)
    jitter: bool = setting(False, "enlarge to 72 pixels and crop to 64, which blurs the strokes")
    rough: float = setting(0.0, "largest roughness of the sketches from which photos are drawn", low=0, high=1)
    clean: float = setting(0.25, "share of the sketches that stay clean, if others are rough", low=0, high=1)
    precision: str = setting("float32", "as in train", choices=("float32", "bfloat16"))
    flip: bool = setting(True, "mirror half of the joint images, each half in place")
    seed: int = setting(0, "seed of initial weights, order of images, flips, crops and dropout", low=0, high=2**63 - 1)
    init_from: str | None = setting(None, "initial weights of G: a file or a run; null: none")
    log_every: int = _shared("log_every", 50)
    sample_every: int = _shared("sample_every", 1000)
    save_every: int = _shared("save_every", 500)
    keep: int = _shared("keep", 3)
    cache_gb: float = _shared("cache_gb", 6.0)

    __post_init__ = check


@dataclass(frozen=True)
class EncoderSettings:
    """Settings for training an encoder. Raises ValueError for an invalid value."""

    width: int = setting(32, "feature maps of the first convolution", low=1, high=1024)
    batch_size: int = setting(64, "joint images per step", low=2, high=2**16)
    lr: float = setting(5e-4, "learning rate of Adam at the start; it falls to 0 at the end", low=0, high=10)
    own: float = setting(0.125, "share of generated joint images; the rest come from --data", low=0, high=1)
    rough: float = setting(1.0, "largest roughness of the known halves", low=0, high=1)
    clean: float = setting(0.25, "share of the known halves left unchanged", low=0, high=1)
    l1: float = setting(1.0, "weight of the mean absolute error of the wanted half", low=0, high=1e6)
    edges: float = setting(0.5, "weight of 1 - consistency of the wanted half with the known one", low=0, high=1e6)
    features: float = setting(
        0.2, "weight of the difference from true joint images in D's feature maps", low=0, high=1e6
    )
    pull: float = setting(
        0.1,
        "weight of the mean squared error of z, or of the mean square of z if the true z is unknown",
        low=0,
        high=1e6,
    )
    flip: bool = setting(True, "mirror half of the joint images, each half in its place")
    precision: str = setting("float32", "precision of the generator's arithmetic", choices=("float32", "bfloat16"))
    seed: int = setting(0, "seed of initial weights, z, order of images and roughness", low=0, high=2**63 - 1)
    log_every: int = _shared("log_every", 50)
    sample_every: int = _shared("sample_every", 2000)
    save_every: int = _shared("save_every", 500)
    keep: int = _shared("keep", 2)
    cache_gb: float = _shared("cache_gb", 6.0)

    __post_init__ = check


# the sections of a configuration file
SECTIONS = {"data": DataSettings, "train": TrainSettings, "pix2pix": Pix2PixSettings, "encoder": EncoderSettings}


def section_of(settings):
    """The section of a configuration file for the given settings."""
    return next(name for name, cls in SECTIONS.items() if cls is type(settings))


def trained_section(path):
    """The section of the networks that `train.py` trains: "train", or "pix2pix" if there is no "train".

    Raises ValueError for an invalid configuration and for one that has neither.
    """
    found = _sections(path, "train")
    for name in ("train", "pix2pix"):
        if name in found:
            return name
    raise ValueError(f"{path}: no section train: or pix2pix:, only {', '.join(found)}")


def resolved(settings):
    """The values of settings as JSON and YAML values, {key: value} with the keys of the configuration file."""
    values = {key_of(f): getattr(settings, f.name) for f in fields(settings)}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def load(path, section, cls, overrides=()):
    """Read one section of a YAML file into `cls`, a dataclass of this module; missing keys keep their default.

    overrides: texts like "data.test=500", whose value is YAML too; they override the file and earlier overrides.
    Raises ValueError, in one line, for an invalid configuration file, an unknown key (naming the nearest), a duplicate
    key, and a value of the wrong type or out of range.
    """
    given = {key: (value, path) for key, value in _read_section(path, section).items()}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise ValueError(f"--set {text}: it must be {section}.KEY=VALUE")
        given[key.strip()] = yaml_reader.parse(value, f"--set {text}"), f"--set {text}"
    known = {f"{section}.{key_of(f)}": f for f in fields(cls)}
    values = {}
    for key, (value, origin) in given.items():
        if key not in known:
            raise ValueError(f"{origin}: unknown key {key}; {_nearest(key, known)}")
        f = known[key]
        try:
            values[f.name] = converted(value, f.type)
            reason = refusal(f, values[f.name])
        except TypeError as error:
            reason = refusal(f, value) if f.type is str and f.metadata["choices"] else str(error)
        if reason:
            raise ValueError(f"{origin}: {key} is {shown(value)}; {reason}")
    return cls(**values)


def _nearest(key, valid):
    """A hint: the most similar valid key, or all valid keys."""
    last = {name.rpartition(".")[2]: name for name in valid}
    matches = difflib.get_close_matches(str(key).rpartition(".")[2], last, n=1)
    return f"did you mean {last[matches[0]]}?" if matches else f"valid: {', '.join(valid)}"


def _read_section(path, section):
    """{"section.key": value} of a configuration file. Raises ValueError in one line."""
    content = _sections(path, section)
    if section not in content:
        raise ValueError(f"{path}: no section {section}:, only {', '.join(content)}")
    values = {} if content[section] is None else content[section]
    if not isinstance(values, dict):
        raise ValueError(f"{path}: {section} is {shown(values)}; it must hold lines of the form key: value")
    return {f"{section}.{key}": value for key, value in values.items()}


def _sections(path, wanted):
    """{section: its content} of a configuration file. Raises ValueError in one line."""
    content = yaml_reader.read(path)
    if not isinstance(content, dict):
        what = "it is empty" if content is None else "not a configuration"
        raise ValueError(f"{path}: {what}; it must have a section {wanted}:")
    for name in content:
        if name not in SECTIONS:
            raise ValueError(f"{path}: unknown section {name}; {_nearest(name, SECTIONS)}")
    return content
