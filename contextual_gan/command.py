"""Shared by all commands: one-line errors, exit statuses, streams.

Exit status: 0 done; 1 partly done, or the machine failed; 2 the user's mistake, nothing written. Nothing heavy is
imported here, so `--help` and usage errors respond at once.
"""

import argparse
import contextlib
import difflib
import errno
import os
import re
import shutil
import sys
import traceback
from pathlib import Path

from contextual_gan.terminal import (  # noqa: F401
    UserError,
    import_tensorflow,
    mistakes,
    print_postponed,
    printable,
    report_failed,
    report_notes,
)

NUMBER = re.compile(r"-\d+|-\d*\.\d+")  # negative numbers, which argparse takes for values
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, an exhausted quota, a file over the size limit
MOST_NAMES = 20  # printed per reason for skipping, and printed reasons
# control characters; newline, tab and the carriage return of a progress bar are kept
CONTROLS = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160)) if chr(c) not in "\n\r\t"}


class ArgumentParser(argparse.ArgumentParser):
    """argparse with one-line errors, `--debug`, and examples printed verbatim below the options."""

    def __init__(self, description, examples):
        super().__init__(
            description=description,
            epilog="examples:\n" + examples,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def parse_args(self, args=None, namespace=None):
        """Like argparse, but unknown flags are reported first: argparse would report missing required flags."""
        words = [str(word) for word in (sys.argv[1:] if args is None else args)]
        given = words[: words.index("--")] if "--" in words else words
        if unknown := [] if {"-h", "--help"} & {*given} else [word for word in given if self._is_unknown(word)]:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._nearest(unknown[0])}")
        return super().parse_args(args, namespace)

    def _is_unknown(self, word):
        """Whether argparse takes a word for a flag although no flag has that name."""
        looks_like_flag = word[:1] == "-" and word != "-" and " " not in word and not NUMBER.fullmatch(word)
        return looks_like_flag and word.partition("=")[0] not in self._option_string_actions

    def _nearest(self, word):
        names = {name.lstrip("-"): name for name in self._option_string_actions}
        match = difflib.get_close_matches(word.partition("=")[0].lstrip("-"), names, n=1)
        return f"; did you mean {names[match[0]]}?" if match else ""

    def error(self, message):
        self.exit(2, f"{self.prog}: {printable(message, longest=None)} (see {self.prog} --help)\n")


def positive(text):
    """An argparse type: an integer of at least 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def not_negative(text):
    """An argparse type: an integer of at least 0."""
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than 0")
    return number


def share(text):
    """An argparse type: a number from 0 to 1."""
    if not 0 <= (number := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return number


def run(main, args, out=None):
    """Call main(args) and exit with its status; an exception becomes one line on stderr and its status.

    out: output folder, locked during the call.
    """
    with _steady_streams():
        try:
            with locked(out):
                status = main(args)
            print_postponed()
        except (KeyboardInterrupt, Exception) as error:
            line, status = _verdict(error)
            if args.debug:
                traceback.print_exc()
            print(f"{os.path.basename(sys.argv[0])}: {printable(line, longest=None)}", file=sys.stderr)
    sys.exit(status)


@contextlib.contextmanager
def locked(out, **options):
    """Hold the `lock.lock` of an output folder, unless it is None. Raises `UserError` if another command holds it."""
    from contextual_gan.files.lock import lock

    with contextlib.ExitStack() as stack:
        with mistakes():
            if out is not None:
                stack.enter_context(lock(out, **options))
        yield


class _Steady:
    """stdout or stderr that escapes unencodable characters, and ignores errors once nobody reads it."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        self._attempt(self.stream.write, text.translate(CONTROLS))
        return len(text)

    def flush(self):
        self._attempt(self.stream.flush)

    def _attempt(self, function, *arguments):
        try:
            function(*arguments)
        except OSError:  # a closed pipe, a full disk
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name):
        return getattr(self.stream, name)


@contextlib.contextmanager
def _steady_streams():
    """Make stdout and stderr `_Steady`, even if they were closed from the start."""
    for number in range(3):  # otherwise the next opened files would get these numbers, and prints would go into them
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)  # unlike open(), this also works for child processes
            if nowhere != number:
                os.close(nowhere)
    before = sys.stdout, sys.stderr
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, "w")  # noqa: SIM115  stays open as long as the process
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, _Steady(stream))
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout, sys.stderr = before


