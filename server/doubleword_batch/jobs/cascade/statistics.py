"""At which doubt a cheap model's answers still agree with a strong one's: exact, and pure.

Each row has a *doubt*, a whole number: 0 is the surest answer. For a limit, the rows with no more
doubt are accepted. Whether they agree with the strong model at the target is tested on the sampled
ones among them: the exact (Clopper-Pearson) lower bound of their agreement, at 95 % confidence, has
to reach it. Limits are tested from strict to loose, and the first that fails ends it. The limits
are fixed by the doubts alone, before anybody knows who agrees, so that the order needs no
correction: a wrong limit is only chosen where the first wrong one passes, which happens in at most
5 % of all samples (fixed-sequence testing; Angelopoulos et al., "Learn then Test", 2021).

Rows are drawn, and equal rows share a request, so that one drawn row takes all rows of its request
to the strong model. What is frequent is drawn nearly surely and says little of the rows that keep
the cheap model's answer. So a request counts where exactly one of its rows was drawn: a request of
w rows is drawn once with the chance w f (1 - f)^(w - 1) and keeps its w rows with (1 - f)^w, and
these two are in one proportion for every w (Good, "The population frequencies of species", 1953).
Without equal rows every drawn row counts.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95
SMALLEST_SAMPLE, LARGEST_SAMPLE = 200, 400
MOST_DRAWN = 8_000
"""So many rows are drawn at most: where nearly all rows are equal, few of them count."""
LEAST_TARGET, MOST_TARGET = 0.5, 0.99

_STEP = 0.05
"""From one limit to the next so large a share of the rows is added."""

_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Decision:
    """Which rows keep the cheap model's answer, and why that is right.

    Attributes:
        limit: the most doubt that is accepted; None where no limit passed: all rows go to the
            strong model.
        rows: accepted ones, the sampled among them included.
        sampled: of them, how many the strong model has answered too.
        agreed: of those, how many it has answered alike.
        lower: bound of the agreement of the accepted rows, at 95 % confidence.
        upper: the same from above.
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
        requests: those that the strong model answers.
        counted: those of them that say something: of which one row was drawn and no other.
    """

    requests: frozenset[int]
    counted: frozenset[int]


def sample_size(requests: int, target: float) -> int:
    """How many of so many requests count in the sample: 200 to 400, or all.

    More of a large table, of which they are a small part, and for a high target, which few rows
    cannot show.
    """
    wanted = max(SMALLEST_SAMPLE, requests // 10, 3 * fewest_rows(target, disagreeing=1))
    return min(requests, wanted, LARGEST_SAMPLE)


def draw(rows: Iterable[int], size: int) -> Draw:
    """Draw rows until so many requests count, and at most 400 of them are asked.

    Args:
        rows: of each row, in the random order in which they are drawn, the request.
        size: how many are to count.
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
        rows_by_doubt: how many rows have each doubt, the sampled ones included.
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
    # The first limit has room for two rows that disagree: else it fails too often by bad luck.
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
    """The least share of which so many hits are not too many, at 95 % confidence, one-sided."""
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
    """The largest share of which so many hits are not too few, at 95 % confidence, one-sided."""
    return 1.0 - lower_bound(trials - hits, trials)


@cache
def fewest_rows(target: float, *, disagreeing: int) -> int:
    """How many sampled rows show the target where so many of them disagree."""
    rows = disagreeing + 1
    while not _shows(target, rows - disagreeing, rows):
        rows += 1
    return rows


def _shows(target: float, hits: int, trials: int) -> bool:
    """Whether the lower bound is at least the target, without computing it."""
    return hits > 0 and _at_least(hits, trials, target) <= 1 - CONFIDENCE


def _at_least(hits: int, trials: int, share: float) -> float:
    """The chance of so many hits or more; 0 < share < 1."""
    if 2 * hits < trials:
        return 1.0 - _between(0, hits, trials, share)
    return _between(hits, trials + 1, trials, share)


def _between(first: int, end: int, trials: int, share: float) -> float:
    """The chance of `first` hits or more, and fewer than `end`."""
    yes, no = math.log(share), math.log1p(-share)
    ways = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(
            ways - math.lgamma(n + 1) - math.lgamma(trials - n + 1) + n * yes + (trials - n) * no
        )
        for n in range(first, end)
    )
