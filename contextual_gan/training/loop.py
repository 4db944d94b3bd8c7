"""The training loop, and the run folder that it fills.

A run folder is self-contained: config.yaml (all settings), log.txt (the printed lines), stats.jsonl (losses every few
steps), TensorBoard events, samples/ (pictures, always of the same z or images), checkpoints/. The work of step t
depends only on the settings, the images and t: a run that is killed and resumed produces the same weights and the
same lines.
"""

import math
import os
import signal
import sys
import time
from contextlib import contextmanager

import tensorflow as tf

from contextual_gan.files import checkpoints
from contextual_gan.files.progress import progress
from contextual_gan.training.run_folder import warn

SATURATED = 0.01  # D(G(z)) and 1 - D(x) below this: D is so certain that G learns nothing


class Diverged(FloatingPointError):
    """A loss or a gradient is no longer finite. The message is one line: the range of steps, and the remedy."""


def train(run, state, update, batches, *, start, steps, pictures, judge=lambda step: {}):
    """Train from step `start` to `steps` -> the number of steps done, fewer after SIGINT or SIGTERM.

    run: a `RunFolder`, whose settings determine how often to log, draw and save. state: tf.Module with everything that
    changes, saved every `save_every` steps and at the end. update(batch, step) -> {name: scalar tensor}, the losses
    before the update, which must all stay finite. pictures(step) -> {name: (H, W, 3) uint8 image}, drawn at step 0,
    every `sample_every` steps and at the end.
    Raises `Diverged`, and OSError if a disk is full; the checkpoints written so far remain complete.
    """
    settings, finite, saved = run.settings, start, start
    size = settings.batch_size
    with _stop_requests() as is_asked, progress((steps - start) * size, "training", "images") as show:
        if start == 0:
            run.show(pictures, 0)
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
                run.show(pictures, done)
            if saves or ends:
                _check_finite(run, {"the weights": _norm(state)}, saved, done)
                run.save(state, done)
                saved = done
            if logs or draws or saves:
                counted, since = done, time.monotonic()  # the rate counts only the time of the steps
            show(size, note)
            if ends:
                break
    return saved


def learning_rate(settings, step, steps):
    """The learning rate of a step (a scalar tensor): settings.lr, falling linearly to 0 over the last `lr_decay` of the
    run.

    None, the optimizers' own rate, if it does not fall.
    """
    if not settings.lr_decay or steps is None:
        return None
    left = tf.cast(steps - step, tf.float32) / (settings.lr_decay * steps)
    return settings.lr * tf.minimum(left, 1.0)


def has_another_schedule(settings, lines, steps):
    """Whether the learning rate in the last line of stats.jsonl differs from that in a run of `steps` steps."""
    if not lines or "lr" not in lines[-1] or not settings.lr_decay:
        return False
    last = tf.constant(lines[-1]["step"] - 1, tf.int64)  # lines count finished steps; the first is step 0
    return abs(lines[-1]["lr"] - float(learning_rate(settings, last, steps))) > 1e-6 * settings.lr


def _check_finite(run, values, last, done):
    """Raise `Diverged` if any value is not finite; the last check, at step `last`, found all finite."""
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
        warn(run, f"step {step}: D is certain about every image (saturated), so G learns little; try more g_updates")


@contextmanager
def _stop_requests():
    """Yield a function that returns whether SIGINT or SIGTERM has arrived; a second one ends the program at once."""
    requests = []

    def ask(number, frame):
        if requests:
            os._exit(130)
        requests.append(number)
        print("stopping after this step; interrupt again to stop at once, without saving", file=sys.stderr, flush=True)

    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(requests)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
