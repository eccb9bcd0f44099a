"""Collecting: result lines from the provider into our copy and the ledger, resumably.

Both files of a batch are read, while it runs where the provider allows that, and at every terminal
status. Lines are appended to our copy and applied to the ledger in one step under the store's
write lock: after a crash, or beside another process, the copy is cut back to what the ledger knows
and the reading goes on from there. Once a batch has ended, the rows that have a line are compared
with the provider's counts; where they differ, everything is read again from the start.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from anyio import to_thread

from doubleword_batch.errors import InputError, NotFoundError
from doubleword_batch.jobs.answers import Check, read_line
from doubleword_batch.jobs.foreign import read_input
from doubleword_batch.jobs.ledger import Ledger, Line
from doubleword_batch.jobs.store import Attempt, Job, Part
from doubleword_batch.jobs.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class Collected:
    """What was read, and what was odd about it."""

    lines: int = 0
    repeated: int = 0
    foreign: int = 0
    unreadable: int = 0
    reread: int = 0

    def oddities(self) -> list[str]:
        """Warnings for people: nothing here changed the ledger for the worse."""
        named = (
            (self.foreign, "lines with a custom_id that is not of this job were left aside"),
            (self.unreadable, "lines that are not result lines were left aside"),
        )
        return [f"{count} {words}" for count, words in named if count]


async def collect(ws: Workspace, job: Job, *, progress: Progress = silent) -> Collected:
    """Bring the ledger of a job up to what the provider has.

    Raises:
        ApiError, TransportError: the provider could not be read; what was read before is kept.
        StoreError: the disk is full; the same.
    """
    if job.rows is None:
        job = await read_input(ws, job)
    collected = Collected()
    ledger = ws.ledger(job)
    missing = ledger.sums().get("missing", 0) > 0
    parts = {part.id: part for part in ws.store.parts(job.id)}
    for attempt in ws.store.attempts(job.id):
        if attempt.settled and not missing:
            continue
        reader = _Reader(ws, job, attempt, ledger, collected, progress)
        await reader.read_both()
        if attempt.is_terminal:
            await _settle(reader, parts[attempt.part])
    return collected


async def _settle(reader: "_Reader", part: Part) -> None:
    attempt, ledger = reader.attempt, reader.ledger
    expected = attempt.completed + attempt.failed
    if ledger.answered_by(attempt.id) < expected:
        reader.collected.reread += 1
        reader.forget_cursors()
        await reader.read_both()
    if attempt.id == _newest_of(reader.ws, reader.job, part):
        ledger.close_rows(attempt.id, part.number, *_ending(attempt))
    ledger.keep_better_answers(attempt.id)
    reader.ws.store.settle(attempt.id)


def _ending(attempt: Attempt) -> tuple[str, str]:
    """Outcome and cause of the rows that have no line although their batch has ended."""
    if attempt.status in {"expired", "cancelled"}:
        return attempt.status, attempt.status
    if attempt.status == "failed" and attempt.completed + attempt.failed == 0:
        return "failed", "batch_failed"
    return "missing", "missing"


def _newest_of(ws: Workspace, job: Job, part: Part) -> int:
    return max(a.id for a in ws.store.attempts(job.id) if a.part == part.id)


class CursorMovedError(Exception):
    """Another process has read on; read again from where it is now."""


class _Reader:
    """Reads the files of one batch."""

    def __init__(
        self,
        ws: Workspace,
        job: Job,
        attempt: Attempt,
        ledger: Ledger,
        collected: Collected,
        progress: Progress,
    ) -> None:
        self.ws = ws
        self.job = job
        self.attempt = attempt
        self.ledger = ledger
        self.collected = collected
        self._progress = progress
        self._check = schema_check(job)

    async def read_both(self) -> None:
        """Read on in the output file and in the error file."""
        if self.attempt.output_file_id:
            await self._read("output", self.attempt.output_file_id)
        if self.attempt.error_file_id:
            if self._cursor("error")[0] > self.attempt.failed:
                self._set_cursor_lines("error", 0)  # a retry made the file shrink
            await self._read("error", self.attempt.error_file_id)

    def forget_cursors(self) -> None:
        """Read both files again from their first line."""
        for kind in ("output", "error"):
            self._set_cursor_lines(kind, 0)

    async def _read(self, kind: str, file_id: str) -> None:
        for _ in range(5):
            try:
                return await self._read_on(kind, file_id)
            except CursorMovedError:
                continue
        return None

    async def _read_on(self, kind: str, file_id: str) -> None:
        lines, size = self._cursor(kind)
        buffer = bytearray()

        async def keep(data: bytes) -> None:
            nonlocal lines, size
            buffer.extend(data)
            if len(buffer) >= _CHUNK_BYTES:
                lines, size = await self._commit(kind, lines, size, buffer)

        try:
            await self.ws.client.files.content(file_id, keep, skip=lines)
        except NotFoundError as error:
            raise InputError(
                f"The {kind} file of batch {self.attempt.batch_id} is gone at "
                f"{self.ws.profile.title}; what was read of it before is kept.",
                hint="retry_failed runs the rows that have no answer again.",
                code="file_gone",
                details=error.details,
            ) from None
        finally:
            if buffer:
                await self._commit(kind, lines, size, buffer)

    async def _commit(self, kind: str, lines: int, size: int, buffer: bytearray) -> tuple[int, int]:
        data = bytes(buffer)
        buffer.clear()
        moved = await to_thread.run_sync(self._commit_now, kind, lines, size, data)
        sums = self.collected
        self._progress(sums.lines, self.job.rows, "result lines read")
        return moved

    def _commit_now(self, kind: str, lines: int, size: int, data: bytes) -> tuple[int, int]:
        """Append lines to our copy and apply them, as one step."""
        read = data.splitlines(keepends=True)
        found = self._lines_with_rows(read, size)
        path = self.copy_path(kind)
        with self.ws.store.transaction() as db:
            if self._cursor(kind) != (lines, size):
                raise CursorMovedError
            with path.open("ab") as copy:
                if copy.tell() == 0:
                    os.chmod(path, 0o600)  # noqa: PTH101  # the owner's alone, before any byte
                copy.truncate(size)
                copy.seek(size)
                copy.write(data)
                copy.flush()
                os.fsync(copy.fileno())
            applied = self.ledger.apply(db, self.attempt.id, kind, found)
            moved = (lines + len(read), size + len(data))
            db.execute(
                "INSERT INTO cursors VALUES (?, ?, ?, ?) ON CONFLICT (attempt, kind) "
                "DO UPDATE SET lines = excluded.lines, size_bytes = excluded.size_bytes",
                (self.attempt.id, kind, *moved),
            )
        self.collected.lines += len(read)
        self.collected.repeated += applied.repeated
        self.collected.foreign += applied.foreign
        return moved

    def _lines_with_rows(self, read: list[bytes], place: int) -> list[tuple[int, Line]]:
        found: list[tuple[int, Line]] = []
        for line in read:
            reading = read_line(line, self._check) if line.strip() else None
            if reading is not None:
                row = self._row_of(reading.custom_id)
                if row is None:
                    self.collected.foreign += 1
                else:
                    found.append((row, Line(reading, place, len(line))))
            elif line.strip():
                self.collected.unreadable += 1
            place += len(line)
        return found

    def _row_of(self, custom_id: str) -> int | None:
        from doubleword_batch.request_file import row_of

        if self.job.source is None:
            return self.ledger.row_of_foreign(custom_id)
        return row_of(custom_id)

    def copy_path(self, kind: str) -> Path:
        """Our copy of one of the batch's files."""
        return copy_path(self.ws, self.job, self.attempt.id, kind)

    def _cursor(self, kind: str) -> tuple[int, int]:
        found = self.ws.store.query(
            "SELECT lines, size_bytes FROM cursors WHERE attempt = ? AND kind = ?",
            (self.attempt.id, kind),
        )
        return (found[0][0], found[0][1]) if found else (0, 0)

    def _set_cursor_lines(self, kind: str, lines: int) -> None:
        with self.ws.store.transaction() as db:
            db.execute(
                "UPDATE cursors SET lines = ? WHERE attempt = ? AND kind = ?",
                (lines, self.attempt.id, kind),
            )


def copy_path(ws: Workspace, job: Job, attempt: int, kind: str) -> Path:
    """Where our copy of a batch's output or error file lies."""
    return ws.store.job_folder(job.name) / f"attempt-{attempt}-{kind}.jsonl"


def schema_check(job: Job) -> Check | None:
    """The check of a job's response_schema, or None for jobs without one."""
    import msgspec

    schema = msgspec.json.decode(job.spec).get("response_schema")
    if schema is None:
        return None
    from jsonschema import Draft202012Validator, exceptions

    validator: Any = Draft202012Validator(schema)
    best = cast("Callable[[Any], Any]", exceptions.best_match)  # pyright: ignore[reportUnknownMemberType]

    def check(value: Any) -> str | None:
        if value is None:
            return "the answer is not JSON"
        wrong = best(validator.iter_errors(value))
        if wrong is None:
            return None
        where = "/".join(str(step) for step in wrong.absolute_path) or "the answer"
        return f"{where} breaks the schema's {wrong.validator!s}"

    return check
