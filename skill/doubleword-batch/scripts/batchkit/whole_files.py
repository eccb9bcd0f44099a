"""Files that appear whole or not at all, readable by their owner only."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def private(path: str, flags: int) -> int:
    """An `opener` for `open`: a file it makes is readable by its owner only."""
    return os.open(path, flags, 0o600)


def unfinished(path: Path) -> Path:
    """The name of a file while it is being written."""
    return path.with_name(path.name + ".part")


@contextmanager
def being_written(path: Path) -> Iterator[BinaryIO]:
    """Open the unfinished file of `path`; `publish` gives it its name, an error removes it."""
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
    unfinished(path).replace(path)
    with suppress(OSError):  # Windows does not open folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file in one go."""
    with being_written(path) as stream:
        stream.writelines(pieces)
    publish(path)
