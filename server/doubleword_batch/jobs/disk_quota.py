"""How much a build may still put into the state directory.

All files there count: request files, the local server's files, answers. Beyond the quota only
builds are refused, which cost nothing to repeat. Answers are paid for and always kept, so builds
also leave some free space for them on the disk.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from doubleword_batch.errors import StoreError
from doubleword_batch.jobs.job import Workspace

if TYPE_CHECKING:
    from doubleword_batch.requests import DiskQuota

_FREE_BYTES = 1_000_000_000
_FREE_SHARE = 20
"""On a smaller disk, the reserve is one part in this many."""
_THOUSAND = 1_000
_HINT = (
    "Use fewer rows (limit) or a shorter prompt. `doubleword-batch doctor` says which jobs a "
    "person can delete without losing an answer"
)


def disk_quota(ws: Workspace) -> "DiskQuota | None":
    """What is left for a build; None if no quota is set."""
    from doubleword_batch.requests import DiskQuota

    if ws.max_state_bytes is None:
        return None
    home = ws.store.home
    left = ws.max_state_bytes - size_on_disk(home)
    free = free_bytes(home)
    if free is not None and free < left:
        error = StoreError(
            "The disk of the state directory would be nearly full, and answers that are paid for "
            "need room.",
            hint=f"{_HINT}.",
            code="disk_full",
        )
        return DiskQuota(free, error)
    error = StoreError(
        f"The state directory would take more than its {format_size(ws.max_state_bytes)}.",
        hint=f"{_HINT}, and DOUBLEWORD_BATCH_MAX_STATE_GB raises the limit.",
        code="disk_full",
    )
    return DiskQuota(left, error)


def check_disk_quota(ws: Workspace, size_bytes: int) -> None:
    """Refuse a file of this size if the quota has no room for it.

    Raises:
        StoreError: code `disk_full`.
    """
    quota = disk_quota(ws)
    if quota is not None and size_bytes > quota.left_bytes:
        raise quota.error


def free_bytes(folder: Path) -> int | None:
    """What builds may still use of the folder's disk; None if the system does not say."""
    try:
        disk = shutil.disk_usage(folder)
    except OSError:
        return None
    if disk.total <= 0:  # of some network disks
        return None
    return disk.free - min(_FREE_BYTES, disk.total // _FREE_SHARE)


def size_on_disk(path: Path) -> int:
    """The size of a file, or of all files in a folder; files that vanish meanwhile do not count."""
    if path.is_dir():
        return sum(_sizes_in(path))
    with suppress(OSError):
        return path.lstat().st_size
    return 0


def _sizes_in(folder: str | Path) -> Iterator[int]:
    with suppress(FileNotFoundError, PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    yield from _sizes_in(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry.stat(follow_symlinks=False).st_size


def format_size(size_bytes: int) -> str:
    """A size as a person reads it: `812 bytes`, `1.2 GB`."""
    amount, units = float(size_bytes), iter(("bytes", "KB", "MB", "GB"))
    unit = next(units)
    while amount >= _THOUSAND and unit != "GB":
        amount, unit = amount / _THOUSAND, next(units)
    return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
