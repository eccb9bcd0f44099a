"""The threshold of a cascade keeps what it promises, for models and scores of every kind.

The worlds are made up: each row has the chance with which the cheap model agrees with the strong
one, and a score that tells it, or tells nothing.
"""

import math
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleword_batch.jobs.cascade.statistics import (
    CONFIDENCE,
    LARGEST_SAMPLE,
    SMALLEST_SAMPLE,
    Decision,
    decide,
    draw,
    fewest_rows,
    lower_bound,
    sample_size,
    upper_bound,
)

RUNS, ROWS, LEVELS, TARGET = 400, 1_000, 100, 0.95


def world(random, accuracy, *, tells):
    """(doubt, agrees) of each row: of some rows it is sure, and right; or its score tells nothing.

    As many are sure as give that accuracy.
    """
    sure = (accuracy - 0.3) / (0.995 - 0.3) if tells else 0
    rows = []
    for _ in range(ROWS):
        is_sure = random.random() < sure
        chance = 0.995 if is_sure else 0.3 if tells else accuracy
        score = random.uniform(0.5, 1) if is_sure else random.uniform(0, 0.6 if tells else 1)
        rows.append((min(LEVELS - 1, int(LEVELS * (1 - score))), random.random() < chance))
    return rows


def outcome(random, rows):
    """Share of the rows that the strong model gets, and whether those that it does not get miss."""
    by_doubt = [0] * LEVELS
    for doubt, _ in rows:
        by_doubt[doubt] += 1
    sampled = set(random.sample(range(len(rows)), sample_size(len(rows), TARGET)))
    decision = decide(by_doubt, [rows[n] for n in sampled], TARGET)
    limit = -1 if decision.limit is None else decision.limit
    kept = [agrees for n, (doubt, agrees) in enumerate(rows) if doubt <= limit and n not in sampled]
    return 1 - len(kept) / len(rows), sum(kept) < TARGET * len(kept)


def outcomes(name, accuracies, *, tells):
    """Share of the strong model, and whether the target was missed, in each of the runs."""
    random = Random(name)  # it has to repeat itself
    worlds = (world(random, random.uniform(*accuracies), tells=tells) for _ in range(RUNS))
    found = [outcome(random, rows) for rows in worlds]
    return [share for share, _ in found], sum(missed for _, missed in found)


def test_a_score_that_tells_something_saves_and_misses_in_at_most_one_run_of_twenty():
    shares, missed = outcomes("useful", (0.67, 0.92), tells=True)
    assert missed <= RUNS // 20
    assert sum(shares) / RUNS < 0.6


def test_a_score_that_tells_nothing_sends_every_row_to_the_strong_model():
    shares, missed = outcomes("useless", (0.67, 0.92), tells=False)
    assert missed <= RUNS // 20
    assert sum(shares) / RUNS > 0.99


@pytest.mark.parametrize("accuracy", [0.94, 0.949])
def test_a_model_that_is_a_little_too_bad_passes_in_at_most_one_run_of_twenty(accuracy):
    _, missed = outcomes(f"at {accuracy}", (accuracy, accuracy), tells=False)
    assert missed <= RUNS // 20


def test_a_model_that_is_good_enough_everywhere_keeps_nearly_all_rows():
    shares, missed = outcomes("good", (0.99, 0.99), tells=False)
    assert missed == 0
    assert sum(shares) / RUNS < 0.55


