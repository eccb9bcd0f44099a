"""Runs only failed rows again, only for the selected causes, into the same table: `retry_failed`.

If the provider can retry a batch in place, and everything that failed is wanted unchanged, the
provider is asked to. Otherwise the selected rows' requests are copied from their files into new
request files and new batches of the same job.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from doubleword_batch.errors import (
    DoublewordBatchError,
    InputError,
    Next,
    NotFoundError,
    RejectedError,
)
from doubleword_batch.jobs.approvals import (
    check_approval,
    given_arguments,
    record_questions,
)
from doubleword_batch.jobs.billing import fetch_bills, fetch_bills_of_today
from doubleword_batch.jobs.cascade.rounds import resume_cascade
from doubleword_batch.jobs.costs import (
    Cost,
    check_caps_of_retry,
    reserve,
    split_cost_by_part,
)
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import StoredJob, Workspace, next_get_status, not_submitted
from doubleword_batch.jobs.later_parts import has_more_to_send
from doubleword_batch.jobs.new_parts import (
    NewRequest,
    intents_of,
    submit_new_parts,
    unsent_parts,
    with_body,
    write_new_parts,
)
from doubleword_batch.jobs.refresh import refresh
from doubleword_batch.jobs.replies import Retried
from doubleword_batch.jobs.request_costs import (
    ProviderEstimate,
    estimate_cost_of_parts,
    estimate_cost_of_rows,
    fetch_provider_estimate,
)
from doubleword_batch.jobs.retry_advice import (
    TRUNCATED,
    is_larger_limit,
    no_larger_limit,
    nothing_to_retry,
    retryable_causes,
)
from doubleword_batch.jobs.store.journal import Intent
from doubleword_batch.jobs.store.ledger_reader import RetrySelection
from doubleword_batch.jobs.store.records import UNANSWERED, BatchRun, Part, Write
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.sync.concurrency import (
    PartResults,
    after_submitting,
    run_concurrently,
    waiting_for_capacity,
)
from doubleword_batch.jobs.sync.idempotent_write import RemoteWrite, recorded, write_once
from doubleword_batch.jobs.sync.row_lookup import requests_of
from doubleword_batch.models import Batch
from doubleword_batch.progress import Progress, no_progress
from doubleword_batch.requests import check_params, with_numbers

_FIXED = frozenset({"messages", "input", "model", "stream"})


@dataclass(frozen=True, slots=True)
class StartedRetry:
    """A retry that has been submitted."""

    causes: dict[str, int]
    in_place: bool
    cost: Cost
    results: PartResults[bool] | None = None


async def retry_failed(
    ws: Workspace,
    job: str,
    *,
    causes: Sequence[str] = (),
    params: dict[str, Any] | None = None,
    progress: Progress = no_progress,
) -> Retried:
    """Run rows again; a retry that was interrupted before it was submitted is submitted first.

    Args:
        ws: the workspace.
        job: a job's name or a provider's id.
        causes: outcomes (`failed`, `truncated`, ...) or causes (`http_429`, `timeout`, ...) as
            the reply with the results names them. The default is all rows without an answer, or,
            if params change nothing, those of them that a repeat can cure.
        params: parameters to change in each body, such as a larger max_tokens; the prompt and the
            model stay.
        progress: called with the bytes sent.

    Raises:
        InputError: the job still runs (`still_running`), no row fits (`nothing_to_retry`), or a
            cap forbids it (`over_cap`, `unknown_cost`).
        ApprovalError: it costs more than may be submitted without a person's approval; nothing was
            changed.
        ApiError, TransportError: the provider refused or could not be reached.
    """
    stored = await find_job(ws, job)
    again = given_arguments(job=stored.name, causes=list(causes), params=params)
    with record_questions(ws, Next("retry_failed", dict(again))):
        return await _retry_failed(stored, causes, params or {}, progress)


async def _retry_failed(
    stored: StoredJob, causes: Sequence[str], params: dict[str, Any], progress: Progress
) -> Retried:
    ws = stored.workspace
    fixed = _FIXED & set(params)
    if fixed:
        raise InputError(
            f"params cannot change {', '.join(sorted(fixed))} in a retry.",
            hint="Build a new job for another prompt or model.",
        )
    params = with_numbers(params)
    check_params(params)
    await refresh(stored, also_terminal=True)
    await fetch_bills_of_today(ws)
    if unsent_parts(stored):
        retry = await finish_retry(stored, progress)
    else:
        _refuse_running(stored)
        await collect(stored)
        await fetch_bills(stored)
        retry = await _begin(stored.reloaded(), causes, params, progress)
    resume_cascade(stored)
    running = [run for _, run in stored.newest_runs() if run and not run.is_terminal]
    return Retried(
        provider=ws.provider,
        next=after_submitting(stored, retry.results),
        job=stored.name,
        status=stored.status(),
        rows=sum(retry.causes.values()),
        shared_rows=stored.ledger.shared(only_pending=True) or None,
        causes=retry.causes,
        in_place=retry.in_place,
        batch_ids=[run.batch_id for run in running][:10],
        cost_usd=retry.cost.usd,
        cost_note=retry.cost.note,
        waiting=waiting_for_capacity(retry.results),
    )


def _refuse_running(job: StoredJob) -> None:
    if job.has_ended():
        return
    if has_more_to_send(job):
        raise not_submitted(
            job.name,
            "has requests that wait for its first wave, which has ended",
            hint="Submit the job again to send them, or cancel it.",
        )
    if job.status() in {"built", "uploaded"}:
        why = "is not fully submitted, so its failed rows cannot be run again yet"
        raise not_submitted(job.name, why)
    raise InputError(
        f"Job {job.name} is still running, so its failed rows are not final.",
        hint="Wait until it has ended, then retry.",
        code="still_running",
        next=next_get_status(job.name),
    )


async def _begin(
    job: StoredJob, causes: Sequence[str], params: dict[str, Any], progress: Progress
) -> StartedRetry:
    wanted = causes or (UNANSWERED if params else retryable_causes(job))
    selection = job.ledger.select_for_retry(tuple(sorted(set(wanted))))
    if not selection.causes:
        raise nothing_to_retry(job, causes)
    if TRUNCATED & set(causes) and not is_larger_limit(job, params):
        raise no_larger_limit(job)
    parts = [part for part in job.parts() if part.number in selection.parts]
    estimate = await fetch_provider_estimate(job, parts)
    is_unchanged = selection.is_everything and not params and _are_whole(job, selection)
    # For a cap or an approval the lines themselves have to be counted, so they are written again.
    if job.profile.retry and is_unchanged and not job.workspace.is_bounded:
        cost = await _retry_in_place(job, selection, estimate)
        if cost is not None:
            return StartedRetry(selection.causes, in_place=True, cost=cost)

    def admit(new: Sequence[Part]) -> None:
        cost = estimate_cost_of_parts(job, new, estimate)
        check_caps_of_retry(job, cost)
        check_approval(job.workspace, intents_of(job, new, cost), job.window)

    await in_thread(
        lambda cancelled: write_new_parts(
            job, _requests(job, selection, params), admit, cancelled=cancelled
        )
    )
    return await finish_retry(job, progress, estimate=estimate)


def _are_whole(job: StoredJob, selection: RetrySelection) -> bool:
    """Whether these parts were sent and still have all their rows, which would all run again."""
    parts = [(part, run) for part, run in job.newest_runs() if part.number in selection.parts]
    return all(
        run is not None and job.ledger.rows_in(part.number) == part.requests for part, run in parts
    )


def _requests(
    job: StoredJob, selection: RetrySelection, params: dict[str, Any]
) -> Iterator[NewRequest]:
    """The requests of the selected rows, part by part."""
    for part in job.parts():
        if part.number not in selection.parts:
            continue
        entries = job.ledger.selected_rows(selection, part.number)
        for row, line in requests_of(job, part, entries):
            changed = with_body(line, lambda body: body | params)
            yield NewRequest(row, changed, part.model, bool(params) or part.is_changed)


async def finish_retry(
    job: StoredJob,
    progress: Progress,
    max_cost_usd: Decimal | None = None,
    estimate: ProviderEstimate | None = None,
) -> StartedRetry:
    """Submit the request files of a retry that have no batch yet.

    Args:
        job: the job.
        progress: called with the bytes sent.
        max_cost_usd: the caller's cap.
        estimate: the estimate by which it was admitted; None to ask for one.

    Raises:
        InputError: `over_cap`, `unknown_cost`.
        ApprovalError: see `retry_failed`.
        ApiError, TransportError: the provider refused or could not be reached.
    """
    parts, cost, results = await submit_new_parts(job, progress, max_cost_usd, estimate)
    causes = job.ledger.causes_before([part.number for part in parts])
    return StartedRetry(causes, in_place=False, cost=cost, results=results)


async def _retry_in_place(
    job: StoredJob, selection: RetrySelection, estimate: ProviderEstimate | None
) -> Cost | None:
    """Ask the provider to retry the batches; None if it finds nothing to retry in one of them.

    In that case the rows without an answer have no request there that could run again.
    """
    cost = estimate_cost_of_rows(job, selection.rows, estimate)
    check_caps_of_retry(job, cost)
    batches = [(p, run) for p, run in job.newest_runs() if run and p.number in selection.parts]
    parts = [part for part, _ in batches]
    costs = split_cost_by_part(cost, parts, parts)
    with job.store.transaction():
        intents = [
            Intent(
                "retry",
                f"retry:{run.id}:{len(job.journal.find(job.id, part.id, 'retry', answered=True))}",
                job.id,
                part.id,
                before=_state_of_run(run),
                cost_usd=usd,
                requests=run.failed,
            )
            for (part, run), usd in zip(batches, costs, strict=True)
        ]
        reserve(job.workspace, intents, job.window)

    async def retry(batch_and_intent: tuple[tuple[Part, BatchRun], Intent]) -> None:
        (part, run), intent = batch_and_intent
        with job.store.transaction():
            (write,) = reserve(job.workspace, [intent], job.window)
        await _retry_batch(job, part, run, write)

    inputs = list(zip(batches, intents, strict=True))
    try:
        (await run_concurrently(job.profile, inputs, retry)).results_or_raise()
    except DoublewordBatchError as error:
        job.journal.release(job.id)
        if isinstance(error, RejectedError | NotFoundError):
            return None
        raise
    return cost


async def _retry_batch(job: StoredJob, part: Part, run: BatchRun, write: Write) -> None:
    async def find_at_provider() -> Batch | None:
        batch = await job.client.batches.get(run.batch_id)
        return batch if write.before != _state_of_batch(batch) else None

    def record_result(batch: Batch) -> None:
        job.store.reopen_unanswered(run)
        job.store.record_batch(job.id, part.id, batch)

    remote = RemoteWrite(
        write=write,
        send=lambda find: job.client.batches.retry(run.batch_id, find=find),
        find_at_provider=find_at_provider,
        get_by_id=job.client.batches.get,
        record_result=record_result,
    )
    try:
        await write_once(job.workspace, remote)
    except (RejectedError, NotFoundError):  # then its rows are sent in another batch
        if (batch := await find_at_provider()) is None:
            raise
        recorded(job.workspace, remote, batch)


def _state_of_run(run: BatchRun) -> str:
    """A value that changes when a batch is retried: it runs, or it has ended again."""
    ended = None if run.ended_at is None else int(run.ended_at)
    return msgspec.json.encode((run.status, run.completed, run.failed, ended)).decode()


def _state_of_batch(batch: Batch) -> str:
    """The same for a batch as the provider shows it."""
    ended_at = batch.completed_at or batch.failed_at or batch.cancelled_at or batch.expired_at
    counts = batch.request_counts
    ended = int(ended_at.timestamp()) if ended_at and batch.is_terminal else None
    return msgspec.json.encode((batch.status, counts.completed, counts.failed, ended)).decode()
