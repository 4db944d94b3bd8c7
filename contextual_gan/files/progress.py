"""Progress of long work: a bar on a terminal, otherwise an occasional plain line."""

import sys
import time
from contextlib import contextmanager

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10


@contextmanager
def progress(total, label, unit):
    """Yield `advance(n, note="")`, to be called after each n of `total` units; show rate and time left on stderr."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=label, unit=" " + unit, unit_scale=True, dynamic_ncols=True, smoothing=0.1) as bar:

            def advance(n, note=""):
                bar.set_postfix_str(note, refresh=False)
                bar.update(n)

            yield advance
        return
    done, start = 0, time.monotonic()
    last = start

    def advance(n, note=""):
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or done >= total:
            last, rate = now, done / max(now - start, 1e-9)
            left = f"{tqdm.format_interval((total - done) / rate)} left"
            note = note and f", {note}"
            print(f"{label}: {done} of {total} {unit}, {rate:.0f}/s, {left}{note}", file=sys.stderr, flush=True)

    yield advance