EQUAL_ROWS = {
    "as frequent as words": (lambda n: max(1, 200 // (n + 1)), lambda _weight, accuracy: accuracy),
    "the frequent ones are easy": (
        lambda n: max(1, 200 // (n + 1)),
        lambda weight, accuracy: 0.995 if weight > 1 else accuracy,
    ),
    "the frequent ones are hard": (
        lambda n: max(1, 200 // (n + 1)),
        lambda weight, accuracy: accuracy if weight > 1 else 0.97,
    ),
    "ten of each": (lambda _n: 10, lambda _weight, accuracy: accuracy),
}


def outcome_of_equal_rows(random, weight_of, chance_of, accuracy):
    """The same as `outcome` where requests have several rows; the rows say whether it misses."""
    requests = [
        (
            weight_of(n),
            random.randrange(LEVELS),
            random.random() < chance_of(weight_of(n), accuracy),
        )
        for n in range(ROWS)
    ]
    by_doubt = [0] * LEVELS
    for weight, doubt, _ in requests:
        by_doubt[doubt] += weight
    rows = [n for n, (weight, *_) in enumerate(requests) for _ in range(weight)]
    drawn = draw(random.sample(rows, 1_500), sample_size(ROWS, TARGET))
    assert len(drawn.requests) <= LARGEST_SAMPLE
    decision = decide(by_doubt, [requests[n][1:] for n in drawn.counted], TARGET)
    limit = -1 if decision.limit is None else decision.limit
    kept = [
        (weight, agrees)
        for n, (weight, doubt, agrees) in enumerate(requests)
        if doubt <= limit and n not in drawn.requests
    ]
    return sum(w for w, agrees in kept if agrees) < TARGET * sum(w for w, _ in kept)


@pytest.mark.parametrize("kind", EQUAL_ROWS)
def test_with_equal_rows_the_rows_that_stay_miss_the_target_in_at_most_one_run_of_twenty(kind):
    random = Random(kind)  # it has to repeat itself
    runs = (outcome_of_equal_rows(random, *EQUAL_ROWS[kind], 0.94) for _ in range(RUNS))
    assert sum(runs) <= RUNS // 20


@given(st.lists(st.integers(0, 60), max_size=500), st.integers(0, 400))
def test_what_is_drawn_twice_is_asked_and_does_not_count(rows, size):
    drawn = draw(rows, size)
    assert drawn.counted <= drawn.requests <= set(rows)
    assert len(drawn.counted) <= size
    assert len(drawn.requests) <= LARGEST_SAMPLE
    if len(drawn.requests) < len(set(rows)):  # it ended before the last row
        assert len(drawn.counted) == size
    else:
        assert len(drawn.counted) >= min(size, sum(rows.count(row) == 1 for row in set(rows)))


@pytest.mark.parametrize("trials", [1, 2, 7, 29])
def test_the_bounds_are_those_of_the_exact_binomial_tail(trials):
    for hits in range(1, trials + 1):
        bound = Fraction(lower_bound(hits, trials))
        for share, is_below in (
            (bound - Fraction(1, 10**9), True),
            (bound + Fraction(1, 10**9), False),
        ):
            tail = sum(
                math.comb(trials, n) * share**n * (1 - share) ** (trials - n)
                for n in range(hits, trials + 1)
            )
            assert (tail < 1 - Fraction(CONFIDENCE)) == is_below
    assert lower_bound(0, trials) == 0
    assert upper_bound(trials, trials) == 1


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_what_was_measured_and_grows_with_the_hits(counts):
    hits, trials = counts
    lower, upper = lower_bound(hits, trials), upper_bound(hits, trials)
    assert 0 <= lower <= hits / trials <= upper <= 1
    if hits < trials:
        assert lower <= lower_bound(hits + 1, trials)


def test_how_many_rows_show_a_target():
    assert [fewest_rows(target, disagreeing=0) for target in (0.9, 0.95, 0.99)] == [29, 59, 299]
    assert [fewest_rows(target, disagreeing=1) for target in (0.9, 0.95)] == [46, 93]


@given(st.integers(1, 10**7), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.97, 0.99]))
def test_a_sample_has_two_hundred_to_four_hundred_rows_or_all(rows, target):
    size = sample_size(rows, target)
    assert size == rows or SMALLEST_SAMPLE <= size <= min(rows, LARGEST_SAMPLE)


def test_the_first_limit_that_fails_ends_it():
    rows = [100, 100, 800]
    good, bad, better = [(0, True)] * 100, [(1, False)] * 20, [(2, True)] * 280
    decision = decide(rows, [*good, *bad, *better], 0.9)
    assert (decision.limit, decision.rows, decision.sampled, decision.agreed) == (0, 100, 100, 100)


def test_where_no_limit_passes_no_row_is_accepted():
    assert decide([500, 500], [(0, False)] * 200, 0.9) == Decision(None)
    assert decide([], [], 0.9) == Decision(None)


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=20).flatmap(
        lambda rows: st.tuples(
            st.just(rows),
            st.lists(st.tuples(st.integers(0, len(rows) - 1), st.booleans()), max_size=300),
        )
    ),
    st.sampled_from([0.5, 0.8, 0.95]),
)
def test_whatever_is_accepted_has_the_target_within_its_bounds(given_rows, target):
    rows, sample = given_rows
    decision = decide(rows, sample, target)
    if decision.limit is not None:
        accepted = [agrees for doubt, agrees in sample if doubt <= decision.limit]
        assert (decision.sampled, decision.agreed) == (len(accepted), sum(accepted))
        assert decision.rows == sum(rows[: decision.limit + 1])
        assert decision.lower <= sum(accepted) / len(accepted) <= decision.upper
