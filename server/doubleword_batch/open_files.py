"""Opens files so that exactly the checked file is opened.

A path is checked once it is resolved and contains no links. Anyone who can write to one of its
folders may put a link there afterwards. So each folder is opened from the root down without
following links, and the file by its name in the last one: the opened file is where the path says.
Pipes and devices are not waited for.

Windows cannot open folders. There, the opened file is compared with what the path names at that
time, with links resolved, and refused if the two differ. A virus scanner, a sync client or Excel
may have a file open so that nobody else can open, replace, rename or remove it. Most release it
within a moment, so the functions here, and only those, retry for about two seconds.
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from io import BufferedReader, FileIO
from pathlib import Path
from typing import TypeVar

from doubleword_batch.errors import InputError

_BUFFER_BYTES = 1 << 16

WALKS_FOLDERS = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
"""Whether folders are opened one by one; False on Windows."""

NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""For our own files, whose name must not be a link; 0 on Windows, where links need a privilege."""

_JUNCTION = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1)

_FOLDER = (
    getattr(os, "O_PATH", os.O_RDONLY)  # works also for a folder that may be entered but not listed
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


# Files that another Windows program has open

IN_USE = "another program has it open"
CLOSE_IT = "Close it there (Excel, OneDrive, a scanner)"

_Result = TypeVar("_Result")
_ACCESS_DENIED, _SHARING_VIOLATION, _LOCK_VIOLATION = 5, 32, 33  # error codes of Windows
_SHARING_ERRORS = frozenset({_SHARING_VIOLATION, _LOCK_VIOLATION})
_MAYBE_SHARING_ERRORS = _SHARING_ERRORS | {_ACCESS_DENIED}  # for a replaced or removed name
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
        """The error code of Windows when opening a file for reading, or 0."""
        handle = _create_file(str(path), _READ, _SHARED_BY_ALL, None, _EXISTING, 0, None)
        if handle == _NO_HANDLE:
            return ctypes.get_last_error()
        _close_handle(handle)
        return 0

else:

    def _code_of_opening(path: Path) -> int:  # noqa: ARG001  # other systems hold no files
        return 0


def retry_while_in_use(change: Callable[[], None]) -> None:
    """Change a name, retrying for a while if another program has the file open.

    Raises:
        OSError: it cannot be changed, or stays open for too long.
    """
    _retry_while(change, lambda error: getattr(error, "winerror", None) in _MAYBE_SHARING_ERRORS)


def open_when_free(path: Path, flags: int) -> int:
    """Open a file for reading, retrying for a while if another program has locked it.

    Returns:
        The descriptor.

    Raises:
        OSError: it cannot be opened; if it stays locked, its text is `IN_USE`.
    """

    def is_held(error: OSError) -> bool:
        # `os.open` reports the same EACCES for a missing permission and for a folder.
        return isinstance(error, PermissionError) and _code_of_opening(path) in _SHARING_ERRORS

    try:
        return _retry_while(lambda: os.open(path, flags), is_held)
    except PermissionError as error:
        if not is_held(error):
            raise
        raise OSError(errno.EACCES, IN_USE, str(path)) from None


def may_be_in_use(error: OSError, path: Path) -> bool:
    """Whether a name could not be changed because another Windows program has the file open."""
    code = getattr(error, "winerror", None)
    if code != _ACCESS_DENIED:
        return code in _SHARING_ERRORS
    return path.exists() and os.access(path, os.W_OK)  # otherwise the permission is missing


def not_readable(what: str, error: OSError, hint: str) -> InputError:
    """The error for a file that cannot be read.

    Args:
        what: the file, to begin the message with.
        error: why it could not be read.
        hint: what to do; replaced if another program has the file open.
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


# Replacing a file

_ACL = "system.posix_acl_access"
_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED_IN_MOUNTS = ((b"\\", rb"\134"), (b" ", rb"\040"), (b"\t", rb"\011"), (b"\n", rb"\012"))


def why_not_replaced(path: Path) -> str | None:
    """Why a file cannot be replaced, as far as that can be known beforehand; None if it can."""
    if not os.access(path, os.W_OK):
        return "is write-protected"
    if _is_mounted(path):  # as containers are given single files
        return "is mounted as a single file, and such a file cannot be replaced"
    if sys.platform != "win32":
        folder = path.parent.stat()
        users = {0, folder.st_uid, path.stat().st_uid}
        if folder.st_mode & stat.S_ISVTX and os.geteuid() not in users:
            return "belongs to another user, and in that folder only its owner may replace it"
    return None


def _is_mounted(path: Path) -> bool:
    name = os.fsencode(path)
    for character, escaped in _ESCAPED_IN_MOUNTS:
        name = name.replace(character, escaped)
    try:
        mounts = _MOUNTS.read_bytes().splitlines()
    except OSError:  # not Linux
        return False
    return any(fields[4:5] == [name] for fields in map(bytes.split, mounts))


def keep_rights(descriptor: int, name: str | Path, folder: int | None) -> None:
    """Give a new file the permissions of the file that it will replace.

    Args:
        descriptor: the new file's, which only its owner can read so far.
        name: of the file that is replaced; in `folder`, if that is given.
        folder: the descriptor of a folder.
    """
    if sys.platform == "win32":
        return
    with suppress(OSError):  # the file has gone, or the file system has no rights
        found = os.lstat(name, dir_fd=folder)
        mode = stat.S_IMODE(found.st_mode) & (stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO)
        with suppress(PermissionError):
            os.fchown(descriptor, found.st_uid, -1)
        try:
            os.fchown(descriptor, -1, found.st_gid)
        except PermissionError:  # the group's rights are not meant for our group
            mode &= ~stat.S_IRWXG
        _keep_acl(descriptor, name, folder)
        os.fchmod(descriptor, mode)


def _keep_acl(descriptor: int, name: str | Path, folder: int | None) -> None:
    """Copy the access control list; without it, the mode would give the group its mask."""
    if sys.platform != "linux":
        return
    with suppress(OSError):
        os.removexattr(descriptor, _ACL)  # the folder's default
    with suppress(OSError):
        other = os.open(name, _FILE, dir_fd=folder)
        try:
            os.setxattr(descriptor, _ACL, os.getxattr(other, _ACL))
        finally:
            os.close(other)


# Opening files and folders as they were checked


def is_link(path: Path) -> bool:
    """Whether the path is a link, or a junction on Windows."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", 0) == _JUNCTION


def is_plain_file(path: Path) -> bool:
    """Whether the path is a regular file, and not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def is_other_than_file(path: Path) -> bool:
    """Whether something other than a regular file is there: a link, a folder, a pipe."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def open_regular(path: Path, buffering: int = _BUFFER_BYTES) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: absolute, with links resolved.
        buffering: how many bytes to read ahead.

    Raises:
        OSError: it cannot be opened, is not a regular file, or its path contains a link by now.
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
    """The descriptor of a folder, to work in it by bare names; None on Windows.

    Args:
        path: absolute, with links resolved.

    Raises:
        OSError: it cannot be opened, or its path contains a link by now.
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
    """Open by name, then check that the path still leads to the opened file, and not by a link."""
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
    """A link that is in the path by now, in plain words; any other error with the whole path."""
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
        try:
            if stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
                return _swapped(path)
        except OSError:  # it is gone again
            return _swapped(path)
    return OSError(error.errno, error.strerror, str(path))


def _swapped(path: Path) -> OSError:
    return OSError(errno.ELOOP, "a link has taken its place", str(path))
