"""The provider's bills for a job's batches, and how they count against the day's cap."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.jobs.store.records import BatchRun

_WITHOUT_BILL = """
    batch_id IN (
        SELECT remote_id FROM writes JOIN jobs ON jobs.id = writes.job
        WHERE writes.kind IN ('create', 'retry') AND writes.cost_usd IS NOT NULL
        AND reserved_at >= ? AND jobs.base_url = ? AND jobs.completion_window IS NOT ?
    ) AND NOT EXISTS (
        SELECT 1 FROM bills WHERE batch_run = batch_runs.id AND requests >= max(completed, 1)
    )
"""


@dataclass(frozen=True, slots=True)
class Bill:
    """What a batch has used and cost.

    Attributes:
        requests: how many requests the bill covers.
        cost_usd: as billed.
        input_tokens: of all these requests.
        output_tokens: of all these requests.
        seconds: average for one request; None if the provider does not report it.
        list_cost_usd: the cost without discounts; None if the provider does not report it.
    """

    requests: int
    cost_usd: Decimal
    input_tokens: int
    output_tokens: int
    seconds: float | None
    list_cost_usd: Decimal | None = None

    def is_whole(self, run: BatchRun) -> bool:
        """Whether it covers every answered request of a batch."""
        return self.requests >= max(run.completed, 1)


def record_bill(store: Store, run: BatchRun, bill: Bill) -> None:
    """Store a bill; if it is complete, the day's cap counts it instead of the estimate.

    A batch that was retried in place has several writes: what the earlier ones reserved or cost is
    subtracted from the last one's share.
    """
    with store.transaction() as db:
        db.execute(
            "INSERT OR REPLACE INTO bills (batch_run, requests, cost_usd, input_tokens, "
            "output_tokens, seconds, list_cost_usd) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                run.id,
                bill.requests,
                str(bill.cost_usd),
                bill.input_tokens,
                bill.output_tokens,
                bill.seconds,
                None if bill.list_cost_usd is None else str(bill.list_cost_usd),
            ),
        )
        if not bill.is_whole(run):
            return
        writes: list[tuple[Any, ...]] = db.execute(
            "SELECT id, cost_usd FROM writes WHERE remote_id = ? AND kind IN ('create', 'retry') "
            "ORDER BY id",
            (run.batch_id,),
        ).fetchall()
        if writes:
            *earlier, (last, _) = writes
            paid = sum((Decimal(cost) for _, cost in earlier if cost is not None), Decimal(0))
            share = max(bill.cost_usd - paid, Decimal(0))
            db.execute("UPDATE writes SET cost_usd = ? WHERE id = ?", (str(share), last))


def bills_of(store: Store, job: int) -> dict[int, Bill]:
    """The bills of a job's batches, by batch run."""
    found = store.query(
        "SELECT batch_run, requests, bills.cost_usd, input_tokens, output_tokens, seconds, "
        "list_cost_usd FROM bills JOIN batch_runs ON batch_runs.id = bills.batch_run WHERE job = ?",
        (job,),
    )
    return {
        run: Bill(requests, Decimal(cost), read, written, seconds, listed and Decimal(listed))
        for run, requests, cost, read, written, seconds, listed in found
    }


def runs_without_bill(store: Store, server: str, since: float, *, but_not: str) -> list[BatchRun]:
    """The batch runs at a server that were paid for since a time and have no complete bill.

    Args:
        store: the store.
        server: the base URL.
        since: epoch seconds.
        but_not: the completion window of jobs that have no batch, and so no bill.
    """
    return store.select(BatchRun, _WITHOUT_BILL, since, server, but_not)


def total_bill(bills: Iterable[Bill]) -> Bill:
    """The sum of several bills; `seconds` is the average over the batches that report it."""
    bills = list(bills)
    timed = [(bill.seconds, bill.requests) for bill in bills if bill.seconds is not None]
    requests = sum(count for _, count in timed)
    listed = [bill.cost_usd if bill.list_cost_usd is None else bill.list_cost_usd for bill in bills]
    is_listed = any(bill.list_cost_usd is not None for bill in bills)
    return Bill(
        sum(bill.requests for bill in bills),
        sum((bill.cost_usd for bill in bills), Decimal(0)),
        sum(bill.input_tokens for bill in bills),
        sum(bill.output_tokens for bill in bills),
        sum(each * count for each, count in timed) / requests if requests else None,
        sum(listed, Decimal(0)) if is_listed else None,
    )
