"""Opening files so that what was checked is what is opened.

A path is checked once it is resolved, and nothing of it is a link then. Whoever can write to one of
its folders may put a link there afterwards. So each of its folders is opened from the root down
without following links, and the file by its name in the last of them: what opens lies where the
path says. A pipe or a device is not waited for.

Windows opens no folders. There the file that was opened is compared with what the path names then,
links resolved, and refused where the two differ. A virus scanner, a synchroniser or Excel may have
a file there so that nobody else opens, replaces, renames or removes it. Most let go within a
moment, so each of that is tried again for about two seconds, by the functions here and nowhere
else.
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import TypeVar

from doubleword_batch.errors import InputError

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


# Files that another program of Windows has open

IN_USE = "another program has it open"
CLOSE_IT = "Close it there (Excel, OneDrive, a scanner)"

_Result = TypeVar("_Result")
_ACCESS_DENIED, _SHARING_VIOLATION, _LOCK_VIOLATION = 5, 32, 33  # error codes of Windows
_SHARING_ERRORS = frozenset({_SHARING_VIOLATION, _LOCK_VIOLATION})
_MAYBE_SHARING_ERRORS = _SHARING_ERRORS | {_ACCESS_DENIED}  # of a replaced or removed name
_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 0.05

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _create_file = _kernel32.CreateFileW
    _create_file.restype = wintypes.HANDLE
    _create_file.argtypes = [
        wintypes.LPCWSTR,
        *[wintypes.DWORD] * 2,
        ctypes.c_void_p,
        *[wintypes.DWORD] * 2,
        wintypes.HANDLE,
    ]
    _close_handle = _kernel32.CloseHandle
    _close_handle.argtypes = [wintypes.HANDLE]
    _NO_HANDLE = wintypes.HANDLE(-1).value
    _READ, _SHARED_BY_ALL, _EXISTING = 0x80000000, 7, 3

    def _code_of_opening(path: Path) -> int:
        """What Windows says to opening a file for reading: 0, or its error code."""
        handle = _create_file(str(path), _READ, _SHARED_BY_ALL, None, _EXISTING, 0, None)
        if handle == _NO_HANDLE:
            return ctypes.get_last_error()
        _close_handle(handle)
        return 0

else:

    def _code_of_opening(path: Path) -> int:  # noqa: ARG001  # no file is held there
        return 0


def retry_while_in_use(change: Callable[[], None]) -> None:
    """Change a name, trying again for a while if another program has the file open.

    Raises:
        OSError: it cannot be changed, or stays open for too long.
    """
    _retry_while(change, lambda error: getattr(error, "winerror", None) in _MAYBE_SHARING_ERRORS)


def open_when_free(path: Path, flags: int) -> int:
    """Open a file for reading, trying again for a while if another program has locked it.

    Returns:
        The descriptor.

    Raises:
        OSError: it cannot be opened; if it stays locked, its text is `IN_USE`.
    """

    def is_held(error: OSError) -> bool:
        # `os.open` says the same, EACCES, of a missing right and of a folder.
        return isinstance(error, PermissionError) and _code_of_opening(path) in _SHARING_ERRORS

    try:
        return _retry_while(lambda: os.open(path, flags), is_held)
    except PermissionError as error:
        if not is_held(error):
            raise
        raise OSError(errno.EACCES, IN_USE, str(path)) from None


def may_be_in_use(error: OSError, path: Path) -> bool:
    """Whether a name could not be changed because another program of Windows has the file open."""
    code = getattr(error, "winerror", None)
    if code != _ACCESS_DENIED:
        return code in _SHARING_ERRORS
    return path.exists() and os.access(path, os.W_OK)  # else the right to it is missing


def not_readable(what: str, error: OSError, hint: str) -> InputError:
    """The error for a file that cannot be read.

    Args:
        what: the file, as its sentence begins.
        error: why.
        hint: what to do; where another program has it open, that says so itself.
    """
    return InputError(
        f"{what} cannot be read: {error.strerror or error}.",
        hint=f"{CLOSE_IT}, then try again." if error.strerror == IN_USE else hint,
        code="not_readable",
    )


def _retry_while(work: Callable[[], _Result], is_held: Callable[[OSError], bool]) -> _Result:
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return work()
        except OSError as error:
            if not is_held(error) or time.monotonic() > until:
                raise
        time.sleep(_PAUSE_SECONDS)


# Files and folders as they were checked


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
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))  # noqa: TRY301  # closed below
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
    descriptor = _open_folder(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_folder(path: Path) -> int:
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
    descriptor = open_when_free(path, _FILE)
    try:
        is_same = os.path.samestat(os.fstat(descriptor), path.lstat())
        if not is_same or path.resolve() != path:
            raise _swapped(path)  # noqa: TRY301  # closed as after every other error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


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
