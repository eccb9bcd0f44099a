"""Files that another program of Windows has open.

A virus scanner, a synchroniser or Excel may have a file so that nobody else opens, replaces,
renames or removes it. Most let go within a moment, so each of that is tried again for about two
seconds, by the functions here and nowhere else.
"""

import errno
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from doubleword_batch.errors import InputError

HELD = "another program has it open"
CLOSE_IT = "Close it there (Excel, OneDrive, a scanner)"

_Result = TypeVar("_Result")
_ACCESS_DENIED, _SHARING_VIOLATION, _LOCK_VIOLATION = 5, 32, 33  # error codes of Windows
_IN_THE_WAY = frozenset({_SHARING_VIOLATION, _LOCK_VIOLATION})
_MAYBE_IN_THE_WAY = _IN_THE_WAY | {_ACCESS_DENIED}  # of a replaced or removed name
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


def patiently(change: Callable[[], None]) -> None:
    """Change a name, again and again while another program has the file open.

    Raises:
        OSError: it cannot be changed, or is held for too long.
    """
    _again_while(change, lambda error: getattr(error, "winerror", None) in _MAYBE_IN_THE_WAY)


def open_patiently(path: Path, flags: int) -> int:
    """Open a file for reading, again and again while another program has it for itself.

    Returns:
        The descriptor.

    Raises:
        OSError: it cannot be opened; held for too long, its words are `HELD`.
    """

    def is_held(error: OSError) -> bool:
        # `os.open` says the same, EACCES, of a missing right and of a folder.
        return isinstance(error, PermissionError) and _code_of_opening(path) in _IN_THE_WAY

    try:
        return _again_while(lambda: os.open(path, flags), is_held)
    except PermissionError as error:
        if not is_held(error):
            raise
        raise OSError(errno.EACCES, HELD, str(path)) from None


def may_be_held(error: OSError, path: Path) -> bool:
    """Whether a name could not be changed because another program of Windows has the file open."""
    code = getattr(error, "winerror", None)
    if code != _ACCESS_DENIED:
        return code in _IN_THE_WAY
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
        hint=f"{CLOSE_IT}, then try again." if error.strerror == HELD else hint,
        code="not_readable",
    )


def _again_while(attempt: Callable[[], _Result], is_held: Callable[[OSError], bool]) -> _Result:
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return attempt()
        except OSError as error:
            if not is_held(error) or time.monotonic() > until:
                raise
        time.sleep(_PAUSE_SECONDS)
