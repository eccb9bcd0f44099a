"""The ways to have a job answered, side by side: each completion window, and single calls.

The amounts are estimates by the profile's dated prices. A way whose price is not on file has no
amount, and is never taken for free.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from doubleword_batch.jobs.cascade.costs import with_cascade
from doubleword_batch.jobs.cascade.option import cascade_of
from doubleword_batch.jobs.costs import estimate_cost
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.replies import WindowCost
from doubleword_batch.providers import PriceTable

_FEW_ROWS = 20
_WORTH_WAITING_USD = Decimal("0.01")
_SMALLEST_USD = Decimal("0.0001")
_CACHED_FROM_TOKENS = 1024
"""Below that providers keep no beginning of a prompt."""
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class WindowCosts:
    """The ways, and what speaks against a batch.

    Attributes:
        windows: the provider's, in its order; empty where nothing is billed.
        realtime_usd: what single calls would cost; None where that is not known.
        advice: when a batch would be dearer, or is hardly worth its wait; "" otherwise.
    """

    windows: list[WindowCost]
    realtime_usd: Decimal | None
    advice: str


def compare_windows(job: StoredJob) -> WindowCosts:
    """The ways for a job that is built, by its estimated tokens."""
    profile = job.profile
    if profile.free:
        return WindowCosts([], None, "")
    windows = [
        WindowCost(
            completion_window=window,
            cost_usd=with_cascade(job, window, estimate_cost(job, window)).usd,
            usual=profile.usual_times.get(window),
        )
        for window in profile.windows
    ]
    if cascade_of(job) is not None:  # no single calls do the same
        return WindowCosts(windows, None, "")
    realtime = None if profile.prices is None else _realtime_usd(job, profile.prices)
    costs = [way.cost_usd for way in windows if way.cost_usd is not None]
    return WindowCosts(windows, realtime, _advice(job, min(costs, default=None), realtime))


def _realtime_usd(job: StoredJob, prices: PriceTable) -> Decimal | None:
    """What single calls cost; a beginning that all of them share is cached after the first."""
    whole = prices.realtime_usd(job.model, job.input_tokens, job.output_tokens)
    if whole is None:
        return None
    shared = _shared_tokens(job)
    repeated = min(shared * max((job.rows or 1) - 1, 0), job.input_tokens)
    return whole - prices.realtime_saved_usd(job.model, repeated)


def _shared_tokens(job: StoredJob) -> int:
    """Tokens of the beginning that every request of a job has, where they are enough to cache."""
    spec: dict[str, Any] = msgspec.json.decode(job.spec or "{}")
    text = str(spec.get("system") or "")
    if "{" not in text:
        text += str(spec.get("prompt") or "")
    tokens = len(text.partition("{")[0].encode(errors="replace")) // _BYTES_PER_TOKEN
    return tokens if tokens >= _CACHED_FROM_TOKENS else 0


def _advice(job: StoredJob, batch: Decimal | None, realtime: Decimal | None) -> str:
    if batch is None or realtime is None:
        return ""
    if realtime < batch:
        return (
            f"A batch would be dearer here: single calls come to about {_usd(realtime)}, the "
            f"cheapest window to {_usd(batch)}."
        )
    rows = job.rows or 0
    if rows <= _FEW_ROWS and realtime - batch < _WORTH_WAITING_USD:
        return f"For {rows} rows a batch saves less than a cent; single calls answer at once."
    return ""


def _usd(amount: Decimal) -> str:
    return f"${amount:.4f}" if amount >= _SMALLEST_USD else f"under ${_SMALLEST_USD}"
