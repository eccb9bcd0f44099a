"""Collects results: brings a job's ledger up to date with the provider, and accounts for every row.

Both files of a batch are read while it runs, if the provider allows that (the error file only once
a failure is counted), and when it has ended. Then the number of rows with a line is compared with
the provider's counts; if they differ, everything is read again from the start. Rows that still have
no line are closed. If the provider counts more lines than it has shown, they first wait for these,
for a bounded time.
"""

from contextlib import closing, nullcontext
from functools import partial

from anyio import to_thread

from doubleword_batch.jobs.external_files import read_input_file
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.apply_results import restore_better_answers, rows_read
from doubleword_batch.jobs.store.records import BatchRun, Part
from doubleword_batch.jobs.sync.batch_reader import BatchReader, CollectSummary
from doubleword_batch.jobs.sync.causes import UNREADABLE
from doubleword_batch.jobs.sync.concurrency import run_concurrently
from doubleword_batch.jobs.sync.schema_check import schema_check
from doubleword_batch.jobs.sync.stored_lines import reopen_lost_copies
from doubleword_batch.progress import Progress, no_progress

Closing = tuple[BatchReader, str, str]
"""A batch that has ended, and the outcome and cause of the rows for which it has no line."""


async def collect(
    job: StoredJob, *, progress: Progress = no_progress, closes_waiting: bool = False
) -> CollectSummary:
    """Read new results.

    Args:
        job: the job.
        progress: called with the number of lines.
        closes_waiting: whether rows whose files cannot be read are closed as missing.

    Raises:
        ApiError, TransportError, ProtocolError: the provider could not be read; what was read
            before is kept.
        StoreError: the disk is full; the same holds.
    """
    if job.rows is None:
        job = await read_input_file(job)
    await to_thread.run_sync(reopen_lost_copies, job)
    collected = CollectSummary()
    check = schema_check(job.spec, is_strict=job.workspace.strict_json)
    ended: list[BatchReader] = []

    async def read(runs: list[BatchRun]) -> None:
        for run in runs:
            reader = BatchReader(job, run, parts[run.part].number, check, collected, progress)
            await reader.read_both()
            if run.is_terminal:
                ended.append(reader)

    parts = {part.id: part for part in job.parts()}
    with nullcontext() if check is None else closing(check):
        try:
            for runs_by_part in await _unread(job, parts):
                (await run_concurrently(job.profile, runs_by_part, read)).results_or_raise()
        finally:
            if ended:
                await _close(job, ended, collected, closes_waiting=closes_waiting)
    return collected


async def _unread(job: StoredJob, parts: dict[int, Part]) -> list[list[list[BatchRun]]]:
    """Batches that may have news: by retry round, then part, then oldest first.

    A later round runs rows of earlier rounds again, so its answers have to be read after theirs.
    """
    runs = job.batch_runs()
    incomplete: set[int] = set()
    if any(run.collected for run in runs):  # this reads all rows
        incomplete = await to_thread.run_sync(job.ledger.parts_with, "missing")
    rounds: dict[int, dict[int, list[BatchRun]]] = {}
    for run in runs:
        part = parts[run.part]
        if not run.collected or part.number in incomplete:
            rounds.setdefault(part.retry_round, {}).setdefault(part.id, []).append(run)
    return [list(rounds[number].values()) for number in sorted(rounds)]


class _Known:
    """What the ledger has of each batch. Counting it reads all rows.

    Attributes:
        rows: number of rows with a line, by batch run.
        pending: the numbers of the parts that have rows without an outcome.
    """

    def __init__(self, job: StoredJob) -> None:
        self._job = job
        runs = job.batch_runs()
        self._runs = [run.id for run in runs]
        self._newest = {run.part: run.id for run in runs}
        self.rows: dict[int, int] = {}
        self.pending: set[int] = set()

    async def count(self) -> None:
        """Count after something was read."""
        self.rows, self.pending = await to_thread.run_sync(rows_read, self._job.ledger, self._runs)

    def awaits(self, reader: BatchReader) -> bool:
        """Whether rows wait for an outcome from this batch; only a part's last batch gives one."""
        run = reader.batch_run
        return self._newest.get(run.part) == run.id and reader.part_number in self.pending


async def _close(
    job: StoredJob, ended: list[BatchReader], collected: CollectSummary, *, closes_waiting: bool
) -> None:
    known = _Known(job)
    await _read_what_lacks(ended, known, collected)
    unreadable: list[BatchReader] = []
    closings: list[Closing] = []
    for reader in ended:
        given = known.rows.get(reader.batch_run.id, 0)
        if reader.is_unreadable and not given:
            unreadable.append(reader)
        elif not reader.waits_for_lines(
            given, has_pending=known.awaits(reader), closes_waiting=closes_waiting
        ):
            closings.append((reader, *reader.closing_outcome(given, closes_waiting=closes_waiting)))
    await to_thread.run_sync(_close_now, job, closings)
    if closes_waiting:  # answers that are read later still count
        given_up = [(reader, "missing", UNREADABLE) for reader in unreadable]
        await to_thread.run_sync(_close_rows, job, given_up)
    failpoint("collect.closed")
    if unreadable:
        await known.count()
    for reader in unreadable:
        if known.awaits(reader) or closes_waiting:
            tell = partial(reader.report_unreadable, may_raise=not (known.rows or closes_waiting))
            await to_thread.run_sync(tell)


async def _read_what_lacks(
    ended: list[BatchReader], known: _Known, collected: CollectSummary
) -> None:
    """Look again, wherever they may be, for lines that batches count and we do not have."""
    await known.count()
    for reader in ended:
        given = known.rows.get(reader.batch_run.id, 0)
        lacks_lines = reader.lacks_lines(given, has_pending=known.awaits(reader))
        if lacks_lines:
            reader.reset_cursors()
            await reader.read_both()
            await known.count()
        if reader.part_number in known.pending:
            before = collected.updated
            await reader.read_list(lacks_lines=lacks_lines)
            if collected.updated != before:
                await known.count()
    failpoint("collect.close")


def _close_rows(job: StoredJob, closings: list[Closing]) -> None:
    with job.store.transaction():
        newest = {run.part: run.id for run in job.reloaded().batch_runs()}
        job.ledger.close_rows(
            (reader.part_number, outcome, cause, reader.batch_run.id)
            for reader, outcome, cause in closings
            if newest[reader.batch_run.part] == reader.batch_run.id
        )


def _close_now(job: StoredJob, closings: list[Closing]) -> None:
    with job.store.transaction():
        _close_rows(job, closings)
        for reader, _, _ in closings:
            restore_better_answers(job.ledger, reader.batch_run.id)
            job.store.mark_collected(reader.batch_run)
