"""Reads the files of one batch: lines into our copy and the ledger, in one step, resumably.

The lines that count are appended to our copy and moved in the ledger under the store's write lock:
after a crash, or beside another process, the copy is cut back to what the ledger knows and the
reading goes on from there.
"""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from anyio import to_thread

from doubleword_batch.errors import NotFoundError, StoreError
from doubleword_batch.jobs.job import Progress, Workspace
from doubleword_batch.jobs.store.database import DISK_FULL
from doubleword_batch.jobs.store.failpoints import reached
from doubleword_batch.jobs.store.ledger import Ledger
from doubleword_batch.jobs.store.records import Attempt, Job
from doubleword_batch.jobs.store.staging import sync_folder
from doubleword_batch.jobs.sync.apply import Line, move_rows
from doubleword_batch.jobs.sync.parse import Check, read_line

_GROUP_BYTES = 1 << 20
_MOST_RACES = 20
_CURSOR = "SELECT lines, size_bytes FROM cursors WHERE attempt = ? AND kind = ?"
_MOVE_CURSOR = (
    "INSERT INTO cursors VALUES (?, ?, ?, ?) ON CONFLICT (attempt, kind) "
    "DO UPDATE SET lines = excluded.lines, size_bytes = excluded.size_bytes"
)


@dataclass(slots=True)
class Collected:
    """What was read, and what was odd about it."""

    lines: int = 0
    repeated: int = 0
    foreign: int = 0
    unreadable: int = 0
    reread: int = 0
    gone: set[str] = field(default_factory=set[str])

    def oddities(self) -> list[str]:
        """Warnings for people: nothing here changed the ledger for the worse."""
        named = (
            (self.foreign, "lines with a custom_id that is not of this job were left aside"),
            (self.unreadable, "lines that are not result lines were left aside"),
            (len(self.gone), "result files are gone at the provider: what was read before is kept"),
        )
        return [f"{count} {words}" for count, words in named if count]


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a file has been read.

    Attributes:
        lines: lines received: the next skip.
        size_bytes: committed length of our copy.
    """

    lines: int = 0
    size_bytes: int = 0


@dataclass(slots=True)
class _Piece:
    """Lines that came together, and those of them that may be of this job."""

    received: int = 0
    unreadable: int = 0
    foreign: int = 0
    lines: list[Line] = field(default_factory=list[Line])


class _CursorMovedError(Exception):
    """Another process has read on; read again from where it is now."""


class Reader:
    """Reads the output file and the error file of one batch."""

    def __init__(
        self,
        ws: Workspace,
        job: Job,
        attempt: Attempt,
        check: Check | None,
        collected: Collected,
        progress: Progress,
    ) -> None:
        self.attempt = attempt
        self._ws = ws
        self._job = job
        self._check = check
        self._collected = collected
        self._progress = progress
        self._row_of = self._row_reader()

    async def read_both(self) -> None:
        """Read on in both files; one that is gone at the provider is noted and passed over.

        While a batch runs and counts no failure, its error file can wait.

        Raises:
            ApiError, TransportError, ProtocolError: what was read before is kept.
            StoreError: the same.
        """
        attempt = self.attempt
        has_no_failure = not attempt.is_terminal and attempt.total > 0 and attempt.failed == 0
        files = (("output", attempt.output_file_id), ("error", attempt.error_file_id))
        for kind, file_id in files:
            if file_id and not (kind == "error" and has_no_failure):
                self._mend_copy(kind)
                await self._read(kind, file_id)

    def forget_cursors(self) -> None:
        """Read both files again from their first line."""
        with self._ws.store.transaction() as db:
            db.execute("UPDATE cursors SET lines = 0 WHERE attempt = ?", (self.attempt.id,))
        self._collected.reread += 1

    async def _read(self, kind: str, file_id: str) -> None:
        for _ in range(_MOST_RACES):
            try:
                return await self._read_on(kind, file_id)
            except _CursorMovedError:
                continue
            except NotFoundError:
                # A batch that runs may have no such file yet; one that has ended lost it.
                if self.attempt.is_terminal:
                    self._collected.gone.add(file_id)
                return None
        return None

    async def _read_on(self, kind: str, file_id: str) -> None:
        cursor = self._cursor(kind)
        buffer: list[bytes] = []
        buffered = 0

        async def keep(data: bytes) -> None:
            nonlocal cursor, buffered
            buffer.append(data)
            buffered += len(data)
            if buffered >= _GROUP_BYTES:
                buffered = 0
                cursor = await self._commit(kind, cursor, buffer)

        try:
            await self._ws.client.files.content(file_id, keep, skip=cursor.lines)
        finally:
            if buffer:
                await self._commit(kind, cursor, buffer)

    async def _commit(self, kind: str, cursor: Cursor, buffer: list[bytes]) -> Cursor:
        data = b"".join(buffer)
        buffer.clear()
        reached("collect.received")
        moved = await to_thread.run_sync(self._commit_now, kind, cursor, data)
        reached("collect.committed")
        self._progress(self._collected.lines, self._job.rows, "result lines read")
        return moved

    def _commit_now(self, kind: str, cursor: Cursor, data: bytes) -> Cursor:
        """Append the lines that count to our copy and move their rows, as one step."""
        piece = self._understood(data)
        job, attempt = self._job.id, self.attempt.id
        with self._ws.store.transaction() as db:
            if self._cursor(kind) != cursor:
                raise _CursorMovedError
            moved = move_rows(db, job, attempt, kind, cursor.size_bytes, piece.lines)
            self._append(kind, cursor.size_bytes, moved.text)
            reached("collect.copied")
            now = Cursor(cursor.lines + piece.received, cursor.size_bytes + len(moved.text))
            db.execute(_MOVE_CURSOR, (attempt, kind, now.lines, now.size_bytes))
            # Under the store's lock: other parts are read in other threads.
            self._collected.lines += piece.received
            self._collected.repeated += moved.repeated
            self._collected.foreign += moved.foreign + piece.foreign
            self._collected.unreadable += piece.unreadable
        return now

    def _understood(self, data: bytes) -> "_Piece":
        piece = _Piece()
        check, row_of = self._check, self._row_of
        for text in io.BytesIO(data):
            piece.received += 1
            reading = read_line(text, check)
            if reading is None:
                piece.unreadable += bool(text.strip())
                continue
            row = row_of(reading.custom_id)
            if row is None:
                piece.foreign += 1
            else:
                piece.lines.append(Line(row, reading, text))
        return piece

    def _row_reader(self) -> Callable[[str], int | None]:
        if self._job.source is None:
            return Ledger(self._ws.store, self._job.id).row_of_foreign
        from doubleword_batch.requests import row_of

        return row_of

    def _append(self, kind: str, size_bytes: int, text: bytes) -> None:
        path = copy_path(self._ws, self._job, self.attempt.id, kind)
        if not text:
            return
        try:
            is_new = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            with os.fdopen(descriptor, "r+b") as copy:
                copy.truncate(size_bytes)
                copy.seek(size_bytes)
                copy.write(text)
                copy.flush()
                os.fsync(copy.fileno())
            if is_new:
                sync_folder(path.parent)
        except OSError as error:
            raise _not_kept(path, error) from None

    def _mend_copy(self, kind: str) -> None:
        """Where our copy has lost lines that the ledger points at, read the file again."""
        path = copy_path(self._ws, self._job, self.attempt.id, kind)
        if self._is_whole(path, kind):
            return
        with self._ws.store.transaction() as db:
            if self._is_whole(path, kind):  # another process may have mended it
                return
            db.execute(
                "UPDATE ledger SET outcome = 'pending', cause = NULL, message = NULL, "
                "attempt = NULL, kind = NULL, place = NULL, size_bytes = NULL "
                "WHERE job = ? AND attempt = ? AND kind = ?",
                (self._job.id, self.attempt.id, kind),
            )
            db.execute(_MOVE_CURSOR, (self.attempt.id, kind, 0, 0))

    def _is_whole(self, path: Path, kind: str) -> bool:
        size_bytes = self._cursor(kind).size_bytes
        return not size_bytes or (path.exists() and path.stat().st_size >= size_bytes)

    def _cursor(self, kind: str) -> Cursor:
        found = self._ws.store.query(_CURSOR, (self.attempt.id, kind))
        return Cursor(*found[0]) if found else Cursor()


def copy_path(ws: Workspace, job: Job, attempt: int, kind: str) -> Path:
    """Where our copy of a batch's output or error file lies."""
    return ws.store.job_folder(job.name) / f"attempt-{attempt}-{kind}.jsonl"


def _not_kept(path: Path, error: OSError) -> StoreError:
    is_full = error.errno in DISK_FULL
    return StoreError(
        f"The result lines could not be kept in {path.parent}: {error.strerror or error}.",
        hint="Free some space, then fetch again: the lines kept so far stay, and reading goes on "
        "behind them.",
        code="disk_full" if is_full else "not_written",
        retryable=is_full,
    )
