"""`fetch_results`: collect, account for every row, write the table, answer questions about it."""

import msgspec

from doubleword_batch.errors import InputError, Next
from doubleword_batch.jobs.costs import spent
from doubleword_batch.jobs.export.files import Format, format_of, write_table
from doubleword_batch.jobs.export.query import query_table
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.job import Progress, Workspace, silent
from doubleword_batch.jobs.pilot import projected
from doubleword_batch.jobs.replies import ErrorGroup, QueryResult, Results, Sample
from doubleword_batch.jobs.status import MAX_WAIT_SECONDS, refresh, wait
from doubleword_batch.jobs.store.jobs import UNANSWERED
from doubleword_batch.jobs.store.records import Job
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.causes import advice
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.sync.stored_lines import Copies

_SAMPLES_BYTES = 800
_MOST_SAMPLES = 20


async def fetch_results(
    ws: Workspace,
    job: str,
    *,
    output_path: str | None = None,
    form: Format | None = None,
    overwrite: bool = False,
    formulas: bool = False,
    query: str | None = None,
    sample: int = 3,
    wait_seconds: float = 0,
    progress: Progress = silent,
) -> Results:
    """Bring the ledger up to date and write the table of answers.

    Args:
        ws: the workspace.
        job: a job's name or a provider's id.
        output_path: where to write the table; by default a file of the state directory. With
            `query` alone nothing is written.
        form: jsonl, csv or parquet; by default what the path says.
        overwrite: whether `output_path` may be replaced.
        formulas: see `write_table`.
        query: one SELECT over the table `results`.
        sample: 0 to 20 answers to show, cut.
        wait_seconds: 0 to 45, to wait for the end first.
        progress: told the lines read.

    Raises:
        InputError: no such job, it was never submitted, a bad path or query.
    """
    found = await ws.job(job)
    if not 0 <= sample <= _MOST_SAMPLES:
        raise InputError(f"sample must be between 0 and {_MOST_SAMPLES}.")
    if not ws.store.attempts(found.id):
        raise InputError(
            f"Job {found.name} was never submitted, so it has no results.",
            hint=f'Call create_batch(job="{found.name}") first.',
            code="not_submitted",
        )
    target = ws.store.job_folder(found.name) / "answers.jsonl"
    if output_path is not None:
        target = ws.roots.writable(output_path, overwrite=overwrite)
    target_form = format_of(target, form)
    await wait(ws, found, wait_seconds, progress)
    await refresh(ws, found, also_terminal=True)
    collected = await collect(ws, found, progress=progress)
    found = ws.job_now(found)
    # It may have to hash the source again.
    table = await in_thread(lambda _: Table(ws, found))
    written = None
    if query is None or output_path is not None:
        private = output_path is None
        await in_thread(
            lambda cancelled: write_table(
                table,
                target,
                target_form,
                formulas=formulas,
                private=private,
                cancelled=cancelled,
            )
        )
        written = str(target)
    answer: QueryResult | None = None
    if query is not None:
        folder = ws.store.job_folder(found.name)
        answer = await in_thread(
            lambda cancelled: query_table(table, folder, query, cancelled=cancelled)
        )
    warnings = [*table.warnings, *collected.oddities()]
    samples = await in_thread(lambda _: _samples(ws, found, sample))
    return await _results(ws, found, written, samples, answer, warnings)


async def _results(
    ws: Workspace,
    job: Job,
    written: str | None,
    samples: list[Sample],
    answer: QueryResult | None,
    warnings: list[str],
) -> Results:
    ledger = ws.ledger(job)
    # Each of these looks at every row.
    sums = await in_thread(lambda _: ledger.sums())
    read, wrote = await in_thread(lambda _: ledger.tokens())
    cost = await in_thread(lambda _: spent(ws, job))
    causes = await in_thread(lambda _: ledger.causes(4))
    complete = ws.has_ended(job) and not sums.get("pending")
    return Results(
        provider=ws.provider,
        next=_next(job, sums, complete=complete),
        job=job.name,
        status=ws.status(job),
        complete=complete,
        rows=sum(sums.values()),
        ledger=sums,
        output_path=written,
        input_tokens=read,
        output_tokens=wrote,
        cost_usd=cost.usd,
        cost_note=cost.note,
        projection=await projected(ws, job, sums, cost) if complete else None,
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


def _next(job: Job, sums: dict[str, int], *, complete: bool) -> Next | None:
    if not complete:
        arguments = {"job": job.name, "wait_seconds": MAX_WAIT_SECONDS}
        return Next(tool="get_status", arguments=arguments)
    if any(sums.get(outcome) for outcome in UNANSWERED):
        return Next(tool="retry_failed", arguments={"job": job.name})
    if sums.get("truncated"):
        arguments = {"job": job.name, "causes": ["truncated"]}
        return Next(tool="retry_failed", arguments=arguments)
    return None


def _samples(ws: Workspace, job: Job, count: int) -> list[Sample]:
    """The first good answers, each cut so that all of them together stay small."""
    if not count:
        return []
    copies = Copies(ws, job)
    each = max(24, _SAMPLES_BYTES // count - 24)
    samples: list[Sample] = []
    try:
        for entry in ws.ledger(job).entries(outcomes=("ok",), limit=count):
            answer = copies.answer(entry)
            if answer is None:
                continue
            shown = answer.text
            if answer.tool_calls:
                shown = msgspec.json.encode(answer.tool_calls).decode()
            elif answer.embedding is not None:
                shown = f"embedding of {len(answer.embedding)} numbers"
            text = shown or ""
            samples.append(
                Sample(row=entry.row, answer=text if len(text) <= each else text[:each] + "…")
            )
    finally:
        copies.close()
    return samples
