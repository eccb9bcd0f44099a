"""`run` at a provider that has no capacity for every part of a job yet, or fails for a while."""

import functools

import pytest

from doubleword_batch import providers
from doubleword_batch.cli.run_flow import RunOptions, run_flow
from doubleword_batch.cli.terminal import Terminal
from doubleword_batch.jobs import job
from doubleword_batch.jobs.build_request import BuildRequest
from doubleword_batch.settings import Settings
from faults.harness import CREATE, MODEL, SHOW, Harness, status


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Run the command in this process, with small parts; waits are recorded, not slept."""
    harness, slept = Harness(tmp_path), []

    async def sleep(seconds):
        slept.append(seconds)

    small = providers.profile("doubleword").model_copy(update={"max_requests": 10})
    monkeypatch.setattr(providers, "profile", lambda _: small)
    opened = functools.partial(job.Workspace, sleep=sleep)
    monkeypatch.setattr(job, "Workspace", opened)

    def run(*faults, **run_options):
        slept.clear()
        with harness.serving(*faults):
            settings = Settings.from_environment(harness.environment())
            order = BuildRequest(source="rows.csv", prompt="Say {{ text }}", model=MODEL)
            output = str(harness.work / "answers.csv")
            report = run_flow(
                Terminal(), settings, order, RunOptions(output=output, agreed=True, **run_options)
            )
            return report, len(harness.batches()), slept

    return run


NO_CAPACITY = status(429, CREATE, times=5, after=3, headers={"retry-after": "60"})


def test_waits_for_capacity_while_the_other_parts_run_and_then_finishes(runs, capsys):
    report, batches, slept = runs(NO_CAPACITY)
    assert (report.complete, report.ledger, batches) == (True, {"ok": 40}, 4)
    assert 60 in slept
    assert "no capacity for 1 part yet" in capsys.readouterr().err


def test_looks_again_within_the_hour_whatever_date_it_is_asked_to_wait_for(runs, capsys):
    headers = {"retry-after": "Tue, 03 Nov 2099 10:01:30 GMT"}
    report, batches, slept = runs(status(429, CREATE, times=5, after=3, headers=headers))
    assert (report.complete, report.ledger, batches) == (True, {"ok": 40}, 4)
    assert max(slept) == 3600
    assert "try again in 3600 s" in capsys.readouterr().err


def test_stops_waiting_for_capacity_when_its_time_is_up(runs):
    report, batches, slept = runs(NO_CAPACITY, timeout_seconds=30)
    assert (report.complete, batches) == (False, 3)
    assert 60 not in slept
    assert report.next.tool == "create_batch"


def test_goes_on_waiting_while_the_provider_refuses_to_answer_for_a_while(runs, capsys):
    overloaded = status(429, SHOW, times=8, headers={"retry-after": "60"})
    report, _, slept = runs(overloaded)
    assert (report.complete, report.ledger) == (True, {"ok": 40})
    assert [seconds for seconds in slept if seconds > 60] == [65, 70]
    assert "Trying again in 65 s." in capsys.readouterr().err
