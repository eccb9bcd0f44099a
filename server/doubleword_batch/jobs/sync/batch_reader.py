"""Reads the result files of one batch into our copy and the ledger; reading can be resumed.

Lines that count are appended to our copy and applied to the ledger in one step, under the store's
write lock. After a crash, or beside another process, the copy is cut back to what the ledger knows.
"""

import io
from dataclasses import dataclass, field
from typing import cast

import anyio
from anyio import to_thread

from doubleword_batch.api.line_layout import ObjectLines
from doubleword_batch.errors import DoublewordBatchError, NotFoundError, ProtocolError
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.apply_results import (
    Cursor,
    LineOutcome,
    RowLine,
    apply_lines,
    move_cursor,
    read_cursor,
    reset_cursors,
)
from doubleword_batch.jobs.store.records import BatchRun
from doubleword_batch.jobs.sync.causes import UNREADABLE
from doubleword_batch.jobs.sync.parse import parse_lines
from doubleword_batch.jobs.sync.row_lookup import NO_INPUT, NO_SUCH_LIST, SHARED_IDS, RowLookup
from doubleword_batch.jobs.sync.schema_check import SchemaCheck
from doubleword_batch.jobs.sync.stored_lines import append_lines, stored_lines_path
from doubleword_batch.progress import Progress

_GROUP_BYTES = 1 << 20
_GROUP_SECONDS = 10.0
_MOST_RACES = 20
_ODD_BYTES = 64 * 1024
_GONE = frozenset({404, 410})
"""Statuses that mean that a file is gone. A server that answers 405 or 501 may still have it."""
_LIST, _UNREADABLE = "results", "unreadable"
_LONGEST_WAIT_SECONDS = 600.0
"""How long to wait for lines that a batch counts, from when the last ones came."""
_OutcomeAndText = tuple[LineOutcome, bytes]
_NOTES = {
    SHARED_IDS: (
        "several requests share a custom_id: their answers are taken in the order of the lines"
    ),
    NO_INPUT: "the input file is gone: the rows are those that have a result line, by custom_id",
}


@dataclass(slots=True)
class CollectSummary:
    """What was read, and what was odd about it.

    Attributes:
        waiting: number of batches that have ended but have not shown all lines that they count.
    """

    lines: int = 0
    updated: int = 0
    repeated: int = 0
    unknown_ids: int = 0
    unreadable: int = 0
    gone: set[str] = field(default_factory=set[str])
    from_list: int = 0
    waiting: int = 0
    notes: set[str] = field(default_factory=set[str])

    def warnings(self) -> list[str]:
        """Warnings for people; nothing of this made the ledger worse."""
        named = (
            (self.unknown_ids, "lines with a custom_id that is not in this job were ignored"),
            (self.unreadable, "lines that are not result lines were ignored"),
            (len(self.gone), "result files are gone at the provider: what was read before is kept"),
            (self.from_list, "answers were taken from the provider's lists of results"),
        )
        return [*sorted(self.notes), *(f"{count} {words}" for count, words in named if count)]


def outcome_without_line(run: BatchRun) -> tuple[str, str]:
    """Outcome and cause of the rows that have no line although their batch has ended."""
    if run.status in {"expired", "cancelled"}:
        return run.status, run.status
    if run.status == "failed" and run.completed + run.failed == 0:
        return "failed", "batch_failed"
    return "missing", "missing"


@dataclass(slots=True)
class _Group:
    """Lines that came together, and the lines among them that may belong to this job."""

    received: int = 0
    unreadable: int = 0
    unknown_ids: int = 0
    outcomes: list[_OutcomeAndText] = field(default_factory=list[_OutcomeAndText])
    lines: list[RowLine] = field(default_factory=list[RowLine])


class _CursorMovedError(Exception):
    """Another process has read on; read again from where it is now."""


