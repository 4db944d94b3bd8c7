"""apply.py: every image is processed once, despite reruns, other parameters, dying workers, bad files and archives."""

import hashlib
import json
import os
import signal
import struct
import time
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from contextual_gan.files import pools
from contextual_gan.files.apply import Item, Skip, apply_to_folder
from contextual_gan.files.images import encode_png, read_image, write_png
from contextual_gan.files.sources import images_in, output_stems

RED = (255, 0, 0)  # a picture that starts with this colour kills its worker
GREEN = (0, 255, 0)  # this one is skipped
BLUE = (0, 0, 255)  # this one makes the function raise an error


def picture(number, first=(9, 9, 9), size=16):
    """A picture that encodes its number."""
    image = np.full((size, size, 3), (number % 256, number // 256, 77), np.uint8)
    image[0, 0] = first
    return image


def brighten(image, *, by, extra=0):
    """The applied function; at top level, as workers import it."""
    match tuple(image[0, 0].tolist()):
        case (255, 0, 0):
            os.kill(os.getpid(), signal.SIGSEGV)
        case (0, 255, 0):
            raise Skip("it is green")
        case (0, 0, 255):
            return image[1000, 0]
    return image + np.uint8(by + extra), {"mean": round(float(image.mean()), 3)}


def slow(image):
    time.sleep(0.01)
    return image


def side_by_side(a, b):
    return np.concatenate([a, b], axis=1)


def items_of(location, out):
    found, refused = images_in(location, excluded=out)
    return [Item(s.name, f"{stem}.png", (s,)) for stem, s in output_stems(found).items()], refused


def apply(location, out, by=5, **options):
    items, refused = items_of(location, out)
    options = {"parameters": {"step": "brighten", "by": by}, "workers": 2} | options
    return apply_to_folder(partial(brighten, by=by), items, out, refused=refused, **options)


def tree(folder):
    """{path: content} of all files, including hidden ones."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def times(folder):
    return {p: p.stat().st_mtime_ns for p in Path(folder).rglob("*.png")}


@pytest.fixture
def folder(tmp_path):
    """20 pictures in two folders, and a text file."""
    for i in range(20):
        write_png(tmp_path / "in" / ("ab"[i % 2]) / f"{i:03}.png", picture(i))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path / "in"


# --- results and manifest ---------------------------------------------------------------------------------------------


def test_writes_the_mirrored_tree_and_a_manifest(folder, tmp_path):
    report = apply(folder, tmp_path / "out")
    assert (report.new, len(report.done), report.skipped, report.failed, report.gone) == (20, 20, [], [], 0)
    for i in range(20):
        expected = picture(i) + np.uint8(5)
        assert np.array_equal(read_image(tmp_path / "out" / ("ab"[i % 2]) / f"{i:03}.png"), expected)
    header, *entries = map(json.loads, (tmp_path / "out/manifest.jsonl").read_text().splitlines())
    assert header == {"parameters": {"step": "brighten", "by": 5}}
    assert entries == report.entries and [e["source"] for e in entries] == sorted(e["source"] for e in entries)
    assert entries[0] == {
        "source": "a/000.png",
        "sha256": hashlib.sha256((folder / "a/000.png").read_bytes()).hexdigest(),
        "parameters": entries[1]["parameters"],
        "output": "a/000.png",
        "mean": round(float(picture(0).mean()), 3),
    }
    assert len(tree(tmp_path / "out")) == 21, "nothing but the outputs and the manifest"


def test_one_worker_three_workers_and_a_zip_give_the_same_bytes(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.png"), reverse=True):
            archive.write(path, path.relative_to(folder))
    apply(folder, tmp_path / "one", workers=1)
    apply(folder, tmp_path / "three", workers=3)
    apply(tmp_path / "in.zip", tmp_path / "zip")
    assert tree(tmp_path / "one") == tree(tmp_path / "three") == tree(tmp_path / "zip")


def test_arguments_of_an_item_and_several_files(folder, tmp_path):
    items, _ = items_of(folder, None)
    items = [replace(item, arguments={"extra": i}) for i, item in enumerate(items)]
    report = apply_to_folder(partial(brighten, by=1), items, tmp_path / "out", parameters={}, workers=1)
    assert [entry["arguments"]["extra"] for entry in report.entries] == list(range(20))
    assert read_image(tmp_path / "out/a/002.png")[5, 5].tolist() == [4, 2, 79], "2 + 1 + 1"
    changed = [replace(items[0], arguments={"extra": 50}), *items[1:]]
    before = times(tmp_path / "out")
    assert apply_to_folder(partial(brighten, by=1), changed, tmp_path / "out", parameters={}, workers=1).new == 1
    assert sum(before[p] != t for p, t in times(tmp_path / "out").items()) == 1
    pair = Item("pair", "pair.png", items[0].files + items[1].files)
    report = apply_to_folder(side_by_side, [pair], tmp_path / "pairs", parameters={}, workers=1)
    assert read_image(tmp_path / "pairs/pair.png").shape == (16, 32, 3)
    assert len(report.entries[0]["sha256"].split()) == 2


# --- again ------------------------------------------------------------------------------------------------------------


def test_a_second_run_does_nothing_and_new_inputs_are_added(folder, tmp_path):
    apply(folder, tmp_path / "out")
    before, manifest = times(tmp_path / "out"), tree(tmp_path / "out")
    assert apply(folder, tmp_path / "out").new == 0
    assert times(tmp_path / "out") == before and tree(tmp_path / "out") == manifest
    write_png(folder / "c/100.png", picture(100))
    report = apply(folder, tmp_path / "out")
    assert (report.new, len(report.done)) == (1, 21)
    assert before.items() <= times(tmp_path / "out").items()


def test_changed_lost_and_vanished_files(folder, tmp_path):
    apply(folder, tmp_path / "out")
    before = times(tmp_path / "out")
    write_png(folder / "a/000.png", picture(200))  # changed
    (tmp_path / "out/a/002.png").unlink()  # lost
    (folder / "a/004.png").unlink()  # vanished
    (folder / "a/006.png").write_bytes(b"\x89PNG")  # damaged
    report = apply(folder, tmp_path / "out")
    assert (report.new, report.gone, [e["source"] for e in report.failed]) == (2, 1, ["a/006.png"])
    assert read_image(tmp_path / "out/a/000.png")[5, 5, 0] == 205
    after = times(tmp_path / "out")
    assert sorted(p.name for p in before if before[p] != after.get(p)) == ["000.png", "002.png", "006.png"]
    assert not (tmp_path / "out/a/006.png").exists(), "a result from old content must not remain"
    assert (tmp_path / "out/a/004.png").exists(), "nothing is deleted because an input is missing"


def test_a_new_neighbour_changes_the_name_of_a_result(tmp_path):
    write_png(tmp_path / "in/x.png", picture(1))
    apply(tmp_path / "in", tmp_path / "out")
    cv2.imwrite(str(tmp_path / "in/x.bmp"), picture(2)[..., ::-1])
    apply(tmp_path / "in", tmp_path / "out")
    apply(tmp_path / "in", tmp_path / "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")
    assert sorted(tree(tmp_path / "out")) == ["manifest.jsonl", "x.bmp.png", "x.png.png"]


def test_other_parameters_are_refused_and_overwrite_starts_again(folder, tmp_path):
    apply(folder, tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(ValueError, match="by: 5 there, 6 now"):
        apply(folder, tmp_path / "out", by=6)
    assert tree(tmp_path / "out") == before
    (folder / "a/000.png").unlink()
    apply(folder, tmp_path / "out", by=6, overwrite=True)
    apply(folder, tmp_path / "fresh", by=6)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_files_of_unknown_origin_are_not_replaced(folder, tmp_path):
    write_png(tmp_path / "out/a/000.png", picture(99))
    (tmp_path / "out/mine.txt").write_text("mine")
    before = tree(tmp_path / "out")
    with pytest.raises(ValueError, match="no manifest lists it"):
        apply(folder, tmp_path / "out")
    assert tree(tmp_path / "out") == before
    apply(folder, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out/mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "damage", [b"{", b"null\n", b"[1]\n", b'{"parameters": {}}\n{"source": 3}\n', b"\xff\xfe\n", b""]
)
def test_a_damaged_manifest_is_reported_in_one_line(folder, tmp_path, damage):
    apply(folder, tmp_path / "out")
    (tmp_path / "out/manifest.jsonl").write_bytes(damage)
    with pytest.raises(ValueError, match=r"manifest.jsonl is damaged; move it away"):
        apply(folder, tmp_path / "out")


def test_overwrite_never_deletes_outside_of_the_folder(folder, tmp_path):
    apply(folder, tmp_path / "out")
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"mine")
    manifest = tmp_path / "out/manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"output": "a/000.png"', '"output": "../victim.png"'))
    apply(folder, tmp_path / "out", overwrite=True)
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("tail", [b"", b'{"source": "b/0', b'{"source": "b/019.png", "sha256": nul'])
def test_a_journal_counts_up_to_its_last_complete_line(folder, tmp_path, tail):
    apply(folder, tmp_path / "out")
    expected = tree(tmp_path / "out")
    lines = (tmp_path / "out/manifest.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "out/manifest.jsonl").unlink()
    (tmp_path / "out/manifest.journal").write_bytes(b"".join(lines[:8]) + tail)
    for i in range(7, 20):
        (tmp_path / "out" / json.loads(lines[i + 1])["output"]).unlink()
    (tmp_path / "out/b/.001.png.part").write_bytes(b"half")
    report = apply(folder, tmp_path / "out")
    assert report.new == 13 and tree(tmp_path / "out") == expected


# --- errors of single images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dying_worker_affects_only_its_own_image(folder, tmp_path, workers):
    for i in (3, 4, 17):
        write_png(folder / ("ab"[i % 2]) / f"{i:03}.png", picture(i, RED))
    report = apply(folder, tmp_path / "out", workers=workers)
    assert [e["source"] for e in report.failed] == ["a/004.png", "b/003.png", "b/017.png"]
    assert {e["failed"] for e in report.failed} == {"the process working on it died"}
    assert len(report.done) == 17 and all((tmp_path / "out" / e["output"]).exists() for e in report.done)
    write_png(folder / "a/004.png", picture(4))
    assert len(apply(folder, tmp_path / "out").failed) == 2


def test_skips_and_errors_of_the_function(folder, tmp_path):
    write_png(folder / "a/000.png", picture(0, GREEN))
    write_png(folder / "b/001.png", picture(0, BLUE))
    report = apply(folder, tmp_path / "out")
    assert [(e["source"], e["skipped"]) for e in report.skipped] == [("a/000.png", "it is green")]
    assert [e["source"] for e in report.failed] == ["b/001.png"]
    assert report.failed[0]["failed"].startswith("IndexError: index 1000 is out of bounds")
    assert apply(folder, tmp_path / "out").new == 0


def quarters(image):
    """As many copies of the picture as its number, each darker."""
    return [image // k for k in range(1, int(image[1, 1, 0]) + 1)]


def test_an_input_may_give_several_outputs(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    for name, number in (("a", 3), ("a_2", 1), ("b", 2)):
        write_png(folder / f"{name}.png", picture(number))
    options = {"parameters": {"step": "quarters"}, "workers": 1}
    report = apply_to_folder(quarters, items_of(folder, out)[0], out, **options)
    unique = hashlib.sha256(b"a.png").hexdigest()[:8]  # a_2.png is the result of another input
    names = {"a.png", f"a_2_{unique}.png", "a_3.png", "a_2.png", "b.png", "b_2.png"}
    assert {path.name for path in out.glob("*.png")} == names and report.new == 3
    assert np.array_equal(read_image(out / "a_3.png"), picture(3) // 3)
    before = tree(out)
    assert apply_to_folder(quarters, items_of(folder, out)[0], out, **options).new == 0
    (out / "b_2.png").unlink()  # a lost output is made again
    apply_to_folder(quarters, items_of(folder, out)[0], out, **options)
    assert tree(out) == before
    write_png(folder / "b.png", picture(1))  # its further outputs are no longer made, so they go
    write_png(folder / "a_3.png", picture(1))  # an output whose name a new input has moves
    apply_to_folder(quarters, items_of(folder, out)[0], out, **options)
    expected = names - {"b_2.png"} | {f"a_3_{unique}.png"}
    assert {path.name for path in out.glob("*.png")} == expected
    assert np.array_equal(read_image(out / "a_3.png"), picture(1))


def test_further_outputs_do_not_replace_foreign_files(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    write_png(folder / "b.png", picture(2))
    write_png(out / "b_2.png", picture(9))
    apply_to_folder(quarters, items_of(folder, out)[0], out, parameters={"step": "quarters"}, workers=1)
    assert np.array_equal(read_image(out / "b_2.png"), picture(9)) and len(list(out.glob("b_2_*.png"))) == 1


def test_refused_items_are_asked_about_again_but_not_worked_on(folder, tmp_path):
    asked = []

    def refuse(item, sha256):
        asked.append((item.source, sha256))
        return "not wanted" if item.source == "a/000.png" else None

    report = apply(folder, tmp_path / "out", refuse=refuse)
    assert [(e["source"], e["skipped"]) for e in report.skipped] == [("a/000.png", "not wanted")]
    assert asked[0] == ("a/000.png", hashlib.sha256((folder / "a/000.png").read_bytes()).hexdigest())
    assert apply(folder, tmp_path / "out", refuse=refuse).new == 0 and len(asked) == 40
    assert len(apply(folder, tmp_path / "out").done) == 20, "it is no longer refused"


def bad_files(folder):
    """Ten kinds of unusable image files, ten of each."""
    good = encode_png(picture(1, size=64))
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[1].tobytes()
    bomb = good[:16] + struct.pack(">II", 60000, 60000) + good[24:]
    kinds = {
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "truncated.png": good[:-30],
        "empty.png": b"",
        "text.jpg": b"hello",
        "bomb.png": bomb,
        "flipped.png": good[:60] + bytes([good[60] ^ 255]) + good[61:],
        "zeros.bmp": bytes(1000),
        "page.webp": b"<html></html>",
    }
    for k in range(10):
        for name, data in kinds.items():
            (folder / f"bad{k}_{name}").write_bytes(data)
        os.mkfifo(folder / f"bad{k}_fifo.png")
        (folder / f"bad{k}_nowhere.png").symlink_to("nowhere")


def test_a_hundred_bad_files_affect_none_of_a_thousand_valid_ones(tmp_path):
    for i in range(1000):
        write_png(tmp_path / f"in/{i:04}.png", picture(i))
    bad_files(tmp_path / "in")
    with open(tmp_path / "in/bad_large.png", "wb") as file:
        file.truncate(30 * 10**6)
    report = apply(tmp_path / "in", tmp_path / "out", by=0)
    assert [e["source"] for e in report.failed] == sorted(p.name for p in (tmp_path / "in").glob("bad*"))
    assert len(report.failed) == 101 and all("\n" not in e["failed"] for e in report.failed)
    for i in range(1000):
        assert read_image(tmp_path / f"out/{i:04}.png")[5, 5].tolist() == [i % 256, i // 256, 77]


def test_results_that_no_file_system_can_store_are_refused(tmp_path):
    write_png(tmp_path / "in/a.png/b.png", picture(1))  # its folder is a.png
    (tmp_path / "in" / ("x" * 252)).write_bytes(encode_png(picture(2)))  # its result would be longer than 255 bytes
    cv2.imwrite(str(tmp_path / "in/a.bmp"), picture(3))
    items, _ = items_of(tmp_path / "in", None)
    items = [replace(item, output="a.png") if item.source == "a.bmp" else item for item in items]
    report = apply_to_folder(partial(brighten, by=1), items, tmp_path / "out", parameters={}, workers=1)
    reasons = {e["source"][:5]: e["failed"] for e in report.failed}
    assert reasons == {
        "a.bmp": "its result a.png would have the name of another result's folder",
        "xxxxx": "its name is too long",
    }
    assert (tmp_path / "out/a.png/b.png").exists()


# --- hostile archives -------------------------------------------------------------------------------------------------


def test_a_hostile_archive_lists_each_bad_member_and_writes_nothing_outside(tmp_path):
    good = encode_png(picture(1))
    path = tmp_path / "deep/er/hostile.zip"
    path.parent.mkdir(parents=True)
    hostile = ["../x.png", "/tmp/absolute.png", "C:/windows.png", "..\\up.png", "a/../../b.png", "n" * 10000 + ".png"]
    hostile += ["d/" * 600 + "deep.png", "new\nline.png"]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name in ("fine/1.png", "fine/2.png", "twice.png", "twice.png", "Case.png", "case.png", "__MACOSX/._1.png"):
            archive.writestr(name, good)
        for name in hostile:
            archive.writestr(zipfile.ZipInfo(name), good)
        archive.writestr("damaged.png", good)
        archive.writestr("locked.png", good)
        archive.writestr("readme.txt", "no image")
        archive.writestr("unnamed", good)
        archive.writestr("folder/", "")
        archive.writestr("zeros.png", bytes(30 * 10**6))
        infos = {info.filename: info for info in archive.infolist()}
    data = bytearray(path.read_bytes())
    data[infos["damaged.png"].header_offset + 60] ^= 255
    central = data.index(b"locked.png", data.index(b"PK\x01\x02")) - 46
    data[central + 8] |= 1  # the flag of encryption
    path.write_bytes(data)
    report = apply(path, tmp_path / "deep/er/out")
    assert sorted(tree(tmp_path)) == [
        *(f"deep/er/{n}" for n in ("hostile.zip",)),
        *(f"deep/er/out/{n}.png" for n in ("Case", "fine/1", "fine/2")),
        "deep/er/out/manifest.jsonl",
        *(f"deep/er/out/{n}.png" for n in ("twice", "unnamed")),
    ]
    reasons = {e["source"]: e["failed"] for e in report.failed}
    assert all(name in reasons for name in hostile)
    assert reasons["twice.png (member 4)"] == "duplicate name in the archive"
    assert reasons["case.png"] == "its name differs only in case from Case.png"
    assert reasons["locked.png"] == "encrypted in the archive"
    assert reasons["damaged.png"].startswith("damaged")
    assert reasons["zeros.png"] == "30.0 MB, the limit is 20 MB"


@pytest.mark.parametrize("name", ["nothing.zip", "text.zip", "cut.zip", "empty", "fifo.zip"])
def test_a_path_that_is_neither_folder_nor_archive_is_refused_in_one_line(tmp_path, name):
    (tmp_path / "text.zip").write_text("PK not an archive")
    with zipfile.ZipFile(tmp_path / "cut.zip", "w") as archive:
        archive.writestr("a.png", encode_png(picture(1)))
    (tmp_path / "cut.zip").write_bytes((tmp_path / "cut.zip").read_bytes()[:-40])
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "fifo.zip")
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        images_in(tmp_path / name)
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


# --- pools ------------------------------------------------------------------------------------------------------------


def test_tasks_are_read_only_as_fast_as_they_are_processed():
    taken = []

    def tasks():
        for i in range(300):
            taken.append(i)
            yield i, (np.full((2, 2), i % 256, np.uint8),)

    most = 0
    with pools.connect(2) as pool:
        for done, _ in enumerate(pools.run(slow, tasks(), pool)):
            most = max(most, len(taken) - done)
    assert len(taken) == 300 and most <= 2 * (pools.CHUNKS_PER_WORKER + 1) * pools.CHUNK_TASKS
