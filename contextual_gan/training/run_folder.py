"""The self-contained folder of a training run.

It holds config.yaml (all settings), log.txt (the printed lines), stats.jsonl (losses every few steps), TensorBoard
events, samples/ (pictures, always of the same z or images) and checkpoints/.
"""

import json
import sys
from pathlib import Path

import tensorflow as tf
import yaml

from contextual_gan import config
from contextual_gan.files import checkpoints, lock
from contextual_gan.files.images import remove_parts, replace_file, write_png

PIXELS = "# SHA-256 of their pixels "  # start of the second line of config.yaml
CHANGEABLE = ("epochs", "log_every", "sample_every", "save_every", "keep", "cache_gb")  # on resume


class RunFolder:
    """The files of a run."""

    def __init__(self, path, settings, about="", resume=False):
        """settings: a dataclass of config.py; about: a line on the training data, the first line of config.yaml.

        Raises ValueError in one line if the folder is in use, or, on resume, if it holds no run or one with other
        settings. A folder that holds only the files of a run killed at its start counts as empty.
        """
        self.path, self.settings, self.about = Path(path), settings, about
        self.pixels = None  # hash of the images, set by `begin`
        self.save_every = settings.save_every  # as the run was started or last resumed
        there = [path for path in self.path.iterdir() if path.name != lock.NAME] if self.path.is_dir() else []
        is_unused = self.path.is_dir() and all(map(_is_left_by_start, there))
        self.was_killed_at_start = is_unused and (bool(there) or lock.was_interrupted(self.path))
        if self.path.exists() and not is_unused and not resume:
            raise ValueError(f"{self.path} is not empty: --resume continues its run, another --out starts a new one")
        if resume and not self.was_killed_at_start:
            self._check_settings()

    def _check_settings(self):
        path = self.path / "config.yaml"
        if not path.is_file():
            raise ValueError(f"there is no run to resume in {self.path}")
        before = config.resolved(config.load(path, self.section, type(self.settings)))
        self.save_every = before["save_every"]
        for key, now in config.resolved(self.settings).items():
            if before[key] != now and key not in CHANGEABLE:
                other = "start a new run with --out OTHER"
                if hasattr(self.settings, "init_from"):
                    other += f", from its weights: --set {self.section}.init_from={self.path}"
                raise ValueError(
                    f"{path}: the run was started with {self.section}.{key} {before[key]}, not {now}; resume it with "
                    f"the same settings, or {other}"
                )

    def begin(self, step, pixels=None):
        """Write the configuration; remove the lines of stats.jsonl after `step`, which will be written again.

        pixels: SHA-256 of the training data, if `about` does not identify it fully.
        """
        self.pixels = pixels
        is_other = self.was_about_something_else() or pixels != (_pixels_in(self.path / "config.yaml") or pixels)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        (self.path / "samples").mkdir(exist_ok=True)
        remove_parts(self.path / name for name in ("config.yaml", "stats.jsonl"))  # left by a killed process
        if lines := self.stats():  # before config.yaml, whose save_every shows whether a checkpoint was due
            kept = [json.dumps(line).encode() + b"\n" for line in lines if line["step"] <= step]
            replace_file(self.path / "stats.jsonl", b"".join(kept))
        replace_file(self.path / "config.yaml", self.text().encode())
        if self.was_killed_at_start:
            warn(self, f"{self.path} was stopped before its first step: starting from step 0")
        if is_other:
            warn(self, "the images differ from those that the run was started with: its result will differ too")
        self.events = tf.summary.create_file_writer(str(self.path))
        with self.events.as_default(step=step):
            tf.summary.text("configuration", f"```yaml\n{self.text()}```")

    @property
    def section(self):
        """The settings in its config.yaml."""
        return config.section_of(self.settings)

    def was_about_something_else(self):
        """Whether the run was started with another `about`."""
        path = self.path / "config.yaml"
        return path.exists() and not path.read_text(encoding="utf-8").startswith(f"# {self.about}\n")

    def text(self):
        """The content of config.yaml."""
        pixels = f"{PIXELS}{self.pixels}\n" if self.pixels else ""
        return f"# {self.about}\n{pixels}" + yaml.safe_dump(
            {self.section: config.resolved(self.settings)}, sort_keys=False
        )

    def stats(self):
        """The lines of stats.jsonl as dicts."""
        return checkpoints.read_stats(self.path / "stats.jsonl")

    def log(self, line):
        """Add a line to log.txt."""
        with open(self.path / "log.txt", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def record(self, stats):
        """Add a line to stats.jsonl, and the same numbers to TensorBoard."""
        with open(self.path / "stats.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(stats, allow_nan=False) + "\n")
        with self.events.as_default(step=stats["step"]):
            for name, value in stats.items():
                if name != "step":
                    tf.summary.scalar(name, value)
        self.events.flush()

    def show(self, pictures, step):
        """Write the pictures of a step (see `loop.train`) to samples/ and to TensorBoard."""
        for name, picture in pictures(step).items():
            write_png(self.path / "samples" / f"step-{step:06}_{name}.png", picture)
            with self.events.as_default(step=step):
                tf.summary.image(name, picture[None])

    def save(self, state, step):
        checkpoints.save(self.checkpoints, state, step, self.settings.keep)

    def restore(self, state):
        """Set `state` to the newest complete checkpoint -> its number of steps; 0 if none was due yet.

        Raises `WeightsError` if there are checkpoints but none is complete.
        """
        if self.was_killed_at_start:
            return 0
        steps = self.stats()[-1:]
        if not checkpoints.found(self.checkpoints) and not (steps and steps[0]["step"] > self.save_every):
            warn(self, f"{self.path} was stopped before its first checkpoint: starting from step 0")
            return 0
        return checkpoints.restore(self.checkpoints, state, lambda line: warn(self, line))

    @property
    def checkpoints(self):
        return self.path / "checkpoints"


def _is_left_by_start(path):
    """Whether a folder holds only the files of a run that was killed before it wrote its config.yaml."""
    if path.name in ("checkpoints", "samples") and path.is_dir():
        return all(inside.name.startswith(".") for inside in path.iterdir())
    return path.name.startswith(".")


def _pixels_in(path):
    """The hash of the pixels in a config.yaml; None in older ones, which have no hash."""
    lines = path.read_text(encoding="utf-8").splitlines()[:2] if path.exists() else []
    return next((line.removeprefix(PIXELS) for line in lines if line.startswith(PIXELS)), None)


class NoRunFolder(RunFolder):
    """The run folder of a worker that is not the chief: it reads and writes nothing."""

    def __init__(self, path, settings, about="", resume=False):
        self.path, self.settings, self.about, self.pixels = Path(path), settings, about, None

    def begin(self, step, pixels=None):
        pass

    def stats(self):
        return []

    def log(self, line):
        pass

    def record(self, stats):
        pass

    def show(self, pictures, step):
        pass

    def save(self, state, step):
        pass

    def restore(self, state):
        return 0


def warn(run, line):
    """Print a warning, and log it."""
    print(f"warning: {line}", file=sys.stderr, flush=True)
    run.log(f"warning: {line}")
