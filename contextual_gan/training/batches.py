"""The joints of a folder as the batches that networks are trained on.

Which images a batch holds, and which of them are mirrored, is a function of (seed, step): a run that continues at any
step sees the very batches that it would have seen, whatever the number of threads.

Joints are decoded by TensorFlow and not by images.py: on 2 cores, threads with Pillow decode 3,100 joints/s, because
they wait for each other, and tf.data 6,600/s. Only the one kind of file that `datasets/prepare.py` writes is taken.
No Python runs inside the pipeline either: a thread that waits for the interpreter when the program ends, ends never.
"""

import contextlib
import os
import stat
import struct
from pathlib import Path

import numpy as np
import tensorflow as tf

from contextual_gan.config import CHOOSING
from contextual_gan.files.images import ImageError, read_image
from contextual_gan.files.sources import IMAGE_SUFFIXES
from contextual_gan.joint import SIZE

SHAPE = (SIZE, 2 * SIZE, 3)
HEADER = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBB", 2 * SIZE, SIZE, 8, 2)  # how every joint file begins
COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}  # of the PNG specification
CACHE_BYTES = 6 * 10**9  # all 202,599 faces of CelebA are 5.0 GB
CHUNK = 256  # joints decoded at a time when all are wanted
THREADS = os.cpu_count() or 1


def joint_files(folder):
    """The joint images of a folder and all below it -> paths as strings, sorted by their place in the folder.

    A joint is an 8-bit RGB PNG of 128 x 64 pixels; the header of every file is read (80,000/s). Hidden files and
    files that are not called like images (manifest.jsonl) are left out.
    Raises FileNotFoundError for a missing folder, and ValueError with one line for a folder without joints, for the
    folder above `train/`, and for the first image that is not a joint.
    """
    folder = os.fspath(folder)
    if not os.path.lexists(folder):
        raise FileNotFoundError(f"no such folder: {folder}")
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is not a folder of joint images")
    if os.path.isdir(train := os.path.join(folder, "train")):
        raise ValueError(f"{folder} is not one set of joint images but the folder above: give {train}")
    files = sorted(path for path in _visible_files(folder) if path.lower().endswith(tuple(IMAGE_SUFFIXES)))
    if not files:
        raise ValueError(f"no joint images (PNG of {2 * SIZE} x {SIZE} pixels) in {folder}")
    for path in files:
        _check_header(path)
    return files


def without_choosing(files):
    """The files of `joint_files` without those that settings are chosen on, see `config.CHOOSING`."""
    return files[min(CHOOSING, len(files) // 10) :]


def _visible_files(folder):
    def failed(error):
        raise error

    for parent, folders, files in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(parent, name) for name in files if not name.startswith("."))


def _check_header(path):
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
            raise ValueError(f"{path}: not a regular file")
        with open(path, "rb") as file:
            header = file.read(len(HEADER))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    if header == HEADER:
        return
    if not header:
        reason = "empty file"
    elif header[:16] != HEADER[:16] or len(header) < len(HEADER):
        reason = "not a PNG file, or one that is cut short"
    else:
        width, height, bits, colour = struct.unpack(">IIBB", header[16:])
        reason = f"{width} x {height} pixels, {bits}-bit {COLOURS.get(colour, 'of unknown colours')}"
    raise ValueError(f"{path}: {reason}; a joint image is a PNG of {2 * SIZE} x {SIZE} pixels, 8-bit RGB")


def read_joints(files, progress=lambda n: None):
    """Read joint images -> (n, 64, 128, 3) uint8, in the order of `files`; progress(n) is called after each n of them.

    Raises ValueError with one line that names the first file which is not a joint image or is damaged.
    """
    joints = np.empty((len(files), *SHAPE), np.uint8)
    for first, chunk in _decoded(files):
        joints[first : first + len(chunk)] = chunk
        progress(len(chunk))
    return joints


def _decoded(files):
    """Decode files in order, in parallel: yields (index of the first, up to CHUNK joints as one tensor)."""
    dataset = tf.data.Dataset.from_tensor_slices(_names(files))
    chunks = iter(dataset.map(_decode, num_parallel_calls=THREADS).batch(CHUNK))
    for first in range(0, len(files), CHUNK):
        try:
            chunk = next(chunks)
        except tf.errors.OpError as error:
            _name_damaged(files[first : first + CHUNK], error)
            raise
        yield first, chunk


def _names(files):
    return tf.constant([os.fsencode(path) for path in files], tf.string)


def _decode(path):
    return tf.ensure_shape(tf.io.decode_png(tf.io.read_file(path), channels=3), SHAPE)


def _name_damaged(files, cause):
    for path in files:
        _check_header(path)
        try:
            _decode(os.fsencode(path))
        except tf.errors.OpError:
            raise ValueError(f"{path}: {_damage(path)}") from cause


def _damage(path):
    """What is wrong with a file that TensorFlow cannot decode: Pillow has a word for most cases."""
    try:
        read_image(path)
    except ImageError as error:
        return str(error)
    return "damaged image"


@contextlib.contextmanager
def damage_named(files):
    """TensorFlow's errors name no file: if one is raised in this block, read all of `files` again (5,000/s).

    Raises ValueError with one line that names the first damaged file; if there is none, the error was another one.
    """
    try:
        yield
    except tf.errors.OpError:
        for _ in _decoded(files):
            pass
        raise


def joint_batches(
    files, *, batch_size, seed, start=0, flip=True, cache_bytes=CACHE_BYTES, progress=lambda n: None, digest=None
):
    """The batches that a run trains on -> endless tf.data.Dataset of (batch_size, 64, 128, 3) float32 in [-1, 1].

    Its first element is the batch of step `start`. Every epoch has each file once, in an order of its own; batches
    run on across the ends of epochs. With `flip`, half of the pairs are mirrored, sketch and photo each in its place.
    If all joints take at most `cache_bytes` and half of the memory that is free, they are read now, once, and kept as
    uint8; otherwise each is decoded when it is its turn, inside TensorFlow, where `damage_named` helps.
    seed: any integer of 64 bits. progress: as of `read_joints`. digest: of hashlib, updated with the pixels of all
    joints in the order of `files`; if they are not kept, they are decoded once more for it (6,600/s).
    Raises ValueError with one line for arguments out of range, and as `read_joints`.
    """
    if not files:
        raise ValueError("no joint images")
    if batch_size < 1 or start < 0 or cache_bytes < 0:
        raise ValueError(f"batch_size {batch_size}, start {start}, cache_bytes {cache_bytes}: out of range")
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"seed {seed} does not fit into 64 bits")
    steps = tf.data.Dataset.counter(start)
    indices = steps.map(lambda step: _order(step, len(files), batch_size, seed))
    size = len(files) * np.prod(SHAPE)
    if size <= min(cache_bytes, _free_memory() / 2):
        joints = _cached(files, progress, digest)
        images = indices.map(lambda i: tf.gather(joints, i))
    else:
        for _, chunk in _decoded(files) if digest else ():
            digest.update(chunk.numpy())
            progress(len(chunk))
        paths = _names(files)
        images = indices.unbatch().map(lambda i: _decode(paths[i]), num_parallel_calls=THREADS).batch(batch_size)

    def finish(images, step):
        images = tf.ensure_shape(images, (batch_size, *SHAPE))
        if flip:
            images = _mirrored(images, _flips(step, batch_size, seed))
        return (tf.cast(images, tf.float32) - 127.5) * (1 / 127.5)  # the same bits on every machine: rounded once only

    return tf.data.Dataset.zip(images, steps).map(finish, num_parallel_calls=2).prefetch(4)


