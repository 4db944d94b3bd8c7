"""The command: it prints the address of the page, and always ends with one line."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from conftest import ROOT

pytest.importorskip("uvicorn", reason="the page needs the extra [web]")

COMMAND = [sys.executable, ROOT / "scripts/web.py"]


def run(*flags, **options):
    return subprocess.run([*COMMAND, *flags], capture_output=True, text=True, timeout=120, **options)


def test_ctrl_c_ends_it_with_status_0():
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*COMMAND, "--port", "0", "--host", "0.0.0.0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        line = process.stdout.readline()
        port = int(line.removeprefix("draw at http://").partition(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:  # and does not hold it up
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert rest == "" and errors.startswith("warning: everybody who can reach 0.0.0.0") and errors.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--port", "70000"], "65535"),
        (["--port", "x"], "invalid"),
        (["--host", "no.such.host.invalid"], "no host"),
        (["--weights", "nothing"], "no weights"),
    ],
)
def test_a_mistake_is_reported_in_one_line(flags, line):
    done = run("--port", "0", *flags) if "--port" not in flags else run(*flags)
    assert done.returncode == 2 and line in done.stderr and done.stderr.count("\n") == 1 and not done.stdout


def test_a_port_in_use_is_reported_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = run("--port", port)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"port {port} is in use" in done.stderr


def test_without_the_extra_one_line_explains_how_to_install_it(tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError(\"No module named 'uvicorn'\")")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = run(env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 2 and ".[web]" in done.stderr and done.stderr.count("\n") == 1
