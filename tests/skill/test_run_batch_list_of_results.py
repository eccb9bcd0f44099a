"""Where a result file is gone, the answers still come: from the batch's list of results."""

import pytest

from doubleword_batch.local.executors.faults import Match, RequestFault, ServerFault
from skill.results import FAST, ids_of

CONTENT, RESULTS = "GET /v1/files/{id}/content", "GET /v1/batches/{id}/results"


def away(status, route):
    return ServerFault(fault="status", status=status, route=route, body="not found", times=None)


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


def test_without_a_list_the_script_says_what_is_gone(run, served, requests_of):
    requests_of(3)
    with served(server=[away(404, CONTENT), away(404, RESULTS)]) as server:
        ran = run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
    assert ran.code not in {0, 8}
    assert "/content with 404" in ran.err
