"""Training batches: known images in a known order, cached or streamed."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from contextual_gan.files.images import to_float, to_uint8, write_png
from contextual_gan.joint import SIZE, half
from contextual_gan.training import batches as data

ANYWHERE = {"cached": 10**9, "streamed": 0}  # cache_bytes


def drawn(index):
    """A joint that encodes its index (red), its half (green) and its columns (blue, rising)."""
    joint = np.empty((64, 128, 3), np.uint8)
    joint[..., 0] = index
    half(joint, "sketch")[..., 1], half(joint, "photo")[..., 1] = 10, 200
    half(joint, "sketch")[..., 2] = half(joint, "photo")[..., 2] = np.arange(SIZE) * 4
    return joint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joints")
    for index in range(10):
        write_png(folder / f"{index:06d}.png", drawn(index))
    return folder


@pytest.fixture(scope="module")
def files(folder):
    return data.joint_files(folder)


def take(n, files, *, seed=0, batch_size=4, cache_bytes=10**9, **arguments):
    """n batches as uint8 (n, batch_size, 64, 128, 3)."""
    dataset = data.joint_batches(files, batch_size=batch_size, seed=seed, cache_bytes=cache_bytes, **arguments)
    return np.stack([to_uint8(batch) for batch in dataset.take(n)])


def indices(batches):
    return batches[..., 0, 0, 0].reshape(-1)


def mirrored(batches):
    """Whether each joint is mirrored; asserts that it is one of the two possible pictures."""
    joints = batches.reshape(-1, 64, 128, 3)
    which = joints[:, 0, 0, 2] != 0
    for joint, flip in zip(joints, which, strict=True):
        expected = drawn(joint[0, 0, 0])
        if flip:
            expected = np.concatenate([half(expected, "sketch")[:, ::-1], half(expected, "photo")[:, ::-1]], axis=1)
        np.testing.assert_array_equal(joint, expected)
    return which


# --- order and flips --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache_bytes", ANYWHERE.values(), ids=ANYWHERE)
def test_every_epoch_has_each_image_once_in_a_new_order(files, cache_bytes):
    epochs = indices(take(25, files, cache_bytes=cache_bytes)).reshape(10, 10)  # batches of 4 cross the ends of epochs
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(10), (10, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 10


def test_a_large_epoch_is_well_mixed():
    n = 25_185
    order = np.concatenate([data._order(tf.constant(step, tf.int64), n, 4096, 7) for step in range(13)])
    first, second = order[:n], order[n : 2 * n]
    np.testing.assert_array_equal(np.sort(first), np.arange(n))
    np.testing.assert_array_equal(np.sort(second), np.arange(n))
    assert abs(np.corrcoef(first, np.arange(n))[0, 1]) < 0.03
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    batches = (first[: n // 64 * 64] < n / 2).reshape(-1, 64).sum(axis=1)  # images of the lower half per batch of 64
    assert 3.4 < batches.std() < 4.6  # 4 for a fair draw


def test_batches_depend_on_the_seed(files):
    seeds = [0, 1, -1, 2**32, -(2**32), 2**63 - 1, -(2**63)]
    runs = [indices(take(10, files, seed=seed)).tobytes() for seed in seeds]
    assert len(set(runs)) == len(seeds)
    assert runs == [indices(take(10, files, seed=seed)).tobytes() for seed in seeds]


def test_the_order_of_a_seed_never_changes(files):
    """A run that is continued with a later version of this program must continue with the same batches."""
    batches = take(2, files, seed=3)
    assert indices(batches).tolist() == [9, 2, 8, 7, 6, 0, 5, 3]
    assert mirrored(batches).tolist() == [True, False, True, True, False, False, True, False]


@pytest.mark.parametrize("cache_bytes", ANYWHERE.values(), ids=ANYWHERE)
@pytest.mark.parametrize("start", [1, 7, 1_000_003])
def test_a_run_continued_at_any_step_sees_the_same_batches(files, start, cache_bytes):
    whole = data.joint_batches(files, batch_size=4, seed=5, start=start - 1).take(4)
    continued = data.joint_batches(files, batch_size=4, seed=5, start=start, cache_bytes=cache_bytes).take(3)
    for one, other in zip(list(whole)[1:], continued, strict=True):
        np.testing.assert_array_equal(one, other)


def test_step_0_is_the_start_of_the_run(files):
    np.testing.assert_array_equal(take(6, files)[4:], take(2, files, start=4))


def test_the_cache_changes_nothing(files):
    cached, streamed = (
        np.stack(list(data.joint_batches(files, batch_size=7, seed=9, cache_bytes=size).take(6)))
        for size in ANYWHERE.values()
    )
    np.testing.assert_array_equal(cached, streamed)


def test_half_of_the_pairs_are_mirrored_each_half_in_its_place(files):
    batches = take(100, files)
    which = mirrored(batches)
    assert 0.4 < which.mean() < 0.6  # four standard deviations for 400 images
    assert len(np.unique(which[:400].reshape(-1, 4), axis=0)) == 16  # independent within a batch
    for index in range(10):
        assert 0 < which[indices(batches) == index].mean() < 1
    np.testing.assert_array_equal(batches, take(100, files))


def test_without_flip_nothing_is_mirrored_and_the_order_stays(files):
    plain = take(10, files, flip=False)
    assert not mirrored(plain).any()
    np.testing.assert_array_equal(indices(plain), indices(take(10, files)))


def test_batches_are_floats_in_the_range_of_the_networks(tmp_path):
    joint = np.arange(64 * 128 * 3, dtype=np.uint32).reshape(64, 128, 3).astype(np.uint8)  # every value, 0 and 255 too
    write_png(tmp_path / "all.png", joint)
    dataset = data.joint_batches(data.joint_files(tmp_path), batch_size=3, seed=0, flip=False)
    assert dataset.element_spec == tf.TensorSpec((3, 64, 128, 3), tf.float32)
    batch = next(iter(dataset)).numpy()
    assert batch.min() == -1 and batch.max() == 1
    np.testing.assert_allclose(batch[1], to_float(joint), rtol=0, atol=6e-8)
    np.testing.assert_array_equal(to_uint8(batch[2]), joint)


@pytest.mark.parametrize("cache_bytes", ANYWHERE.values(), ids=ANYWHERE)
def test_one_file_and_batches_larger_than_the_set(files, cache_bytes):
    assert (indices(take(2, files[3:4], cache_bytes=cache_bytes)) == 3).all()
    batch = indices(take(1, files, batch_size=25, cache_bytes=cache_bytes))
    assert sorted(batch[:10]) == sorted(batch[10:20]) == list(range(10)) and len(set(batch[20:])) == 5


def test_replicas_get_their_part_of_the_same_batch(files):
    """As the replicas of one machine do; here there is one."""
    dataset = data.joint_batches(files, batch_size=4, seed=2)
    distributed = tf.distribute.MirroredStrategy(["CPU:0"]).experimental_distribute_dataset(dataset)
    for whole, part, _ in zip(dataset, distributed, range(5), strict=False):
        np.testing.assert_array_equal(whole, part)


# --- memory -----------------------------------------------------------------------------------------------------------


def spy(monkeypatch):
    """A list that records the reads into a cache."""
    calls = []
    cached = data._cached
    monkeypatch.setattr(data, "_cached", lambda *arguments: calls.append(arguments) or cached(*arguments))
    return calls


@pytest.mark.parametrize(
    ("cache_bytes", "free", "cached"),
    [
        (10 * 24_576, 10**9, True),
        (10 * 24_576 - 1, 10**9, False),
        (10**9, 20 * 24_576, True),
        (10**9, 20 * 24_576 - 2, False),
        (0, 10**9, False),
    ],
)
def test_joints_are_kept_if_they_fit_the_budget_and_half_of_the_free_memory(
    files, monkeypatch, cache_bytes, free, cached
):
    calls = spy(monkeypatch)
    monkeypatch.setattr(data, "_free_memory", lambda: free)
    assert set(indices(take(3, files, cache_bytes=cache_bytes))) <= set(range(10))
    assert len(calls) == cached


def test_free_memory_matches_this_machine():
    assert 10**7 < data._free_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_the_cache_is_in_memory_once(files):
    resident = Path("/proc/self/statm")
    if not resident.exists():
        pytest.skip("no /proc")

    def megabytes():
        return int(resident.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    take(3, files)  # memory that TensorFlow allocates at the first use
    many = files * 800
    before = megabytes()
    iterator = iter(data.joint_batches(many, batch_size=4, seed=0))
    next(iterator)
    assert megabytes() - before < 1.5 * len(many) * 24_576 / 1e6
    del iterator


def test_the_cache_is_not_made_inside_the_scope_of_a_strategy(files):
    with (
        tf.distribute.MirroredStrategy(["CPU:0"]).scope(),
        pytest.raises(ValueError, match=r"outside of strategy.scope"),
    ):
        data.joint_batches(files, batch_size=4, seed=0)


# --- files ------------------------------------------------------------------------------------------------------------


def png(image, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", **options)
    return buffer.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def sixteen_bit_rgb():
    rows = b"".join(b"\0" + bytes(128 * 6) for _ in range(64))
    header = struct.pack(">IIBBBBB", 128, 64, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg():
    buffer = io.BytesIO()
    Image.fromarray(drawn(0)).save(buffer, "JPEG")
    return buffer.getvalue()


NO_JOINTS = {  # name -> (content, a word from the reason)
    "empty": (b"", "empty file"),
    "text": (b"this is not a picture, but some text", "not a PNG"),
    "jpeg": (jpeg(), "not a PNG"),
    "signature": (b"\x89PNG\r\n\x1a\n", "truncated"),
    "small": (png(drawn(0)[:, :64]), "64 x 64 pixels"),
    "turned": (png(drawn(0).transpose(1, 0, 2)), "64 x 128 pixels"),
    "large": (png(np.zeros((256, 512, 3), np.uint8)), "512 x 256 pixels"),
    "grey": (png(drawn(0)[..., 0]), "8-bit grey"),
    "transparent": (png(np.zeros((64, 128, 4), np.uint8)), "8-bit RGB with alpha"),
    "sixteen": (sixteen_bit_rgb(), "16-bit RGB"),
}


def set_with(folder, content, name="000001.png"):
    """A folder with valid joints and a file with this content."""
    for index in (0, 2):
        write_png(folder / f"{index:06d}.png", drawn(index))
    (folder / name).write_bytes(content)
    return folder


def one_line(error, *words):
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize("what", NO_JOINTS)
def test_a_file_that_is_not_a_joint_is_named(tmp_path, what):
    content, reason = NO_JOINTS[what]
    with pytest.raises(ValueError) as error:
        data.joint_files(set_with(tmp_path, content))
    one_line(error, str(tmp_path / "000001.png"), reason, "128 x 64")


def damaged():
    whole = png(drawn(1))
    body = whole.index(b"IDAT") + 20
    return {
        "cut": whole[: len(whole) // 2],
        "one byte changed": whole[:body] + bytes([whole[body] ^ 0xFF]) + whole[body + 1 :],
        "header only": whole[:33],
    }


@pytest.mark.parametrize("what", damaged())
def test_a_damaged_body_is_named_when_it_is_read(tmp_path, what):
    files = data.joint_files(set_with(tmp_path, damaged()[what]))  # the header is intact
    for read in (data.read_joints, lambda files: data.joint_batches(files, batch_size=2, seed=0)):
        with pytest.raises(ValueError) as error:
            read(files)
        one_line(error, str(tmp_path / "000001.png"))


@pytest.mark.parametrize("what", damaged())
def test_a_damaged_body_is_named_in_the_stream(tmp_path, what):
    files = data.joint_files(set_with(tmp_path, damaged()[what]))
    stream = data.joint_batches(files, batch_size=2, seed=0, cache_bytes=0)
    with pytest.raises(ValueError) as error, data.damage_named(files):
        for _ in stream.take(3):
            pass
    one_line(error, str(tmp_path / "000001.png"))


@pytest.mark.parametrize("change", ["deleted", "another size", "a folder"])
def test_a_file_that_changes_during_a_run_is_named(tmp_path, change):
    files = data.joint_files(set_with(tmp_path, png(drawn(1))))
    path = tmp_path / "000001.png"
    path.unlink()
    if change == "another size":
        write_png(path, drawn(1)[:32])
    elif change == "a folder":
        path.mkdir()
    with pytest.raises(ValueError) as error, data.damage_named(files):
        list(data.joint_batches(files, batch_size=3, seed=0, cache_bytes=0).take(1))
    one_line(error, str(path))


def test_other_errors_of_tensorflow_pass_through_damage_named(files):
    with pytest.raises(tf.errors.InvalidArgumentError), data.damage_named(files):
        tf.reshape(tf.zeros(3), (2, 2))


def test_the_damaged_file_is_found_among_many(files, tmp_path):
    damaged_file = tmp_path / "bad.png"
    damaged_file.write_bytes(damaged()["cut"])
    with pytest.raises(ValueError) as error:
        data.read_joints([*files * 30, str(damaged_file), *files * 30])
    one_line(error, str(damaged_file))


def test_joints_are_found_below_the_folder_and_sorted_by_relative_path(tmp_path):
    names = ["b/2.png", "a.PNG", "b/10.png", "ünïcode ☺.png"]
    for index, name in enumerate(names):
        write_png(tmp_path / name, drawn(index))
    (tmp_path / "manifest.jsonl").write_text("{}")
    (tmp_path / ".hidden.png.part").write_bytes(b"half a file")
    (tmp_path / ".hidden.png").write_bytes(b"half a file")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/c.png").write_bytes(b"something else")
    files = data.joint_files(tmp_path)
    assert [Path(path).relative_to(tmp_path).as_posix() for path in files] == sorted(names)
    assert (data.read_joints(files)[:, 0, 0, 0] == [names.index(name) for name in sorted(names)]).all()


def test_names_that_are_not_utf_8_are_read(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    try:
        with open(path, "wb") as file:
            file.write(png(drawn(5)))
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    assert (indices(take(1, data.joint_files(tmp_path), cache_bytes=0)) == 5).all()


def test_a_photo_among_the_joints_is_refused(tmp_path):
    with pytest.raises(ValueError) as error:
        data.joint_files(set_with(tmp_path, jpeg(), "holiday.jpg"))
    one_line(error, "holiday.jpg")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png: not a regular file"):
        data.joint_files(tmp_path)


def test_the_wrong_folder_is_refused_in_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        data.joint_files(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no joint images"):
        data.joint_files(tmp_path)
    write_png(tmp_path / "train" / "1.png", drawn(1))
    with pytest.raises(ValueError) as error:
        data.joint_files(tmp_path)
    one_line(error, f"give {tmp_path / 'train'}")
    with pytest.raises(ValueError, match="not a folder"):
        data.joint_files(tmp_path / "train" / "1.png")


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": []},
        {"batch_size": 0},
        {"start": -1},
        {"cache_bytes": -1},
        {"seed": 2**63},
        {"seed": -(2**63) - 1},
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused_in_one_line(files, wrong):
    with pytest.raises(ValueError) as error:
        data.joint_batches(**{"files": files, "batch_size": 4, "seed": 0} | wrong)
    one_line(error)


def test_read_joints_gives_the_images_in_order_and_reports_progress(files):
    told = []
    joints = data.read_joints(files[::-1], told.append)
    assert joints.dtype == np.uint8 and sum(told) == 10
    np.testing.assert_array_equal(joints, np.stack([drawn(index) for index in range(9, -1, -1)]))
    assert data.read_joints([]).shape == (0, 64, 128, 3)
