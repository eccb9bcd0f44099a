"""Faults, kills and lost replies: every request has one line, and nothing is paid twice."""

import json
import signal
import subprocess
import time
from contextlib import suppress

import pytest

from doubleword_batch.local.executors.faults import Match, RequestFault, ServerFault
from faults.acting import CARRIED_OUT, acting
from skill.results import FAST, batches_at, expected_ids, ids_of
from skill.servers import never_answering_creations

CONTENT = "GET /v1/files/{id}/content"
CREATE = "POST /v1/batches"
UPLOAD = "POST /v1/files"


FAULTS = {
    "a cut download": [ServerFault(route=CONTENT, fault="cut", bytes=5000, times=3)],
    "lines that come twice": [ServerFault(route=CONTENT, fault="duplicate_lines", times=None)],
    "lines that come late": [ServerFault(route=CONTENT, fault="late_lines", lines=7, times=2)],
    "a garbage line": [ServerFault(route=CONTENT, fault="garbage_line", times=None)],
    "skip ignored": [ServerFault(route=CONTENT, fault="no_skip", times=None)],
    "server errors": [ServerFault(fault="status", status=503, times=2, route="GET /v1/batches*")],
    "too many requests": [
        ServerFault(fault="status", status=429, headers={"Retry-After": "1"}, route=CREATE)
    ],
    "not ready yet": [ServerFault(fault="status", status=425, route=CREATE)],
    "a lost upload": [ServerFault(fault="drop_after", route=UPLOAD)],
}


@pytest.mark.parametrize("case", FAULTS)
def test_every_request_has_one_line_in_spite_of(run, work, served, requests_of, case):
    requests_of(60)
    with served(server=FAULTS[case]) as server:
        for _ in range(3):
            done = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
            if done.code == 0:
                break
        batches = batches_at(server)

    assert done.code == 0, done.err
    assert ids_of(work / "requests.results.jsonl") == expected_ids(60)
    assert len(batches) == 1


def test_a_download_that_breaks_off_again_and_again_leaves_no_half_file(
    run, work, served, requests_of
):
    requests_of(60)
    broken = [ServerFault(route=CONTENT, fault="cut", bytes=100, times=None)]
    hurried = ("--poll", "0.1", "--in-doubt", "2", "--patience", "1")
    with served(server=broken) as server:
        first = run("run_batch.py", "requests.jsonl", *hurried, **server.variables)
        names = {path.name for path in work.iterdir()}

    assert first.code == 6
    assert first.err.splitlines()[-1].startswith("error: ")
    assert "run the same command again" in first.err.splitlines()[-1].lower()
    assert not names & {"requests.results.jsonl", "requests.errors.jsonl"}


@pytest.mark.parametrize(("fault", "created"), [("drop_after", True), ("drop_before", False)])
def test_a_creation_whose_reply_is_lost_is_looked_for_and_not_sent_twice(
    run, served, requests_of, fault, created
):
    requests_of(5)
    with served(server=[ServerFault(fault=fault, route=CREATE)]) as server:
        first = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        second = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        batches = batches_at(server)

    assert first.code == (0 if created else 6), first.err
    assert second.code == 0, second.err
    assert len(batches) == 1


@pytest.mark.parametrize("route", [CREATE, UPLOAD])
@pytest.mark.parametrize("manner", CARRIED_OUT)
def test_what_was_carried_out_and_then_refused_is_carried_out_once(
    run, served, requests_of, manner, route
):
    requests_of(5)
    with served() as server, acting(server, route, CARRIED_OUT[manner]) as act:
        variables = {**server.variables, "DOUBLEWORD_BASE_URL": act.base_url}
        for _ in range(2):
            done = run("run_batch.py", "requests.jsonl", *FAST, **variables)
            if done.code == 0:
                break
        batches = batches_at(server)

    assert done.code == 0, done.err
    assert len(batches) == act.writes == 1


@pytest.mark.parametrize("status", [408, 499, 500])
def test_a_creation_that_somebody_gave_up_is_a_doubt_too(run, served, requests_of, status):
    requests_of(5)
    faults = [ServerFault(fault="status", status=status, body="boom", route=CREATE)]
    with served(server=faults) as server:
        first = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        second = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        batches = batches_at(server)

    assert (first.code, second.code) == (5, 0), first.err + second.err
    assert "«boom»" in first.err
    assert len(batches) == 1


