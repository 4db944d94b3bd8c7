"""datasets/prepare.py as a user runs it: killed, interrupted, with a full disk, on a cluster, on real photos."""

import json
import random
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, split
from PIL import Image
from skimage.data import astronaut

from contextual_gan.files.images import read_image, write_png
from contextual_gan.preparation.sketches import xdog

PREPARE = [sys.executable, str(ROOT / "datasets" / "prepare.py")]
PHOTOS = 240


def draw_photo(number):
    """A unique colourful picture of 80 x 60 pixels."""
    rng = np.random.default_rng(number)
    page = np.full((60, 80, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(12):
        centre, colour = rng.integers(0, 80, 2).tolist(), rng.integers(0, 256, 3).tolist()
        cv2.circle(page, centre, int(rng.integers(3, 25)), colour, -1, cv2.LINE_AA)
    return page


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A zip archive of drawn photos, one of them damaged."""
    path = tmp_path_factory.mktemp("photos") / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(PHOTOS):
            archive.writestr(f"photos/{i:06}.jpg", cv2.imencode(".jpg", draw_photo(i))[1].tobytes())
        archive.writestr("photos/damaged.jpg", b"\xff\xd8\xff\xe0 damaged")
    return path


def command(photos, out, *more):
    config = ["--config", str(ROOT / "configs" / "photos.yaml")]
    return [*PREPARE, "--images", str(photos), "--out", str(out), *config, *map(str, more)]


def run(*args, **options):
    return subprocess.run(command(*args), capture_output=True, text=True, timeout=120, **options)


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """The data set from an uninterrupted run with one worker."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done = run(photos, out, "--workers", 1)
    assert done.returncode == 1, done.stderr
    assert "failed: photos/damaged.jpg: " in done.stderr and "Traceback" not in done.stderr
    return tree(out)


def processes_of(session):
    """The processes of a session, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def kill_at_random(arguments, out, seed, kills):
    """Start a command again and again, killing it each time after some more files have appeared."""
    rng, killed = random.Random(seed), 0
    while killed < kills:
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        target = len(list(Path(out).rglob("*.png"))) + rng.randrange(2 * PHOTOS // kills)
        while process.poll() is None and len(list(Path(out).rglob("*.png"))) < target:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.01)
        process.kill()
        process.communicate()
        killed += 1
        deadline = time.monotonic() + 10
        while processes_of(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert processes_of(process.pid) == [], "workers must not outlive the command"


# --- the data set -----------------------------------------------------------------------------------------------------


def test_joints_manifest_and_summary(whole, photos):
    summary = json.loads(whole["dataset.json"])
    assert summary["counts"] == {"train": PHOTOS - 24, "test": 24, "skipped": 0, "failed": 1}
    assert summary["parameters"]["crop"] == "centre" and summary["versions"]["numpy"] == np.__version__
    assert summary["failed"][0]["source"] == "photos/damaged.jpg"
    assert summary["ink"]["min"] < summary["ink"]["median"] < summary["ink"]["max"]
    names = {name for name in whole if name.endswith(".png")}
    assert {Path(name).name for name in names} == {f"{i:06}.png" for i in range(PHOTOS)}
    assert sorted(set(whole) - names) == ["dataset.json", "manifest.jsonl", "split.csv"]
    lines = whole["split.csv"].decode().splitlines()
    assert lines[0] == "image,split" and sum(line.endswith(",test") for line in lines) == 24


def test_a_joint_is_the_sketch_beside_the_photo(whole, tmp_path):
    name = next(name for name in whole if name.startswith("test/"))
    (tmp_path / "joint.png").write_bytes(whole[name])
    joint = read_image(tmp_path / "joint.png")
    sketch, photo = split(joint)
    assert joint.shape == (64, 128, 3) and np.array_equal(sketch, xdog(photo))
    original = cv2.resize(draw_photo(int(Path(name).stem))[:, 10:70, ::-1], (64, 64), interpolation=cv2.INTER_CUBIC)
    assert np.abs(photo.astype(int) - original).mean() < 12, "the centre of the photo, up to JPEG artefacts"


def test_a_second_run_does_nothing_and_reports_it(photos, whole, tmp_path):
    run(photos, tmp_path / "out")
    assert tree(tmp_path / "out") == whole, "two workers make the same bytes as one"
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}
    again = run(photos, tmp_path / "out")
    assert again.returncode == 1 and "nothing to do" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in before} == before and tree(tmp_path / "out") == whole


def test_a_mixture_of_styles(photos, tmp_path):
    run(photos, tmp_path / "out", "--styles", "xdog,fdog,photocopy")
    entries = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()[1:]]
    styles = [entry["arguments"]["style"] for entry in entries if "output" in entry]
    assert min(styles.count(style) for style in ("xdog", "fdog", "photocopy")) > PHOTOS // 5
    refused = run(photos, tmp_path / "out")
    assert refused.returncode == 2 and "styles: ['xdog', 'fdog', 'photocopy'] there, ['xdog'] now" in refused.stderr


def test_birds_are_cropped_by_their_boxes(tmp_path):
    folder, boxes = tmp_path / "CUB_200_2011", {1: (10, 20, 40, 30), 2: (0, 0, 60, 80)}
    for number in (1, 2, 3):
        path = folder / "images" / f"00{number}.Kind" / f"bird_{number}.png"
        write_png(path, np.full((80, 100, 3), 250, np.uint8))
    page = np.full((80, 100, 3), 250, np.uint8)
    page[15:55, 10:50] = (200, 30, 30)  # the square around the first box
    write_png(folder / "images/001.Kind/bird_1.png", page)
    large = np.full((5000, 6000, 3), 250, np.uint8)
    large[2500:3500, 3000:4000] = (200, 30, 30)
    Image.fromarray(large).save(folder / "images/001.Kind/bird_4.jpg")  # reduced while it is decoded
    boxes[4] = 3000, 2500, 1000, 1000
    names = "".join(f"{i} 00{i}.Kind/bird_{i}.png\n" for i in (1, 2, 3)) + "4 001.Kind/bird_4.jpg\n"
    (folder / "images.txt").write_text(names)
    (folder / "bounding_boxes.txt").write_text(
        "".join(f"{i} {' '.join(map(str, map(float, b)))}\n" for i, b in boxes.items())
    )
    birds = [
        *PREPARE,
        "--images",
        str(folder),
        "--out",
        str(tmp_path / "out"),
        "--config",
        str(ROOT / "configs/birds.yaml"),
    ]
    done = subprocess.run([*birds, "--set", "data.test=1"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "no bounding box: 1: images/003.Kind/bird_3.png" in done.stderr, done.stderr
    first, large = (next((tmp_path / "out").rglob(f"bird_{number}.png")) for number in (1, 4))
    assert (split(read_image(first))[1] == (200, 30, 30)).all()
    assert np.abs(split(read_image(large))[1].astype(int) - (200, 30, 30)).max() <= 4
    again = subprocess.run([*birds, "--set", "data.test=1"], capture_output=True, text=True, timeout=60)
    assert "nothing to do" in again.stdout
    (folder / "bounding_boxes.txt").unlink()
    failed = subprocess.run(birds, capture_output=True, text=True, timeout=60)
    assert failed.returncode == 2 and "bounding_boxes.txt" in failed.stderr and failed.stderr.count("\n") == 1


def test_faces_are_aligned_by_annotated_points_without_dlib(tmp_path):
    face = cv2.resize(astronaut()[:218, 136:314], (178, 218))
    for name in ("000001", "000002", "000003"):
        write_png(tmp_path / "in" / f"{name}.png", face if name != "000003" else face[:100])
    points = [f"{part}_{axis}" for part in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy"]
    lines = [f"{name}.jpg 70 105 108 105 92 128 74 146 106 147" for name in ("000001", "000003")]
    (tmp_path / "points.txt").write_text("\n".join(["2", " ".join(points), *lines, ""]))
    arguments = ["--images", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--set", "data.test=0"]
    done = subprocess.run(
        [*PREPARE, *arguments, "--celeba-landmarks", str(tmp_path / "points.txt")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "skipped, not in points.txt: 1: 000002.png" in done.stderr, done.stderr
    assert "failed: 000003.png: 178 x 100 pixels" in done.stderr
    assert read_image(tmp_path / "out/train/000001.png").shape == (64, 128, 3)
    assert "dlib" not in json.loads((tmp_path / "out/dataset.json").read_text())["parameters"]["aligned by"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "nowhere"], "no such folder or zip archive: nowhere"),
        (["--set", "data.crops=align"], "unknown key data.crops; did you mean data.crop?"),
        (["--styles", "xdog,pencil"], "data.styles"),
        (["--split-file", "nowhere.csv"], "nowhere.csv"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--workers", "0"], "0 is less than 1"),
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:9"], "give only one of them"),
        (["--scheduler", "tcp://127.0.0.1:9"], "no Dask scheduler answers at tcp://127.0.0.1:9"),
    ],
)
def test_a_mistake_is_reported_in_one_line_and_writes_nothing(photos, tmp_path, arguments, message):
    done = subprocess.run(
        command(photos, tmp_path / "out", *arguments), capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


# --- kills and faults -------------------------------------------------------------------------------------------------


def test_three_kills_and_a_rerun_give_the_same_bytes(photos, whole, tmp_path):
    kill_at_random(command(photos, tmp_path / "out", "--workers", 2), tmp_path / "out", seed=1, kills=3)
    run(photos, tmp_path / "out", "--workers", 2)
    assert tree(tmp_path / "out") == whole


@pytest.mark.full
@pytest.mark.parametrize("seed", range(2))
def test_twenty_kills_and_a_rerun_give_the_same_bytes(photos, whole, tmp_path, seed):
    kill_at_random(command(photos, tmp_path / "out", "--workers", 2), tmp_path / "out", seed=seed, kills=20)
    run(photos, tmp_path / "out", "--workers", 2)
    assert tree(tmp_path / "out") == whole


def test_an_interrupted_command_prints_one_line_and_can_be_continued(photos, whole, tmp_path):
    process = subprocess.Popen(
        command(photos, tmp_path / "out"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and len(list((tmp_path / "out").rglob("*.png"))) < 5:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130 and "interrupted; run the same command again to continue" in stderr
    assert "Traceback" not in stderr
    run(photos, tmp_path / "out")
    assert tree(tmp_path / "out") == whole


@pytest.mark.parametrize("limit", [100, 4000, 11000, 30000])
def test_a_full_disk_gives_one_line_and_no_partial_file_and_can_be_continued(photos, whole, tmp_path, limit):
    """A limit on the file size acts like a full disk; it affects the journal, a joint or the manifest."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = run(photos, tmp_path / "out", preexec_fn=limited)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert str(tmp_path / "out") in last and "GB free there" in last, done.stderr
    for path, content in tree(tmp_path / "out").items():
        if path.endswith(".png"):
            assert content == whole[path]
        assert not path.endswith(".part")
    run(photos, tmp_path / "out")
    assert tree(tmp_path / "out") == whole


# --- on a cluster -----------------------------------------------------------------------------------------------------


def start_worker(address, folder):
    arguments = ["dask", "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    arguments = [sys.executable, "-m", *arguments, "--local-directory", str(folder)]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_dask_cluster_makes_the_same_bytes_although_a_worker_is_killed(photos, whole, tmp_path):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    ready = tmp_path / "scheduler.json"
    scheduler = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    processes = [
        subprocess.Popen(
            [*scheduler, "--scheduler-file", str(ready)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    ]
    try:
        while not ready.exists() or not ready.read_text():
            time.sleep(0.1)
        address = json.loads(ready.read_text())["address"]
        empty = run(photos, tmp_path / "out", "--scheduler", address)
        assert empty.returncode == 2 and "has no workers" in empty.stderr
        processes += [start_worker(address, tmp_path / "work") for _ in range(2)]
        with distributed.Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        work = subprocess.Popen(
            command(photos, tmp_path / "out", "--scheduler", address), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while work.poll() is None and len(list((tmp_path / "out").rglob("*.png"))) < PHOTOS // 3:
            time.sleep(0.01)
        processes[-1].kill()
        _, stderr = work.communicate(timeout=90)
        assert b"damaged.jpg" in stderr and work.returncode == 1, stderr
        assert tree(tmp_path / "out") == whole
    finally:
        for process in processes:
            process.kill()
            process.wait()
