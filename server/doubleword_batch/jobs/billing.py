"""The actual bill of a job's batches, where the provider reports it."""

import logging
from dataclasses import replace
from decimal import Decimal

from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.job import ASYNC, StoredJob, Workspace
from doubleword_batch.jobs.store.bills import Bill, bills_of, record_bill, runs_without_bill
from doubleword_batch.jobs.store.records import BatchRun
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.concurrency import run_concurrently
from doubleword_batch.models import BatchAnalytics

_MOST_LISTED = 500
_log = logging.getLogger(__name__)


async def fetch_bills(job: StoredJob) -> None:
    """Ask for the cost of every batch that has ended and whose whole bill is not known yet.

    A server without bills, or one that has not added them up yet, changes nothing. Nor does a
    failure, which must not keep the answers from being fetched.
    """
    if not job.profile.analytics or job.profile.free or job.window == ASYNC:
        return
    known = bills_of(job.store, job.id)
    wanted = [
        run
        for run in job.batch_runs()
        if run.is_terminal and not (run.id in known and known[run.id].is_whole(run))
    ]

    async def fetch(run: BatchRun) -> None:
        bill = bill_of(await job.client.batches.analytics(run.batch_id))
        if bill is not None:
            await in_thread(lambda _: record_bill(job.store, run, bill))

    try:
        (await run_concurrently(job.profile, wanted, fetch)).results_or_raise()
    except DoublewordBatchError as error:
        _log.info("The bill of job %s could not be fetched: %s", job.name, error.message)


async def fetch_bills_of_today(ws: Workspace) -> None:
    """Fetch the bills of every job's batches that count against the day's cap, with one listing.

    A batch that still runs counts as the amount that was reserved for it; so does a response in the
    background, which has no bill.
    """
    if ws.max_daily_usd is None or not ws.profile.analytics or ws.profile.free:
        return
    midnight = ws.journal.midnight()
    runs = await in_thread(
        lambda _: runs_without_bill(ws.store, ws.server, midnight, but_not=ASYNC)
    )
    wanted = {run.batch_id: run for run in runs}
    if not wanted:
        return
    left = _MOST_LISTED
    try:
        async for batch in ws.client.batches.list(analytics=True):
            run, bill = wanted.pop(batch.id, None), bill_of(batch.analytics)
            if run is not None and bill is not None and batch.is_terminal:
                now = replace(run, completed=batch.request_counts.completed)
                await in_thread(lambda _, now=now, bill=bill: record_bill(ws.store, now, bill))
            left -= 1
            if not wanted or not left:
                break
    except DoublewordBatchError as error:
        _log.info("The bills of today's batches could not be fetched: %s", error.message)


def bill_of(told: BatchAnalytics | None) -> Bill | None:
    """The bill in a server's analytics; None if the server has not added anything up yet."""
    if told is None or told.total_cost is None or not told.total_requests:
        return None
    # The cost is zero before it is added up, and for a model without a tariff.
    if not told.total_cost.is_finite() or told.total_cost <= 0:
        return None
    return Bill(
        told.total_requests,
        told.total_cost,
        told.total_prompt_tokens,
        told.total_completion_tokens,
        None if told.avg_duration_ms is None else told.avg_duration_ms / 1000,
        _list_cost(told),
    )


def _list_cost(told: BatchAnalytics) -> Decimal | None:
    """The cost without discounts; None if it is below the bill, as it then means something else."""
    listed, billed = told.total_list_cost, told.total_cost
    if listed is None or billed is None or not listed.is_finite() or listed < billed:
        return None
    return listed
