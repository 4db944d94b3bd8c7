"""What a command tells its user on the way: mistakes, inputs that failed; and TensorFlow without its greetings."""

import contextlib
import gc
import os
import sys
import tempfile

LONGEST_PRINTED = 200  # characters of a name in a message


class UserError(Exception):
    """A mistake of the user's, in one line: what, where, what to do."""


@contextlib.contextmanager
def mistakes():
    """What the library refuses in this block is the user's mistake."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise UserError(str(error)) from error


def report_failed(failed):
    """Print a line on stderr for each (name, reason)."""
    for name, reason in failed:
        print(f"failed: {printable(name)}: {printable(reason, longest=None)}", file=sys.stderr)


def report_notes(notes):
    """Print a line on stderr for each (name, what is to be said about it)."""
    for name, note in notes:
        print(f"{printable(name)}: {note}", file=sys.stderr)


def import_tensorflow():
    """Import TensorFlow without the greetings that it writes straight to file descriptor 2.

    It makes a million objects that live as long as the process. To look for garbage among them, again and again while
    they are imported and once more at the end, takes a fifth of the time of a short command.
    """
    sys.stderr.flush()
    is_collecting = gc.isenabled()
    gc.disable()
    with tempfile.TemporaryFile() as noise, contextlib.ExitStack() as stack:
        stderr = os.dup(2)
        stack.callback(os.close, stderr)
        stack.callback(os.dup2, stderr, 2)
        os.dup2(noise.fileno(), 2)
        with _without("matplotlib.pyplot"):  # which Keras would import for plots, if it is installed
            import tensorflow as tf

        tf.config.list_physical_devices("GPU")
    gc.freeze()
    if is_collecting:
        gc.enable()
    return tf


@contextlib.contextmanager
def _without(name):
    """A block in which a module counts as not installed, unless it has been imported already."""
    is_there = name in sys.modules
    sys.modules.setdefault(name, None)
    try:
        yield
    finally:
        if not is_there:
            del sys.modules[name]


def printable(name, longest=LONGEST_PRINTED):
    """A name from anywhere in one short line: odd characters spelled out, the middle of a long one left out."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(name))
    return text if longest is None or len(text) <= longest else f"{text[:60]}...{text[-30:]}"
