"""Killed while its parts are divided into smaller ones, a job sends each row once all the same."""

import itertools
import json

import httpx
import pytest

from crash.conftest import KILLED, RUNS, Case, Server
from doubleword_batch.jobs.failpoints import DIVISION_STEPS
from doubleword_batch.local import LocalConfig, LocalServer

ROWS = 8


@pytest.fixture(scope="module")
def narrow_server(tmp_path_factory):
    """A server that takes files of two rows and not of four."""
    home = tmp_path_factory.mktemp("narrow")
    config = LocalConfig(home=home, executor="simulate", max_file_bytes=3_000)
    with LocalServer(config) as running:
        headers = {"Authorization": f"Bearer {running.token}"}
        with httpx.Client(base_url=running.base_url, headers=headers, timeout=30) as http:
            yield Server(running.base_url, running.token, http)


@pytest.fixture
def divided(tmp_path, narrow_server, runner):
    def case(name):
        made = Case(tmp_path / name, name, narrow_server, runner)
        rows = "".join(f'{n},"row {n} {"x" * 1_000}"\n' for n in range(1, ROWS + 1))
        (made.work / "rows.csv").write_text("id,text\n" + rows, encoding="utf-8")
        return made

    return case


def test_an_undisturbed_division_reaches_every_step(divided):
    case = divided("undisturbed")
    assert case.run(scenario="run_division") == 0
    assert case.steps() >= set(DIVISION_STEPS)


@pytest.mark.parametrize(("turn", "step"), [*zip(itertools.cycle([1, 2]), DIVISION_STEPS)])
def test_a_job_killed_inside_a_division_sends_each_row_once(divided, step, turn):
    case = divided(f"{step}-{turn}")
    assert case.run(scenario="run_division", step=step, turn=turn) == KILLED
    for _ in range(RUNS):
        if case.run(scenario="run_division") == 0:
            break
    account = case.account()["rows"]
    assert account["ledger"] == [(n, "ok") for n in range(1, ROWS + 1)]
    assert len(account["batches"]) == len(set(account["batches"])) == account["parts"] == ROWS // 2
    assert (account["files"], account["batch_runs"], account["left"]) == (ROWS // 2, True, [])
    table = (case.work / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in table] == [str(n) for n in range(1, ROWS + 1)]
