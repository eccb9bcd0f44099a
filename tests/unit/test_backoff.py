"""When the next try starts, and when there is none."""

import anyio.lowlevel
import pytest

from doubleword_batch.backoff import (
    RetryBudget,
    RetryClock,
    budgets_around,
    within,
    without_jitter,
)
from doubleword_batch.errors import InputError, RateLimitedError, ServerError
from fake_time import FakeTime


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def failure() -> ServerError:
    return ServerError("It failed.", status=503)


def failing(times: int):
    """Work that fails that often, and then returns how often it was called."""
    calls = 0

    async def work() -> int:
        nonlocal calls
        calls += 1
        await anyio.lowlevel.checkpoint()
        if calls <= times:
            raise failure()
        return calls

    return work


async def test_pauses_double_up_to_the_longest(time):
    budget = RetryBudget(100, clock=time.clock, first_pause_seconds=1, longest_pause_seconds=5)
    assert await budget.persist(failing(5)) == 6
    assert time.waits == [1, 2, 4, 5, 5]


async def test_the_last_try_starts_when_the_budget_ends(time):
    budget = RetryBudget(10, clock=time.clock, first_pause_seconds=4)
    with pytest.raises(ServerError):
        await budget.persist(failing(99))
    assert time.waits == [4, 6]


async def test_a_budget_of_nothing_is_one_try(time):
    with pytest.raises(ServerError):
        await RetryBudget(0, clock=time.clock).persist(failing(1))
    assert time.waits == []


async def test_the_budget_runs_from_the_first_failure_and_not_from_the_start(time):
    budget = RetryBudget(10, clock=time.clock)
    time.now_seconds = 1000.0
    assert await budget.persist(failing(1)) == 2


async def test_progress_renews_the_budget(time):
    budget = RetryBudget(1, clock=time.clock, first_pause_seconds=1)
    for _ in range(3):
        await budget.wait_after(failure())
        budget.renew()
    assert time.waits == [1, 1, 1]
    await budget.wait_after(failure())
    with pytest.raises(ServerError):
        await budget.wait_after(failure())


async def test_at_least_as_long_is_waited_as_the_server_asks(time):
    budget = RetryBudget(100, clock=time.clock, first_pause_seconds=1)
    await budget.wait_after(RateLimitedError("Slow down.", retry_after_seconds=60))
    assert time.waits == [61]


async def test_a_server_that_asks_for_more_than_the_budget_is_not_waited_for(time):
    budget = RetryBudget(30, clock=time.clock)
    with pytest.raises(RateLimitedError):
        await budget.wait_after(RateLimitedError("Slow down.", retry_after_seconds=60))
    assert time.waits == []


async def test_an_error_that_will_not_pass_is_raised_at_once(time):
    with pytest.raises(InputError):
        await RetryBudget(100, clock=time.clock).wait_after(InputError("Wrong."))
    assert time.waits == []


async def test_each_pause_is_announced_with_its_reason(time):
    told = []
    budget = RetryBudget(100, clock=time.clock, first_pause_seconds=2)
    for _ in range(2):
        await budget.wait_after(failure(), lambda error, pause: told.append((error.code, pause)))
    assert told == [("server", 2), ("server", 4)]


def persisting(time, seconds, work):
    return RetryBudget(seconds, clock=time.clock).persist(work)


@pytest.mark.parametrize("inner", [5, 60, 1_000])
async def test_work_inside_work_has_no_more_time_than_that(time, inner):
    with pytest.raises(ServerError):
        await persisting(
            time, 70, lambda: persisting(time, inner, lambda: persisting(time, 60, failing(10**6)))
        )
    assert sum(time.waits) == pytest.approx(70)


async def test_a_server_that_asks_for_a_minute_is_not_given_three(time):
    async def busy():
        raise RateLimitedError("Slow down.", retry_after_seconds=60)

    with pytest.raises(RateLimitedError):
        await persisting(time, 70, lambda: persisting(time, 60, busy))
    assert 60 <= sum(time.waits) <= 70


async def test_failures_inside_that_went_well_in_the_end_cost_what_comes_after_nothing(time):
    async def first_quick_then_slow():
        await persisting(time, 60, failing(2))
        time.now_seconds += 1_000
        return await persisting(time, 60, failing(3))

    assert await persisting(time, 70, first_quick_then_slow) == 4


async def test_what_goes_well_inside_gives_work_that_has_failed_no_new_time(time):
    async def half():
        await persisting(time, 60, failing(1))
        raise failure()

    with pytest.raises(ServerError):
        await persisting(time, 70, half)
    assert time.now_seconds <= 71


async def test_progress_inside_is_progress(time):
    outer = RetryBudget(1, clock=time.clock, first_pause_seconds=1)
    with within(outer):
        inner = RetryBudget(1, clock=time.clock, first_pause_seconds=1)
        assert budgets_around() == (outer,)
    for _ in range(3):
        await inner.wait_after(failure())
        inner.renew()
    assert time.waits == [1, 1, 1]
    assert budgets_around() == ()


def test_a_pause_without_jitter_is_the_longest_it_can_be():
    clock = RetryClock(jitter=without_jitter)
    assert RetryBudget(100, clock=clock, first_pause_seconds=3).next_pause() == 3


def test_pauses_are_spread_by_chance():
    drawn = {RetryBudget(100).next_pause() for _ in range(20)}
    assert len(drawn) > 1
    assert all(pause is not None and 0 <= pause <= 0.5 for pause in drawn)
