"""A creation whose reply was lost, and a list that cannot tell: no second batch is made."""

import json
import time

import pytest

from skill.results import ids_of
from skill.servers import OneBatch, serving_one

HASTY = ("--poll", "0.1", "--in-doubt", "0.2", "--patience", "0")
MORE = {"object": "list", "has_more": True}
REFUSALS = [403, 404, 405, 410, 501]
LISTS = {
    **{str(status): (status, {"error": {"message": "no"}}) for status in REFUSALS},
    "more, and an empty page": {**MORE, "data": []},
    "more, and the same page": {**MORE, "data": [{"id": "b-1"}]},
}
LINE = {
    "id": "req_1",
    "custom_id": "r1",
    "response": {"status_code": 200, "body": {"choices": [{"message": {"content": "yes"}}]}},
}
COUNTS = {"total": 1, "completed": 1, "failed": 0}


@pytest.fixture
def server(requests_of):
    """A server whose first creation is carried out and never answered."""
    requests_of(1)
    server = OneBatch(output_file_id="out", request_counts=COUNTS)
    server.files["out"] = json.dumps(LINE).encode() + b"\n"
    server.reply = None
    return server


def ours(server):
    return server.batch | {"metadata": server.created[0]["metadata"]}


@pytest.mark.parametrize("name", LISTS)
def test_a_lost_creation_is_not_repeated_where_the_list_cannot_tell(run, work, server, name):
    server.pages = LISTS[name]
    with serving_one(server) as variables:
        for _ in range(3):
            done = run("run_batch.py", "requests.jsonl", *HASTY, **variables)
            assert done.code == 6
            assert "its list cannot tell" in done.err
            assert "It is not sent again" in done.err
            server.reply = {"id": "batch_2"}
        server.pages = lambda _after: {"data": [ours(server)], "has_more": False}
        done = run("run_batch.py", "requests.jsonl", *HASTY, **variables)
    assert done.code == 0, done.err
    assert ids_of(work / "requests.results.jsonl") == ["r1"]
    assert len(server.created) == 1


def test_a_lost_creation_is_not_repeated_while_the_list_is_down(run, server):
    with serving_one(server) as variables:
        for pages in (None, (500, b"no"), (503, b"no")):
            server.pages = lambda _after, pages=pages: pages if server.created else {"data": []}
            done = run("run_batch.py", "requests.jsonl", *HASTY, **variables)
            assert done.code in {5, 6}, done.err
    assert len(server.created) == 1


@pytest.mark.parametrize("order", ["oldest first", "newest first"])
def test_a_lost_creation_is_found_however_far_down_the_list_it_is(run, server, order):
    step, since = (1, -30) if order == "oldest first" else (-1, 1)
    first = time.time() + since * 86_400
    others = [{"id": f"b-{n}", "created_at": int(first) + step * n} for n in range(650)]

    def pages(after):
        entries = [*others, ours(server)] if server.created else []
        at = next((n for n, entry in enumerate(entries, 1) if entry["id"] == after), 0)
        return {"data": entries[at : at + 100], "has_more": at + 100 < len(entries)}

    server.pages = pages
    with serving_one(server) as variables:
        done = run("run_batch.py", "requests.jsonl", *HASTY, **variables)
    assert done.code == 0, done.err
    assert len(server.created) == 1


def test_a_list_of_newest_first_is_read_no_further_than_the_creation_is_old(run, server):
    asked = []

    def pages(after):
        asked.append(after)
        at = int(after or 0)
        made = int(time.time()) - 3_600 * at
        page = [{"id": str(n), "created_at": made - 3_600 * n} for n in range(at + 1, at + 101)]
        return {"data": page, "has_more": at < 5_000}

    server.pages = pages
    with serving_one(server) as variables:
        run("run_batch.py", "requests.jsonl", *HASTY, **variables)
        server.reply = {"id": "batch_1"}
        done = run("run_batch.py", "requests.jsonl", *HASTY, **variables)
    assert done.code == 0, done.err
    assert max(int(after or 0) for after in asked) <= 400
    assert len(server.created) == 2


def test_a_batch_of_a_server_without_marks_is_known_by_its_file(run, server):
    server.pages = lambda _after: {
        "data": [{**server.batch, "input_file_id": "file-in"}] if server.created else []
    }
    with serving_one(server) as variables:
        done = run("run_batch.py", "requests.jsonl", *HASTY, **variables)
    assert done.code == 0, done.err
    assert len(server.created) == 1


def test_a_server_without_lists_runs_a_file_and_is_asked_again_after_it_was_full(run, server):
    server.pages = LISTS["404"]
    server.reply = (429, b"no capacity")
    with serving_one(server) as variables:
        assert run("run_batch.py", "requests.jsonl", *HASTY, **variables).code == 5
        server.reply = {"id": "batch_1"}
        done = run("run_batch.py", "requests.jsonl", *HASTY, **variables)
    assert done.code == 0, done.err


def test_an_id_that_nobody_has_is_corrected_by_the_list(run, work, server):
    server.reply = {"id": "batch_of_nobody"}
    server.pages = lambda _after: {"data": [ours(server)] if server.created else []}
    with serving_one(server) as variables:
        done = run("run_batch.py", "requests.jsonl", *HASTY, **variables)
    assert done.code == 0, done.err
    assert ids_of(work / "requests.results.jsonl") == ["r1"]
    assert len(server.created) == 1


@pytest.mark.parametrize("name", ["nothing", *LISTS])
def test_an_id_that_nobody_has_names_the_way_out_and_pays_nothing_twice(run, server, name):
    server.reply = {"id": "batch_of_nobody"}
    server.pages = LISTS.get(name, {"data": [], "has_more": False})
    with serving_one(server) as variables:
        for _ in range(2):
            done = run("run_batch.py", "requests.jsonl", *HASTY, **variables)
            assert done.code == 5
            assert "«batch_of_nobody» but answers 404 to it" in done.err
            assert "It is not sent again" in done.err
    assert len(server.created) == 1
