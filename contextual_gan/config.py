"""Settings as frozen dataclasses. Imports nothing heavy, so that a command can answer `--help` at once."""

from dataclasses import dataclass, field

KL_DIRECTIONS = (  # KL(input || generated), KL(generated || input)
    "input-generated",
    "generated-input",
)
CHOICES = {
    "update": ("momentum", "nesterov"),
    "init_kl": KL_DIRECTIONS,
    "search_kl": KL_DIRECTIONS,
    "perceptual": ("non-saturating", "saturating"),
}
RANGES = {
    "n_init": (1, 10**6),
    "lambda_": (0, 1e6),
    "lr": (0, 1e6),
    "momentum": (0, 1),
    "iterations": (0, 10**7),
    "epsilon": (0, 1),
}


def _number(default, help):
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Search:
    """The numbers of refined initialization and of the search for z (section 4). Raises ValueError out of range."""

    n_init: int = _number(30, "N: random z that refined initialization chooses from")
    lambda_: float = _number(0.01, "weight of the perceptual loss")
    update: str = _number("momentum", "rule of each step of z")
    lr: float = _number(0.01, "learning rate")
    momentum: float = _number(0.9, "momentum of the steps of z")
    iterations: int = _number(1000, "steps of the search")
    epsilon: float = _number(1e-8, "added to each grey pixel before a half is made a distribution")
    init_kl: str = _number("input-generated", "KL divergence that the initialization chooses by")
    search_kl: str = _number("generated-input", "KL divergence that the search descends")
    perceptual: str = _number("non-saturating", "-log D(G(z)), or log(1 - D(G(z))) if saturating")

    def __post_init__(self):
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name.rstrip('_')} is {getattr(self, name)}, it must be from {low} to {high}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name.rstrip('_')} is {getattr(self, name)!r}, it must be one of {', '.join(choices)}"
                )


PRESETS = {
    # the numbers of the reproduction README that this project follows
    "readme": Search(update="momentum", lr=0.01),
    # the numbers of a co-author's code, whose lr 0.001 on 100 KL + 1 adversarial is lr 0.1 on KL + 0.01 adversarial
    "coauthor": Search(update="nesterov", lr=0.1),
}
