import pytest

from doubleword_batch.jobs.submit import create_batch, upload
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.settings import Settings
from skill.conftest import open_workspace
from skill.results import FAST, batches_at, expected_ids, ids_of
from tables import rows_of


def test_brings_one_line_for_each_request_and_then_has_nothing_left_to_do(
    run, work, served, requests_of
):
    requests_of(50)
    with served() as server:
        first = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        kept = (work / "requests.results.jsonl").read_bytes()
        second = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        batches = batches_at(server)

    assert first.code == second.code == 0, first.err + second.err
    assert "completed; 50 answered, 0 failed, 0 without a line" in first.out
    assert second.out == first.out
    assert ids_of(work / "requests.results.jsonl") == expected_ids(50)
    assert (work / "requests.results.jsonl").read_bytes() == kept
    assert len(batches) == 1


def test_failed_requests_come_in_a_file_of_their_own_and_change_the_exit_code(
    run, work, served, requests_of
):
    requests_of(10)
    faults = [RequestFault(fault="error", status=400, match=Match(custom_id="r3"))]
    with served(requests=faults) as server:
        done = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)

    assert done.code == 8
    assert ids_of(work / "requests.errors.jsonl") == ["r3"]
    assert len(rows_of(work / "requests.results.jsonl")) == 9


def test_a_window_that_the_server_does_not_have_is_refused_as_it_was_written(
    run, work, served, requests_of
):
    requests_of(5)
    with served() as server:
        done = run("run_batch.py", "requests.jsonl", "--window", "1 month", **server.variables)
        batches = batches_at(server)

    assert done.code != 0
    assert "Unsupported completion_window" in done.err
    assert batches == []


async def test_the_package_takes_up_a_batch_that_the_script_submitted(
    run, work, served, requests_of, tmp_path
):
    path = requests_of(5)
    with served() as server:
        variables = server.variables | {"DOUBLEWORD_BATCH_PROVIDER": "doubleword"}
        submitted = run("run_batch.py", "requests.jsonl", "--no-wait", **variables)
        home = {"DOUBLEWORD_BATCH_HOME": str(tmp_path / "other")}
        settings = Settings.from_environment(
            variables | home | {"DOUBLEWORD_BATCH_ROOTS": str(work)}
        )
        async with open_workspace(settings) as ws:
            uploaded = await upload(ws, path=str(path))
            created = await create_batch(ws, uploaded.job)
        batches = batches_at(server)

    assert submitted.code == 0
    assert uploaded.reused == 1
    assert created.reused
    assert [batch["id"] for batch in batches] == created.batch_ids


async def test_the_script_takes_up_a_batch_that_the_package_submitted(
    run, work, served, requests_of, tmp_path
):
    path = requests_of(5)
    with served() as server:
        variables = server.variables | {"DOUBLEWORD_BATCH_PROVIDER": "doubleword"}
        home = {"DOUBLEWORD_BATCH_HOME": str(tmp_path / "other")}
        settings = Settings.from_environment(
            variables | home | {"DOUBLEWORD_BATCH_ROOTS": str(work)}
        )
        async with open_workspace(settings) as ws:
            created = await create_batch(ws, (await upload(ws, path=str(path))).job)
        done = run("run_batch.py", "requests.jsonl", *FAST, **variables)
        batches = batches_at(server)

    assert done.code == 0, done.err
    assert [batch["id"] for batch in batches] == created.batch_ids


def test_a_wait_that_ends_first_says_so_and_the_next_run_goes_on(run, work, served, requests_of):
    requests_of(20)
    gate = work / "gate"
    faults = [RequestFault(fault="hold", until=str(gate), match=Match(custom_id="r20"))]
    with served(requests=faults) as server:
        first = run("run_batch.py", "requests.jsonl", *FAST, "--timeout", "1", **server.variables)
        gathered = (work / "requests.results.jsonl.reading").read_bytes()
        gate.touch()
        second = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)

    assert first.code == 9
    assert "run the same command again" in first.out
    assert second.code == 0
    assert (work / "requests.results.jsonl").read_bytes().startswith(gathered)
    assert gathered.count(b"\n") > 0


def test_a_wait_of_no_time_looks_once(run, work, served, requests_of):
    requests_of(2)
    faults = [RequestFault(fault="hold", until=str(work / "never"), match=Match(custom_id="r2"))]
    with served(requests=faults) as server:
        done = run("run_batch.py", "requests.jsonl", "--timeout", "0", **server.variables)

    assert done.code == 9


def test_cancel_keeps_what_was_answered(run, work, served, requests_of):
    requests_of(20)
    faults = [RequestFault(fault="hold", until=str(work / "never"), match=Match(custom_id="r20"))]
    with served(requests=faults) as server:
        run("run_batch.py", "requests.jsonl", *FAST, "--timeout", "1", **server.variables)
        done = run("run_batch.py", "requests.jsonl", *FAST, "--cancel", **server.variables)

    assert done.code == 8
    assert "cancelled; 19 answered, 0 failed, 1 without a line" in done.out


def test_estimate_uploads_and_submits_nothing(run, served, requests_of):
    requests_of(5)
    with served() as server:
        done = run("run_batch.py", "requests.jsonl", "--estimate", **server.variables)
        batches = batches_at(server)

    assert done.code == 0
    assert "nothing is submitted yet" in done.out
    assert batches == []


@pytest.mark.parametrize("where", ["option", "environment"])
def test_nothing_is_submitted_above_a_cap_or_when_the_cost_is_not_known(
    run, served, requests_of, where
):
    requests_of(5)
    cap = ["--max-cost", "0.5"] if where == "option" else []
    variables = {} if cap else {"DOUBLEWORD_BATCH_MAX_COST_USD": "0.5"}
    with served() as server:
        done = run("run_batch.py", "requests.jsonl", *FAST, *cap, **server.variables, **variables)
        batches = batches_at(server)

    assert done.code == 3
    assert "nothing was submitted" in done.err
    assert batches == []


def test_a_broken_line_is_found_before_anything_is_sent(run, work, served, requests_of):
    path = requests_of(2)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"custom_id": "r1"\n')
    with served() as server:
        done = run("run_batch.py", "requests.jsonl", **server.variables)

    assert done.code == 3
    assert "line 3" in done.err
    assert [path.name for path in work.glob("*.json")] == []


def test_a_request_file_that_changed_since_it_was_sent_is_refused(run, served, requests_of):
    requests_of(2)
    with served() as server:
        run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        requests_of(3, "requests.jsonl", "--overwrite")
        done = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)

    assert done.code == 7
    assert "has changed since it was sent" in done.err
