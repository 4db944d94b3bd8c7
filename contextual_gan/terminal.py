"""Messages of commands: mistakes and failed inputs; and the import of TensorFlow without its messages."""

import contextlib
import gc
import os
import sys
import tempfile

LONGEST_PRINTED = 200  # characters of a name in a message

_postponed = []


class UserError(Exception):
    """A user's mistake, in one line: what, where, what to do."""


@contextlib.contextmanager
def mistakes():
    """Turn the library's errors in this block into `UserError`s."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise UserError(str(error)) from error


def report_failed(failed):
    """Print a line on stderr for each (name, reason)."""
    for name, reason in failed:
        print(f"failed: {printable(name)}: {printable(reason, longest=None)}", file=sys.stderr)


def report_notes(notes):
    """Print a line on stderr for each (name, note)."""
    for name, note in notes:
        print(f"{printable(name)}: {note}", file=sys.stderr)


def postpone(line):
    """Print a line on stderr when the command is done; if it fails, the error remains the only line."""
    _postponed.append(line)


def print_postponed():
    """Print the lines of `postpone` on stderr."""
    while _postponed:
        print(_postponed.pop(0), file=sys.stderr)


@contextlib.contextmanager
def silent_libraries():
    """Hide what libraries write directly to file descriptor 2 in this block."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as noise, contextlib.ExitStack() as stack:
        stderr = os.dup(2)
        stack.callback(os.close, stderr)
        stack.callback(os.dup2, stderr, 2)
        os.dup2(noise.fileno(), 2)
        yield


def import_tensorflow():
    """Import TensorFlow without the messages that it writes directly to file descriptor 2.

    The import creates a million objects that live as long as the process. Searching them for garbage, again and again
    during the import and once more at exit, would take a fifth of the time of a short command.
    """
    is_collecting = gc.isenabled()
    gc.disable()
    with silent_libraries(), _without("matplotlib.pyplot"):  # which Keras imports for plots, if it is installed
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")
    gc.freeze()
    if is_collecting:
        gc.enable()
    return tf


@contextlib.contextmanager
def _without(name):
    """Make a module count as not installed in this block, unless it has been imported before."""
    is_there = name in sys.modules
    sys.modules.setdefault(name, None)
    try:
        yield
    finally:
        if not is_there:
            del sys.modules[name]


def printable(name, longest=LONGEST_PRINTED):
    """Any name as one short line: special characters escaped, the middle of a long name left out."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(name))
    return text if longest is None or len(text) <= longest else f"{text[:60]}...{text[-30:]}"
