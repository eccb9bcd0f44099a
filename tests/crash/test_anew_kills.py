"""Killed while it takes the place of the same job as it was built before, a job is there again."""

import pytest

from crash.conftest import KILLED
from doubleword_batch.jobs.failpoints import ANEW_STEPS


@pytest.mark.parametrize("step", ANEW_STEPS)
def test_a_job_killed_while_it_is_built_anew_keeps_its_name_and_its_rows(step, new_case):
    case = new_case(f"anew-{step}")
    assert case.run(scenario="run_anew", step=step, turn=1) == KILLED
    assert case.run(scenario="run_anew") == 0
    names = (case.work / "names.txt").read_text(encoding="utf-8").splitlines()
    assert (len(names), len(set(names))) == (3, 1)
    assert "3 rows were already asked by job held-" in names[0]
    found = case.account()
    assert found.keys() == {"held", "more"}
    assert found["more"] == {
        "parts": 1,
        "batches": [],
        "batch_runs": True,
        "files": 0,
        "tokens": 0,
        "ledger": [(row, "pending") for row in range(1, 5)],
        "unnamed": [(0,)],
        "left": [],
    }
