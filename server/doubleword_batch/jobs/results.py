"""Collect, account for every row, write the table, answer questions: the tool `fetch_results`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from doubleword_batch.errors import InputError, Next
from doubleword_batch.jobs.billing import fetch_bills
from doubleword_batch.jobs.cascade.report import awaits_round, cascade_result, next_of
from doubleword_batch.jobs.cascade.rounds import CarriedOn
from doubleword_batch.jobs.costs import (
    compute_cost_so_far,
    compute_saved,
    compute_tokens_so_far,
)
from doubleword_batch.jobs.export.files import Format, Written, format_of, write_table
from doubleword_batch.jobs.export.lock_file import write_lock
from doubleword_batch.jobs.export.output_file import OutputFile, output_file
from doubleword_batch.jobs.export.query import corrected, query_table, write_query
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.job_tables import tables_named_in
from doubleword_batch.jobs.later_parts import first_wave_in_words
from doubleword_batch.jobs.pilot import projected
from doubleword_batch.jobs.refresh import refresh
from doubleword_batch.jobs.replies import ErrorGroup, QueryResult, Results, Sample
from doubleword_batch.jobs.retry_advice import next_retry
from doubleword_batch.jobs.reuse.told import rows_saved
from doubleword_batch.jobs.row_counts import problems_of
from doubleword_batch.jobs.samples import first_answers
from doubleword_batch.jobs.status import MAX_WAIT_SECONDS, wait
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.causes import advice
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.sync.schema_check import WRAPPED
from doubleword_batch.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SAMPLES, _MOST_SAMPLES = 3, 20
_MOST_COLUMNS = 20
_EXPLAINED = 3
_CAUSES_NAMED = 24
_MOST_CAUSES = 1_000
_MESSAGE_CHARACTERS = 120
_MADE_FROM_CHARACTERS = 100
_MOST_WARNINGS = 4


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
            the table goes to a file of the state directory, and a result nowhere.
        table_format: jsonl, csv or parquet; by default what the path says.
        overwrite: whether a table that another job wrote, or a file that a person owns, may be
            replaced (see `OutputFile`); what this job wrote there is, unless it was changed.
        formulas: see `write_table`.
        bom: see `write_table`; None for what the source has.
        query: one SELECT over the table `results` and those of other jobs, by their names.
        all_rows: give every row of the query, whole: for programs.
        sample: 0 to 20 answers to show, cut; by default 3, and none beside a query.
        wait_seconds: wait so long for the end first; above 45 counts as 45.
        lock: whether a lock file goes beside `output_path`, unless the settings forbid it.
        progress: told the lines read.

    Raises:
        InputError: no such job, it was never submitted, a bad path or query.
    """
    stored = await find_job(ws, job)
    samples_wanted = _checked_sample(sample, query)
    _refuse_unsent(stored)
    target: Path | OutputFile = stored.folder / "answers.jsonl"
    if output_path is not None:
        target = await in_thread(lambda _: output_file(stored, output_path, overwrite=overwrite))
    written_path = target.path if isinstance(target, OutputFile) else target
    target_format = format_of(written_path, table_format, stored.name)
    stored, carried_on, notes = await _brought_up_to_date(stored, wait_seconds, progress)
    table = await in_thread(lambda _: Table(stored))  # it may have to hash the source again
    begins_with_bom = table.has_byte_order_mark if bom is None else bom
    into = _Target(target, target_format, formulas, begins_with_bom)
    answer: QueryResult | None = None
    written: Written | None = None
    is_kept = query is None or output_path is not None
    if query is None:
        written = await in_thread(lambda cancelled: _written(table, into, cancelled))
    else:
        kept = into if is_kept else None
        answer, written = await _answer(
            stored, table, query, kept, all_rows=all_rows, progress=progress
        )
    waits = first_wave_in_words(stored, carried_on)
    warnings = [
        *([waits] if waits else []),
        *_apostrophes(written),
        *table.warnings,
        *notes,
        *_unwrapped(stored),
    ]
    samples = await in_thread(lambda _: first_answers(stored, table, samples_wanted))
    path = str(written_path) if is_kept else None
    results = await _reply(stored, table, path, samples, answer, warnings, carried_on)
    if not (lock and ws.writes_locks and isinstance(target, OutputFile)):
        return results
    return await in_thread(lambda _: _with_lock(stored, target, target_format, results, query))


def _checked_sample(sample: int | None, query: str | None) -> int:
    """How many answers to show."""
    if sample is None:
        return 0 if query is not None else _SAMPLES
    if not 0 <= sample <= _MOST_SAMPLES:
        raise InputError(f"sample must be between 0 and {_MOST_SAMPLES}.")
    return sample


def _refuse_unsent(job: StoredJob) -> None:
    if not job.batch_runs() and job.parts():
        raise InputError(
            f"Job {job.name} was never submitted, so it has no results.",
            hint="Submit it first.",
            code="not_submitted",
            next=Next("create_batch", {"job": job.name}),
        )


async def _brought_up_to_date(
    job: StoredJob, wait_seconds: float, progress: Progress
) -> tuple[StoredJob, CarriedOn, list[str]]:
    """Wait, then read all that the provider has of a job: it, what was begun, and warnings."""
    carried_on = await wait(job, wait_seconds, progress)
    await refresh(job, also_terminal=True)
    collected = await collect(job, progress=progress)
    await fetch_bills(job)
    return job.reloaded(), carried_on, collected.warnings()


@dataclass(frozen=True, slots=True)
class _Target:
    """Where rows are written and how; see `write_table`."""

    file: "Path | OutputFile"
    format: Format
    formulas: bool
    bom: bool


