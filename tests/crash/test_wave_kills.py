"""Killed before, inside and behind its first wave, a job sends each request once."""

import pytest

from crash.conftest import KILLED, RUNS
from crash.scenario import TABLES
from doubleword_batch.jobs.failpoints import WAVE_STEPS

KILLS = (
    ("create.reserved", 1),
    *((step, 1) for step in WAVE_STEPS),
    *((f"create.{moment}", 2) for moment in ("send", "answered")),
)


@pytest.fixture(scope="module")
def new_wave(new_case):
    def new(name):
        case = new_case(name)
        rows = "".join(f"{n},document {n % 2} {'word ' * 1_000} {n}\n" for n in range(1, 9))
        (case.work / "alike.csv").write_text("id,text\n" + rows, encoding="utf-8", newline="\n")
        return case

    return new


@pytest.fixture(scope="module")
def undisturbed(new_wave):
    case = new_wave("wave-undisturbed")
    assert case.run(scenario="run_wave") == 0
    return case


def test_an_undisturbed_job_has_a_batch_for_its_first_wave_and_one_for_the_rest(undisturbed):
    found = undisturbed.account()["alike"]
    assert (found["parts"], found["batches"]) == (2, ["1", "2"])
    assert {outcome for _, outcome in found["ledger"]} == {"ok"}
    assert undisturbed.steps() >= {step for step, _ in KILLS}


@pytest.mark.parametrize(("step", "turn"), KILLS)
def test_a_job_killed_around_its_first_wave_comes_to_the_same_end(
    step, turn, new_wave, undisturbed
):
    case = new_wave(f"wave-{step}-{turn}")
    assert case.run(scenario="run_wave", step=step, turn=turn) == KILLED
    for _ in range(RUNS):
        if case.run(scenario="run_wave") == 0:
            break
    name = TABLES[0]
    assert (case.work / name).read_bytes() == (undisturbed.work / name).read_bytes()
    assert case.account()["alike"] == undisturbed.account()["alike"]
