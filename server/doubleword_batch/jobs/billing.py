"""The true bill of a job's batches, where the provider tells it."""

import logging

from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.bills import Bill, bills_of, record_bill
from doubleword_batch.jobs.store.records import BatchRun
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.concurrency import run_concurrently

_log = logging.getLogger(__name__)


async def fetch_bills(job: StoredJob) -> None:
    """Ask what the batches that have ended have cost, those of which no whole bill is known.

    A server without bills, or one that has not added them up yet, changes nothing; nor does a
    failure: the answers are worth more than what they cost.
    """
    if not job.profile.analytics or job.profile.free:
        return
    known = bills_of(job.store, job.id)
    wanted = [
        run
        for run in job.batch_runs()
        if run.is_terminal and not (run.id in known and known[run.id].is_whole(run))
    ]

    async def fetch(run: BatchRun) -> None:
        told = await job.client.batches.analytics(run.batch_id)
        cost = told.total_cost
        # Zero is what stands there before the sums are made, and for a model without a tariff.
        if cost is None or not cost.is_finite() or cost <= 0 or not told.total_requests:
            return
        seconds = None if told.avg_duration_ms is None else told.avg_duration_ms / 1000
        bill = Bill(
            told.total_requests,
            cost,
            told.total_prompt_tokens,
            told.total_completion_tokens,
            seconds,
        )
        await in_thread(lambda _: record_bill(job.store, run, bill))

    try:
        (await run_concurrently(job.profile, wanted, fetch)).results_or_raise()
    except DoublewordBatchError as error:
        _log.info("No bill of job %s: %s", job.name, error.message)
