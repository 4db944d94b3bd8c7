"""The loop that trains a network, and the run folder that it fills.

A run folder explains itself: config.yaml (all settings), log.txt (what was printed), stats.jsonl (losses every few
steps), TensorBoard events, samples/ (pictures, always of the same z or images), checkpoints/. What step t
does is a function of the settings, the images and t: a run that is killed and resumed makes the same weights and the
same lines.
"""

import json
import math
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf
import yaml

from contextual_gan import checkpoints, config, training_state
from contextual_gan.images import replace_file, write_png
from contextual_gan.progress import progress

SATURATED = 0.01  # D(G(z)) and 1 - D(x) below this: D is so sure that G learns nothing
CHANGEABLE = ("epochs", "log_every", "sample_every", "save_every", "keep", "cache_gb")  # when a run is resumed


class Diverged(FloatingPointError):
    """A loss or a gradient is no longer finite. The message is one line: between which steps, what to do."""


class RunFolder:
    """The files of a run."""

    def __init__(self, path, settings, about="", resume=False):
        """settings: a dataclass of config.py; about: a line on what it is trained with, which config.yaml begins with.

        Raises ValueError with one line for a folder in use, and on resume for one without a run or with a run of other
        settings than these.
        """
        self.path, self.settings, self.about = Path(path), settings, about
        in_use = self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
        if in_use and not resume:
            raise ValueError(f"{self.path} is not empty: --resume continues the run there, --out starts another")
        if resume:
            self._check_settings()

    def _check_settings(self):
        path = self.path / "config.yaml"
        if not path.is_file():
            raise ValueError(f"there is no run to resume in {self.path}")
        before = config.resolved(config.load(path, self.section, type(self.settings)))
        for key, now in config.resolved(self.settings).items():
            if before[key] != now and key not in CHANGEABLE:
                other = "start another with --out OTHER"
                if hasattr(self.settings, "init_from"):
                    other += f", from its weights: --set {self.section}.init_from={self.path}"
                raise ValueError(
                    f"{path}: the run was begun with {self.section}.{key} {before[key]}, not {now}; resume it with the "
                    f"same settings, or {other}"
                )

    def begin(self, step):
        """Write the configuration; forget the lines of stats.jsonl after `step`, which will be written again."""
        if self.was_about_something_else():
            warn(self, "these are not the images that the run was begun with: it will not be what it would have been")
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        (self.path / "samples").mkdir(exist_ok=True)
        replace_file(self.path / "config.yaml", self.text().encode())
        kept = [line for line in self.stats() if line["step"] <= step]
        replace_file(self.path / "stats.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in kept))
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
        return f"# {self.about}\n" + yaml.safe_dump({self.section: config.resolved(self.settings)}, sort_keys=False)

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

    def draw(self, pictures, step):
        """Write the pictures of a step (see `train`) to samples/ and to TensorBoard."""
        for name, picture in pictures(step).items():
            write_png(self.path / "samples" / f"step-{step:06}_{name}.png", picture)
            with self.events.as_default(step=step):
                tf.summary.image(name, picture[None])

    def save(self, state, step):
        training_state.save(self.checkpoints, state, step, self.settings.keep)

    def restore(self, state):
        """Set `state` to the newest whole checkpoint -> its number of steps; 0 if none was due yet.

        Raises `checkpoints.WeightsError` if there were checkpoints, of which none is whole.
        """
        steps = self.stats()[-1:]
        if not checkpoints.found(self.checkpoints) and not (steps and steps[0]["step"] > self.settings.save_every):
            warn(self, f"{self.path} was stopped before its first checkpoint: starting from step 0")
            return 0
        return training_state.restore(self.checkpoints, state, lambda line: warn(self, line))

    @property
    def checkpoints(self):
        return self.path / "checkpoints"


class NoRunFolder(RunFolder):
    """The run folder for the workers that are not the chief, who has it: nothing is read, nothing written."""

    def __init__(self, path, settings, about="", resume=False):
        self.path, self.settings, self.about = Path(path), settings, about

    def begin(self, step):
        pass

    def stats(self):
        return []

    def log(self, line):
        pass

    def record(self, stats):
        pass

    def draw(self, pictures, step):
        pass

    def save(self, state, step):
        pass

    def restore(self, state):
        return 0


def train(run, state, update, batches, *, start, steps, pictures, judge=lambda step: {}):
    """Train from step `start` to `steps` -> the number of steps done, fewer if SIGINT or SIGTERM asked to stop.

    run: a `RunFolder`, whose settings say what is done how often. state: tf.Module with all that changes, saved every
    `save_every` steps and at the end. update(batch, step) -> {name: scalar tensor}, the losses before the update; all
    must stay finite. pictures(step) -> {name: (H, W, 3) uint8 image}, drawn at step 0, every `sample_every` steps and
    at the end.
    Raises `Diverged`, and OSError where a disk is full; the checkpoints so far are whole then.
    """
    settings, finite, saved = run.settings, start, start
    size = settings.batch_size
    with _stop_requests() as is_asked, progress((steps - start) * size, "training", "images") as show:
        if start == 0:
            run.draw(pictures, 0)
        counted, since = start, time.monotonic()
        for step, batch in zip(range(start, steps), batches):  # noqa: B905  the batches never end
            stats, done = update(batch, tf.constant(step, tf.int64)), step + 1
            ends, note = done == steps or is_asked(), ""
            logs, draws, saves = (
                done % n == 0 for n in (settings.log_every, settings.sample_every, settings.save_every)
            )
            if ends or logs or draws or saves:
                values = {name: float(value) for name, value in stats.items()}
                _check_finite(run, values, finite, done)
                finite, note = done, _status(values)
            if logs:
                rate = (done - counted) * size / (time.monotonic() - since)
                values |= judge(done)
                note = _status(values)
                run.record({"step": done, "images": done * size, **values, "images/s": round(rate, 2)})
                run.log(f"step {done}: {note}, {rate:.1f} images/s")
                _warn_of_saturation(run, values, done)
            if draws or done == steps:
                run.draw(pictures, done)
            if saves or ends:
                _check_finite(run, {"the weights": _norm(state)}, saved, done)
                run.save(state, done)
                saved = done
            if logs or draws or saves:
                counted, since = done, time.monotonic()  # the rate is that of the steps alone
            show(size, note)
            if ends:
                break
    return saved


def _check_finite(run, values, last, done):
    """Raise `Diverged` if one of some numbers is not finite; all were at step `last`."""
    if all(math.isfinite(value) for value in values.values()):
        return
    bad = ", ".join([name for name, value in values.items() if not math.isfinite(value)][:8])
    whole = next((path for path in checkpoints.found(run.checkpoints) if not checkpoints.damage(path)), None)
    where = f"the last good checkpoint is {whole}" if whole else "there is no checkpoint yet"
    raise Diverged(f"{bad} no longer finite, between steps {last + 1} and {done}; {where}; try a lower learning rate")


def _norm(state):
    return tf.linalg.global_norm([tf.cast(variable, tf.float32) for variable in state.variables])


def _status(values):
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items() if not name.endswith("gradient"))


def _warn_of_saturation(run, values, step):
    if max(1 - values.get("D(x)", 0), values.get("D(G(z))", 1)) < SATURATED:
        warn(run, f"step {step}: D is sure of every image (saturated), G learns little; try more g_updates")


def warn(run, line):
    """Print a warning, and log it."""
    print(f"warning: {line}", file=sys.stderr, flush=True)
    run.log(f"warning: {line}")


@contextmanager
def _stop_requests():
    """Yields a function that says whether SIGINT or SIGTERM has come; a second one ends the program at once."""
    requests = []

    def ask(number, frame):
        if requests:
            os._exit(130)
        requests.append(number)
        print("stopping after this step; once more: at once, without saving", file=sys.stderr, flush=True)

    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(requests)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
