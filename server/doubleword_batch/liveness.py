"""A lock on a file that tells whether the process that took it is still alive.

The operating system releases it when the process ends, in whatever way. It uses `flock`, and
`LockFileEx` on Windows: both have shared locks, so any number of processes can check for a holder
at once without blocking it or each other.
"""

import errno
import os
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from doubleword_batch.open_files import NO_LINK

_ATTEMPTS = 10
_PAUSE_SECONDS = 0.01
_LEFT_TO_PARENT = -1

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _FAIL_IMMEDIATELY, _EXCLUSIVE = 1, 2
    _ERROR_LOCK_VIOLATION = 33
    _lock_file = ctypes.WinDLL("kernel32", use_last_error=True).LockFileEx
    _lock_file.argtypes = [wintypes.HANDLE, *[wintypes.DWORD] * 4, ctypes.c_void_p]
    _lock_file.restype = wintypes.BOOL

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        flags = _FAIL_IMMEDIATELY if shared else _FAIL_IMMEDIATELY | _EXCLUSIVE
        overlapped = ctypes.create_string_buffer(32)  # zeros: the lock begins at byte 0
        if _lock_file(msvcrt.get_osfhandle(descriptor), flags, 0, 1, 0, overlapped):
            return True
        error = ctypes.get_last_error()
        if error != _ERROR_LOCK_VIOLATION:
            raise ctypes.WinError(error)
        return False

else:
    import fcntl

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class LivenessLock:
    """A held lock; `acquire` creates it.

    The file stays when the lock is released. Only a file whose name is used once may be deleted: if
    several processes use one name, deleting it would let two of them hold the lock.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path) -> Self:
        """Take the lock.

        Args:
            path: the lock's file, created if it does not exist; its folder must exist.

        Raises:
            BlockingIOError: another process holds it.
            OSError: the file cannot be opened, or its file system has no locks.
        """
        with ExitStack() as stack:
            lock = cls(os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o600))
            stack.callback(lock.release)
            for _ in range(_ATTEMPTS):
                if _try_lock(lock._descriptor, shared=False):  # our own
                    stack.pop_all()
                    _held.add(lock)
                    return lock
                time.sleep(_PAUSE_SECONDS)  # `is_held` may be checking, which takes microseconds
        raise BlockingIOError(errno.EAGAIN, "Another process holds the lock", str(path))

    def release(self) -> None:
        """Release the lock; call it only once."""
        _held.discard(self)
        if self._descriptor != _LEFT_TO_PARENT:
            os.close(self._descriptor)

    def leave_to_parent(self) -> None:
        """In a forked process: let the lock end with the process that took it."""
        os.close(self._descriptor)
        self._descriptor = _LEFT_TO_PARENT


_held: set[LivenessLock] = set()


def _leave_all_to_parent() -> None:
    while _held:
        _held.pop().leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)


def hold(descriptor: int) -> None:
    """Lock a file that was just made until it is closed, if the file system can."""
    with suppress(OSError):
        _try_lock(descriptor, shared=False)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock on that file; a link or a folder is not a lock."""
    try:
        descriptor = os.open(path, os.O_RDWR | NO_LINK)
    except FileNotFoundError:
        return False
    except OSError as error:
        # Windows reports a folder like a missing permission.
        if error.errno != errno.ELOOP and not path.is_dir():
            raise
        return False
    try:
        return not _try_lock(descriptor, shared=True)
    finally:
        os.close(descriptor)
