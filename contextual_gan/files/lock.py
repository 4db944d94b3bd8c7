"""One command at a time in an output folder.

The lock is a `flock` on a hidden file in the folder, so a process that has died holds no lock. The file names its
holder and is removed at the end; only a killed command leaves it behind.
"""

import contextlib
import errno
import fcntl
import os
import shlex
import stat
import sys
import time
from pathlib import Path

NAME = ".contextual_gan.lock"
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # some network file systems
LONGEST_COMMAND = 200
MOST_TRIES = 1000

_held = {}  # {real path of a lock file: whether a killed command had left it}


def check_folder(out):
    """Raise ValueError if `out` cannot become a folder because it, or one of its parents, is something else."""
    for path in (Path(out), *Path(out).parents):
        try:
            os.lstat(path)
            if path.is_dir():
                continue
        except (FileNotFoundError, NotADirectoryError):  # because of a parent
            continue
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}; give another output folder") from error
        what = "a file" if path.is_file() else "a broken link" if path.is_symlink() else "not a folder"
        raise ValueError(f"{path} is {what}, the output must be a folder")


@contextlib.contextmanager
def lock(folder, name=NAME):
    """Hold the lock of an output folder, which is created if needed, and removed again if it is empty at the end.

    name: of the lock file; another name locks a single file of the folder. A process may take the same lock several
    times. Raises ValueError, in one line, if another process holds it (naming it), and the errors of `check_folder`. If
    the folder is not writable, or the file system has no locks (a warning on stderr), there is no lock.
    """
    check_folder(folder)
    path = os.path.join(os.path.realpath(folder), name)
    if path in _held:
        yield
        return
    made = [parent for parent in (Path(folder), *Path(folder).parents) if not parent.exists()]
    file, _held[path] = _acquire(folder, path)
    try:
        yield
    finally:
        del _held[path]
        _release(file, path)
        with contextlib.suppress(OSError):  # not empty
            for parent in made:
                parent.rmdir()


def was_interrupted(folder):
    """Whether a command was killed while it held the lock of a folder that this process holds now."""
    return _held.get(os.path.join(os.path.realpath(folder), NAME), False)


def _acquire(folder, path):
    """(file descriptor with the lock, None if it is not writable; whether the file existed before)."""
    for _ in range(MOST_TRIES):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        except OSError as error:
            raise ValueError(f"{folder}: {error.strerror}; give another output folder") from error
        try:
            file, was_there = _opened(path)
        except FileNotFoundError:  # its holder has just removed it, perhaps with the folder
            continue
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return None, False
            raise ValueError(f"{path}: {error.strerror}; move it away") from error
        try:
            _lock(file, folder)
            if _is_at(file, path):
                os.ftruncate(file, 0)
                os.write(file, f"{os.getpid()} {_command()}\n".encode("utf-8", "backslashreplace"))
                return file, was_there
        except BaseException as error:
            os.close(file)
            if isinstance(error, OSError):
                error.filename = path
            raise
        os.close(file)  # it is no longer the file of that name: its holder removed it before we locked it
    raise ValueError(f"{folder}: no file can be created there; give another output folder")


def _opened(path):
    """(file descriptor of a lock file, whether it existed before). Raises OSError, also for a link or a pipe."""
    with contextlib.suppress(FileExistsError):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), False
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return file, True


def _lock(file, folder):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            print(f"warning: {folder}: this file system has no locks; run one command at a time", file=sys.stderr)
        elif error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise ValueError(
                f"{folder} is in use by {_holder(file)}: wait for it to end, or give another output"
            ) from error
        else:
            raise


def _holder(file):
    """The holder of a lock, from its file, which is empty for an instant."""
    for _ in range(20):
        process, _, command = os.pread(file, 1000, 0).decode("utf-8", "replace").strip().partition(" ")
        if process:
            return f"process {process} ({command})"
        time.sleep(0.01)
    return "another process"


def _command():
    """The command line of this process, as typed in a shell."""
    text = shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
    return text if len(text) <= LONGEST_COMMAND else text[:LONGEST_COMMAND] + " ..."


def _is_at(file, path):
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except FileNotFoundError:
        return False


def _release(file, path):
    if file is None:
        return
    with contextlib.suppress(OSError):
        if _is_at(file, path):  # removed before unlocking: a process that gets it in between checks again
            os.unlink(path)
    os.close(file)