def test_killed_at_any_moment_it_goes_on_and_pays_nothing_twice(
    work, served, requests_of, command, environment, run
):
    requests_of(400)
    gate = work / "gate"
    faults = [RequestFault(fault="hold", until=str(gate), match=Match(custom_id="r400"))]
    with served(requests=faults, concurrency=4) as server:
        for seconds in (0.15, 0.25, 0.4, 0.7, 1.1):
            started = subprocess.Popen(
                command("run_batch.py", "requests.jsonl", *FAST),
                cwd=work,
                env=environment | server.variables,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            with pytest.raises(subprocess.TimeoutExpired):
                started.wait(seconds)
            started.kill()
            started.wait(10)
            assert not (work / "requests.results.jsonl").exists()
        gate.touch()
        done = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        batches = batches_at(server)

    assert done.code == 0, done.err
    assert ids_of(work / "requests.results.jsonl") == expected_ids(400)
    assert len(batches) == 1
    assert sorted(path.name for path in work.iterdir() if path.name.startswith("requests")) == [
        "requests.errors.jsonl",
        "requests.jsonl",
        "requests.jsonl.state.json",
        "requests.results.jsonl",
    ]


def test_a_creation_that_was_on_its_way_when_killed_stays_in_doubt_for_its_time(
    run, work, requests_of, command, environment
):
    requests_of(1)
    with never_answering_creations() as (url, created):
        started = subprocess.Popen(
            command("run_batch.py", "requests.jsonl"),
            cwd=work,
            env=environment | {"DOUBLEWORD_BASE_URL": url},
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not created and time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                started.wait(0.02)
        started.kill()
        started.wait(10)
        journal = json.loads((work / "requests.jsonl.state.json").read_text())
        second = subprocess.Popen(
            command("run_batch.py", "requests.jsonl", "--in-doubt", "3"),
            cwd=work,
            env=environment | {"DOUBLEWORD_BASE_URL": url},
            stderr=subprocess.DEVNULL,
        )
        while len(created) < 2 and time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                second.wait(0.02)
        second.kill()
        second.wait(10)

    assert journal["create_sent_at"] is not None
    assert journal["batch_id"] is None
    assert created[1] - journal["create_sent_at"] >= 3


def test_with_its_journal_lost_it_finds_the_batch_at_the_server(run, work, served, requests_of):
    requests_of(5)
    with served() as server:
        run("run_batch.py", "requests.jsonl", "--no-wait", **server.variables)
        (work / "requests.jsonl.state.json").unlink()
        done = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        batches = batches_at(server)

    assert done.code == 0, done.err
    assert len(batches) == 1


def test_two_runs_of_one_file_do_not_meet(run, work, served, requests_of, command, environment):
    requests_of(2)
    gate = work / "gate"
    faults = [RequestFault(fault="hold", until=str(gate))]
    with served(requests=faults) as server:
        first = subprocess.Popen(
            command("run_batch.py", "requests.jsonl", *FAST),
            cwd=work, env=environment | server.variables, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, encoding="utf-8",
        )  # fmt: skip
        with first:
            assert "batch" in first.stderr.readline()
            second = run(
                "run_batch.py", "requests.jsonl", *FAST, "--timeout", "1", **server.variables
            )
            gate.touch()
            first.communicate(timeout=30)

    assert second.code == 7
    assert "Another run" in second.err
    assert first.returncode == 0


@pytest.mark.posix("an interrupt of one process")
def test_interrupted_it_says_how_to_go_on(work, served, requests_of, command, environment):
    requests_of(2)
    faults = [RequestFault(fault="hold", until=str(work / "never"))]
    with served(requests=faults) as server:
        started = subprocess.Popen(
            command("run_batch.py", "requests.jsonl", *FAST),
            cwd=work, env=environment | server.variables, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, encoding="utf-8",
        )  # fmt: skip
        with started:
            while "in_progress" not in started.stderr.readline():
                assert started.poll() is None
            started.send_signal(signal.SIGINT)
            _, words = started.communicate(timeout=30)

    assert started.returncode == 130
    assert "nothing is sent twice" in words
