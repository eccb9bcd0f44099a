"""Our copies of a job's output and error files: lines are appended durably, read in any order.

A copy holds the lines that count, in the order in which they came; the ledger has their offsets and
sizes. Anything beyond the length that the ledger has committed is cut off again. If a copy was
deleted by hand, or a disk fault cut it short, its rows become pending and their batch's results are
read again; no request is sent for them.
"""

import errno
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from doubleword_batch.atomic_files import as_store_error, not_written, sync_folder
from doubleword_batch.errors import StoreError
from doubleword_batch.jobs.job import ASYNC, StoredJob
from doubleword_batch.jobs.store.ledger import TAKEN
from doubleword_batch.jobs.store.records import ANSWERED, EndedRow, RowOutcome
from doubleword_batch.jobs.sync.answers import Answer
from doubleword_batch.jobs.sync.parse import answer_in
from doubleword_batch.open_files import NO_LINK, is_other_than_file, is_plain_file

_WINDOW_BYTES = 1 << 18
_FLAGS = os.O_RDWR | os.O_CREAT | NO_LINK | getattr(os, "O_BINARY", 0)


def stored_lines_path(job: StoredJob, batch_run: int, kind: str) -> Path:
    """The path of our copy of a batch's output or error file."""
    return job.folder / f"batch-run-{batch_run}-{kind}.jsonl"


def reused_lines_path(folder: Path) -> Path:
    """The path of the lines that a job took from earlier jobs when it was built."""
    return folder / f"{TAKEN}.jsonl"


def append_lines(path: Path, size_bytes: int, text: bytes) -> None:
    """Append lines to a copy at its committed length, durably.

    Raises:
        StoreError: `disk_full` or `not_written`; lines committed before stay.
    """
    if not text:
        return
    try:
        is_new = not path.exists()
        descriptor = os.open(path, _FLAGS, 0o600)
        with os.fdopen(descriptor, "r+b") as copy:
            copy.truncate(size_bytes)
            copy.seek(size_bytes)
            copy.write(text)
            copy.flush()
            os.fsync(copy.fileno())
        if is_new:
            sync_folder(path.parent)
    except OSError as error:
        then = "fetch again: the lines kept so far stay, and reading continues after them"
        raise not_written(path, error, then=then) from None


class StoredLines:
    """The copies of one job; each is opened when its first line is needed."""

    def __init__(self, job: StoredJob) -> None:
        self._job = job
        self._open: dict[tuple[int | None, str | None], _Copy] = {}

    def answer(self, entry: RowOutcome) -> Answer | None:
        """The answer that a ledger entry points at; None for rows without an answer."""
        if entry.outcome not in ANSWERED:
            return None
        line = self.line(entry)
        return None if line is None else answer_in(line)

    def line(self, entry: RowOutcome | EndedRow) -> bytes | None:
        """The line that a ledger entry points at; None if it points at none.

        Raises:
            StoreError: the line is gone.
        """
        offset = entry.offset
        if offset is None:
            return None
        copy = self._open.get((entry.batch_run, entry.kind))
        if copy is None:
            if entry.batch_run is None and entry.kind != TAKEN:
                return None
            copy = self._opened(entry)
        size_bytes = entry.size_bytes or 0
        start = offset - copy.begin
        if 0 <= start <= len(copy.window) - size_bytes:
            return copy.window[start : start + size_bytes]
        line = copy.read(offset, size_bytes)
        if len(line) < size_bytes:
            raise _gone(self._job, copy.path)
        return line

    def _opened(self, entry: RowOutcome | EndedRow) -> "_Copy":
        path = stored_lines_path(self._job, entry.batch_run or 0, entry.kind or "output")
        if entry.kind == TAKEN:
            path = reused_lines_path(self._job.folder)
        try:
            copy = self._open[entry.batch_run, entry.kind] = _Copy(path)
        except FileNotFoundError:
            raise _gone(self._job, path) from None
        return copy

    def close(self) -> None:
        """Close the files."""
        for copy in self._open.values():
            copy.close()


class _Copy:
    """One file.

    Lines near the last one come from a window that is read at once; a line far away is read alone,
    so that reading lines in any order costs little more than the lines themselves.
    """

    def __init__(self, path: Path) -> None:
        if is_other_than_file(path):  # a pipe would be waited for
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        self.path = path
        self._file = FileIO(path)
        self.window = b""
        self.begin = 0  # where in the file the window begins

    def read(self, offset: int, size_bytes: int) -> bytes:
        """A line that is not in the window; only part of it if the file was cut short."""
        start = offset - self.begin
        is_near = -_WINDOW_BYTES < start < 2 * _WINDOW_BYTES
        self.begin = max(offset - _WINDOW_BYTES // 4, 0) if is_near else offset
        self._file.seek(self.begin)
        wanted = offset - self.begin + size_bytes
        self.window = self._file.read(max(wanted, _WINDOW_BYTES) if is_near else wanted)
        return self.window[offset - self.begin :][:size_bytes]

    def close(self) -> None:
        self._file.close()


def _gone(job: StoredJob, path: Path) -> StoreError:
    return StoreError(
        f"Answers of job {job.name} are gone from the state directory: {path} is cut short or was "
        "deleted.",
        hint="Put the file back, or make the job again as a new run, which pays for its "
        "rows again.",
    )


# Copies that the state directory has lost; the provider may still have their lines


def has_lost_copies(job: StoredJob) -> bool:
    """Whether a copy that can be read again is gone, or shorter than the ledger says.

    A single background call has no file at the provider that could be read again.
    """
    return job.window != ASYNC and any(True for _ in _lost(job))


def reopen_lost_copies(job: StoredJob) -> None:
    """Make the rows whose lines are gone pending, and have their batches read again.

    Raises:
        StoreError: the job's folder is gone and cannot be made again.
    """
    if not has_lost_copies(job):
        return
    with as_store_error(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with job.store.transaction():
        for run, kind, left in list(_lost(job)):  # another process may have been faster
            job.store.reopen_lost(job.id, run, kind, left)


def _lost(job: StoredJob) -> Iterator[tuple[int, str, int]]:
    """(batch run, kind, bytes left) of each lost copy."""
    for run, kind, size_bytes in job.ledger.copies():
        path = stored_lines_path(job, run, kind)
        left = path.stat().st_size if is_plain_file(path) else 0
        if left < size_bytes:
            yield run, kind, left
