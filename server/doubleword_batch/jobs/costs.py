"""What a job will cost, what it has cost, and the caps that a human has set.

Estimates come from the provider if it offers them, or else from the dated price table in its
profile; an unknown price is reported as unknown and never counts as zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from doubleword_batch.errors import InputError, Next, NotFoundError, RejectedError
from doubleword_batch.jobs.approvals import check_approval
from doubleword_batch.jobs.cascade.option import cascade_of
from doubleword_batch.jobs.job import ASYNC, StoredJob, Workspace
from doubleword_batch.jobs.replies import usd_text
from doubleword_batch.jobs.store.approvals import Approvals
from doubleword_batch.jobs.store.bills import Bill, bills_of, total_bill
from doubleword_batch.jobs.store.cascades import ModelTokens, tokens_by_model
from doubleword_batch.jobs.store.journal import Intent
from doubleword_batch.jobs.store.records import Part, Write
from doubleword_batch.plain_text import one_line


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount in US dollars, None if it is not known, and where it comes from.

    `output_tokens` are the ones that a provider's estimate assumes.
    """

    usd: Decimal | None
    note: str
    output_tokens: int | None = None

    def __add__(self, other: "Cost") -> "Cost":
        """The sum; not known if either is not."""
        if self.usd is None or other.usd is None:
            return self if self.usd is None else other
        note = self.note if other.note in self.note else other.note
        tokens = (self.output_tokens or 0) + (other.output_tokens or 0)
        return Cost(self.usd + other.usd, note, tokens or None)


_ROWS_SUMMED = 100_000  # lists do not add up the tokens of larger jobs: that takes too long
_NOTHING_SENT = Cost(Decimal(0), "nothing is sent: every row was answered before")
_NO_TOKENS = Cost(None, "unknown: the answers report no tokens")

# Estimates


def price_tokens(
    ws: Workspace, model: str, window: str, input_tokens: int, output_tokens: int
) -> Cost:
    """The cost of these tokens, at the provider's own prices where it reports them."""
    if ws.profile.free:
        return Cost(Decimal(0), "free")
    prices = ws.prices
    if prices is None:
        return Cost(None, f"unknown: no prices of {ws.profile.called} are on file")
    usd = prices.cost_usd(model, window, input_tokens, output_tokens)
    if usd is None:
        near = prices.closest_model(model)
        question = f"; did you mean {near}?" if near else ""
        name = one_line(model) or "this model"  # anybody may have written it, and it is shown
        return Cost(None, f"unknown: no {window} price of {name} is on file{question}")
    return Cost(usd, prices.words(ws.profile.called, model, window))


def estimate_cost(job: StoredJob, window: str) -> Cost:
    """The cost of a job by the estimated tokens of the requests that are sent."""
    if not job.parts():
        return _NOTHING_SENT
    if not job.input_tokens and not job.profile.free:
        return Cost(None, "unknown: the request file was made elsewhere")
    return price_tokens(job.workspace, job.model, window, job.input_tokens, job.output_tokens)


async def fetch_estimated_cost(job: StoredJob, file_ids: Sequence[str], window: str) -> Cost:
    """The provider's own estimate for uploaded files, or ours if it has none."""
    profile = job.profile
    total, output_tokens = Decimal(0), 0
    if profile.cost_estimate and not profile.free:
        for file_id in file_ids:
            try:
                estimate = await job.client.files.estimate_cost(file_id, window)
            except (NotFoundError, RejectedError):  # it makes no estimates after all
                return estimate_cost(job, window)
            total += estimate.total_estimated_cost
            output_tokens += estimate.total_estimated_output_tokens
    if not total:  # the server counts a model without a tariff as zero, which is not a price
        return estimate_cost(job, window)
    return Cost(total, f"{profile.called}'s estimate", output_tokens)


def choose_cost_for_caps(job: StoredJob, own: Cost, theirs: Cost) -> Cost:
    """The cost that is compared with the caps: the higher of our estimate and the provider's.

    The provider's estimate does not know the requests' token limits. If we have no price, it is
    multiplied by how much more the job may write than the provider assumes.
    """
    if theirs.usd is None or own.usd is not None:
        return own if own.usd is not None and own.usd > (theirs.usd or 0) else theirs
    most = job.output_tokens if own.output_tokens is None else own.output_tokens
    if theirs.output_tokens is None or most <= theirs.output_tokens:
        return theirs
    if not theirs.output_tokens:
        return Cost(None, "unknown: the provider's estimate assumes no answers")
    factor = Decimal(most) / theirs.output_tokens
    return Cost(theirs.usd * factor, f"{theirs.note}, raised to the requests' token limits")


