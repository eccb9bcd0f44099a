"""The reply with a job's results: sums, causes, costs, a few answers, a projection."""

from contextlib import closing
from decimal import Decimal
from typing import Any, cast

import msgspec

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.build_source import reopen_source, stamp_of
from doubleword_batch.jobs.cascade.report import awaits_round, cascade_result, next_of
from doubleword_batch.jobs.cascade.rounds import NextBatches
from doubleword_batch.jobs.costs import (
    Cost,
    compute_cache_savings,
    compute_cost_so_far,
    compute_tokens_so_far,
)
from doubleword_batch.jobs.export.columns import TOOL_ARGUMENT
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.job import StoredJob, next_get_status
from doubleword_batch.jobs.replies import ErrorGroup, Projection, QueryResult, Results, Sample
from doubleword_batch.jobs.retry_advice import next_retry
from doubleword_batch.jobs.reuse.savings import row_savings
from doubleword_batch.jobs.row_counts import problems_of
from doubleword_batch.jobs.store.records import ANSWERED
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.causes import advice
from doubleword_batch.jobs.sync.schema_check import WRAPPED
from doubleword_batch.jobs.sync.stored_lines import StoredLines
from doubleword_batch.plain_text import shortened

_MOST_COLUMNS = 20
_EXPLAINED = 3
_CAUSES_NAMED = 24
_MOST_CAUSES = 1_000
_MESSAGE_CHARACTERS = 120
_MADE_FROM_CHARACTERS = 100
MOST_WARNINGS = 4
_GOOD = frozenset({"ok", "skipped"})
_ALL_BYTES = 500
_NOT_READABLE = frozenset({"logprobs", "audio"})


async def results_reply(
    job: StoredJob,
    table: Table,
    written: str | None,
    samples: int,
    answer: QueryResult | None,
    warnings: list[str],
    next_batches: NextBatches,
) -> Results:
    """The reply of `fetch_results`.

    Args:
        job: the job as it is now.
        table: the table of its answers.
        written: where the rows were written; None if they were not.
        samples: how many answers to show.
        answer: the query's result, in place of columns, errors and a projection.
        warnings: what a person should know about the rows.
        next_batches: what was sent after its first wave or a round, or why nothing was.
    """
    ledger = job.ledger
    # Each of these reads every row.
    sums = await in_thread(lambda _: ledger.sums())
    input_tokens, output_tokens = await in_thread(lambda _: compute_tokens_so_far(job))
    cost = await in_thread(lambda _: compute_cost_so_far(job))
    saved = await in_thread(lambda _: compute_cache_savings(job))
    causes = await in_thread(lambda _: ledger.causes(_MOST_CAUSES))
    complete = job.has_ended() and not sums.get("pending") and not awaits_round(job, next_batches)
    unsent = await in_thread(lambda _: row_savings(job))
    return Results(
        provider=job.workspace.provider,
        next=next_of(next_batches)
        or (await in_thread(lambda _: next_retry(job)) if complete else next_get_status(job.name)),
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
        made_from=shortened(table.about.get("made_from") or "", _MADE_FROM_CHARACTERS) or None,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=cost.usd,
        cost_note=cost.note,
        cached_tokens=saved.cached_tokens or None,
        saved_usd=saved.usd or None,
        projection=await _projected(job, sums, cost) if complete and not answer else None,
        cascade=await in_thread(lambda _: cascade_result(job, next_batches)),
        errors=[] if answer else _error_groups(causes),
        causes=_all_causes(causes) if len(causes) > (0 if answer else _EXPLAINED) else None,
        samples=await in_thread(lambda _: _first_answers(job, table, samples)),
        query=answer,
        warnings=[*_refused_batches(job, causes), *warnings, *_unwrapped(job)][:MOST_WARNINGS],
    )


def _refused_batches(job: StoredJob, causes: list[tuple[str, str, int, str]]) -> list[str]:
    """What the provider says about batches that it refused as a whole, if rows lack answers."""
    if all(cause != "batch_failed" for _, cause, _, _ in causes):
        return []
    return problems_of([run for run in job.batch_runs() if run.status == "failed"])


def _error_groups(causes: list[tuple[str, str, int, str]]) -> list[ErrorGroup]:
    """The most frequent causes, each with an explanation."""
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
    """The number of rows by cause; if there are very many causes, the rarest are added up."""
    rows_of: dict[str, int] = {}
    for _, cause, rows, _ in causes:
        rows_of[cause] = rows_of.get(cause, 0) + rows
    shown = dict(list(rows_of.items())[:_CAUSES_NAMED])
    if rest := sum(rows_of.values()) - sum(shown.values()):
        shown[f"{len(rows_of) - len(shown)} other causes"] = rest
    return shown


