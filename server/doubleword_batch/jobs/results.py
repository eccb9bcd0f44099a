"""Collect, account for every row, write the table, answer questions: the tool `fetch_results`."""

from typing import TYPE_CHECKING, Any

import msgspec

from doubleword_batch.errors import InputError, Next
from doubleword_batch.jobs.billing import fetch_bills
from doubleword_batch.jobs.costs import compute_cost_so_far
from doubleword_batch.jobs.export.files import Format, format_of, write_table
from doubleword_batch.jobs.export.output_file import OutputFile, output_file
from doubleword_batch.jobs.export.query import query_table, write_query
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.job_tables import tables_named_in
from doubleword_batch.jobs.pilot import projected
from doubleword_batch.jobs.replies import ErrorGroup, QueryResult, Results, Sample
from doubleword_batch.jobs.status import MAX_WAIT_SECONDS, refresh, wait
from doubleword_batch.jobs.store.ledger import UNANSWERED
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.causes import advice
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.sync.schema_check import WRAPPED
from doubleword_batch.jobs.sync.stored_lines import StoredLines
from doubleword_batch.progress import Progress, no_progress

if TYPE_CHECKING:
    from pathlib import Path

_SAMPLES_BYTES = 800
_MOST_SAMPLES = 20


async def fetch_results(
    ws: Workspace,
    job: str,
    *,
    output_path: str | None = None,
    table_format: Format | None = None,
    overwrite: bool = False,
    formulas: bool = False,
    query: str | None = None,
    sample: int = 3,
    wait_seconds: float = 0,
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
        query: one SELECT over the table `results` and those of other jobs, by their names.
        sample: 0 to 20 answers to show, cut.
        wait_seconds: 0 to 45, to wait for the end first.
        progress: told the lines read.

    Raises:
        InputError: no such job, it was never submitted, a bad path or query.
    """
    stored = await find_job(ws, job)
    if not 0 <= sample <= _MOST_SAMPLES:
        raise InputError(f"sample must be between 0 and {_MOST_SAMPLES}.")
    if not stored.batch_runs():
        raise InputError(
            f"Job {stored.name} was never submitted, so it has no results.",
            hint="Submit it first.",
            code="not_submitted",
            next=Next("create_batch", {"job": stored.name}),
        )
    is_private = output_path is None
    target: Path | OutputFile = stored.folder / "answers.jsonl"
    if output_path is not None:
        target = await in_thread(lambda _: output_file(stored, output_path, overwrite=overwrite))
    written_path = target.path if isinstance(target, OutputFile) else target
    target_format = format_of(written_path, table_format)
    await wait(stored, wait_seconds, progress)
    await refresh(stored, also_terminal=True)
    collected = await collect(stored, progress=progress)
    await fetch_bills(stored)
    stored = stored.reloaded()
    table = await in_thread(lambda _: Table(stored))  # it may have to hash the source again
    answer: QueryResult | None = None
    if query is not None:
        answer = await _answer(
            stored,
            table,
            query,
            target=None if is_private else target,
            table_format=target_format,
            formulas=formulas,
            progress=progress,
        )
    else:
        await in_thread(
            lambda cancelled: write_table(
                table,
                target,
                target_format,
                formulas=formulas,
                cancelled=cancelled,
            )
        )
    warnings = [*table.warnings, *collected.warnings(), *_unwrapped(stored)]
    samples = await in_thread(lambda _: _samples(stored, sample))
    written = None if query is not None and is_private else str(written_path)
    return await _reply(stored, written, samples, answer, warnings)


async def _answer(
    job: StoredJob,
    table: Table,
    query: str,
    *,
    target: "Path | OutputFile | None",
    table_format: Format,
    formulas: bool,
    progress: Progress,
) -> QueryResult:
    """Run the query over this job and those that it names; its rows go to the target."""
    others = await tables_named_in(job.workspace, query, progress)
    if target is None:
        return await in_thread(
            lambda cancelled: query_table(
                table, job.folder, query, others=others, cancelled=cancelled
            )
        )
    return await in_thread(
        lambda cancelled: write_query(
            table,
            job.folder,
            query,
            target,
            table_format,
            others=others,
            formulas=formulas,
            cancelled=cancelled,
        )
    )


async def _reply(
    job: StoredJob,
    written: str | None,
    samples: list[Sample],
    answer: QueryResult | None,
    warnings: list[str],
) -> Results:
    ledger = job.ledger
    # Each of these looks at every row.
    sums = await in_thread(lambda _: ledger.sums())
    input_tokens, output_tokens = await in_thread(lambda _: ledger.tokens())
    cost = await in_thread(lambda _: compute_cost_so_far(job))
    causes = await in_thread(lambda _: ledger.causes(4))
    complete = job.has_ended() and not sums.get("pending")
    return Results(
        provider=job.workspace.provider,
        next=_next(job, sums, complete=complete),
        job=job.name,
        status=job.status(),
        complete=complete,
        rows=sum(sums.values()),
        ledger=sums,
        output_path=written,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=cost.usd,
        cost_note=cost.note,
        projection=await projected(job, sums, cost) if complete else None,
        errors=[
            ErrorGroup(
                outcome=outcome,
                cause=cause,
                rows=rows,
                message=message[:120],
                advice=advice(cause),
            )
            for outcome, cause, rows, message in causes
        ],
        samples=samples,
        query=answer,
        warnings=warnings[:4],
    )


def _next(job: StoredJob, sums: dict[str, int], *, complete: bool) -> Next | None:
    if not complete:
        return Next("get_status", {"job": job.name, "wait_seconds": MAX_WAIT_SECONDS})
    if any(sums.get(outcome) for outcome in UNANSWERED):
        return Next("retry_failed", {"job": job.name})
    if sums.get("truncated"):
        return Next("retry_failed", {"job": job.name, "causes": ["truncated"]})
    return None


def _unwrapped(job: StoredJob) -> list[str]:
    """Good answers whose JSON did not stand alone."""
    return [
        f"{rows} answers hold their JSON {WRAPPED[cause]}; it was read "
        "(DOUBLEWORD_BATCH_STRICT_JSON=1 forbids that)"
        for cause, rows in job.ledger.causes_of_ok().items()
        if cause in WRAPPED
    ]


def _shown_vectors(embedding: list[Any]) -> str:
    if embedding and isinstance(embedding[0], list):
        return f"{len(embedding)} embeddings"
    return f"embedding of {len(embedding)} numbers"


def _samples(job: StoredJob, count: int) -> list[Sample]:
    """The first good answers, each cut so that all of them together stay small."""
    if not count:
        return []
    lines = StoredLines(job)
    each = max(24, _SAMPLES_BYTES // count - 24)
    samples: list[Sample] = []
    try:
        for entry in job.ledger.entries(outcomes=("ok",), limit=count):
            answer = lines.answer(entry)
            if answer is None:
                continue
            shown = answer.text
            if answer.tool_calls:
                shown = msgspec.json.encode(answer.tool_calls).decode()
            elif answer.embedding is not None:
                shown = _shown_vectors(answer.embedding)
            text = shown or ""
            samples.append(
                Sample(row=entry.row, answer=text if len(text) <= each else text[:each] + "…")
            )
    finally:
        lines.close()
    return samples
