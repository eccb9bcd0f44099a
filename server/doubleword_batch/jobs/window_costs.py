"""What a job costs in each completion window, and by single calls, side by side.

The amounts are estimates at current prices, see `prices.py`. A way whose price is not known has no
amount, and never counts as free.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from doubleword_batch.jobs.cascade.costs import with_cascade
from doubleword_batch.jobs.cascade.option import cascade_of
from doubleword_batch.jobs.costs import estimate_cost, price_tokens
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.replies import WindowCost, usd_text
from doubleword_batch.providers import PriceTable, Profile

_FEW_ROWS = 20
_WORTH_WAITING_USD = Decimal("0.01")
_CACHED_FROM_TOKENS = 1024
"""Providers do not cache shorter beginnings of prompts."""
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class WindowCosts:
    """What each window and single calls cost, and what speaks against a batch.

    Attributes:
        windows: the provider's windows, in its order; empty if nothing is billed.
        realtime_usd: what single calls would cost; None if that is not known.
        advice: set if a batch would cost more, or is hardly worth the wait; "" otherwise.
    """

    windows: list[WindowCost]
    realtime_usd: Decimal | None
    advice: str


@dataclass(frozen=True, slots=True)
class EstimatedWork:
    """The size of a job, estimated.

    Attributes:
        rows: number of requests.
        input_tokens, output_tokens: of all requests together.
        shared_tokens: tokens of the beginning that all requests share; 0 if too few to be cached.
    """

    model: str
    rows: int
    input_tokens: int
    output_tokens: int
    shared_tokens: int = 0


def compare_windows_of(ws: Workspace, work: EstimatedWork) -> WindowCosts:
    """Compare the windows for work that is not a job yet."""
    if ws.profile.free:
        return WindowCosts([], None, "")
    costs = {
        window: price_tokens(ws, work.model, window, work.input_tokens, work.output_tokens).usd
        for window in ws.profile.windows
    }
    return _with_single_calls(costs, work, ws)


def compare_windows(job: StoredJob) -> WindowCosts:
    """Compare the windows for a job that is built, by its estimated tokens."""
    profile = job.profile
    if profile.free:
        return WindowCosts([], None, "")
    costs = {
        window: with_cascade(job, window, estimate_cost(job, window)).usd
        for window in profile.windows
    }
    if cascade_of(job) is not None:  # single calls cannot do the same
        return WindowCosts(_side_by_side(costs, profile), None, "")
    spec: dict[str, Any] = msgspec.json.decode(job.spec or "{}")
    shared = shared_tokens(str(spec.get("system") or ""), str(spec.get("prompt") or ""))
    work = EstimatedWork(job.model, job.rows or 0, job.input_tokens, job.output_tokens, shared)
    return _with_single_calls(costs, work, job.workspace)


def _side_by_side(costs: Mapping[str, Decimal | None], profile: Profile) -> list[WindowCost]:
    return [
        WindowCost(completion_window=window, cost_usd=usd, usual=profile.usual_times.get(window))
        for window, usd in costs.items()
    ]


def _with_single_calls(
    costs: Mapping[str, Decimal | None], work: EstimatedWork, ws: Workspace
) -> WindowCosts:
    prices = ws.prices
    realtime = None if prices is None else _realtime_usd(work, prices)
    cheapest = min((usd for usd in costs.values() if usd is not None), default=None)
    advice = _advice(work.rows, cheapest, realtime)
    return WindowCosts(_side_by_side(costs, ws.profile), realtime, advice)


def _realtime_usd(work: EstimatedWork, prices: PriceTable) -> Decimal | None:
    """What single calls cost; a beginning that all of them share is cached after the first call."""
    whole = prices.realtime_usd(work.model, work.input_tokens, work.output_tokens)
    if whole is None:
        return None
    repeated = min(work.shared_tokens * max(work.rows - 1, 0), work.input_tokens)
    return whole - prices.realtime_saved_usd(work.model, repeated)


def shared_tokens(system: str, prompt: str) -> int:
    """Tokens of the beginning that all requests share; 0 if too few to be cached.

    Args:
        system: template of the system message, or "".
        prompt: template of the user's message.
    """
    text = system
    if "{" not in text:
        text += prompt
    tokens = len(text.partition("{")[0].encode(errors="replace")) // _BYTES_PER_TOKEN
    return tokens if tokens >= _CACHED_FROM_TOKENS else 0


def _advice(rows: int, batch: Decimal | None, realtime: Decimal | None) -> str:
    if batch is None or realtime is None:
        return ""
    if realtime < batch:
        return (
            f"A batch would cost more here: single calls come to about {usd_text(realtime)}, the "
            f"cheapest window to {usd_text(batch)}."
        )
    if rows <= _FEW_ROWS and realtime - batch < _WORTH_WAITING_USD:
        return f"For {rows} rows a batch saves less than a cent; single calls answer at once."
    return ""
