"""Messages of commands: mistakes and failed inputs; and the import of TensorFlow without its messages."""

import contextlib
import os
import sys
import tempfile

LONGEST_PRINTED = 200  # characters of a name in a message

_postponed = []


class UserError(Exception):
    """A mistake of the user, in one line: what, where, what to do."""


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
    """Print a line on stderr when the command is done; if it fails, the error stays the only line."""
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
    """Import TensorFlow without the messages that it writes directly to file descriptor 2."""
    with silent_libraries():
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")
    return tf


def printable(name, longest=LONGEST_PRINTED):
    """Any name as one short line: special characters escaped, the middle of a long name left out."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(name))
    return text if longest is None or len(text) <= longest else f"{text[:60]}...{text[-30:]}"
