"""The loop that trains a network, and the run folder that it fills.

A run folder explains itself: config.yaml (all settings), log.txt (what was printed), stats.jsonl (losses every few
steps), TensorBoard events, samples/ (pictures of fixed z, and of fixed sketches completed), checkpoints/. What step t
does is a function of the settings and t: a run that is killed and resumed makes the same weights and the same lines.
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

from contextual_gan import checkpoints, training_state
from contextual_gan.images import replace_file, write_png
from contextual_gan.progress import progress

SATURATED = 0.01  # D(G(z)) and 1 - D(x) below this: D is so sure that G learns nothing


class Diverged(RuntimeError):
    """A loss or a gradient is no longer finite. The message is one line: between which steps, what to do."""


class RunFolder:
    """The files of a run."""

    def __init__(self, path, config, resume=False):
        """config: the text of config.yaml. Raises ValueError for a folder in use, and for other settings on resume."""
        self.path, self.config = Path(path), config
        in_use = self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
        if in_use and not resume:
            raise ValueError(f"{self.path} is not empty: --resume continues the run there, --out starts another")
        if resume and not (self.path / "config.yaml").is_file():
            raise ValueError(f"there is no run to resume in {self.path}")

    def begin(self, step):
        """Write the configuration; forget the lines of stats.jsonl after `step`, which will be written again."""
        (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        (self.path / "samples").mkdir(exist_ok=True)
        replace_file(self.path / "config.yaml", self.config.encode())
        kept = [line for line in self.stats() if line["step"] <= step]
        replace_file(self.path / "stats.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in kept))
        self.events = tf.summary.create_file_writer(str(self.path))
        with self.events.as_default(step=step):
            tf.summary.text("configuration", f"```yaml\n{self.config}```")

    def stats(self):
        """The lines of stats.jsonl as dicts, without one that was cut off."""
        path, lines = self.path / "stats.jsonl", []
        for text in path.read_text().splitlines() if path.exists() else ():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
        return lines

    def log(self, line):
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

    @property
    def checkpoints(self):
        return self.path / "checkpoints"


def train(run, state, update, batches, *, start, steps, settings, pictures):
    """Train from step `start` to `steps` -> the number of steps done, fewer if SIGINT or SIGTERM asked to stop.

    state: tf.Module with all that changes, saved every `settings.save_every` steps and at the end. update(batch, step)
    -> {name: scalar tensor}, the losses before the update; all must stay finite. pictures(step) -> {name: (H, W, 3)
    uint8 image}, drawn at step 0, every `settings.sample_every` steps and at the end.
    Raises `Diverged`, and OSError where a disk is full; the checkpoints so far are whole then.
    """
    begun, finite = time.monotonic(), start
    done = saved = start
    if start == 0:
        _draw(run, pictures, 0)
    with _stop_requests(run) as is_asked, progress((steps - start) * settings.batch_size, "training", "images") as show:
        for step, batch in zip(range(start, steps), batches):  # noqa: B905  the batches never end
            stats, done = update(batch, tf.constant(step, tf.int64)), step + 1
            ends = done == steps or is_asked()
            note = ""
            if ends or any(done % n == 0 for n in (settings.log_every, settings.save_every, settings.sample_every)):
                values = {name: float(value) for name, value in stats.items()}
                _check_finite(values, finite, done, run)
                finite = done
                note = _status(values)
            if done % settings.log_every == 0:
                rate = (done - start) * settings.batch_size / (time.monotonic() - begun)
                run.record({"step": done, "images": done * settings.batch_size, **values, "images/s": round(rate, 2)})
                run.log(f"step {done}: {note}, {rate:.1f} images/s")
                _warn_of_saturation(values, done, run)
            if done % settings.sample_every == 0 or done == steps:
                _draw(run, pictures, done)
            if done % settings.save_every == 0 or ends:
                training_state.save(run.checkpoints, state, done, settings.keep)
                saved = done
            show(settings.batch_size, note)
            if ends:
                break
    assert saved == done, "what was done is saved"
    return done


def _check_finite(values, last, done, run):
    if all(math.isfinite(value) for value in values.values()):
        return
    bad = ", ".join(name for name, value in values.items() if not math.isfinite(value))
    whole = checkpoints.found(run.checkpoints)
    where = f"the last checkpoint before is {whole[0]}" if whole else "there is no checkpoint yet"
    raise Diverged(f"{bad} no longer finite, between steps {last + 1} and {done}; {where}; try a lower learning rate")


def _status(values):
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items() if not name.endswith("gradient"))


def _warn_of_saturation(values, step, run):
    if max(1 - values.get("D(x)", 0), values.get("D(G(z))", 1)) < SATURATED:
        warn(run, f"step {step}: D is sure of every image (saturated), G learns little; try more g_updates")


def warn(run, line):
    """Print a warning, and log it."""
    print(f"warning: {line}", file=sys.stderr, flush=True)
    run.log(f"warning: {line}")


def _draw(run, pictures, step):
    for name, picture in pictures(step).items():
        write_png(run.path / "samples" / f"step-{step:06}_{name}.png", picture)
        with run.events.as_default(step=step):
            tf.summary.image(name, picture[None])


@contextmanager
def _stop_requests(run):
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
