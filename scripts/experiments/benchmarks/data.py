"""Preparing photos with prepare.py, compared with the plain way; and reading joints."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np

from benchmarks.clocks import clocks, seconds
from contextual_gan import command
from contextual_gan.files import images
from contextual_gan.files.apply import Skip
from contextual_gan.files.manifest import JOURNAL
from contextual_gan.files.pools import cores
from contextual_gan.files.sources import images_in
from contextual_gan.joint import join
from contextual_gan.preparation import alignment, sketches
from contextual_gan.training.batches import joint_batches, joint_files

PREPARE = Path(__file__).parents[3] / "datasets" / "prepare.py"
ENTRIES = 200_000  # size of the archive whose start is timed
CACHED = 10_000  # joints read by batches.py


def main(args):
    """Measure prepare.py against the plain way, its steps, start and memory, and the reading of joints."""
    with command.mistakes():
        alignment.default_predictor()  # fails now if it is not installed
        photos = read_photos(args.images, args.limit) if args.images else made_photos(args.limit)
    few, count, rates = photos[::4], len(photos), {}  # a part is enough for slow or relative measurements
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        write_zip(work / "few.zip", few)
        write_zip(work / "all.zip", photos)
        write_zip(work / "many.zip", photos, ENTRIES)
        start, _, _ = prepare(work / "few.zip", work / "start", until_first=True)
        _, _, memory_of_few = prepare(work / "few.zip", work / "few")
        start_of_many, _, memory_of_many = prepare(work / "many.zip", work / "many", until_first=True)
        for i in range(args.repeats):
            taken = {"the plain way, one process": (len(few), *clocks(lambda i=i: plain_way(few, work / f"plain{i}")))}
            whole, processor, memory = prepare(work / "all.zip", work / f"all{i}")
            taken[f"prepare.py, {cores()} cores"] = (count, whole, processor)
            taken["  after its first image"] = (count - 1, whole - start)
            taken |= {f"  {name}": (len(few), *both) for name, both in steps(few, work / f"steps{i}").items()}
            for name, (n, *both) in taken.items():
                rates.setdefault(name, []).append([n / clock for clock in both])
        rates = {name: [statistics.median(r) for r in zip(*rows, strict=True)] for name, rows in rates.items()}
        plain = rates["the plain way, one process"][0]
        print(f"{count} photos{'':19}images/s  times the plain way  per second of processor time")
        for name, (rate, *processor) in rates.items():
            print(f"{name:28} {rate:9.1f} {rate / plain:20.2f}", *(f"{rate:29.1f}" for rate in processor))
        print(f"\nseconds to the first image: {start:.1f} of {len(few)}, {start_of_many:.1f} of {ENTRIES}")
        memories = f"{memory:.0f} for {count}, {memory_of_many:.0f} at the start of {ENTRIES}"
        print(f"MB of memory, all processes: {memory_of_few:.0f} for {len(few)}, {memories}\n")
        reading(work / "all0" / "train")
    return 0


def read_photos(location, limit):
    """The bytes of `limit` photos spread over a folder or zip archive."""
    found, _ = images_in(location)
    count = min(limit, len(found))
    return [found[i * len(found) // count].read() for i in range(count)]


def made_photos(count):
    """The bytes of JPEGs of 178 x 218 pixels, like CelebA's: one photo in the public domain with different noise."""
    from skimage.data import astronaut

    rng, face = np.random.default_rng(0), astronaut()[:218, 136:314, ::-1]
    noisy = (face * rng.uniform(0.7, 1.1) + rng.normal(0, 4, face.shape) for _ in range(count))
    return [cv2.imencode(".jpg", photo.clip(0, 255).astype(np.uint8))[1].tobytes() for photo in noisy]