def _unwrapped(job: StoredJob) -> list[str]:
    """Warnings about good answers that hold more than their JSON."""
    return [
        f"{rows} answers hold their JSON {WRAPPED[cause]}; it was read "
        "(DOUBLEWORD_BATCH_STRICT_JSON=1 forbids that)"
        for cause, rows in job.ledger.causes_of_ok().items()
        if cause in WRAPPED
    ]


async def _projected(job: StoredJob, sums: dict[str, int], cost: Cost) -> Projection | None:
    """The whole table's cost, time and failures, in proportion to those of its first rows.

    None for a job that is not a pilot, or whose source was not counted and is gone or has changed.
    """
    if msgspec.json.decode(job.spec).get("limit") is None or not job.rows:
        return None
    rows = job.source_rows or await in_thread(lambda _: _rows_of_source(job))
    if rows is None or rows <= job.rows:
        return None
    factor = Decimal(rows) / job.rows
    # Rows that an earlier job has answered cost nothing, but the rest of the table will cost.
    sent = job.rows - sum(origin.rows for origin in job.ledger.origins())
    cost_factor = Decimal(rows) / sent if sent > 0 else None
    bad = {outcome: count for outcome, count in sums.items() if outcome not in _GOOD}
    unanswered = sum(count for outcome, count in bad.items() if outcome not in ANSWERED)
    seconds = _seconds(job)
    cost_usd, whole_seconds = None, None
    if cost_factor is not None:
        cost_usd = None if cost.usd is None else cost.usd * cost_factor
        whole_seconds = None if seconds is None else round(seconds * float(cost_factor))
    return Projection(
        rows=rows,
        cost_usd=cost_usd,
        seconds=whole_seconds,
        failed_rows=round(unanswered * factor),
        without_good_answer=round(sum(bad.values()) * factor),
    )


def _rows_of_source(job: StoredJob) -> int | None:
    try:
        source = reopen_source(job)
        if stamp_of(source.paths) != job.source_stamp:
            return None
        return sum(1 for _ in source.rows())
    except InputError:
        return None


def _seconds(job: StoredJob) -> float | None:
    """How long the first run took, in seconds by the provider's clock; None if not known."""
    first = {part.id for part in job.parts() if not part.retry_round}
    runs = [run for run in job.batch_runs() if run.part in first]
    starts = [run.created_at for run in runs if run.created_at is not None]
    ends = [run.ended_at for run in runs if run.ended_at is not None]
    return max(0.0, max(ends) - min(starts)) if starts and ends else None


def _first_answers(job: StoredJob, table: Table, count: int) -> list[Sample]:
    """The first good answers, each cut so that together they stay small."""
    if not count:
        return []
    each = max(24, _ALL_BYTES // count - 24)
    samples: list[Sample] = []
    with closing(StoredLines(job)) as lines:
        for entry in job.ledger.entries(outcomes=("ok",), limit=count):
            answer = lines.answer(entry)
            if answer is not None:
                shown = _readable(dict(table.values(entry, answer)))
                samples.append(Sample(row=entry.row, columns=_cut(shown, each)))
    return samples


def _readable(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns of an answer that can be read at a glance."""
    shown = {
        name: _shown_vectors(value) if name == "embedding" else value
        for name, value in columns.items()
        if value is not None and name not in _NOT_READABLE
    }
    arguments = shown.get("tool_arguments")
    if isinstance(arguments, dict):
        names = {TOOL_ARGUMENT + name for name in cast("dict[str, Any]", arguments)}
        if names and names <= columns.keys():  # each of them has its own column
            del shown["tool_arguments"]
    return shown


def _shown_vectors(embedding: Any) -> Any:
    if not isinstance(embedding, list):
        return embedding
    vectors = cast("list[Any]", embedding)
    if vectors and isinstance(vectors[0], list):
        return f"{len(vectors)} embeddings"
    return f"embedding of {len(vectors)} numbers"


def _cut(columns: dict[str, Any], most: int) -> dict[str, Any]:
    """Columns cut to about `most` characters together; a cut text ends in an ellipsis."""
    cut: dict[str, Any] = {}
    left = most
    for name, value in columns.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        cut[name] = value if len(text) <= left else text[:left] + "…"
        left -= len(text) + len(name)
        if left <= 0:
            break
    if rest := len(columns) - len(cut):
        cut["…"] = f"{rest} more"
    return cut