def _cached(files, progress, digest):
    """All joints in main memory -> (n, 64, 128, 3) uint8 variable."""
    if tf.distribute.has_strategy():
        raise ValueError("call joint_batches() outside of strategy.scope(), which would put its cache on every device")
    with tf.device("CPU:0"):
        # tf.data holds a variable by reference; of a tensor it makes a second copy when it optimizes its graph
        joints = tf.Variable(tf.zeros((len(files), *SHAPE), tf.uint8), trainable=False)
        for first, chunk in _decoded(files):  # and a scatter is done in place
            joints.scatter_update(tf.IndexedSlices(chunk, tf.range(first, first + len(chunk))))
            if digest:
                digest.update(chunk.numpy())
            progress(len(chunk))
    return joints


def _order(step, n, batch_size, seed):
    """(batch_size,) int64: which of n images the batch of a step holds."""
    positions = step * batch_size + tf.range(batch_size, dtype=tf.int64)
    epochs = positions // n
    span = tf.range(epochs[0], epochs[-1] + 1)
    keys = tf.map_fn(lambda epoch: _random(3, seed, -1 - epoch), span, fn_output_signature=tf.uint32)
    # This is tf.random.experimental.index_shuffle with a key of 96 bits and 8 rounds. With its 4 rounds, the orders of
    # two epochs are too much alike: of 25,185 images, some correlate with 0.24, here none with more than 0.03.
    return tf.raw_ops.RandomIndexShuffle(
        index=positions % n, seed=tf.gather(keys, epochs - span[0]), max_index=tf.constant(n - 1, tf.int64), rounds=8
    )


def _flips(step, batch_size, seed):
    """(batch_size,) bool: which images of the batch of a step are mirrored."""
    return _random(batch_size, seed, step) % 2 == 0


def _random(n, seed, counter):
    """(n,) uint32, a function of (seed, counter): steps count from 0 up, epochs from -1 down."""
    key = tf.stack([tf.constant(seed, tf.int64), counter])
    return tf.random.stateless_uniform([n], key, minval=None, maxval=None, dtype=tf.uint32, alg="philox")


def _mirrored(joints, which):
    """Mirror the joints (n, 64, 128, 3) where `which` (n,) is true, each half in its place."""
    rows = tf.reshape(joints, (-1, SIZE, 3))  # of single halves: tf.reverse is four times as fast in 3 dimensions
    flipped = tf.reshape(tf.reverse(rows, [1]), (joints.shape[0], -1))
    return tf.reshape(tf.where(which[:, None], flipped, tf.reshape(joints, (joints.shape[0], -1))), joints.shape)


def _free_memory():
    """Bytes that programs can still have on this machine, or in this container if that is less."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux: guess half of what is built in
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # there is none, or it is "max"
            free = min(free, int(Path(limit).read_text()))
    return free
