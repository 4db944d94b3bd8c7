"""One command at a time in an output folder, even if the previous one was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, draw_face

from contextual_gan.files.images import write_png
from contextual_gan.files.lock import NAME, lock, was_interrupted

HOLDER = """
import sys, time
from contextual_gan.files.lock import lock
with lock(sys.argv[1]):
    print(flush=True)
    {}
"""


@pytest.fixture
def hold():
    """hold(folder): a process that holds the lock of a folder until it is killed."""
    processes = []

    def start(folder):
        program = HOLDER.format("time.sleep(100)")
        process = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE)
        processes.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def resize(*arguments, **options):
    command = [sys.executable, str(ROOT / "datasets" / "resize.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.fixture
def photos(tmp_path):
    for i in range(3):
        write_png(tmp_path / "in" / f"{i}.png", draw_face(i))
    return tmp_path / "in"


def test_the_second_command_names_the_holder_and_writes_nothing(hold, photos, tmp_path):
    holder = hold(tmp_path / "out")
    before = sorted((tmp_path / "out").iterdir())
    result = resize(photos, tmp_path / "out")
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    assert f"{tmp_path / 'out'} is in use by process {holder.pid} (" in result.stderr
    assert sorted((tmp_path / "out").iterdir()) == before
    assert resize(photos, tmp_path / "other").returncode == 0


def test_the_lock_of_a_dead_process_does_not_count(hold, photos, tmp_path):
    holder = hold(tmp_path / "out")
    holder.kill()
    holder.wait()
    assert (tmp_path / "out" / NAME).exists()
    with lock(tmp_path / "out"):
        assert was_interrupted(tmp_path / "out")
    assert resize(photos, tmp_path / "out").returncode == 0
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_lock_leaves_nothing_behind_and_a_process_may_hold_it_twice(tmp_path):
    with lock(tmp_path / "a" / "b"), lock(tmp_path / "a" / "b" / ".." / "b"):
        assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == [NAME]
        assert not was_interrupted(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "kept").mkdir()
    with lock(tmp_path / "kept"), lock(tmp_path / "kept" / "inner"):
        (tmp_path / "kept" / "inner" / "file").touch()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "inner", "kept"]


def test_many_processes_take_turns(tmp_path):
    """Each repeatedly increments a number in a file: without a lock, increments would be lost."""
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom contextual_gan.files.lock import lock\n"
        "out = Path(sys.argv[1])\n"
        "done = 0\n"
        "while done < 20:\n"
        "    try:\n"
        "        with lock(out / 'folder'):\n"
        "            number = int((out / 'number').read_text())\n"
        "            time.sleep(0.001)\n"
        "            (out / 'number').write_text(str(number + 1))\n"
        "            done += 1\n"
        "    except ValueError as error:\n"
        "        assert 'is in use by' in str(error), error\n"
        "        time.sleep(0.001)\n"
    )
    (tmp_path / "number").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert (tmp_path / "number").read_text() == "80" and not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
def test_a_lock_file_of_another_kind_is_refused_and_stays(tmp_path, what):
    path = tmp_path / NAME
    {"link": lambda: path.symlink_to("victim"), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[what]()
    with pytest.raises(ValueError, match="move it away"), lock(tmp_path):
        pass
    assert os.listdir(tmp_path) == [NAME]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("file", "file is a file"),
        ("file/deeper", "file is a file"),
        ("/dev/null", "/dev/null is not a folder"),
        ("pipe", "pipe is not a folder"),
        ("dangling", "dangling is a broken link"),
        ("loop/deeper", "loop"),
        ("loop", "loop is a broken link"),
        ("x" * 300, "File name too long"),
        ("/".join(["x" * 200] * 30), "File name too long"),
    ],
)
def test_a_path_that_cannot_become_a_folder_is_refused_in_one_line(photos, tmp_path, out, message):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(os.listdir(tmp_path))
    result = resize(photos, out, cwd=tmp_path)
    assert result.returncode == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1
    assert sorted(os.listdir(tmp_path)) == before and (tmp_path / "file").read_text() == "mine"


def test_an_interrupted_command_leaves_no_lock(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER.format("time.sleep(100)"), str(tmp_path / "out")])
    deadline = time.monotonic() + 30
    while not (tmp_path / "out" / NAME).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    assert not Path(tmp_path / "out").exists()
