"""Where a result file is gone, the answers still come: from the batch's list of results."""

import json
import time

import httpx
import pytest

from doubleword_batch.local.executors.faults import Match, RequestFault, ServerFault
from skill.results import FAST, batches_at, expected_ids, ids_of

CONTENT, RESULTS = "GET /v1/files/{id}/content", "GET /v1/batches/{id}/results"


def away(status, route):
    return ServerFault(fault="status", status=status, route=route, body="not found", times=None)


def list_of(server, batch_id):
    headers = {"Authorization": f"Bearer {server.token}"}
    reply = httpx.get(f"{server.base_url}/batches/{batch_id}/results", headers=headers, timeout=30)
    return reply.content.splitlines(keepends=True)


@pytest.mark.parametrize("status", [404, 410])
def test_the_answers_of_files_that_are_gone_come_from_the_list(
    run, work, served, requests_of, status
):
    requests_of(10)
    bad = [RequestFault(fault="error", status=400, match=Match(custom_id="r3"))]
    with served(server=[away(status, CONTENT)], requests=bad) as server:
        ran = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        again = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
    assert ran.code == again.code == 8, ran.err
    assert "completed; 9 answered, 1 failed, 0 without a line" in ran.out
    assert "come from the list of results" in ran.err
    assert ids_of(work / "requests.errors.jsonl") == ["r3"]
    assert len(ids_of(work / "requests.results.jsonl")) == 9
    assert sorted(path.name for path in work.glob("*.reading")) == []
    told = run("summarize_results.py", "requests.results.jsonl", "requests.errors.jsonl")
    assert "10 requests: 9 ok, 1 failed" in told.out, told.out + told.err


@pytest.mark.parametrize("place", ["inside a line", "at the end of one"])
def test_a_list_that_breaks_off_is_read_on_from_its_last_whole_line(
    run, work, served, requests_of, place
):
    requests_of(10)
    with served() as server:  # how long the list's lines are
        ran = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        (batch,) = batches_at(server)
        listed = list_of(server, batch["id"])
    assert ran.code == 0, ran.err
    cut = len(b"".join(listed[:4])) + (20 if place == "inside a line" else 0)
    for path in work.glob("requests.*"):
        if path.name != "requests.jsonl":
            path.unlink()
    broken = ServerFault(fault="cut", route=RESULTS, bytes=cut, times=1)
    with served(server=[away(404, CONTENT), broken]) as server:
        ran = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
    assert ran.code == 0, ran.err
    assert ids_of(work / "requests.results.jsonl") == expected_ids(10)


def test_of_a_cancelled_batch_what_a_list_gives_before_it_breaks_is_kept(
    run, work, served, requests_of, tmp_path
):
    requests_of(6)
    held = RequestFault(fault="hold", until=str(tmp_path / "never"), match=Match(custom_id="r5"))
    broken = ServerFault(fault="cut", route=RESULTS, bytes=2_000, times=None)
    with served(server=[away(404, CONTENT), broken], requests=[held]) as server:
        run("run_batch.py", "requests.jsonl", *FAST, "--no-wait", **server.variables)
        while batches_at(server)[0]["request_counts"]["completed"] < 5:
            time.sleep(0.05)
        impatient = (*FAST, "--patience", "0")
        ran = run("run_batch.py", "requests.jsonl", *impatient, "--cancel", **server.variables)
    assert ran.code == 8, ran.err
    assert "come from the list of results" in ran.err
    assert 0 < len(ids_of(work / "requests.results.jsonl")) < 6


def test_without_a_list_the_script_says_what_is_gone(run, served, requests_of):
    requests_of(3)
    with served(server=[away(404, CONTENT), away(404, RESULTS)]) as server:
        ran = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
    assert ran.code not in {0, 8}
    assert "/content with 404" in ran.err


@pytest.mark.parametrize(("seconds", "code"), [(60, 9), (3660, 8)])
def test_a_cancellation_that_never_ends_has_ended_after_an_hour(
    run, served, requests_of, seconds, code
):
    requests_of(3)
    since = int(time.time()) - seconds
    batch = {"id": "b", "status": "cancelling", "cancelling_at": since, "request_counts": {}}
    shown = ServerFault(
        fault="status",
        status=200,
        route="GET /v1/batches/{id}",
        body=json.dumps(batch),
        content_type="application/json",
        times=None,
    )
    with served(server=[shown]) as server:
        ran = run("run_batch.py", "requests.jsonl", *FAST, "--timeout", "1", **server.variables)
    assert ran.code == code, ran.err
    words = {9: "still cancelling", 8: "cancelled; 0 answered, 0 failed, 3 without a line"}[code]
    assert words in ran.out
