"""What a command tells its user on the way: mistakes, inputs that failed; and TensorFlow without its greetings."""

import contextlib
import os
import sys
import tempfile

from contextual_gan.files.sources import printable


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
    """Import TensorFlow without the greetings that it writes straight to file descriptor 2."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as noise, contextlib.ExitStack() as stack:
        stderr = os.dup(2)
        stack.callback(os.close, stderr)
        stack.callback(os.dup2, stderr, 2)
        os.dup2(noise.fileno(), 2)
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")
    return tf
