"""The run folder that a training fills, and that explains itself.

It holds config.yaml (all settings), log.txt (what was printed), stats.jsonl (losses every few steps), TensorBoard
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

PIXELS = "# SHA-256 of their pixels "  # how the second line of config.yaml begins
CHANGEABLE = ("epochs", "log_every", "sample_every", "save_every", "keep", "cache_gb")  # when a run is resumed


class RunFolder:
    """The files of a run."""

    def __init__(self, path, settings, about="", resume=False):
        """settings: a dataclass of config.py; about: a line on what it is trained with, which config.yaml begins with.

        Raises ValueError with one line for a folder in use, and on resume for one without a run or with a run of other
        settings than these. A folder with nothing but what a killed start leaves there is as good as an empty one.
        """
        self.path, self.settings, self.about = Path(path), settings, about
        self.pixels = None  # of the images, as `begin` is told
        self.save_every = settings.save_every  # of the run as it was begun or last resumed
        there = [path for path in self.path.iterdir() if path.name != lock.NAME] if self.path.is_dir() else []
        is_unused = self.path.is_dir() and all(map(_is_left_by_start, there))
        self.was_killed_at_start = is_unused and (bool(there) or lock.was_interrupted(self.path))
        if self.path.exists() and not is_unused and not resume:
            raise ValueError(f"{self.path} is not empty: --resume continues the run there, --out starts another")
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
                other = "start another with --out OTHER"
                if hasattr(self.settings, "init_from"):
                    other += f", from its weights: --set {self.section}.init_from={self.path}"
                raise ValueError(
                    f"{path}: the run was begun with {self.section}.{key} {before[key]}, not {now}; resume it with the "
                    f"same settings, or {other}"
                )

    def begin(self, step, pixels=None):
        """Write the configuration; forget the lines of stats.jsonl after `step`, which will be written again.

        pixels: SHA-256 of what it is trained on, where `about` does not say all.
        """
        self.pixels = pixels
        is_other = self.was_about_something_else() or pixels != (_pixels_in(self.path / "config.yaml") or pixels)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        (self.path / "samples").mkdir(exist_ok=True)
        remove_parts(self.path / name for name in ("config.yaml", "stats.jsonl"))  # of a killed process
        if lines := self.stats():  # before config.yaml, whose save_every says whether a checkpoint was due by then
            kept = [json.dumps(line).encode() + b"\n" for line in lines if line["step"] <= step]
            replace_file(self.path / "stats.jsonl", b"".join(kept))
        replace_file(self.path / "config.yaml", self.text().encode())
        if self.was_killed_at_start:
            warn(self, f"{self.path} was stopped before its first step: starting from step 0")
        if is_other:
            warn(self, "these are not the images that the run was begun with: it will not be what it would have been")
        self.events = tf.summary.create_file_writer(str(self.path))
        with self.events.as_default(step=step):
            tf.summary.text("configuration", f"```yaml\n{self.text()}```")

    @property
    def section(self):
        """Of its settings in config.yaml."""
        return config.section_of(self.settings)

    def was_about_something_else(self):
        """Whether the run was begun with another `about`."""
        path = self.path / "config.yaml"
        return path.exists() and not path.read_text(encoding="utf-8").startswith(f"# {self.about}\n")

    def text(self):
        """What config.yaml holds."""
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
        """Write the pictures of a step (see `train`) to samples/ and to TensorBoard."""
        for name, picture in pictures(step).items():
            write_png(self.path / "samples" / f"step-{step:06}_{name}.png", picture)
            with self.events.as_default(step=step):
                tf.summary.image(name, picture[None])

    def save(self, state, step):
        checkpoints.save(self.checkpoints, state, step, self.settings.keep)

    def restore(self, state):
        """Set `state` to the newest whole checkpoint -> its number of steps; 0 if none was due yet.

        Raises `WeightsError` if there were checkpoints, of which none is whole.
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
    """Whether this is what a run that was killed before it had written its config.yaml leaves in its folder."""
    if path.name in ("checkpoints", "samples") and path.is_dir():
        return all(inside.name.startswith(".") for inside in path.iterdir())
    return path.name.startswith(".")


def _pixels_in(path):
    """What a config.yaml says of the pixels; None in those of before they were looked at."""
    lines = path.read_text(encoding="utf-8").splitlines()[:2] if path.exists() else []
    return next((line.removeprefix(PIXELS) for line in lines if line.startswith(PIXELS)), None)


class NoRunFolder(RunFolder):
    """The run folder for the workers that are not the chief, who has it: nothing is read, nothing written."""

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
