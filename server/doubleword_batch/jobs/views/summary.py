"""A job at a glance, and what is left of the caps, from the store alone, without a request."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from doubleword_batch.jobs.cascade.costs import with_cascade
from doubleword_batch.jobs.cascade.option import Cascade, cascade_of
from doubleword_batch.jobs.cascade.report import cascade_result
from doubleword_batch.jobs.cascade.rounds import NO_BATCHES, is_done
from doubleword_batch.jobs.costs import Cost, compute_cost_so_far, estimate_cost
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.later_parts import first_wave_in_words, has_more_to_send
from doubleword_batch.jobs.replies import CascadeResult, Counts
from doubleword_batch.jobs.reuse.savings import RowSavings, row_savings, savings_in_words
from doubleword_batch.jobs.row_counts import counts_of, pace_of, percent_of, problems_of
from doubleword_batch.jobs.store.cascades import read_cascade
from doubleword_batch.jobs.store.records import NEVER, BatchRun, Part
from doubleword_batch.jobs.window_costs import WindowCosts, compare_windows

_PROMPT_CHARACTERS = 2_000
_PAGE = 50


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One job as a line of a list.

    Attributes:
        created_at: epoch seconds.
        rows: number of rows; None until something of an adopted job has been read.
        outcomes: number of rows by outcome in the ledger; they add up to `rows`.
        unread: how many of the pending rows are finished, as the provider says, but have lines that
            were not read yet.
        requests: how many requests a submission sends; fewer than rows if there are answers.
        saved: what is not sent and why, in sentences, until the job is submitted.
        reused_rows: rows with answers from earlier jobs; None if there are none.
        shared_rows: rows that share the request of an equal row; None if there are none.
        first_wave: what waits for the first wave, or why it is not sent although that has ended.
        unsent_rows: requests of parts that have no batch although other parts have one: they wait
            for capacity, or the submission was interrupted.
        percent: the share of rows for which nothing more is expected, from 0 to 100.
        cost: the cost so far, once the job was submitted.
        window_costs: its windows side by side, until it is submitted.
        cascade: the strong model that follows the job's own; None for nearly all jobs.
        cascade_result: the cascade's result so far, once the job was submitted.
        estimate: the estimate made when it was submitted, or made now.
        executor: who answers: the provider's name, and for local answers how far to trust them.
        is_here: whether it belongs to the provider that is set now; other jobs can only be viewed.
        pilot_of: rows of the whole source, if the job is made from its first rows.
        made_from: what it was made from, if that is not a file.
        note: the note that was given when it was built.
        submissions: how many of its batches and retries the provider has taken.
        problems: what the provider says about its batches as a whole.
    """

    name: str
    created_at: float
    status: str
    is_running: bool
    has_ended: bool
    rows: int | None
    outcomes: dict[str, int]
    unread: int
    requests: int
    saved: tuple[str, ...]
    reused_rows: int | None
    shared_rows: int | None
    first_wave: str | None
    unsent_rows: int
    percent: float
    per_second: float | None
    eta_seconds: int | None
    cost: Cost | None
    estimate: Cost
    window_costs: WindowCosts | None
    cascade: Cascade | None
    cascade_result: CascadeResult | None
    input_tokens: int
    output_tokens: int
    model: str
    provider: str
    executor: str
    is_here: bool
    window: str
    source: str
    prompt: str
    system: str
    limit: int | None
    pilot_of: int | None
    made_from: str
    note: str
    batch_ids: tuple[str, ...]
    submissions: int
    problems: tuple[str, ...]
    spec: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Budget:
    """The caps that a person has set, US dollars; None if there is no such cap.

    Attributes:
        is_free: whether nothing is billed here.
        reserved_today_usd: what this UTC day's submissions are estimated to cost.
        left_today_usd: what is left of the daily cap.
    """

    is_free: bool
    max_cost_usd: Decimal | None
    max_daily_usd: Decimal | None
    reserved_today_usd: Decimal
    left_today_usd: Decimal | None


@dataclass(slots=True)
class Figures:
    """Sums over all rows of a job, kept until its ledger changes."""

    version: list[Any]
    outcomes: dict[str, int]
    cost: Cost
    tokens: tuple[int, int]
    counts: Counts
    cascade: CascadeResult | None
    saved: RowSavings


FiguresCache = dict[int, Figures]
"""The sums by the job's id."""


def budget(ws: Workspace) -> Budget:
    """What is left of the caps."""
    reserved = ws.journal.reserved_today_usd()
    daily = ws.max_daily_usd
    return Budget(
        is_free=ws.profile.free,
        max_cost_usd=ws.max_cost_usd,
        max_daily_usd=daily,
        reserved_today_usd=reserved,
        left_today_usd=None if daily is None else max(Decimal(0), daily - reserved),
    )


