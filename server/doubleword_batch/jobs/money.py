"""What a job will cost, what it did cost, and the caps that a human set.

Estimates come from the provider where it offers them, else from the dated price table of its
profile; an unknown price is said to be unknown and never taken for zero.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.store import Job
from doubleword_batch.jobs.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount in US dollars, None when it is not known, and where it comes from."""

    usd: Decimal | None
    note: str


def cost_of_tokens(
    ws: Workspace, model: str, window: str, input_tokens: int, output_tokens: int
) -> Cost:
    """The cost of these tokens by the profile's price table."""
    if ws.profile.free:
        return Cost(Decimal(0), "free: runs on this machine")
    prices = ws.profile.prices
    if prices is None:
        return Cost(None, f"unknown: no prices of {ws.profile.title} are on file")
    usd = prices.cost_usd(model, window, input_tokens, output_tokens)
    if usd is None:
        return Cost(None, f"unknown: no {window} price of {model or 'this model'} is on file")
    return Cost(usd, f"by prices of {prices.date.isoformat()}, not live")


def estimated(ws: Workspace, job: Job, window: str) -> Cost:
    """The cost of a job by its estimated tokens."""
    if not job.input_tokens and not ws.profile.free:
        return Cost(None, "unknown: the request file was made elsewhere")
    return cost_of_tokens(ws, job.model, window, job.input_tokens, job.output_tokens)


async def cost_of_files(ws: Workspace, file_ids: list[str], window: str) -> Cost | None:
    """The provider's own estimate for uploaded files, or None where it offers none."""
    if not ws.profile.cost_estimate or ws.profile.free:
        return None
    total = Decimal(0)
    for file_id in file_ids:
        estimate = await ws.client.files.estimate_cost(file_id, window)
        total += estimate.total_estimated_cost
    # The server counts a model without a tariff as zero, which is no price at all.
    return Cost(total, f"{ws.profile.title}'s estimate") if total else None


def check_caps(ws: Workspace, cost: Cost, asked_max_usd: Decimal | None) -> None:
    """Refuse before anything is spent.

    Args:
        ws: its caps come from the environment; an argument can lower them, never raise them.
        cost: of the whole job.
        asked_max_usd: the caller's own cap.

    Raises:
        InputError: code `over_cap`, or `unknown_cost` when there is a cap and no price.
    """
    caps = [c for c in (ws.max_cost_usd, asked_max_usd) if c is not None]
    cap = min(caps) if caps else None
    if cap is None and ws.max_daily_usd is None:
        return
    if cost.usd is None:
        raise InputError(
            f"The cost is {cost.note}, and there is a cap on it; nothing was submitted.",
            hint="Use a model whose price is known, or ask the person who set the cap to lift it "
            "(DOUBLEWORD_BATCH_MAX_COST_USD, DOUBLEWORD_BATCH_MAX_DAILY_USD).",
            code="unknown_cost",
        )
    if cap is not None and cost.usd > cap:
        raise InputError(
            f"The job is estimated at ${cost.usd:.4f} ({cost.note}), over the cap of ${cap}; "
            "nothing was submitted.",
            hint="Use fewer rows (limit), a cheaper model or window, or ask the person to raise "
            "the cap.",
            code="over_cap",
        )
    if ws.max_daily_usd is not None:
        _check_day(ws, cost.usd, ws.max_daily_usd)


def _check_day(ws: Workspace, usd: Decimal, cap: Decimal) -> None:
    midnight = datetime.fromtimestamp(ws.now(), UTC).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    spent = ws.store.committed_usd(midnight.timestamp())
    if spent + usd > cap:
        raise InputError(
            f"Today's jobs are estimated at ${spent:.4f}; this one's ${usd:.4f} would pass the "
            f"daily cap of ${cap}. Nothing was submitted.",
            hint="Wait for the next UTC day, or ask the person to raise "
            "DOUBLEWORD_BATCH_MAX_DAILY_USD.",
            code="over_cap",
        )
