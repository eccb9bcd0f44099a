"""Files of the scripts' own: whole or not at all, readable by their owner only, never a link.

They lie beside files that may have come from anybody, and so may what stands under their names: a
link would choose which file of the person is read or written, and a pipe would be waited for.
"""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from batchkit.ending import Exit, Stop, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_ACCESS_DENIED, _SHARING_VIOLATION, _LOCK_VIOLATION = 5, 32, 33  # error codes of Windows
_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 0.05

_IS_WINDOWS = os.name == "nt"
_NO_NAME_THERE = re.compile(
    r"""(?: .*[<>:"|?*\x00-\x1f].* | .*[ .]  # else a stream of another file, or another name
    | (?:CON|PRN|AUX|NUL|COM[0-9¹²³]|LPT[0-9¹²³])[ ]*(?:\..*)? )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def private(path: str, flags: int) -> int:
    """An `opener` for `open`: a file it makes is readable by its owner only."""
    return os.open(path, flags, 0o600)


_OWN_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_own(path: Path, mode: str) -> BinaryIO:
    """Open a file that only the scripts write, bytes.

    Raises:
        Stop: a link stands there, or something else that is not a file.
        OSError: as `open`.
    """
    if path.is_symlink():
        raise _not_ours(path)
    try:
        stream = open(  # noqa: SIM115  # the caller's
            path, mode, opener=lambda name, flags: private(name, flags | _OWN_FLAGS)
        )
    except OSError:
        if os.path.lexists(path) and not path.is_file():
            raise _not_ours(path) from None
        raise
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise _not_ours(path)
    return stream  # type: ignore[return-value]


def _not_ours(path: Path) -> Stop:
    return Stop(
        Exit.STATE,
        f"{quoted(str(path))} is a link, or not a file.",
        "Only these scripts write there: remove it.",
    )


def check_name(path: Path) -> None:
    """Refuse a name that Windows cannot have, or takes for a device, a stream or another name."""
    if _IS_WINDOWS and _NO_NAME_THERE.fullmatch(path.name):
        raise Stop(
            Exit.INPUT,
            f"Windows can have no file of the name {quoted(path.name)}; nothing was written.",
            "Give another name.",
        )


def unfinished(path: Path) -> Path:
    """The name of a file while it is being written."""
    return path.with_name(path.name + ".part")


@contextmanager
def being_written(path: Path) -> Iterator[BinaryIO]:
    """Open the unfinished file of `path`; `publish` gives it its name, an error removes it."""
    check_name(path)
    part = unfinished(path)
    part.unlink(missing_ok=True)  # what a killed process left
    try:
        with open(part, "xb", opener=private) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def publish(path: Path) -> None:
    """Give a finished file its name, durably; a file of that name is replaced."""
    _rename(unfinished(path), path)
    with suppress(OSError):  # Windows does not open folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _rename(part: Path, path: Path) -> None:
    """On Windows a scanner or a synchroniser may hold the target for a moment."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while not _renamed(part, path):
        if time.monotonic() > until:
            raise Stop(
                Exit.STATE,
                f"Another program has {quoted(str(path))} open.",
                "Close it there, then run the same command again.",
            )
        time.sleep(_PAUSE_SECONDS)


def _renamed(part: Path, path: Path) -> bool:
    """Rename it; False where another program has one of the two open."""
    try:
        part.replace(path)
    except OSError as error:
        if not _may_be_held(error, path):
            raise
        return False
    return True


def _may_be_held(error: OSError, path: Path) -> bool:
    code = getattr(error, "winerror", None)
    if code != _ACCESS_DENIED:
        return code in (_SHARING_VIOLATION, _LOCK_VIOLATION)
    return path.is_file() and os.access(path, os.W_OK)  # else the right to it is missing


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file in one go."""
    with being_written(path) as stream:
        stream.writelines(pieces)
    publish(path)