def summaries(
    ws: Workspace, cache: FiguresCache, *, search: str, before: str | None, limit: int
) -> tuple[list[JobSummary], bool]:
    """Jobs in the state directory, newest first, and whether there are more.

    Args:
        ws: the workspace.
        cache: sums from earlier calls.
        search: part of a name, a source, a model, a prompt or a note.
        before: the name of a job; only older jobs are returned.
        limit: the most jobs to return.
    """
    last = ws.store.job_named(before) if before else None
    older = None if last is None else last.id
    found = ws.store.jobs(search=search, before=older, limit=limit + 1)
    jobs = (StoredJob.of_record(ws, record) for record in found[:limit])
    return [summary(job, cache) for job in jobs], len(found) > limit


def running_jobs(ws: Workspace, most: int) -> list[StoredJob]:
    """The newest jobs here that run, have unread results, or will run without another call."""
    jobs = (StoredJob.of_record(ws, record) for record in ws.store.jobs(limit=_PAGE))
    return [
        job
        for job in jobs
        if job.matches_provider() and (_is_running(job) or _is_unread(job) or _awaits_round(job))
    ][:most]


def _is_unread(job: StoredJob) -> bool:
    """Whether an ended batch has lines that were not read yet, as after a job was adopted."""
    return not all(run.collected for run in job.batch_runs())


def _awaits_round(job: StoredJob) -> bool:
    return bool(job.batch_runs()) and (bool(job.waiting_parts()) or not is_done(job))


def _is_running(job: StoredJob) -> bool:
    return any(run is not None and not run.is_terminal for _, run in job.newest_runs())


def summary(job: StoredJob, cache: FiguresCache) -> JobSummary:
    """A job as it is known now."""
    spec: dict[str, Any] = msgspec.json.decode(job.spec or "{}")
    figures = _figures(job, cache)
    runs = job.batch_runs()
    counts = figures.counts
    read = sum(n for outcome, n in figures.outcomes.items() if outcome != "pending")
    is_running = _is_running(job)
    was_sent = bool(runs) or not job.parts()
    newest = job.newest_runs()
    saved = figures.saved
    pace = pace_of(job, newest)
    finished = max(counts.finished, read)
    return JobSummary(
        name=job.name,
        created_at=job.created_at,
        status=job.status(),
        is_running=is_running,
        has_ended=was_sent and job.has_ended() and is_done(job),
        rows=job.rows,
        outcomes=figures.outcomes,
        unread=max(0, min(finished - read, figures.outcomes.get("pending", 0))) if runs else 0,
        requests=sum(part.requests for part in job.parts() if not part.retry_round),
        saved=() if runs else tuple(savings_in_words(saved, with_options=False)),
        reused_rows=saved.reused_rows,
        shared_rows=saved.shared_rows,
        first_wave=first_wave_in_words(job) if runs else None,
        unsent_rows=_unsent(job, newest) if runs else 0,
        percent=percent_of(finished, counts.total),
        per_second=pace.per_second,
        eta_seconds=pace.eta_seconds,
        cost=figures.cost if was_sent else None,
        estimate=Cost(job.cost_usd, "as estimated when it was submitted")
        if job.cost_usd is not None
        else with_cascade(job, job.window, estimate_cost(job, job.window)),
        window_costs=None if runs else compare_windows(job),
        cascade=cascade_of(job),
        cascade_result=figures.cascade if runs else None,
        input_tokens=figures.tokens[0],
        output_tokens=figures.tokens[1],
        model=job.model,
        provider=job.provider,
        executor=job.workspace.provider if job.matches_provider() else job.provider,
        is_here=job.matches_provider(),
        window=job.window,
        source=job.source or "",
        prompt=str(spec.get("prompt") or "")[:_PROMPT_CHARACTERS],
        system=str(spec.get("system") or "")[:_PROMPT_CHARACTERS],
        limit=spec.get("limit"),
        pilot_of=job.source_rows if spec.get("limit") else None,
        made_from=str(spec.get("made_from") or ""),
        note=str(spec.get("note") or ""),
        batch_ids=tuple(run.batch_id for run in runs),
        submissions=job.journal.submissions(job.id),
        problems=tuple(problems_of(runs)),
        spec=spec,
    )


def _unsent(job: StoredJob, newest: list[tuple[Part, BatchRun | None]]) -> int:
    """The number of unsent requests, not counting those that wait for a running first wave."""
    unsent = sum(part.requests for part, run in newest if run is None and part.later != NEVER)
    if has_more_to_send(job):
        return unsent
    return unsent - sum(part.requests for part in job.waiting_parts())


def _figures(job: StoredJob, cache: FiguresCache) -> Figures:
    ledger = job.ledger
    runs = [(run.id, run.status, run.completed, run.failed) for run in job.batch_runs()]
    version: list[Any] = [job.rows, runs, ledger.version()]
    if cascade_of(job) is not None:
        version.append(read_cascade(job.store, job.id))
    known = cache.get(job.id)
    if known is None or known.version != version:
        known = Figures(
            version,
            ledger.sums(),
            compute_cost_so_far(job),
            ledger.tokens(),
            counts_of(job),
            cascade_result(job, NO_BATCHES),
            row_savings(job),
        )
        cache[job.id] = known
    return known
