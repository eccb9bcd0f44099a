"""Opening files so that what was checked is what is opened.

A path is checked once it is resolved, and nothing of it is a link then. Whoever can write to one of
its folders may put a link there afterwards. So each of its folders is opened from the root down
without following links, and the file by its name in the last of them: what opens lies where the
path says. A pipe or a device is not waited for.

Windows opens no folders. There the file that was opened is compared with what the path names then,
links resolved, and refused where the two differ; a file that another program has for itself is
waited for a moment (`held_files.py`).
"""

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path

from doubleword_batch.held_files import open_patiently

_BUFFER_BYTES = 1 << 16

WALKS_FOLDERS = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
"""Whether folders are opened one by one; False on Windows."""

NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""For files of our own, whose name no link may take; 0 on Windows, where links need a right."""

_JUNCTION = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1)

_FOLDER = (
    getattr(os, "O_PATH", os.O_RDONLY)  # where a folder may be entered but not listed, too
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_FILE = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def is_link(path: Path) -> bool:
    """Whether a link stands there, or a junction of Windows."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", 0) == _JUNCTION


def is_plain_file(path: Path) -> bool:
    """Whether a regular file stands there, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def open_regular(path: Path, buffering: int = _BUFFER_BYTES) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: absolute, its links resolved.
        buffering: bytes that are read ahead.

    Raises:
        OSError: it cannot be opened, is not a regular file, or a link stands in its path by now.
    """
    descriptor = _open_file(path)
    try:
        _check_regular(descriptor, path)
        if hasattr(os, "O_NONBLOCK"):
            os.set_blocking(descriptor, True)
        return BufferedReader(FileIO(descriptor, "rb"), buffering)
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def opened_folder(path: Path) -> Generator[int | None]:
    """The descriptor of a folder, to work in it by names alone; None on Windows.

    Args:
        path: absolute, its links resolved.

    Raises:
        OSError: it cannot be opened, or a link stands in its path by now.
    """
    if not WALKS_FOLDERS:
        if path.resolve() != path:
            raise _swapped(path)
        yield None
        return
    descriptor = open_folder(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_folder(path: Path) -> int:
    """As `opened_folder`, for those who close the descriptor themselves."""
    descriptor = os.open(path.anchor, _FOLDER)
    for name in path.parts[1:]:
        try:
            inner = os.open(name, _FOLDER, dir_fd=descriptor)
        except OSError as error:
            raise _explained(error, path, descriptor, name) from None
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def _open_file(path: Path) -> int:
    if not WALKS_FOLDERS:
        return _open_compared(path)
    with opened_folder(path.parent) as folder:
        try:
            return os.open(path.name, _FILE, dir_fd=folder)
        except OSError as error:
            raise _explained(error, path, folder, path.name) from None


def _open_compared(path: Path) -> int:
    """Open by name, then see that the path still leads to what was opened, and by no link."""
    descriptor = open_patiently(path, _FILE)
    try:
        _check_same(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(descriptor: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def _check_same(descriptor: int, path: Path) -> None:
    is_same = os.path.samestat(os.fstat(descriptor), path.lstat())
    if not is_same or path.resolve() != path:
        raise _swapped(path)


def _explained(error: OSError, path: Path, folder: int | None, name: str) -> OSError:
    """A link that stands there by now, in plain words; every other error with the whole path."""
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
        try:
            if stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
                return _swapped(path)
        except OSError:  # it has gone again
            return _swapped(path)
    return OSError(error.errno, error.strerror, str(path))


def _swapped(path: Path) -> OSError:
    return OSError(errno.ELOOP, "a link has taken its place", str(path))
