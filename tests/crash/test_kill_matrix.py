"""Killed at every named step and started again, a job comes to the same end, and costs the same."""

import pytest

from doubleword_batch.jobs.failpoints import STEPS

KILLED = -9


def test_an_undisturbed_run_does_what_it_should(undisturbed):
    account = undisturbed.account()
    rows, held = account["rows"], account["held"]
    assert rows["ledger"] == [(n, "truncated" if n == 6 else "ok") for n in range(1, 11)]
    assert held["ledger"] == [(n, "cancelled") for n in range(1, 4)]
    assert (rows["parts"], rows["batches"], rows["files"]) == (4, ["1", "2", "3", "4"], 4)
    assert (held["parts"], held["batches"], held["files"]) == (1, ["1"], 1)
    assert rows["batch_runs"]


def test_an_undisturbed_run_reaches_every_step_there_is(undisturbed):
    assert undisturbed.steps() == set(STEPS)
    assert len(STEPS) == len(set(STEPS)) >= 25


@pytest.mark.parametrize("step", STEPS)
def test_a_job_killed_at_a_step_goes_on_where_it_was(step, new_case, ends_like):
    case = new_case(f"at-{step}")
    assert case.run(step=step, turn=1) == KILLED
    ends_like(case)