class BatchReader:
    """Reads the output file and the error file of one batch, resumably."""

    def __init__(
        self,
        job: StoredJob,
        batch_run: BatchRun,
        part_number: int,
        check: SchemaCheck | None,
        collected: CollectSummary,
        progress: Progress,
    ) -> None:
        self.batch_run = batch_run
        self.part_number = part_number
        self._job = job
        self._ledger = job.ledger
        self._check = check
        self._collected = collected
        self._progress = progress
        self._row_lookup = RowLookup(job, part_number)
        self._unknown_ids = self._unreadable = self._readable = self._updated = 0
        self._odd = b""
        self._is_gone = False

    def lacks_lines(self, rows: int, *, has_pending: bool) -> bool:
        """Whether we have fewer lines of the batch than it counts.

        Args:
            rows: number of rows with a line from it.
            has_pending: whether its part has rows without an outcome.
        """
        run = self.batch_run
        counted = run.completed + run.failed
        return rows < counted if counted else run.status == "completed" and has_pending

    def waits_for_lines(self, rows: int, *, has_pending: bool, closes_waiting: bool) -> bool:
        """Whether lines that may still come are missing; if so, add a note for people.

        Args:
            rows: number of rows with a line from the batch.
            has_pending: whether its part has rows without an outcome.
            closes_waiting: whether a person ends the wait.
        """
        run, ws = self.batch_run, self._job.workspace
        has_rows = self._row_lookup.kind != NO_INPUT
        if self._is_gone or not self.lacks_lines(rows, has_pending=has_pending):
            return False
        if has_rows and not has_pending:
            return False
        now = ws.now()
        with ws.store.transaction():
            self._job.reloaded()  # raises if the job was deleted
            since = ws.store.incomplete_since(run, now, has_news=self._updated > 0)
        if has_rows and (closes_waiting or now - since >= _LONGEST_WAIT_SECONDS):
            return False
        append_lines(stored_lines_path(self._job, run.id, _UNREADABLE), 0, self._odd or b"\n")
        counted = run.completed + run.failed
        self._collected.waiting += 1
        self._collected.notes.add(
            f"Batch {run.batch_id} has ended, and the provider has given lines for {rows:,} of its "
            + (f"{counted:,} requests" if counted else "requests")
            + ("; the other rows wait for theirs" if has_rows else ", so rows are missing here")
            + ". Nothing has to be paid again: fetch again in a minute."
            + (" Cancelling the job gives these rows up." if has_rows else "")
        )
        return True

    def closing_outcome(self, rows: int, *, closes_waiting: bool) -> tuple[str, str]:
        """Outcome and cause of the rows for which there is no line.

        Args:
            rows: number of rows with a line; if the batch counts more answers, some of the rows
                without one were paid for.
            closes_waiting: whether a person has ended the wait for them.
        """
        outcome, cause = outcome_without_line(self.batch_run)
        is_paid = rows < self.batch_run.completed and not self._is_gone
        is_unread = outcome == "missing" and (is_paid or closes_waiting)
        return outcome, UNREADABLE if is_unread else cause

    @property
    def is_unreadable(self) -> bool:
        """Whether the files may hold answers, but not a single result line could be read.

        This includes empty or missing files although the provider says that requests were answered:
        it may name the files later, or they may be empty for a while. It does not include files
        that are gone.
        """
        run = self.batch_run
        may_hold_answers = (
            run.completed + run.failed > 0 or outcome_without_line(run)[0] == "missing"
        )
        is_odd = self._unreadable > 0 and may_hold_answers
        return not self._readable and (is_odd or self._is_withheld)

    @property
    def _is_withheld(self) -> bool:
        run = self.batch_run
        was_answered = run.completed > 0 or (run.status == "completed" and not run.failed)
        would_be_missing = was_answered and outcome_without_line(run)[0] == "missing"
        return would_be_missing and not self._is_gone and not self._unreadable

    def report_unreadable(self, *, may_raise: bool) -> None:
        """Keep the beginning of files that cannot be read; their rows stay pending.

        Args:
            may_raise: whether this is an error, or only a note because other batches have answers.

        Raises:
            ProtocolError: the files cannot be read.
        """
        if not self.is_unreadable:
            return
        path = stored_lines_path(self._job, self.batch_run.id, _UNREADABLE)
        append_lines(path, 0, self._odd or b"\n")  # the file's existence records that this happened
        batch = self.batch_run.batch_id
        if self._is_withheld:
            message = f"Batch {batch} has ended, but the provider does not give its answers yet."
            report, reason = "ask the provider for them", "the provider should have the answers"
        else:
            message = (
                f"The result files of batch {batch} hold no line that can be "
                f"read; the beginning of what came is in {path}."
            )
            report = "report what the lines look like"
            reason = "the answers are in those files at the provider"
        error = ProtocolError(
            message,
            hint=f"Nothing has to be paid again: {reason}. Call again in a minute; if it lasts, "
            f"{report}. Cancelling the job gives these rows up; what can be read of them later "
            "still counts.",
            retryable=self._is_withheld,
        )
        if may_raise:
            raise error
        self._collected.notes.add(f"{error.message} {error.hint}")

    async def read_both(self) -> None:
        """Continue reading both files; a file that is gone at the provider is noted and skipped.

        The error file is not read while the batch runs and counts no failure.

        Raises:
            ApiError, TransportError, ProtocolError: what was read before is kept.
            StoreError: it could not be stored; the same holds.
        """
        run = self.batch_run
        if self._row_lookup.kind:
            self._collected.notes.add(_NOTES[self._row_lookup.kind])
        if self._row_lookup.kind == SHARED_IDS:  # the order of lines counts, from the first line on
            reset_cursors(self._ledger, run.id)
            self._row_lookup.begin()
            if await self._read_list():
                return
        has_no_failure = not run.is_terminal and run.total > 0 and run.failed == 0
        self._is_gone = False
        files = (("output", run.output_file_id), ("error", run.error_file_id))
        for kind, file_id in files:
            if file_id and not (kind == "error" and has_no_failure):
                await self._read(kind, file_id)

    def reset_cursors(self) -> None:
        """Have both files read from the first line again, and count what is odd in them again."""
        self._collected.unknown_ids -= self._unknown_ids
        self._collected.unreadable -= self._unreadable
        self._unknown_ids = self._unreadable = 0
        self._odd = b""
        reset_cursors(self._ledger, self.batch_run.id)

    async def read_list(self, *, lacks_lines: bool) -> None:
        """Look in the provider's list of the batch's results for lines that the files lack.

        Args:
            lacks_lines: whether there are fewer lines than finished requests.

        Raises:
            ApiError, TransportError: the provider could not be asked; no row becomes missing.
        """
        is_missing = outcome_without_line(self.batch_run)[0] == "missing"
        if lacks_lines or self._collected.gone or is_missing:
            await self._read_list()

    async def _read_list(self) -> bool:
        """Read the list of results from its start; False if there is none."""
        if not self._job.profile.results:
            return False
        before = self._collected.updated
        reset_cursors(self._ledger, self.batch_run.id, _LIST)
        self._row_lookup.begin()
        try:
            await self._read(_LIST, self.batch_run.batch_id)
        except NO_SUCH_LIST:
            return False
        except DoublewordBatchError:
            # The list of a batch that ended with its input file breaks off each time.
            if self.batch_run.status != "cancelled":
                raise
            return False
        self._collected.from_list += self._collected.updated - before
        return True

    async def _read(self, kind: str, file_id: str) -> None:
        for _ in range(_MOST_RACES):
            try:
                return await self._read_on(kind, file_id)
            except _CursorMovedError:
                continue
            except NotFoundError as error:
                if kind == _LIST or error.status not in _GONE:
                    raise
                # A running batch may not have the file yet; an ended batch has lost it.
                if self.batch_run.is_terminal:
                    self._collected.gone.add(file_id)
                    self._is_gone = True
                return None
        return None

    async def _read_on(self, kind: str, file_id: str) -> None:
        cursor = self._cursor(kind)
        buffer: list[bytes] = []
        buffered = 0
        first_line, committed_at = cursor.lines, anyio.current_time()

        async def keep(data: bytes) -> bool:
            """Keep the lines; True if the last ones brought anything new."""
            nonlocal cursor, buffered, committed_at
            buffer.append(data)
            buffered += len(data)
            if buffered < _GROUP_BYTES and anyio.current_time() < committed_at + _GROUP_SECONDS:
                return False
            before, is_full = cursor, buffered >= _GROUP_BYTES
            cursor = await self._commit(kind, cursor, buffer)
            buffered, committed_at = 0, anyio.current_time()
            is_new = cursor.size_bytes > before.size_bytes
            # A file that is read again brings known lines, but not more than it has.
            return is_new or (is_full and cursor.lines - first_line <= self.batch_run.total)

        client = self._job.client
        try:
            if kind == _LIST:
                await client.batches.results(file_id, keep, skip=cursor.lines)
            else:
                await client.files.content(file_id, keep, skip=cursor.lines)
        finally:
            if buffer:
                await self._commit(kind, cursor, buffer)

    async def _commit(self, kind: str, cursor: Cursor, buffer: list[bytes]) -> Cursor:
        data = b"".join(buffer)
        buffer.clear()
        failpoint("collect.received")
        committed = await to_thread.run_sync(self._commit_now, kind, cursor, data)
        failpoint("collect.committed")
        self._progress(self._collected.lines, self._job.rows, "result lines read")
        return committed

    def _commit_now(self, kind: str, cursor: Cursor, data: bytes) -> Cursor:
        """Append the lines that count to our copy and move their rows, in one step."""
        group = self._group(data)
        run = self.batch_run.id
        with self._job.store.transaction():
            self._job.reloaded()  # raises if the job was deleted
            if self._cursor(kind) != cursor:
                raise _CursorMovedError
            self._find_rows(group)
            applied = apply_lines(self._ledger, run, kind, cursor.size_bytes, group.lines)
            path = stored_lines_path(self._job, run, kind)
            append_lines(path, cursor.size_bytes, applied.text)
            failpoint("collect.copied")
            now = Cursor(cursor.lines + group.received, cursor.size_bytes + len(applied.text))
            move_cursor(self._ledger, run, kind, now)
            # Under the store's lock, as other parts are read in other threads.
            unknown_ids = applied.unknown_ids + group.unknown_ids
            self._updated += applied.updated
            self._unknown_ids += unknown_ids
            self._unreadable += group.unreadable
            self._readable += len(group.outcomes)
            self._collected.lines += group.received
            self._collected.updated += applied.updated
            self._collected.repeated += applied.repeated
            self._collected.unknown_ids += unknown_ids
            self._collected.unreadable += group.unreadable
        return now

    def _group(self, data: bytes) -> _Group:
        group = _Group()
        lines = list(io.BytesIO(data))
        outcomes = parse_lines(lines, self._check)
        group.received = len(lines)
        if all(outcomes):  # nearly always
            group.outcomes = list(zip(cast("list[LineOutcome]", outcomes), lines, strict=True))
            return group
        for text, outcome in zip(lines, outcomes, strict=True):
            if outcome is not None:
                group.outcomes.append((outcome, text))
            elif text.strip():
                inside = self._inner_lines(text)
                if not inside:
                    group.unreadable += 1
                    self._odd = (self._odd + text)[:_ODD_BYTES]
                group.outcomes += inside
        return group

    def _inner_lines(self, text: bytes) -> list[_OutcomeAndText]:
        """The result lines inside a line that is not a result line, such as `data: {...}`."""
        lines = [line for line in io.BytesIO(ObjectLines().lines_of(text)) if line.endswith(b"\n")]
        outcomes = zip(parse_lines(lines, self._check), lines, strict=True)
        return [(outcome, line) for outcome, line in outcomes if outcome is not None]

    def _find_rows(self, group: _Group) -> None:
        """Find out which rows the lines of a group are for."""
        lines = group.lines
        rows = self._row_lookup.rows_of([outcome.custom_id for outcome, _ in group.outcomes])
        for (outcome, text), row in zip(group.outcomes, rows, strict=True):
            if outcome.outcome == "pending":  # a row of the list of results that has not run
                continue
            if row is None:
                group.unknown_ids += 1
            else:
                lines.append(RowLine(row, outcome, text))

    def _cursor(self, kind: str) -> Cursor:
        return read_cursor(self._ledger, self.batch_run.id, kind)
