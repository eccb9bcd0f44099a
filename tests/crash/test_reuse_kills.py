"""Killed while answers are taken over and equal rows become one request, a job pays once."""

import json
import re

import pytest

from crash.conftest import KILLED, RUNS
from doubleword_batch.jobs.failpoints import REUSE_STEPS

KILLS = (
    *((step, 1) for step in (*REUSE_STEPS, "rebuild.written", "rebuild.renamed")),
    *((step, 2) for step in ("build.begun", "build.rows", "build.renamed")),
    ("create.answered", 4),
    *((step, turn) for step in ("collect.copied", "collect.committed") for turn in (6, 9)),
    ("collect.close", 4),
    ("retry.recorded", 3),
    ("rebuild.published", 1),
)
CUT = {6, 12, 16}


@pytest.fixture(scope="session")
def undisturbed_reuse(new_case):
    case = new_case("reuse-undisturbed")
    assert case.run(scenario="run_reuse") == 0
    return case


def account(case):
    """What was sent and became of it, job by job."""
    found = case.account()
    return {name: found[name] for name in ("rows", "more")}


def test_an_undisturbed_run_takes_over_shares_and_sends_the_rest(undisturbed_reuse):
    assert undisturbed_reuse.steps() >= set(REUSE_STEPS)
    lines = (undisturbed_reuse.work / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["outcome"] for row in rows] == [
        "truncated" if n in CUT else "ok" for n in range(1, 17)
    ]
    origins = [row["origin"] for row in rows]
    assert sum(1 for origin in origins if origin and origin.startswith("job:rows-")) == 9
    assert [origin for origin in origins if origin and origin.startswith("row ")] == [
        "row 11",
        "row 12",
    ]


@pytest.mark.parametrize(("step", "turn"), KILLS)
def test_a_job_killed_at_a_step_of_reuse_comes_to_the_same_end(
    step, turn, new_case, undisturbed_reuse
):
    case = new_case(f"reuse-{step}-{turn}")
    assert case.run(scenario="run_reuse", step=step, turn=turn) == KILLED
    for _ in range(RUNS):
        if case.run(scenario="run_reuse") == 0:
            break
    assert _table(case) == _table(undisturbed_reuse)
    assert account(case) == account(undisturbed_reuse)


def _table(case):
    """The table, but for the earlier job's name, which differs by case, and the minute."""
    text = (case.work / "answers.jsonl").read_text(encoding="utf-8")
    return re.sub(r"rows-[0-9a-f]+, \d{4}-\d\d-\d\d \d\d:\d\dZ", "", text)
