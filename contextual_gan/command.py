"""What all commands have in common: one-line errors, exit statuses, shared flags (section 7 of the specification).

Exit status: 0 done; 1 done in part, or the machine failed; 2 the user's mistake, nothing written. Nothing heavy is
imported here, so that `--help` and usage errors answer at once.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import traceback
from dataclasses import fields, replace

from contextual_gan.config import CHOICES, PRESETS, Search


class UserError(Exception):
    """A mistake of the user's, in one line: what, where, what to do."""


@contextlib.contextmanager
def mistakes():
    """What the library refuses in this block is the user's mistake."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise UserError(str(error)) from error


class ArgumentParser(argparse.ArgumentParser):
    """argparse with errors of one line, `--debug`, and examples kept as they are written below the options."""

    def __init__(self, description, examples):
        super().__init__(
            description=description,
            epilog="examples:\n" + examples,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def positive(text):
    """An argparse type: an integer of at least 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def run(main, args):
    """Call main(args) -> exit status, turn what it raises into one line on stderr and a status, and exit."""
    try:
        status = main(args)
        sys.stdout.flush()
    except (KeyboardInterrupt, Exception) as error:
        line, status = _verdict(error)
        if args.debug:
            traceback.print_exc()
        print(f"{os.path.basename(sys.argv[0])}: {line}", file=sys.stderr)
    sys.exit(status)


def _verdict(error):
    """(what to tell the user in one line, exit status) of an exception."""
    text = " ".join(str(error).split())
    match error:
        case KeyboardInterrupt():
            return "interrupted; run the same command again to continue", 130
        case UserError():
            return text, 2
        case ModuleNotFoundError():
            return f"{text}: run `pip install -e .` in the repository", 2
        case OSError(strerror=str(reason), filename=str(path)):
            return f"{reason}: {path}", 1
    return f"{type(error).__name__}: {text} (--debug shows where)", 1


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


def add_search_arguments(parser):
    """Add `--preset` and a flag for every number of `config.Search`, `--lambda` for lambda_."""
    group = parser.add_argument_group("search", "numbers that are not given come from the preset")
    group.add_argument("--preset", choices=PRESETS, default="coauthor", help="default: %(default)s")
    for field in fields(Search):
        values = ", ".join(f"{preset} {getattr(numbers, field.name)}" for preset, numbers in PRESETS.items())
        group.add_argument(
            "--" + field.name.rstrip("_").replace("_", "-"),
            dest=field.name,
            type=field.type,
            choices=CHOICES.get(field.name),
            metavar=None if field.name in CHOICES else "X",
            help=f"{field.metadata['help']} ({values})",
        )


def search_settings(args):
    """The `config.Search` of parsed arguments. Raises ValueError for a number out of range."""
    given = {f.name: getattr(args, f.name) for f in fields(Search) if getattr(args, f.name) is not None}
    return replace(PRESETS[args.preset], **given)