def _verdict(error):
    """(one-line message for the user, exit status) for an exception."""
    text = " ".join(str(error).split())
    match error:
        case KeyboardInterrupt():
            return "interrupted; run the same command again to continue", 130
        case UserError():
            return text, 2
        case ModuleNotFoundError():
            return f"{text}: run `pip install -e .` in the repository", 2
        case ConnectionError() | FloatingPointError():
            return text, 1
        case OSError(strerror=str(reason), filename=str(path), errno=number):
            return f"{reason}: {path}{_room(path) if number in FULL else ''}", 1
        case OSError(strerror=str(reason), errno=number) if number in FULL:  # the file is unknown
            return f"{reason}; make room and run the same command again", 1
    text = text if len(text) <= 1000 else f"{text[:1000]} ..."
    return f"{type(error).__name__}: {text} (--debug shows where)", 1


def check_file(path, overwrite=False):
    """Refuse a path where no file can be written, and an existing file, unless `overwrite`."""
    from contextual_gan.files.lock import check_folder

    with mistakes():
        check_folder(Path(path).parent)
    if os.path.lexists(path) and not os.path.isfile(path):
        raise UserError(f"{path} already exists and is not a file: give another name")
    if os.path.lexists(path) and not overwrite:
        raise UserError(f"{path} already exists: give another name, or --overwrite")


def add_folder_arguments(parser):
    """Add the flags of every command that applies a function to a folder of images."""
    group = parser.add_argument_group("execution")
    group.add_argument("--workers", type=positive, metavar="N", help="processes (default: one per core)")
    group.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="use the Dask cluster of this scheduler")
    group.add_argument("--overwrite", action="store_true", help="replace results made with other parameters")


def folder_flags(args):
    """The parsed flags of `add_folder_arguments` as arguments of `apply.apply_to_folder`."""
    if args.workers and args.scheduler:
        raise UserError("--workers is for local processes, --scheduler for a cluster: give only one of them")
    return {"workers": args.workers, "scheduler": args.scheduler, "overwrite": args.overwrite}


def mirrored(location, out):
    """One `apply.Item` per image in a folder or zip, OUT/a/b.png for a/b.jpg -> (items, refused names)."""
    from contextual_gan.files import sources
    from contextual_gan.files.apply import Item

    with mistakes():
        found, refused = sources.images_in(location, excluded=out)
    stems = sources.output_stems(found)
    return [Item(source.name, f"{stem}.png", (source,)) for stem, source in stems.items()], refused


def apply_to_folder(function, items, out, args, **options):
    """`apply.apply_to_folder` with the flags of `add_folder_arguments`; its ValueErrors become `UserError`s."""
    from contextual_gan.files import apply

    with mistakes():
        return apply.apply_to_folder(function, items, out, **options, **folder_flags(args))


def report(report):
    """Print a summary of the inputs -> exit status, 1 if any failed."""
    for entry in report.failed:
        print(f"failed: {printable(entry['source'])}: {printable(entry['failed'], longest=None)}", file=sys.stderr)
    reasons = {}
    for entry in report.skipped:
        reasons.setdefault(entry["skipped"], []).append(printable(entry["source"]))
    for reason, names in list(reasons.items())[:MOST_NAMES]:
        more = ", ..." * (len(names) > MOST_NAMES)
        print(
            f"skipped, {printable(reason, longest=None)}: {len(names)}: {', '.join(names[:MOST_NAMES])}{more}",
            file=sys.stderr,
        )
    if len(reasons) > MOST_NAMES or any(len(names) > MOST_NAMES for names in reasons.values()):
        print(f"all skipped inputs, with reasons: {report.out}/manifest.jsonl", file=sys.stderr)
    if report.gone:
        print(f"kept: {report.gone} results of inputs that no longer exist", file=sys.stderr)
    if report.replaced:
        names = (
            f"{', '.join(map(printable, report.replaced[:MOST_NAMES]))}{' ...' * (len(report.replaced) > MOST_NAMES)}"
        )
        print(f"made again because their inputs changed: {len(report.replaced)}: {names}", file=sys.stderr)
    if several := [printable(entry["source"]) for entry in report.done if "several" in entry]:
        more = ", ..." * (len(several) > MOST_NAMES)
        print(f"used only the first of several pictures: {', '.join(several[:MOST_NAMES])}{more}", file=sys.stderr)
    made = sum(1 + len(entry.get("further", ())) for entry in report.done)
    counts = f"{made} images in {report.out}, {len(report.skipped)} skipped, {len(report.failed)} failed"
    print(counts if report.new else f"nothing to do: {counts}")
    return 1 if report.failed else 0


def _room(path):
    """Free space and advice, for the message about a full disk."""
    folder = next(parent for parent in Path(path).absolute().parents if parent.exists())
    return f" ({shutil.disk_usage(folder).free / 1e9:.1f} GB free there); make room and run the same command again"
