"""Training batches from a folder of joints.

The images of a batch, and which of them are mirrored, depend only on (seed, step): after an interruption, a run sees
the same batches as without it, whatever the number of threads.

TensorFlow decodes the joints, not images.py: on 2 cores, Pillow threads decode 3,100 joints/s, because they wait for
each other, and tf.data 6,600/s. Only the file format that `datasets/prepare.py` writes is accepted.
The pipeline also runs no Python: a thread that waits for the interpreter at exit never ends.
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
HEADER = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBB", 2 * SIZE, SIZE, 8, 2)  # the start of every joint file
COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}  # of the PNG specification
CACHE_BYTES = 6 * 10**9  # all 202,599 faces of CelebA are 5.0 GB
CHUNK = 256  # joints decoded at a time when reading all of them
THREADS = os.cpu_count() or 1


def joint_files(folder):
    """The joint images in a folder and its subfolders -> paths as strings, sorted by their relative path.

    A joint is an 8-bit RGB PNG of 128 x 64 pixels; the header of every file is read (80,000/s). Hidden files and files
    without an image extension (manifest.jsonl) are left out.
    Raises FileNotFoundError for a missing folder, and ValueError in one line for a folder without joints, for the
    folder above `train/`, and for the first image that is not a joint.
    """
    folder = os.fspath(folder)
    if not os.path.lexists(folder):
        raise FileNotFoundError(f"no such folder: {folder}")
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is not a folder of joint images")
    if os.path.isdir(train := os.path.join(folder, "train")):
        raise ValueError(f"{folder} contains several sets of joint images: give {train}")
    files = sorted(path for path in _visible_files(folder) if path.lower().endswith(tuple(IMAGE_SUFFIXES)))
    if not files:
        raise ValueError(f"no joint images (PNG of {2 * SIZE} x {SIZE} pixels) in {folder}")
    for path in files:
        _check_header(path)
    return files


def without_choosing(files):
    """The files of `joint_files` without those used for choosing settings, see `config.CHOOSING`."""
    return files[min(CHOOSING, len(files) // 10) :]


def _visible_files(folder):
    def failed(error):
        raise error

    for parent, folders, files in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(parent, name) for name in files if not name.startswith("."))


def _check_header(path):
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would block forever
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
        reason = "not a PNG file, or a truncated one"
    else:
        width, height, bits, colour = struct.unpack(">IIBB", header[16:])
        reason = f"{width} x {height} pixels, {bits}-bit {COLOURS.get(colour, 'of unknown colours')}"
    raise ValueError(f"{path}: {reason}; a joint image is a PNG of {2 * SIZE} x {SIZE} pixels, 8-bit RGB")


def read_joints(files, progress=lambda n: None):
    """Read joint images -> (n, 64, 128, 3) uint8, in the order of `files`; progress(n) is called after each n of them.

    Raises ValueError in one line naming the first file that is damaged or not a joint image.
    """
    joints = np.empty((len(files), *SHAPE), np.uint8)
    for first, chunk in _decoded(files):
        joints[first : first + len(chunk)] = chunk
        progress(len(chunk))
    return joints


def _decoded(files):
    """Decode files in order, in parallel, and yield (index of the first, up to CHUNK joints as one tensor)."""
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
    """The reason why TensorFlow cannot decode a file; in most cases Pillow names it."""
    try:
        read_image(path)
    except ImageError as error:
        return str(error)
    return "damaged image"


@contextlib.contextmanager
def damage_named(files):
    """TensorFlow's errors name no file: if this block raises one, read all of `files` again (5,000/s).

    Raises ValueError in one line naming the first damaged file; if there is none, the original error is raised.
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
    """The training batches of a run -> endless tf.data.Dataset of (batch_size, 64, 128, 3) float32 in [-1, 1].

    The first element is the batch of step `start`. Every epoch contains each file once, in a new order; batches may
    span two epochs. With `flip`, half of the pairs are mirrored, sketch and photo each in place.
    If all joints fit into `cache_bytes` and half of the free memory, they are read once, now, and kept as uint8;
    otherwise TensorFlow decodes each when it is needed, and `damage_named` helps with errors.
    seed: any 64-bit integer. progress: as in `read_joints`. digest: a hashlib object, updated with the pixels of all
    joints in the order of `files`; if they are not kept, they are decoded once more for it (6,600/s).
    Raises ValueError in one line for arguments out of range, and the errors of `read_joints`.
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
        return (tf.cast(images, tf.float32) - 127.5) * (1 / 127.5)  # rounded once only: equal bits everywhere

    return tf.data.Dataset.zip(images, steps).map(finish, num_parallel_calls=2).prefetch(4)


def _cached(files, progress, digest):
    """All joints in main memory -> (n, 64, 128, 3) uint8 variable."""
    if tf.distribute.has_strategy():
        raise ValueError("call joint_batches() outside of strategy.scope(), which would put its cache on every device")
    with tf.device("CPU:0"):
        # tf.data holds a variable by reference; it would copy a tensor when it optimizes its graph
        joints = tf.Variable(tf.zeros((len(files), *SHAPE), tf.uint8), trainable=False)
        for first, chunk in _decoded(files):  # and a scatter works in place
            joints.scatter_update(tf.IndexedSlices(chunk, tf.range(first, first + len(chunk))))
            if digest:
                digest.update(chunk.numpy())
            progress(len(chunk))
    return joints


def _order(step, n, batch_size, seed):
    """(batch_size,) int64: the indices of a step's batch among n images."""
    positions = step * batch_size + tf.range(batch_size, dtype=tf.int64)
    epochs = positions // n
    span = tf.range(epochs[0], epochs[-1] + 1)
    keys = tf.map_fn(lambda epoch: _random(3, seed, -1 - epoch), span, fn_output_signature=tf.uint32)
    # This is tf.random.experimental.index_shuffle with a key of 96 bits and 8 rounds. With its 4 rounds, the orders of
    # two epochs are too similar: of 25,185 images, some correlate with 0.24; here none exceeds 0.03.
    return tf.raw_ops.RandomIndexShuffle(
        index=positions % n, seed=tf.gather(keys, epochs - span[0]), max_index=tf.constant(n - 1, tf.int64), rounds=8
    )


def _flips(step, batch_size, seed):
    """(batch_size,) bool: which images of the batch of a step are mirrored."""
    return _random(batch_size, seed, step) % 2 == 0


def _random(n, seed, counter):
    """(n,) uint32, depending on (seed, counter): steps count up from 0, epochs down from -1."""
    key = tf.stack([tf.constant(seed, tf.int64), counter])
    return tf.random.stateless_uniform([n], key, minval=None, maxval=None, dtype=tf.uint32, alg="philox")


def _mirrored(joints, which):
    """Mirror the joints (n, 64, 128, 3) where `which` (n,) is true, each half in place."""
    rows = tf.reshape(joints, (-1, SIZE, 3))  # of both halves: tf.reverse is four times as fast in 3 dimensions
    flipped = tf.reshape(tf.reverse(rows, [1]), (joints.shape[0], -1))
    return tf.reshape(tf.where(which[:, None], flipped, tf.reshape(joints, (joints.shape[0], -1))), joints.shape)


def _free_memory():
    """Bytes still available on this machine, or in this container if that is less."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux: assume half of the installed memory
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # no limit: no file, or "max"
            free = min(free, int(Path(limit).read_text()))
    return free
