"""Collects results, accounts for every row, writes the table, answers queries: `fetch_results`."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from doubleword_batch.errors import InputError, Next
from doubleword_batch.jobs.billing import fetch_bills
from doubleword_batch.jobs.cascade.rounds import NextBatches
from doubleword_batch.jobs.export.lock_file import write_lock
from doubleword_batch.jobs.export.output_file import OutputFile, output_file
from doubleword_batch.jobs.export.query import query_table, with_nearest_column, write_query
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.export.write_table import Format, WrittenTable, format_of, write_table
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import StoredJob, Workspace, not_submitted
from doubleword_batch.jobs.job_tables import tables_named_in
from doubleword_batch.jobs.later_parts import first_wave_in_words
from doubleword_batch.jobs.refresh import refresh
from doubleword_batch.jobs.replies import QueryResult, Results
from doubleword_batch.jobs.results_reply import MOST_WARNINGS, results_reply
from doubleword_batch.jobs.status import wait
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.progress import Progress, no_progress

_SAMPLES, _MOST_SAMPLES = 3, 20


async def fetch_results(
    ws: Workspace,
    job: str,
    *,
    output_path: str | None = None,
    table_format: Format | None = None,
    overwrite: bool = False,
    formulas: bool = False,
    bom: bool | None = None,
    query: str | None = None,
    all_rows: bool = False,
    sample: int | None = None,
    wait_seconds: float = 0,
    lock: bool = True,
    progress: Progress = no_progress,
) -> Results:
    """Bring the ledger up to date and write the table of answers.

    Args:
        ws: the workspace.
        job: a job's name or a provider's id.
        output_path: where to write the table, or with `query` all rows of its result; by default
            the table goes to a file in the state directory, and a query's result is not written.
        table_format: jsonl, csv or parquet; by default the one that the path's ending says.
        overwrite: whether a table that another job wrote, or a file that a person owns, may be
            replaced (see `OutputFile`). This job's own unchanged table is always replaced.
        formulas: see `write_table`.
        bom: see `write_table`; None to do as the source does.
        query: one SELECT over the table `results` and tables of other jobs, by their names.
        all_rows: return every row of the query, not cut, for programs.
        sample: 0 to 20 answers to show, cut short; by default 3, or none with a query.
        wait_seconds: first wait this long for the job to end; at most 45.
        lock: whether a lock file goes beside `output_path`, unless the settings forbid it.
        progress: called with the lines read.

    Raises:
        InputError: there is no such job, it was never submitted, or the path or query is bad.
    """
    stored = await find_job(ws, job)
    samples = sample if sample is not None else _SAMPLES if query is None else 0
    if not 0 <= samples <= _MOST_SAMPLES:
        raise InputError(f"sample must be between 0 and {_MOST_SAMPLES}.")
    if not stored.batch_runs() and stored.parts():
        raise not_submitted(stored.name, "was never submitted, so it has no results")
    target: Path | OutputFile = stored.folder / f"answers.{table_format or 'jsonl'}"
    if output_path is not None:
        target = await in_thread(lambda _: output_file(stored, output_path, overwrite=overwrite))
    written_path = target.path if isinstance(target, OutputFile) else target
    target_format = format_of(written_path, table_format, stored.name)
    stored, next_batches, notes = await _brought_up_to_date(stored, wait_seconds, progress)
    table = await in_thread(lambda _: Table(stored))  # may have to hash the source again
    begins_with_bom = table.has_byte_order_mark if bom is None else bom
    is_kept = query is None or output_path is not None
    into = _Target(target, target_format, formulas, begins_with_bom)
    if query is None:
        answer, written = None, await in_thread(lambda cancelled: into.write(table, cancelled))
    else:
        kept = into if is_kept else None
        answer, written = await _answer(stored, table, query, kept, all_rows, progress)
    stored = stored.reloaded()
    waits = first_wave_in_words(stored, next_batches)
    warnings = [*([waits] if waits else []), *_apostrophes(written), *table.warnings, *notes]
    path = str(written_path) if is_kept else None
    results = await results_reply(stored, table, path, samples, answer, warnings, next_batches)
    if not (lock and ws.writes_locks and isinstance(target, OutputFile)):
        return results
    return await in_thread(lambda _: _with_lock(stored, target, target_format, results, query))


async def _brought_up_to_date(
    job: StoredJob, wait_seconds: float, progress: Progress
) -> tuple[StoredJob, NextBatches, list[str]]:
    """Wait, then read a job's results; return the job, batches that were begun, and warnings."""
    next_batches = await wait(job, wait_seconds, progress)
    await refresh(job, also_terminal=True)
    collected = await collect(job, progress=progress)
    await fetch_bills(job)
    return job.reloaded(), next_batches, collected.warnings()


class _Target(NamedTuple):
    """Where rows are written and how; see `write_table`."""

    file: Path | OutputFile
    format: Format
    formulas: bool
    bom: bool

    def write(self, table: Table, cancelled: Callable[[], bool]) -> WrittenTable:
        return write_table(
            table, self.file, self.format, formulas=self.formulas, bom=self.bom, cancelled=cancelled
        )


def _with_lock(
    job: StoredJob, target: OutputFile, table_format: Format, results: Results, query: str | None
) -> Results:
    failures: list[str] = []
    path = write_lock(job, target, table_format, results, query=query, failed=failures.append)
    warnings = [*failures, *results.warnings]
    return results.model_copy(
        update={"lock": path.name if path else None, "warnings": warnings[:MOST_WARNINGS]}
    )


def _apostrophes(written: WrittenTable | None) -> list[str]:
    if written is None or not written.apostrophes:
        return []
    words = (
        f"{written.apostrophes} CSV cells hold text that a spreadsheet could run as a formula, and "
        "got an apostrophe in front of it; formulas leaves them as they are."
    )
    return [words]


async def _answer(
    job: StoredJob,
    table: Table,
    query: str,
    into: _Target | None,
    all_rows: bool,  # noqa: FBT001
    progress: Progress,
) -> tuple[QueryResult, WrittenTable | None]:
    """Run the query over this job and the jobs it names; write its rows if a file is wanted."""
    others = await tables_named_in(job.workspace, query, progress)

    def run(cancelled: Callable[[], bool]) -> tuple[QueryResult, WrittenTable | None]:
        if into is None:
            found = query_table(
                table, job.folder, query, others=others, all_rows=all_rows, cancelled=cancelled
            )
            return found, None
        return write_query(
            table,
            job.folder,
            query,
            into.file,
            into.format,
            others=others,
            formulas=into.formulas,
            bom=into.bom,
            cancelled=cancelled,
        )

    try:
        return await in_thread(run)
    except InputError as error:
        if error.code == "invalid_query":
            if "table" in error.details:
                error.hint = _meant_job(job, error.details["table"]) + error.hint
            error.next = Next(
                "fetch_results", {"job": job.name, "query": with_nearest_column(query, error)}
            )
        raise


def _meant_job(job: StoredJob, table: str) -> str:
    """A question such as `Did you mean "reviews-7f3a"?` for a table that does not exist, or ""."""
    store, name = job.workspace.store, table.replace("_", "-").lower()
    near = store.names_among([name]) or store.similar_names(name)
    return f'Did you mean "{near[0]}"? ' if near else ""
