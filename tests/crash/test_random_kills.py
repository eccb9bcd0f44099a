"""Killed again and again at random, a job comes to the same end, and costs the same.

25 seeds of 8 kills by the number of steps, 4 of 5 by the clock, and 2 of 4 inside each verb; the
same seed dies at the same steps again. `DOUBLEWORD_BATCH_TEST_SEEDS=500` tries as many of each.
"""

import os
from random import Random

import pytest

KILLED = -9
KILLS_BY_STEP, KILLS_BY_TIME = 8, 5
MOST_STEPS, MOST_SECONDS = 24, 0.6
KILLS_INSIDE, MOST_STEPS_INSIDE = 4, 12
INSIDE = {"fetch": ["collect", "export"], "retry": ["retry", "rebuild"]}


def seeds(few):
    return range(int(os.environ.get("DOUBLEWORD_BATCH_TEST_SEEDS", few)))


def killed_at_random(new_case, ends_like, name, kills, until):
    """Kill that many runs, of as many jobs as it takes; every job has to end as it should."""
    left, jobs = kills, 0
    while left:
        case = new_case(f"{name}-{jobs}")
        jobs += 1
        while left and case.run(**until()) == KILLED:
            left -= 1
        ends_like(case)


@pytest.mark.parametrize("seed", seeds(25))
def test_a_job_killed_at_random_steps_comes_to_the_same_end(seed, new_case, ends_like):
    random = Random(seed)  # it has to repeat itself

    def until():
        return {"turn": random.randint(1, MOST_STEPS)}

    killed_at_random(new_case, ends_like, f"steps-{seed}", KILLS_BY_STEP, until)


@pytest.mark.parametrize("seed", seeds(4))
def test_a_job_killed_at_random_times_comes_to_the_same_end(seed, new_case, ends_like):
    random = Random(1_000 + seed)  # it has to repeat itself

    def until():
        return {"after_seconds": random.uniform(0.02, MOST_SECONDS)}

    killed_at_random(new_case, ends_like, f"times-{seed}", KILLS_BY_TIME, until)


@pytest.mark.parametrize("verb", INSIDE)
@pytest.mark.parametrize("seed", seeds(2))
def test_a_job_killed_again_and_again_inside_a_verb_comes_to_the_same_end(
    verb, seed, new_case, ends_like
):
    random = Random(2_000 + seed)  # it has to repeat itself
    case = new_case(f"{verb}-{seed}")
    killed = 0
    for _ in range(KILLS_INSIDE):
        turn = random.randint(1, MOST_STEPS_INSIDE)
        killed += case.run(of=INSIDE[verb], turn=turn) == KILLED
    assert killed
    ends_like(case)
