"""Measure the time from a stroke to its face with real requests to a server on the loopback address."""

import argparse
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from installed import command

EXAMPLES = """\
  python scripts/experiments/web_latency.py             one user and eight, about half a minute on 2 cores
  python scripts/experiments/web_latency.py --users 1 --requests 1000 --seconds 300

It prints the milliseconds from sending a drawing to its response, compared with the bare encoder on the same machine,
and the growth of the server's memory. Users draw one stroke after another, without a pause.
"""
SAMPLES = Path(__file__).parents[2] / "datasets/samples/sketches"


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--users", default="1,8", metavar="N[,N...]", help="simultaneous users (default: %(default)s)")
    parser.add_argument("--requests", type=command.positive, default=200, help="total number (default: %(default)s)")
    parser.add_argument("--seconds", type=command.positive, default=60, help="time limit (default: %(default)s)")
    args = parser.parse_args()
    try:
        args.users = [command.positive(number) for number in args.users.split(",")]
    except (ValueError, argparse.ArgumentTypeError):
        parser.error(f"--users is {args.users}; it must be numbers like 1,8")
    return args


def main(args):
    encoder = bare_encoder()
    drawings = drawings_of_samples()
    with page_server() as (port, pid):
        measure(port, drawings, users=1, requests=20, seconds=args.seconds)  # warm
        print("| users | requests | median, ms | p95, ms | p95 / bare encoder | memory, MB |")
        print("|---|---|---|---|---|---|")
        for users in args.users:
            before = memory(pid)
            found = 1000 * np.array(measure(port, drawings, users, args.requests, args.seconds))
            median, p95 = np.percentile(found, (50, 95))
            grown = memory(pid) - before
            print(f"| {users} | {len(found)} | {median:.0f} | {p95:.0f} | {p95 / encoder:.1f} | {grown:+.0f} |")
    print(f"bare encoder: {encoder:.1f} ms for a face, the generator included")
    return 0


@contextlib.contextmanager
def page_server():
    """Run web.py in a separate process; yield its port and process id."""
    flags = [sys.executable, Path(__file__).parents[1] / "web.py", "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(flags, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            if not (address := re.search(r":(\d+)/", process.stdout.readline())):
                raise command.UserError("web.py did not start; run it alone to see why")
            yield int(address[1]), process.pid
        finally:
            process.terminate()


def bare_encoder(repeats=50):
    """Milliseconds that `Live.encode` takes for one face: the median."""
    command.import_tensorflow()
    from contextual_gan.completion.live import Live
    from contextual_gan.preparation.drawings import read_drawing

    live, sketch, seconds = Live(), read_drawing(pages()[0], crop="none"), []
    for _ in range(repeats):
        start = time.perf_counter()
        live.encode(sketch)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))


def pages():
    """Our samples, drawn as on the page, (512, 512, 3) uint8."""
    from contextual_gan.files.images import centre_square, read_image

    return [centre_square(read_image(path), 512) for path in sorted(SAMPLES.glob("*.png"))]


def drawings_of_samples():
    """The bytes that the page sends for them."""
    from contextual_gan.files.images import encode_png

    return [encode_png(page) for page in pages()]


def measure(port, drawings, users, requests, seconds):
    """Seconds of each answered request, `requests` in all; none is sent after `seconds`."""
    found, end = [], time.monotonic() + seconds

    def use(user):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(user, requests, users):
            if time.monotonic() > end:
                break
            start = time.perf_counter()
            connection.request("POST", f"/api/face?page=user{user}&number={number}", drawings[number % len(drawings)])
            answer = connection.getresponse()
            content = json.loads(answer.read())
            if answer.status != 200:
                raise RuntimeError(content["error"])
            found.append(time.perf_counter() - start)

    threads = [threading.Thread(target=use, args=(user,)) for user in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def memory(pid):
    """Resident memory of a process in MB; NaN if the system does not report it."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return float("nan")
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1000


if __name__ == "__main__":
    command.run(main, parse())
