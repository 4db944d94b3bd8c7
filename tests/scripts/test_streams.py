"""Commands finish their work even if nobody reads their output, and print no control characters."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT, draw_face

from contextual_gan.files.images import write_png

RESIZE = [sys.executable, str(ROOT / "datasets" / "resize.py")]
LANDMARKS = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"


@pytest.fixture
def photos(tmp_path):
    """Two photos, and a damaged one."""
    for i in range(2):
        write_png(tmp_path / "in" / f"{i}.png", draw_face(i))
    (tmp_path / "in" / "damaged.png").write_bytes(b"\x89PNG")
    return tmp_path / "in"


def shell(line, *words, **environment):
    command = ["bash", "-c", line, "bash", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, timeout=60, env={**os.environ, **environment}, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize(
    "line",
    [
        '"$@" >&-',
        '"$@" 2>&-',
        '"$@" >&- 2>&- <&-',
        'set -o pipefail; "$@" | head -c 0',
        'set -o pipefail; "$@" 2>&1 >/dev/null | head -c 0',
        '"$@" >/dev/full',
        '"$@" >/dev/full 2>&1',
    ],
)
def test_the_status_depends_on_the_work_alone(photos, tmp_path, line):
    result = shell(line, *RESIZE, photos, tmp_path / "out", "--workers", 1)
    assert result.returncode == 1 and b"Traceback" not in result.stderr + result.stdout
    assert sorted(os.listdir(tmp_path / "out")) == ["0.png", "1.png", "manifest.jsonl"]
    os.unlink(photos / "damaged.png")
    result = shell(line, *RESIZE, photos, tmp_path / "whole", "--workers", 1)
    assert result.returncode == 0 and b"Traceback" not in result.stderr + result.stdout
    for name in ("0.png", "1.png"):  # nothing was printed into them
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_an_undecodable_name_is_escaped(photos, tmp_path):
    os.unlink(photos / "damaged.png")
    result = shell('"$@"', *RESIZE, photos, tmp_path / "größe", "--workers", 1, PYTHONIOENCODING="ascii")
    assert result.returncode == 0 and b"gr\\xf6\\xdfe" in result.stdout and result.stderr.count(b"Traceback") == 0
    assert (tmp_path / "größe" / "0.png").exists()


def test_control_characters_are_escaped(photos, tmp_path):
    for name in ("red\x1b[31m.png", "two\nlines.png", "bell\x07.png", "c1\x9b31m.png"):
        (photos / name).write_bytes(b"\x89PNG")
    result = shell('"$@"', *RESIZE, photos, tmp_path / "out", "--workers", 1)
    assert result.returncode == 1
    for odd in (b"\x1b", b"\x07", b"two\nlines", b"\x9b"):
        assert odd not in result.stderr + result.stdout
    for spelled in (b"red\\x1b[31m.png", b"two\\nlines.png", b"bell\\x07.png", b"c1\\x9b31m.png"):
        assert spelled in result.stderr
    for words in (["no\x1bwhere", tmp_path / "x"], [photos, "no\x1b\nfolder\0"[:-1], "--size", "\x1bx"]):
        result = shell('"$@"', *RESIZE, *words)
        assert result.returncode == 2 and b"\\x1b" in result.stderr and b"\x1b" not in result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("what", ["pipe", "device"])
@pytest.mark.parametrize("flag", ["--celeba-landmarks", "--csv", "manifest.jsonl", "manifest.journal"])
def test_pipes_and_devices_are_refused_as_lists_and_records(photos, tmp_path, what, flag):
    path = tmp_path / "list"
    os.mkfifo(path) if what == "pipe" else os.symlink("/dev/zero", path)
    out, script, more = tmp_path / "out", "resize.py", []
    if flag.startswith("--"):
        script, more = {"--csv": "split.py"}.get(flag, "opendlib.py"), [flag, path]
    else:
        out.mkdir()
        path.rename(out / flag)
    result = shell('"$@"', sys.executable, ROOT / "datasets" / script, photos, out, *more)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1 and b"not a regular file" in result.stderr
    assert not out.exists() or os.listdir(out) == [flag]


def test_tensorflow_is_imported_without_plots_and_leaves_the_collector_on():
    code = (
        "import gc, sys; from contextual_gan.terminal import import_tensorflow; import_tensorflow(); "
        "assert 'matplotlib.pyplot' not in sys.modules and gc.isenabled(); import matplotlib.pyplot"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr, done.stderr
