"""Files that appear whole or not at all, readable by their owner only."""

import errno
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from doubleword_batch.errors import StoreError


@contextmanager
def create_private(path: Path) -> Generator[BinaryIO]:
    """Open `path` with `.part` appended for writing (mode 0600); on leaving, it is on the disk.

    An error inside removes it. `publish` gives it its name.
    """
    unfinished = unfinished_path(path)
    unfinished.unlink(missing_ok=True)  # what a killed process left
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    stream = os.fdopen(os.open(unfinished, flags, 0o600), "wb")
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def publish(paths: Sequence[Path]) -> None:
    """Give finished `.part` files of one folder their names, all or none, durably.

    Raises:
        OSError: a name cannot be given; those given before are taken back.
    """
    given: list[Path] = []
    try:
        for path in paths:
            unfinished_path(path).replace(path)
            given.append(path)
    except OSError:
        for path in given:
            path.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # Windows does not open folders
        folder = os.open(paths[0].parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def unfinished_path(path: Path) -> Path:
    """The name of `path` while it is being written."""
    return path.with_name(path.name + ".part")


def not_written(folder: Path, error: OSError) -> StoreError:
    """The error for a disk that is full (`disk_full`) or not writable (`not_written`)."""
    full = error.errno in {errno.ENOSPC, errno.EFBIG}
    return StoreError(
        f"Nothing could be written to {folder}: {error.strerror or error}.",
        hint="Free some space there, or set DOUBLEWORD_BATCH_HOME to a folder that has it.",
        code="disk_full" if full else "not_written",
        retryable=full,
    )
