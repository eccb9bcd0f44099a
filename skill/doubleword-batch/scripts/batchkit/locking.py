"""One run of a request file at a time on this machine."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batchkit.ending import Exit, Stop, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _ERROR_LOCK_VIOLATION = 33
    # Windows keeps others from reading what is locked: the byte lies far behind any file's end.
    _FAR_BEHIND = (0, 1 << 30)
    _lock_file = ctypes.WinDLL("kernel32", use_last_error=True).LockFile
    _lock_file.argtypes = [wintypes.HANDLE, *[wintypes.DWORD] * 4]
    _lock_file.restype = wintypes.BOOL

    def _try_lock(descriptor: int) -> bool:
        if _lock_file(msvcrt.get_osfhandle(descriptor), *_FAR_BEHIND, 1, 0):
            return True
        error = ctypes.get_last_error()
        if error != _ERROR_LOCK_VIOLATION:
            raise ctypes.WinError(error)
        return False

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the request file; the lock ends with the process, whatever ends that."""
    if not path.is_file():
        raise Stop(Exit.INPUT, f"There is no file {quoted(str(path))}.", "Check the path.")
    with path.open("rb") as stream:
        if not _try_lock(stream.fileno()):
            raise Stop(
                Exit.STATE,
                f"Another run of {quoted(str(path))} is under way.",
                "Wait for it to end: it does the same work.",
            )
        yield
