"""Up to which doubt a cheap model's answers agree with a strong model's: exact pure functions.

Each row has a *doubt*, a whole number; 0 is the surest answer. A limit accepts all rows whose doubt
is not larger. Whether enough of them agree with the strong model is tested on the sampled rows
among them: the exact (Clopper-Pearson) lower bound of their agreement, at 95 % confidence, has to
reach the target. Limits are tested from strict to loose until one fails. They depend on the doubts
alone and are fixed before anybody knows which rows agree, so testing several needs no correction: a
wrong limit is only chosen if the first wrong one passes, which happens in at most 5 % of all
samples (fixed-sequence testing; Angelopoulos et al., "Learn then Test", 2021).

Rows are drawn, but equal rows share a request, so one drawn row takes all rows of its request to
the strong model. A request of many rows is drawn almost certainly, and then says little about the
rows that keep the cheap model's answer. So a request counts only if exactly one of its rows was
drawn. If a share f of the rows is drawn, a request of w rows is drawn once with probability
w f (1 - f)^(w - 1), and not at all, so that its w rows keep their answers, with (1 - f)^w; w times
the second is in the same proportion to the first for every w (Good, "The population frequencies of
species", 1953). Without equal rows every drawn row counts.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95
SMALLEST_SAMPLE, LARGEST_SAMPLE = 200, 400
MOST_DRAWN = 8_000
"""The most rows that are drawn: if nearly all rows are equal, few of them count."""
LEAST_TARGET, MOST_TARGET = 0.5, 0.99

_STEP = 0.05
"""The share of the rows that each limit adds to the one before."""

_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Decision:
    """Which rows keep the cheap model's answer, and why that is right.

    Attributes:
        limit: the largest doubt that is accepted; None if no limit passed, so that all rows go to
            the strong model.
        rows: number of accepted rows, including sampled ones.
        sampled: how many of them the strong model has answered too.
        agreed: how many of the sampled rows agree.
        lower: lower bound of the accepted rows' agreement, a share, at 95 % confidence.
        upper: its upper bound.
    """

    limit: int | None
    rows: int = 0
    sampled: int = 0
    agreed: int = 0
    lower: float = 0.0
    upper: float = 1.0


@dataclass(frozen=True, slots=True)
class Draw:
    """What was drawn for the sample.

    Attributes:
        requests: the requests that the strong model answers.
        counted: the requests of which exactly one row was drawn; only these count.
    """

    requests: frozenset[int]
    counted: frozenset[int]


def sample_size(requests: int, target: float) -> int:
    """How many requests should count in the sample: 200 to 400, or all if there are fewer.

    There are more for a large table, of which they are a small part, and for a high target, which
    takes more rows to show.
    """
    wanted = max(SMALLEST_SAMPLE, requests // 10, 3 * fewest_rows(target, disagreeing=1))
    return min(requests, wanted, LARGEST_SAMPLE)


def draw(rows: Iterable[int], size: int) -> Draw:
    """Draw rows until `size` requests count or 400 requests were drawn.

    Args:
        rows: the request of each row, in the random order in which rows are drawn.
        size: how many requests should count.
    """
    once: set[int] = set()
    drawn: set[int] = set()
    for request in rows:
        if len(once) >= size or len(drawn) >= LARGEST_SAMPLE:
            break
        if request in drawn:
            once.discard(request)
        else:
            once.add(request)
            drawn.add(request)
    return Draw(frozenset(drawn), frozenset(once))


def decide(
    rows_by_doubt: Sequence[int], sample: Sequence[tuple[int, bool]], target: float
) -> Decision:
    """Choose the loosest limit for which the sample shows that the target is met.

    Args:
        rows_by_doubt: how many rows have each doubt, including sampled rows.
        sample: doubt and agreement of each sampled row, drawn at random.
        target: share of the accepted rows that has to agree.
    """
    chosen: tuple[int, int, int, int] | None = None
    for limit, rows, sampled, agreed in _limits(rows_by_doubt, sample, target):
        if not _shows(target, agreed, sampled):
            break
        chosen = (limit, rows, sampled, agreed)
    if chosen is None:
        return Decision(None)
    *_, sampled, agreed = chosen
    return Decision(*chosen, lower_bound(agreed, sampled), upper_bound(agreed, sampled))


def _limits(
    rows_by_doubt: Sequence[int], sample: Sequence[tuple[int, bool]], target: float
) -> Iterator[tuple[int, int, int, int]]:
    """(limit, rows, sampled rows, agreeing rows) of each limit that is tested, strict to loose."""
    sampled_at = [0] * len(rows_by_doubt)
    agreed_at = [0] * len(rows_by_doubt)
    for doubt, agrees in sample:
        sampled_at[doubt] += 1
        agreed_at[doubt] += agrees
    total = sum(rows_by_doubt)
    # The first limit allows two rows that disagree; otherwise it would fail too often by chance.
    starts = (fewest_rows(target, disagreeing=number) for number in (2, 1, 0))
    start = next((rows for rows in starts if rows <= len(sample)), len(sample) + 1)
    rows = sampled = agreed = before = 0
    for doubt, count in enumerate(rows_by_doubt):
        rows += count
        sampled += sampled_at[doubt]
        agreed += agreed_at[doubt]
        is_step = rows - before >= _STEP * total or rows == total
        if sampled >= start and is_step and rows > before:
            before = rows
            yield doubt, rows, sampled, agreed


# Binomial


def lower_bound(hits: int, trials: int) -> float:
    """The one-sided lower bound, at 95 % confidence, of the share that gave so many hits."""
    if not hits:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _at_least(hits, trials, middle) < 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return low


def upper_bound(hits: int, trials: int) -> float:
    """The one-sided upper bound, at 95 % confidence, of the share that gave so many hits."""
    return 1.0 - lower_bound(trials - hits, trials)


@cache
def fewest_rows(target: float, *, disagreeing: int) -> int:
    """The fewest sampled rows that show the target if so many of them disagree."""
    rows = disagreeing + 1
    while not _shows(target, rows - disagreeing, rows):
        rows += 1
    return rows


def _shows(target: float, hits: int, trials: int) -> bool:
    """Whether the lower bound is at least the target, without computing it."""
    return hits > 0 and _at_least(hits, trials, target) <= 1 - CONFIDENCE


def _at_least(hits: int, trials: int, share: float) -> float:
    """The probability of so many hits or more; 0 < share < 1."""
    if 2 * hits < trials:
        return 1.0 - _between(0, hits, trials, share)
    return _between(hits, trials + 1, trials, share)


def _between(first: int, end: int, trials: int, share: float) -> float:
    """The probability of at least `first` and fewer than `end` hits."""
    yes, no = math.log(share), math.log1p(-share)
    ways = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(
            ways - math.lgamma(n + 1) - math.lgamma(trials - n + 1) + n * yes + (trials - n) * no
        )
        for n in range(first, end)
    )