def compute_cost_so_far(job: StoredJob) -> Cost:
    """What a job has cost so far: as billed, or else by the tokens that its answers report."""
    bill = _whole_bill(job)
    if bill is not None:
        seconds = "" if bill.seconds is None else f"; {bill.seconds:.2g} s a request on average"
        return Cost(bill.cost_usd, f"billed by {job.profile.called}{seconds}")
    if not job.parts():
        return _NOTHING_SENT
    cost = cost_by_tokens(job)
    if cost.usd is not None or cost is _NO_TOKENS:
        return cost
    is_to_come = job.profile.analytics and job.window != ASYNC and job.has_ended()
    bill_to_come = f"; {job.profile.called}'s bill is not there yet, fetch again in a minute"
    return Cost(None, cost.note + bill_to_come) if is_to_come else cost


def shown_cost(job: StoredJob) -> str:
    """What a submitted job costs, in two words: `$0.0013 billed`; "" if that is not known.

    The cost is the bill if it is known here; or else, once the job has ended, follows from its
    answers' tokens; or else is the estimate made when it was submitted. The provider is not asked.
    """
    if job.profile.free or not job.matches_provider():
        return ""
    bill = _whole_bill(job)
    if bill is not None:
        return f"{usd_text(bill.cost_usd)} billed"
    if job.has_ended() and (job.rows or 0) <= _ROWS_SUMMED:
        usd = compute_cost_so_far(job).usd
        if usd is not None:
            return f"about {usd_text(usd)}" if usd else ""
    estimate = job.cost_usd
    return "" if estimate is None else f"estimated {usd_text(estimate)}"


@dataclass(frozen=True, slots=True)
class CacheSavings:
    """What the provider's cache has saved.

    Attributes:
        cached_tokens: input tokens that were read from it, as the answers report them.
        usd: US dollars saved; None if neither a bill nor a price says it.
    """

    cached_tokens: int
    usd: Decimal | None


def compute_cache_savings(job: StoredJob) -> CacheSavings:
    """What a job saved by caching: by its bill with and without discounts, or else by prices."""
    bill = _whole_bill(job)
    if bill is not None:
        listed = bill.list_cost_usd
        usd = None if listed is None else listed - bill.cost_usd
        return CacheSavings(job.ledger.cached_tokens(), usd)
    by_model = _tokens_by_model(job)
    return CacheSavings(sum(tokens.cached_tokens for tokens in by_model), _saved_of(job, by_model))


def cost_by_tokens(job: StoredJob) -> Cost:
    """What a job has cost so far, by the tokens that its answers report, less what was cached."""
    total = Cost(Decimal(0), "")
    by_model = _tokens_by_model(job)
    if not job.profile.free and not any(tokens.input_tokens for tokens in by_model):
        return _NO_TOKENS
    for tokens in by_model:
        model = tokens.model or job.model
        total = total + price_tokens(
            job.workspace, model, job.window, tokens.input_tokens, tokens.output_tokens
        )
    saved = _saved_of(job, by_model)
    if total.usd is None or not saved:
        return total
    return Cost(max(total.usd - saved, Decimal(0)), total.note)


def _tokens_by_model(job: StoredJob) -> list[ModelTokens]:
    if cascade_of(job) is not None:
        return tokens_by_model(job.store, job.id)
    return [ModelTokens(None, 0, *job.ledger.tokens(), job.ledger.cached_tokens())]


def _saved_of(job: StoredJob, by_model: Sequence[ModelTokens]) -> Decimal | None:
    prices = job.workspace.prices
    if prices is None:
        return None
    saved = [
        prices.saved_usd(
            tokens.model or job.model, job.window, min(tokens.cached_tokens, tokens.input_tokens)
        )
        for tokens in by_model
    ]
    return None if None in saved else sum(filter(None, saved), Decimal(0))


def compute_tokens_so_far(job: StoredJob) -> tuple[int, int]:
    """A job's input and output tokens so far: as billed, or else as its answers report them."""
    bill = _whole_bill(job)
    if bill is not None and bill.input_tokens:
        return bill.input_tokens, bill.output_tokens
    return job.ledger.tokens()


def _whole_bill(job: StoredJob) -> Bill | None:
    """The sum of the bills of all a job's batches; None if one is missing or not complete."""
    runs = [run for run in job.batch_runs() if run.completed or not run.is_terminal]
    bills = bills_of(job.store, job.id)
    if not runs or not all(run.id in bills and bills[run.id].is_whole(run) for run in runs):
        return None
    return total_bill(bills.values())


