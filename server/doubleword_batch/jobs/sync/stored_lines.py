"""Reads lines out of our copies of a job's output and error files, in any order."""

from io import FileIO
from pathlib import Path

from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.store.ledger import ANSWERED, Entry
from doubleword_batch.jobs.store.records import Job
from doubleword_batch.jobs.sync.parse import Answer, answer_in
from doubleword_batch.jobs.sync.reader import copy_path

_WINDOW_BYTES = 1 << 18


class Copies:
    """The copies of one job, each opened when its first line is asked for."""

    def __init__(self, ws: Workspace, job: Job) -> None:
        self._ws = ws
        self._job = job
        self._open: dict[tuple[int, str], _Copy] = {}

    def answer(self, entry: Entry) -> Answer | None:
        """The answer that an entry of the ledger points at; None for rows without one."""
        if entry.outcome not in ANSWERED or entry.place is None or entry.attempt is None:
            return None
        size_bytes = entry.size_bytes or 0
        return answer_in(self.line(entry.attempt, entry.kind or "output", entry.place, size_bytes))

    def line(self, attempt: int, kind: str, place: int, size_bytes: int) -> bytes:
        """The line that lies there.

        Args:
            attempt: whose file.
            kind: `output` or `error`.
            place: byte at which the line begins.
            size_bytes: its length, with the line break.
        """
        copy = self._open.get((attempt, kind))
        if copy is None:
            copy = _Copy(copy_path(self._ws, self._job, attempt, kind))
            self._open[attempt, kind] = copy
        return copy.read(place, size_bytes)

    def close(self) -> None:
        """Close the files."""
        for copy in self._open.values():
            copy.close()


class _Copy:
    """One file.

    Lines near the one before come out of a window that is read at once; a line far from it is read
    alone, so that lines in any order cost little more than themselves.
    """

    def __init__(self, path: Path) -> None:
        self._file = FileIO(path)
        self._window = b""
        self._begin = 0

    def read(self, place: int, size_bytes: int) -> bytes:
        start = place - self._begin
        end = start + size_bytes
        if start >= 0 and end <= len(self._window):
            return self._window[start:end]
        is_near = -_WINDOW_BYTES < start < 2 * _WINDOW_BYTES
        self._begin = max(place - _WINDOW_BYTES // 4, 0) if is_near else place
        self._file.seek(self._begin)
        wanted = place - self._begin + size_bytes
        self._window = self._file.read(max(wanted, _WINDOW_BYTES) if is_near else wanted)
        return self._window[place - self._begin :][:size_bytes]

    def close(self) -> None:
        self._file.close()
