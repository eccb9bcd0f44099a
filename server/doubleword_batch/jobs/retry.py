"""`retry_failed`: run again only what failed, only for the chosen causes, into the same table.

Where the provider retries a batch in place and everything that failed is wanted unchanged, it is
asked to. Otherwise the chosen rows become new request files and new batches of the same job.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import DoublewordBatchError, InputError, NotFoundError, RejectedError
from doubleword_batch.jobs.costs import (
    Cost,
    check_caps,
    check_caps_of_retry,
    cost_of_parts,
    cost_of_tokens,
    reserve,
    shares,
)
from doubleword_batch.jobs.job import Progress, Workspace, silent
from doubleword_batch.jobs.rebuild import rebuild
from doubleword_batch.jobs.replies import Retried
from doubleword_batch.jobs.status import refresh
from doubleword_batch.jobs.store.jobs import UNANSWERED
from doubleword_batch.jobs.store.journal import Intent
from doubleword_batch.jobs.store.ledger import Choice
from doubleword_batch.jobs.store.records import Attempt, Job, Part
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.sync.concurrency import (
    Done,
    after_submitting,
    side_by_side,
    waiting_for_capacity,
)
from doubleword_batch.jobs.sync.idempotent_write import RemoteWrite, write_once
from doubleword_batch.jobs.sync.parts import (
    BatchOrder,
    create_intent,
    create_parts,
    upload_parts,
)
from doubleword_batch.models import Batch

_FIXED = frozenset({"messages", "input", "model", "stream"})


@dataclass(frozen=True, slots=True)
class Begun:
    """A retry that has been submitted."""

    causes: dict[str, int]
    in_place: bool
    cost: Cost
    done: Done[bool] | None = None


async def retry_failed(
    ws: Workspace,
    job: str,
    *,
    causes: Sequence[str] = (),
    params: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> Retried:
    """Run rows again. A retry that was interrupted before it was submitted is submitted first.

    Args:
        ws: the workspace.
        job: a job's name or a provider's id.
        causes: outcomes (`failed`, `truncated`, ...) or causes (`http_429`, `timeout`, ...) as
            fetch_results names them; by default every row without an answer.
        params: changed in each body, such as a larger max_tokens; the prompt and model stay.
        progress: told the bytes sent.

    Raises:
        InputError: the job still runs (`still_running`), no row fits (`nothing_to_retry`), or a
            cap forbids it (`over_cap`, `unknown_cost`).
        ApiError, TransportError: the provider refused or could not be reached.
    """
    found = await ws.job(job)
    fixed = _FIXED & set(params or {})
    if fixed:
        raise InputError(
            f"params cannot change {', '.join(sorted(fixed))} of a retry.",
            hint="Build a new job for another prompt or model.",
            code="bad_params",
        )
    await refresh(ws, found, also_terminal=True)
    if unsent_retry(ws, found):
        begun = await finish_retry(ws, found, progress)
    else:
        _refuse_running(ws, found)
        await collect(ws, found)
        begun = await _begin(ws, ws.job_now(found), causes, params or {}, progress)
    return Retried(
        provider=ws.provider,
        next=after_submitting(found, begun.done),
        job=found.name,
        status=ws.status(found),
        rows=sum(begun.causes.values()),
        causes=begun.causes,
        in_place=begun.in_place,
        batch_ids=[a.batch_id for _, a in ws.current(found) if a and not a.is_terminal][:10],
        cost_usd=begun.cost.usd,
        cost_note=begun.cost.note,
        waiting=waiting_for_capacity(begun.done),
    )


def unsent_retry(ws: Workspace, job: Job) -> list[Part]:
    """The request files of a retry that have no batch yet."""
    return [p for p, attempt in ws.current(job) if attempt is None and p.generation > 1]


def _refuse_running(ws: Workspace, job: Job) -> None:
    if ws.has_ended(job):
        return
    if ws.status(job) in {"built", "uploaded"}:
        raise InputError(
            f"Job {job.name} has batches that were never created, so nothing of them failed.",
            hint=f'Call create_batch(job="{job.name}") first.',
            code="not_submitted",
        )
    raise InputError(
        f"Job {job.name} still runs; its failed rows are not final.",
        hint=f'Wait with get_status(job="{job.name}", wait_seconds=45), then retry.',
        code="still_running",
    )


async def _begin(
    ws: Workspace, job: Job, causes: Sequence[str], params: dict[str, Any], progress: Progress
) -> Begun:
    wanted = tuple(sorted(set(causes) or set(UNANSWERED)))
    choice = ws.ledger(job).choose(wanted)
    if not choice.causes:
        there = {cause for _, cause, _, _ in ws.ledger(job).causes(20)}
        raise InputError(
            f"No row of job {job.name} fits {', '.join(wanted)}.",
            hint=f"Causes there are: {', '.join(sorted(there)) or 'none'}.",
            code="nothing_to_retry",
        )
    if ws.profile.retry and choice.is_everything and not params and _are_whole(ws, job, choice):
        cost = await _in_place(ws, job, choice)
        if cost is not None:
            return Begun(choice.causes, in_place=True, cost=cost)
    window = job.completion_window or ws.profile.windows[0]

    def admit(paths: Sequence[Path]) -> None:
        check_caps_of_retry(ws, job, cost_of_parts(ws, job, paths, window))

    await in_thread(lambda cancelled: rebuild(ws, job, choice, params, admit, cancelled))
    return await finish_retry(ws, job, progress)


def _are_whole(ws: Workspace, job: Job, choice: Choice) -> bool:
    """Whether no row has left these parts: its old request would run again with the others."""
    parts = (part for part in ws.store.parts(job.id) if part.number in choice.parts)
    return all(ws.ledger(job).rows_in(part.number) == part.requests for part in parts)


async def _in_place(ws: Workspace, job: Job, choice: Choice) -> Cost | None:
    """Ask the provider to retry the batches; None where it finds nothing to retry in one of them.

    Then the rows without an answer have no request there that could run again.
    """
    cost = _estimate(ws, job, choice.rows)
    check_caps_of_retry(ws, job, cost)
    batches = [(p, a) for p, a in ws.current(job) if a is not None and p.number in choice.parts]
    parts = [part for part, _ in batches]
    with ws.store.transaction():
        intents = [
            _retry_intent(ws, job, part, attempt, usd)
            for (part, attempt), usd in zip(batches, shares(cost, parts, parts), strict=True)
        ]
        reserve(ws, intents)

    async def again(one: tuple[tuple[Part, Attempt], Intent]) -> None:
        (part, attempt), intent = one
        with ws.store.transaction():
            reserve(ws, [intent])
        await _retry_batch(ws, job, part, attempt, intent)

    try:
        retried = await side_by_side(ws, list(zip(batches, intents, strict=True)), again)
        retried.all_or_refusal()
    except (RejectedError, NotFoundError):
        ws.journal.release(job.id)
        return None
    except DoublewordBatchError:
        ws.journal.release(job.id)
        raise
    return cost


def _retry_intent(
    ws: Workspace, job: Job, part: Part, attempt: Attempt, usd: Decimal | None
) -> Intent:
    turn = len(ws.journal.find(job.id, part.id, "retry", answered=True))
    key = f"retry:{attempt.id}:{turn}"
    return Intent("retry", key, job.id, part.id, before=_seen(attempt), cost_usd=usd)


async def _retry_batch(
    ws: Workspace, job: Job, part: Part, attempt: Attempt, intent: Intent
) -> None:
    write = ws.journal.intend(intent)

    async def look() -> Batch | None:
        batch = await ws.client.batches.get(attempt.batch_id)
        return batch if write.before != _said(batch) else None

    def record(batch: Batch) -> None:
        ws.store.reopen_unanswered(attempt)
        ws.store.see_batch(job.id, part.id, batch)

    remote = RemoteWrite(
        write=write,
        send=lambda: ws.client.batches.retry(attempt.batch_id),
        look=look,
        get=ws.client.batches.get,
        record=record,
    )
    await write_once(ws, remote)


def _seen(attempt: Attempt) -> str:
    """What tells that a batch was retried since: it runs, or it has ended anew."""
    ended = None if attempt.ended_at is None else int(attempt.ended_at)
    return msgspec.json.encode((attempt.status, attempt.completed, attempt.failed, ended)).decode()


def _said(batch: Batch) -> str:
    ended = batch.completed_at or batch.failed_at or batch.cancelled_at or batch.expired_at
    counts = batch.request_counts
    at = int(ended.timestamp()) if ended and batch.is_terminal else None
    return msgspec.json.encode((batch.status, counts.completed, counts.failed, at)).decode()


async def finish_retry(
    ws: Workspace, job: Job, progress: Progress, max_cost_usd: Decimal | None = None
) -> Begun:
    """Submit the request files of a retry that have no batch yet.

    Raises:
        InputError: `over_cap`, `unknown_cost`.
        ApiError, TransportError: the provider refused or could not be reached.
    """
    parts = unsent_retry(ws, job)
    window = job.completion_window or ws.profile.windows[0]
    paths = [part.path for part in parts if part.path is not None]
    cost = await in_thread(lambda _: cost_of_parts(ws, job, paths, window))
    with ws.store.transaction():
        check_caps(ws, cost, max_cost_usd)
        check_caps_of_retry(ws, job, cost)
        costs = shares(cost, parts, parts)
        reserve(ws, [create_intent(job, *one) for one in zip(parts, costs, strict=True)])
    try:
        await upload_parts(ws, job, parts, progress)
    except DoublewordBatchError:
        ws.journal.release(job.id)
        raise
    done = await create_parts(ws, job, parts, costs, BatchOrder(window))
    if not done.results:
        done.all_or_refusal()
    causes = ws.ledger(job).causes_before([part.number for part in parts])
    return Begun(causes, in_place=False, cost=cost, done=done)


def _estimate(ws: Workspace, job: Job, rows: int) -> Cost:
    share = Decimal(rows) / Decimal(job.rows or rows)
    window = job.completion_window or ws.profile.windows[0]
    return cost_of_tokens(
        ws, job.model, window, int(job.input_tokens * share), int(job.output_tokens * share)
    )
