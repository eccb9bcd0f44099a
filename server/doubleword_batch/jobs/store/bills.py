"""The provider's bills of a job's batches, and what the day's cap makes of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from doubleword_batch.jobs.store.jobs import Store
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
        requests: how many requests the bill is of.
        cost_usd: as billed.
        input_tokens: of all of them.
        output_tokens: the same.
        seconds: of one request, on the average; None where the provider does not tell it.
        list_cost_usd: what it would have been without discounts; None where that is not told.
    """

    requests: int
    cost_usd: Decimal
    input_tokens: int
    output_tokens: int
    seconds: float | None
    list_cost_usd: Decimal | None = None

    def is_whole(self, run: BatchRun) -> bool:
        """Whether it is of every request of a batch that was answered."""
        return self.requests >= max(run.completed, 1)


def record_bill(store: Store, run: BatchRun, bill: Bill) -> None:
    """Keep a bill; the day's cap counts a whole one from now on in place of the estimate.

    A batch that was retried in place has several writes: what the earlier ones reserved or cost is
    taken off the last one's share.
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
    """The batch runs at a server that were paid for since then and have no whole bill.

    Args:
        store: the store.
        server: the base URL.
        since: epoch seconds.
        but_not: the completion window of jobs that have no batch, and so no bill.
    """
    return store.select(BatchRun, _WITHOUT_BILL, since, server, but_not)


def total_bill(bills: Iterable[Bill]) -> Bill:
    """Several bills as one; its seconds are those of a request of the batches that tell them."""
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