def write_zip(path, photos, entries=0):
    """An archive of the photos; if `entries` is larger, padded with single-pixel images."""
    dot, every = images.encode_png(np.zeros((1, 1, 3), np.uint8)), max(entries // len(photos), 1)
    at = {i * every: photo for i, photo in enumerate(photos)}
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(max(entries, len(photos))):
            archive.writestr(f"photos/{i:06d}.jpg", at.get(i, dot))


def plain_way(photos, work):
    """The steps of the OpenFace and pix2pix scripts: one pass after another, each from files to files."""
    import dlib

    model, indices = alignment.load_predictor(None, "inner-eyes-bottom-lip")
    places = alignment.LANDMARKS["inner-eyes-bottom-lip"]["places"]
    detector = dlib.get_frontal_face_detector()

    def one_pass(source, target, function):
        (work / target).mkdir()
        for path in sorted((work / source).iterdir()):
            if (image := function(cv2.imread(path), path.name)) is not None:
                cv2.imwrite(work / target / f"{path.stem}.png", image)

    def align(photo, name):
        rgb = cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)
        if not (faces := detector(rgb, 1)):
            return None
        points = model(rgb, max(faces, key=lambda face: face.area()))
        points = [(points.part(i).x, points.part(i).y) for i in indices]
        return cv2.warpAffine(photo, 128 * alignment.affine(points, places), (128, 128))

    (work / "photos").mkdir(parents=True)
    for number, photo in enumerate(photos):
        (work / "photos" / f"{number:06d}.jpg").write_bytes(photo)
    one_pass("photos", "aligned", align)
    one_pass("aligned", "squares", lambda face, name: cv2.resize(face, (64, 64), interpolation=cv2.INTER_AREA))
    one_pass("squares", "sketches", lambda square, name: sketches.xdog(square))
    one_pass("squares", "joints", lambda square, name: np.hstack([cv2.imread(work / "sketches" / name), square]))
    shutil.copytree(work / "joints", work / "train")


def steps(photos, out):
    """{step: `clocks`} of the steps of prepare.py, each on all photos."""

    def align(photo):
        try:
            return alignment.align(photo, size=128)
        except Skip:
            return None

    def measured(step, function, inputs):
        outputs = []
        taken[step] = clocks(lambda: outputs.extend(map(function, inputs)))
        return outputs

    cv2.setNumThreads(1)
    taken, names = {}, (out / f"{i:06d}.png" for i in range(len(photos)))
    read = measured("read a JPEG", lambda photo: images.on_background(images.decode_rgba(photo)), photos)
    align(read[0])  # loads the model
    faces = [face for face in measured("align, at 128", align, read) if face is not None]
    squares = measured("resize to 64", lambda face: images.centre_square(face, 64), faces)
    pairs = list(zip(measured("sketch, XDoG", sketches.xdog, squares), squares, strict=True))
    measured("join, write a PNG", lambda pair: images.write_png(next(names), join(*pair)), pairs)
    return taken


def prepare(archive, out, until_first=False):
    """Run prepare.py, to its end or until the first image is done -> (seconds, processor seconds, peak MB)."""

    def begun():
        return (out / JOURNAL).is_file() and (out / JOURNAL).read_bytes().count(b"\n") > 1  # the first are parameters

    start, memory, before = time.perf_counter(), 0, os.times()
    command_line = [sys.executable, PREPARE, "--images", archive, "--out", out]
    process = subprocess.Popen(command_line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (until_first and begun()):
        memory = max(memory, memory_of(process.pid))
        time.sleep(0.05)
    taken = time.perf_counter() - start
    process.terminate()
    if process.wait() > 1:
        raise RuntimeError(f"failed: {' '.join(map(str, command_line))}")
    return taken, sum(os.times()[2:4]) - sum(before[2:4]), memory  # [2:4]: children that have ended


def memory_of(pid):
    """MB of a process and its children (on Linux; 0 elsewhere); shared memory counts in each."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = "".join(file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")).split()
    except (OSError, IndexError):  # it has ended
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6 + sum(memory_of(child) for child in children)


def reading(folder, steps=100):
    """Print the joints/s of batches.py, from the cache and from PNG; medians of 5."""
    files = joint_files(folder)
    files = (files * -(-CACHED // len(files)))[:CACHED]
    for name, cache_bytes in (("the cache", 10**9), ("PNG", 0)):
        joints = iter(joint_batches(files, batch_size=64, seed=0, cache_bytes=cache_bytes))

        def take(batches=joints):
            for _ in range(steps):
                next(batches)

        take()
        rate = statistics.median(64 * steps / seconds(take) for _ in range(5))
        print(f"joints/s from {name:11} {rate:6.0f}")
