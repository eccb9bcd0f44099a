"""Records what is sent, before it is sent and after it is answered.

The journal is `<file>.state.json` beside the request file. It contains no key.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from batchkit.atomic_files import open_own, write_whole
from batchkit.cli import Exit, ScriptError, check_file_is_there, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK_BYTES = 1 << 20
_MOST_BYTES = 1 << 20
_LAST_TIME = 1e12
_TIMES = frozenset({"upload_sent_at", "create_sent_at", "short_since"})
_LATER = {"short_since": None, "lacking": None}  # journals of earlier versions do not have them
_FIXED = frozenset({"sha256", "base_url"})


@dataclass
class Entries:
    """The journal's entries; times are epoch seconds, None if it has not happened.

    Attributes:
        sha256: the request file's hash.
        base_url: the server.
        upload_sent_at: when the upload was about to be sent.
        file_id: the server's id of the uploaded file.
        create_sent_at: when the creation was about to be sent.
        batch_id: the server's id of the batch.
        ended: the batch's last status, once both files have been collected.
        short_since: when the last line came, if the batch has ended and counts more lines.
        lacking: why its rows have no line, once we no longer wait for lines that it counts.
    """

    sha256: str
    base_url: str
    upload_sent_at: float | None = None
    file_id: str | None = None
    create_sent_at: float | None = None
    batch_id: str | None = None
    ended: str | None = None
    short_since: float | None = None
    lacking: str | None = None


class Journal:
    """The journal of one request file, opened or newly created.

    Attributes:
        entries: what is recorded; change it through `note`.
        is_new: nothing had been recorded before.
    """

    def __init__(self, request_file: Path, base_url: str) -> None:
        self.path = request_file.with_name(request_file.name + ".state.json")
        self.sha256 = _sha256(request_file)
        self.is_new = not self.path.exists()
        self.entries = Entries(self.sha256, base_url) if self.is_new else self._read()
        self._refuse("sha256", self.sha256, "The request file has changed since it was sent.")
        self._refuse("base_url", base_url, "The batch is at another DOUBLEWORD_BASE_URL.")

    def note(self, **changes: float | str | None) -> None:
        """Record entries, durably."""
        for name, value in changes.items():
            setattr(self.entries, name, value)
        write_whole(self.path, [json.dumps(asdict(self.entries), indent=1).encode(), b"\n"])

    def seconds_in_doubt(self, in_doubt_seconds: float) -> float:
        """How long a creation that was sent but never answered may still appear."""
        if self.entries.create_sent_at is None:
            return 0.0
        now = time.time()
        return min(self.entries.create_sent_at, now) + in_doubt_seconds - now

    def _read(self) -> Entries:
        found = {**_LATER, **read_state(self.path)}
        try:
            return Entries(**{name.name: found[name.name] for name in fields(Entries)})
        except KeyError:
            raise ScriptError(
                Exit.STATE,
                f"{quoted(str(self.path))} cannot be read.",
                "Move it away: the next run looks for the batch at the server before it sends.",
            ) from None

    def _refuse(self, name: str, expected: str, message: str) -> None:
        if getattr(self.entries, name) != expected:
            raise ScriptError(
                Exit.STATE,
                message,
                f"Restore that, or give new requests a new file name; {quoted(str(self.path))} "
                "says what was sent.",
            )


def read_state(path: Path) -> dict[str, Any]:
    """The valid entries in a journal's file.

    Raises:
        ScriptError: the path is a link, or something else that is not a file.
        OSError: it cannot be opened.
    """
    with open_own(path, "rb") as stream:
        content = stream.read(_MOST_BYTES)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    members = found if isinstance(found, dict) else {}
    return {name: value for name, value in members.items() if _is_entry(name, value)}


def _is_entry(name: str, value: Any) -> bool:
    if name in _TIMES:
        return value is None or (isinstance(value, (int, float)) and 0 <= value < _LAST_TIME)
    return isinstance(value, str) or (value is None and name not in _FIXED)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK_BYTES), b""):
            digest.update(block)
    return digest.hexdigest()


# One run of a request file at a time

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _ERROR_LOCK_VIOLATION = 33
    # Windows keeps others from reading a locked byte: this one is far beyond any file's end.
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
    """Lock the request file; the lock ends with the process, however that ends."""
    check_file_is_there(path)
    with path.open("rb") as stream:
        if not _try_lock(stream.fileno()):
            raise ScriptError(
                Exit.STATE,
                f"Another run of {quoted(str(path))} is under way.",
                "Wait for it to end: it does the same work.",
            )
        yield