def _written(table: Table, into: _Target, cancelled: "Callable[[], bool]") -> Written:
    return write_table(
        table, into.file, into.format, formulas=into.formulas, bom=into.bom, cancelled=cancelled
    )


def _with_lock(
    job: StoredJob, target: OutputFile, table_format: Format, results: Results, query: str | None
) -> Results:
    failures: list[str] = []
    path = write_lock(job, target, table_format, results, query=query, failed=failures.append)
    warnings = [*failures, *results.warnings]
    return results.model_copy(
        update={"lock": path.name if path else None, "warnings": warnings[:_MOST_WARNINGS]}
    )


def _apostrophes(written: Written | None) -> list[str]:
    if written is None or not written.apostrophes:
        return []
    words = (
        f"{written.apostrophes} CSV cells hold what a spreadsheet could run as a formula and got "
        "an apostrophe before it; formulas leaves them as they are."
    )
    return [words]


async def _answer(
    job: StoredJob,
    table: Table,
    query: str,
    into: _Target | None,
    *,
    all_rows: bool,
    progress: Progress,
) -> tuple[QueryResult, Written | None]:
    """Run the query over this job and those that it names; its rows go where they are wanted."""
    others = await tables_named_in(job.workspace, query, progress)

    def run(cancelled: "Callable[[], bool]") -> tuple[QueryResult, Written | None]:
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
            error.next = Next("fetch_results", {"job": job.name, "query": corrected(query, error)})
        raise


def _meant_job(job: StoredJob, table: str) -> str:
    """A question for a query that names a table which does not exist."""
    store, name = job.workspace.store, table.replace("_", "-").lower()
    near = store.names_among([name]) or store.names_like(name)
    return f'Did you mean "{near[0]}"? ' if near else ""


async def _reply(
    job: StoredJob,
    table: Table,
    written: str | None,
    samples: list[Sample],
    answer: QueryResult | None,
    warnings: list[str],
    carried_on: CarriedOn,
) -> Results:
    ledger = job.ledger
    # Each of these looks at every row.
    sums = await in_thread(lambda _: ledger.sums())
    input_tokens, output_tokens = await in_thread(lambda _: compute_tokens_so_far(job))
    cost = await in_thread(lambda _: compute_cost_so_far(job))
    saved = await in_thread(lambda _: compute_saved(job))
    causes = await in_thread(lambda _: ledger.causes(_MOST_CAUSES))
    complete = job.has_ended() and not sums.get("pending") and not awaits_round(job, carried_on)
    unsent = await in_thread(lambda _: rows_saved(job))
    return Results(
        provider=job.workspace.provider,
        next=next_of(carried_on) or await in_thread(lambda _: _next(job, complete=complete)),
        job=job.name,
        status=job.status(),
        complete=complete,
        rows=sum(sums.values()),
        ledger=sums,
        reused_rows=unsent.reused_rows,
        shared_rows=unsent.shared_rows,
        reused_from=unsent.reused_from,
        output_path=written,
        columns=[] if answer else table.answer_columns[:_MOST_COLUMNS],
        made_from=_begun(table.about.get("made_from")),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=cost.usd,
        cost_note=cost.note,
        cached_tokens=saved.cached_tokens or None,
        saved_usd=saved.usd or None,
        projection=await projected(job, sums, cost) if complete and not answer else None,
        cascade=await in_thread(lambda _: cascade_result(job, carried_on)),
        errors=[] if answer else _error_groups(causes),
        causes=_all_causes(causes) if len(causes) > (0 if answer else _EXPLAINED) else None,
        samples=samples,
        query=answer,
        warnings=[*_refused_batches(job, causes), *warnings][:_MOST_WARNINGS],
    )


def _refused_batches(job: StoredJob, causes: list[tuple[str, str, int, str]]) -> list[str]:
    """What the provider says of batches that it refused as a whole, while rows lack answers."""
    if all(cause != "batch_failed" for _, cause, _, _ in causes):
        return []
    return problems_of([run for run in job.batch_runs() if run.status == "failed"])


def _begun(made_from: str | None) -> str | None:
    if made_from is None or len(made_from) <= _MADE_FROM_CHARACTERS:
        return made_from
    return made_from[:_MADE_FROM_CHARACTERS] + "…"


def _error_groups(causes: list[tuple[str, str, int, str]]) -> list[ErrorGroup]:
    """The most frequent causes, explained."""
    return [
        ErrorGroup(
            outcome=outcome,
            cause=cause,
            rows=rows,
            message=message[:_MESSAGE_CHARACTERS] or None,
            advice=advice(cause),
        )
        for outcome, cause, rows, message in causes[:_EXPLAINED]
    ]


def _all_causes(causes: list[tuple[str, str, int, str]]) -> dict[str, int]:
    """Rows by cause, all of them; the rarest together where there are very many."""
    rows_of: dict[str, int] = {}
    for _, cause, rows, _ in causes:
        rows_of[cause] = rows_of.get(cause, 0) + rows
    shown = dict(list(rows_of.items())[:_CAUSES_NAMED])
    if rest := sum(rows_of.values()) - sum(shown.values()):
        shown[f"{len(rows_of) - len(shown)} other causes"] = rest
    return shown


def _next(job: StoredJob, *, complete: bool) -> Next | None:
    if not complete:
        return Next("get_status", {"job": job.name, "wait_seconds": MAX_WAIT_SECONDS})
    return next_retry(job)


def _unwrapped(job: StoredJob) -> list[str]:
    """Good answers whose JSON did not stand alone."""
    return [
        f"{rows} answers hold their JSON {WRAPPED[cause]}; it was read "
        "(DOUBLEWORD_BATCH_STRICT_JSON=1 forbids that)"
        for cause, rows in job.ledger.causes_of_ok().items()
        if cause in WRAPPED
    ]
