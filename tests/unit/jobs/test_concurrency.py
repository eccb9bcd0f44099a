"""Several parts at a time: how many, what a refusal does to the others, and what a failure does."""

from types import SimpleNamespace

import anyio
import pytest

from doubleword_batch.errors import AuthError, RateLimitedError
from doubleword_batch.jobs.sync.concurrency import CombinedProgress, run_concurrently

WAIT_SECONDS = 10
FOUR = SimpleNamespace(parts_at_once=4)


async def test_as_many_as_the_provider_takes_are_on_their_way_and_no_more():
    inside, most, full = 0, 0, anyio.Event()

    async def work(item):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 4:
            full.set()
        await full.wait()
        await anyio.lowlevel.checkpoint()
        inside -= 1
        return item * 10

    with anyio.fail_after(WAIT_SECONDS):  # it would hang if they went one by one
        done = await run_concurrently(FOUR, range(10), work)
    assert (done.results, most, done.waiting) == ([n * 10 for n in range(10)], 4, 0)


async def test_a_refused_one_is_tried_again_after_the_others_have_got_through():
    order = []

    async def work(item):
        order.append(item)
        if item == 0 and len(order) < 8:
            raise RateLimitedError("full")
        return item

    done = await run_concurrently(FOUR, range(8), work)
    assert done.results == list(range(8))
    assert order.count(0) > 1
    assert all(order.count(item) == 1 for item in range(1, 8))


async def test_one_whose_refusal_comes_after_the_others_have_ended_is_tried_again():
    order, others = [], anyio.Event()

    async def work(item):
        order.append(item)
        if item == 0 and order.count(0) == 1:
            await others.wait()
            await anyio.lowlevel.checkpoint()
            raise RateLimitedError("full")
        if len(order) == 4:
            others.set()
        return item

    with anyio.fail_after(WAIT_SECONDS):
        done = await run_concurrently(FOUR, range(4), work)
    assert (done.results, done.waiting, order.count(0)) == ([0, 1, 2, 3], 0, 2)


async def test_one_that_is_always_refused_holds_nobody_up_and_is_not_asked_for_ever():
    asked = []

    async def work(item):
        asked.append(item)
        if item == 2:
            raise RateLimitedError("full", retry_after_seconds=60)
        return item

    with anyio.fail_after(WAIT_SECONDS):
        done = await run_concurrently(FOUR, range(6), work)
    assert (done.results, done.waiting) == ([0, 1, 3, 4, 5], 1)
    assert asked.count(2) <= 6
    with pytest.raises(RateLimitedError):
        done.results_or_raise()


@pytest.mark.parametrize(
    "failure",
    [AuthError("no", status=401), RateLimitedError("never", retryable=False)],
    ids=["auth", "quota"],
)
async def test_after_a_failure_nothing_new_begins_and_what_is_on_its_way_ends(failure):
    begun, ended, others = [], [], anyio.Event()

    async def work(item):
        begun.append(item)
        if item == 3:
            others.set()
            raise failure
        await others.wait()
        await anyio.lowlevel.checkpoint()
        ended.append(item)

    with anyio.fail_after(WAIT_SECONDS), pytest.raises(type(failure)):
        await run_concurrently(FOUR, range(20), work)
    assert (begun, sorted(ended)) == ([0, 1, 2, 3], [0, 1, 2])


def test_the_progress_of_several_is_one_sum():
    told = []
    together = CombinedProgress(lambda *what: told.append(what), 30, "bytes uploaded")
    first, second = together.of(1), together.of(2)
    first(4)
    second(5)
    first(10)
    assert told == [
        (4, 30, "bytes uploaded"),
        (9, 30, "bytes uploaded"),
        (15, 30, "bytes uploaded"),
    ]
