"""A retry by the provider: it runs again, in the same batch, all that failed there."""

from decimal import Decimal

import msgspec

from doubleword_batch.errors import DoublewordBatchError, NotFoundError, RejectedError
from doubleword_batch.jobs.costs import (
    Cost,
    check_caps_of_retry,
    reserve,
    split_cost_by_part,
)
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.request_costs import Tariff, estimate_cost_of_rows
from doubleword_batch.jobs.store.journal import Intent
from doubleword_batch.jobs.store.ledger_reader import RetrySelection
from doubleword_batch.jobs.store.records import BatchRun, Part
from doubleword_batch.jobs.sync.concurrency import run_concurrently
from doubleword_batch.jobs.sync.idempotent_write import RemoteWrite, recorded, write_once
from doubleword_batch.models import Batch


async def retry_in_place(
    job: StoredJob, selection: RetrySelection, tariff: Tariff | None
) -> Cost | None:
    """Ask the provider to retry the batches; None where it finds nothing to retry in one of them.

    Then the rows without an answer have no request there that could run again.
    """
    cost = estimate_cost_of_rows(job, selection.rows, tariff)
    check_caps_of_retry(job, cost)
    batches = [(p, run) for p, run in job.newest_runs() if run and p.number in selection.parts]
    parts = [part for part, _ in batches]
    with job.store.transaction():
        intents = [
            _retry_intent(job, part, run, usd)
            for (part, run), usd in zip(
                batches, split_cost_by_part(cost, parts, parts), strict=True
            )
        ]
        reserve(job.workspace, intents, job.window)

    async def retry(batch_and_intent: tuple[tuple[Part, BatchRun], Intent]) -> None:
        (part, run), intent = batch_and_intent
        with job.store.transaction():
            reserve(job.workspace, [intent], job.window)
        await _retry_batch(job, part, run, intent)

    inputs = list(zip(batches, intents, strict=True))
    try:
        (await run_concurrently(job.profile, inputs, retry)).results_or_raise()
    except (RejectedError, NotFoundError):
        job.journal.release(job.id)
        return None
    except DoublewordBatchError:
        job.journal.release(job.id)
        raise
    return cost


def _retry_intent(job: StoredJob, part: Part, run: BatchRun, usd: Decimal | None) -> Intent:
    turn = len(job.journal.find(job.id, part.id, "retry", answered=True))
    key = f"retry:{run.id}:{turn}"
    return Intent(
        "retry",
        key,
        job.id,
        part.id,
        before=_state_of_run(run),
        cost_usd=usd,
        requests=run.failed,
    )


async def _retry_batch(job: StoredJob, part: Part, run: BatchRun, intent: Intent) -> None:
    write = job.journal.record_intent(intent)

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
    except (RejectedError, NotFoundError):  # its rows would be sent in another batch now
        if (batch := await find_at_provider()) is None:
            raise
        recorded(job.workspace, remote, batch)


def _state_of_run(run: BatchRun) -> str:
    """What tells that a batch was retried since: it runs, or it has ended anew."""
    ended = None if run.ended_at is None else int(run.ended_at)
    return msgspec.json.encode((run.status, run.completed, run.failed, ended)).decode()


def _state_of_batch(batch: Batch) -> str:
    """The same of a batch as the provider shows it."""
    ended_at = batch.completed_at or batch.failed_at or batch.cancelled_at or batch.expired_at
    counts = batch.request_counts
    ended = int(ended_at.timestamp()) if ended_at and batch.is_terminal else None
    return msgspec.json.encode((batch.status, counts.completed, counts.failed, ended)).decode()
