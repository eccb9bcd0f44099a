"""One run of a request file at a time on this machine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from batchkit.ending import Exit, Stop, quoted

try:
    import fcntl
except ImportError:  # Windows has no lock that leaves the file readable
    fcntl = None

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the request file; the lock ends with the process, whatever ends that."""
    if not path.is_file():
        raise Stop(Exit.INPUT, f"There is no file {quoted(str(path))}.", "Check the path.")
    with path.open("rb") as stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Stop(
                    Exit.STATE,
                    f"Another run of {quoted(str(path))} is under way.",
                    "Wait for it; it does the same.",
                ) from None
        yield