def split_cost_by_part(
    cost: Cost, parts: Sequence[Part], whole: Sequence[Part]
) -> list[Decimal | None]:
    """Split the cost of all parts in `whole` by their sizes; return the shares of `parts`."""
    size_bytes = sum(part.size_bytes for part in whole)
    if cost.usd is None or not size_bytes:
        return [cost.usd for _ in parts]
    return [cost.usd * part.size_bytes / size_bytes for part in parts]


# Caps


def check_caps(ws: Workspace, cost: Cost, asked_max_usd: Decimal | None) -> None:
    """Refuse a job that costs more than a cap, before anything is spent.

    Args:
        ws: has the caps from the environment; an argument can lower them, never raise them.
        cost: the cost of the whole job.
        asked_max_usd: the caller's own cap.

    Raises:
        InputError: code `over_cap`; `unknown_cost` if there is a cap and no price; or
            `invalid_argument` for a cap that is not an amount.
    """
    if asked_max_usd is not None and (asked_max_usd.is_nan() or asked_max_usd < 0):
        raise InputError(
            "max_cost_usd must be a number of US dollars, at least 0.",
            hint="Leave it out for no cap.",
        )
    caps = [cap for cap in (ws.max_cost_usd, asked_max_usd) if cap is not None]
    if not caps and ws.max_daily_usd is None:
        return
    if cost.usd is None:
        raise InputError(
            f"The cost is {cost.note}, and there is a cap on it; nothing was submitted.",
            hint="Use a model whose price is known, or ask the person who set the cap to lift it "
            "(DOUBLEWORD_BATCH_MAX_COST_USD, DOUBLEWORD_BATCH_MAX_DAILY_USD).",
            code="unknown_cost",
            next=Next("list", {"kind": "models"}),
        )
    if caps and cost.usd > min(caps):
        raise InputError(
            f"The job is estimated at {usd_text(cost.usd)} ({cost.note}), over the cap of "
            f"${min(caps).normalize():f}; nothing was submitted.",
            hint="Use fewer rows (limit), a smaller max_tokens, a cheaper model or window, or ask "
            "the person to raise the cap.",
            code="over_cap",
        )


def check_caps_of_retry(job: StoredJob, cost: Cost, asked_max_usd: Decimal | None = None) -> None:
    """Apply the caps to a retry: what the job has cost so far counts too.

    Raises:
        InputError: as `check_caps`.
    """
    known = compute_cost_so_far(job).usd
    so_far = job.cost_usd or Decimal(0) if known is None else known
    total = None if cost.usd is None else cost.usd + so_far
    check_caps(job.workspace, Cost(total, cost.note), asked_max_usd)


def refuse_over_daily_cap(ws: Workspace, usd: Decimal, *, is_reserved: bool = False) -> None:
    """Refuse spending that would exceed the day's cap.

    Args:
        ws: has the day's cap.
        usd: what is to be spent.
        is_reserved: whether it was reserved already and so is in the day's sum.

    Raises:
        InputError: code `over_cap`.
    """
    cap = ws.max_daily_usd
    if cap is None:
        return
    today = ws.journal.reserved_today_usd() + (0 if is_reserved else usd)
    if today > cap:
        raise InputError(
            f"With this job's {usd_text(usd)}, today's jobs would come to {usd_text(today)}, over "
            f"the daily cap of ${cap}. Nothing was submitted.",
            hint="Wait for the next UTC day, or ask the person to raise "
            "DOUBLEWORD_BATCH_MAX_DAILY_USD.",
            code="over_cap",
        )


def reserve(ws: Workspace, intents: Sequence[Intent], window: str) -> list[Write]:
    """Record intents that cost money in the journal, unless the day's cap or a person forbids it.

    Call it in the transaction that decided on the intents, so that two processes cannot both spend
    the last dollar. What an earlier try of the same writes reserved is not counted twice.

    Args:
        ws: has the day's cap and the amount above which a person is asked.
        intents: the intents of one job.
        window: the completion window.

    Returns:
        Their writes.

    Raises:
        InputError: code `over_cap`, or an `ApprovalError`; nothing was recorded.
    """
    writes = [ws.journal.record_intent(intent) for intent in intents]
    usd = sum((intent.cost_usd or Decimal(0) for intent in intents), Decimal(0))
    refuse_over_daily_cap(ws, usd, is_reserved=True)
    for approval in check_approval(ws, intents, window):
        Approvals(ws.store).mark_used(approval.id, ws.now())
    if ws.max_daily_usd is not None:
        ws.journal.log_spending(intents)
    return writes
