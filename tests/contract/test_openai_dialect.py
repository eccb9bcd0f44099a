"""`--dialect openai`: where OpenAI's form differs from the real server's, the server speaks it."""

import json
import re

import openai
import pytest

from contract.stand_in import Echo, jsonl, line, until
from doubleword_batch.local.executors.base import RequestFailed
from doubleword_batch.local.executors.faults import Faults, ServerFault
from faults.harness import Harness, done, fetched, row

LINES = jsonl([line("a"), line("b"), line("bad-1")])
JSON = {"Content-Type": "application/json"}
SERVERS_PART = {"x-incomplete", "x-last-line"}


@pytest.fixture
def openai_caller(start, echo):
    return start(echo, dialect="openai")


@pytest.fixture
def sdk(openai_caller):
    server = openai_caller.server
    with openai.OpenAI(base_url=server.base_url, api_key=server.token, max_retries=0) as client:
        yield client


def created(sdk, *lines, **fields):
    file = sdk.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
    return sdk.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        **fields,
    )


def ended_batch(sdk, batch_id):
    def look():
        batch = sdk.batches.retrieve(batch_id)
        return batch if batch.status in {"completed", "expired", "cancelled"} else None

    return until(look)


def test_a_whole_batch_has_openai_s_ids_statuses_and_lines(sdk):
    batch = created(sdk, line("a"), line("b"), line("bad-1"), metadata={"run": "1"})
    assert re.fullmatch(r"batch_[0-9a-f]{32}", batch.id)
    assert re.fullmatch(r"file-[0-9a-f]{32}", batch.input_file_id)
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    assert batch.metadata == {"run": "1"}

    batch = ended_batch(sdk, batch.id)
    assert batch.status == "completed"
    output = sdk.files.content(batch.output_file_id)
    assert not SERVERS_PART & {name.lower() for name in output.response.headers}
    assert {json.loads(row)["custom_id"] for row in output.text.splitlines()} == {"a", "b"}
    (failed,) = map(json.loads, sdk.files.content(batch.error_file_id).text.splitlines())
    assert (failed["custom_id"], failed["error"]) == ("bad-1", None)
    assert failed["response"]["status_code"] == 400
    assert failed["response"]["body"]["error"]["message"] == "no such thing"
    assert sdk.files.delete(batch.input_file_id).id == batch.input_file_id


def test_a_line_that_holds_the_words_of_a_failure_is_given_as_it_is(sdk):
    told = {"response": None, "error": {"message": "{"}}
    row = line("a", body={"model": "chat-1", "told": told})
    file = sdk.files.create(file=("in.jsonl", jsonl([row])), purpose="batch")
    assert json.loads(sdk.files.content(file.id).text)["body"]["told"] == told


def test_an_error_file_shows_a_model_server_s_deeply_nested_error_as_a_text(start):
    nested = "[" * 2_000

    class Failing(Echo):
        async def _answer(self, _request):
            raise RequestFailed("NonRetriableHttpStatus", nested, status=400)

    server = start(Failing(), dialect="openai").server
    with openai.OpenAI(base_url=server.base_url, api_key=server.token, max_retries=0) as sdk:
        batch = ended_batch(sdk, created(sdk, line("a")).id)
        (failed,) = map(json.loads, sdk.files.content(batch.error_file_id).text.splitlines())
    assert failed["response"]["body"]["error"]["message"] == nested


def test_what_has_no_value_is_null_and_an_empty_result_file_is_none(openai_caller, sdk):
    batch = ended_batch(sdk, created(sdk, line("a")).id)
    shown = openai_caller.http.get(f"/batches/{batch.id}").json()
    nulls = {"errors", "error_file_id", "failed_at", "expired_at", "cancelled_at", "metadata"}
    assert {name for name in nulls if shown[name] is None} == nulls
    assert openai_caller.http.get("/files", params={"purpose": "batch_error"}).status_code == 200


def test_a_batch_whose_requests_all_failed_is_completed(sdk):
    batch = ended_batch(sdk, created(sdk, line("bad-1"), line("bad-2")).id)
    assert (batch.status, batch.request_counts.failed) == ("completed", 2)
    assert (batch.output_file_id, batch.failed_at) == (None, None)


def test_a_creation_answers_200_and_errors_are_json_with_a_reason(openai_caller):
    http = openai_caller.http
    form = {"files": {"file": ("in.jsonl", LINES)}, "data": {"purpose": "batch"}}
    assert http.post("/files", **form).status_code == 200
    for path in ("/files/file-abc", "/batches/batch_1", "/files/batch_" + "0" * 32):
        answer = http.get(path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (
            404,
            "invalid_request_error",
        )
        assert answer.json()["error"]["message"].startswith("No such ")
    bad = http.post("/files", files={"file": ("in.jsonl", b"{")}, data={"purpose": "batch"})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, None)
    assert "Invalid JSON on line 1" in bad.json()["error"]["message"]
    unknown = {"input_file_id": "file-" + "0" * 32, "endpoint": "/v1/chat/completions"}
    answer = http.post("/batches", json=unknown | {"completion_window": "24h"})
    assert answer.status_code == 404
    answer = http.get("/files", headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    for path in ("/files/", "/batches/", "/batches/batch_" + "0" * 32 + "/"):
        assert http.get(path).json()["error"]["message"].startswith("There is nothing at ")
    answer = http.post("/batches", content=b"[" * 5_000, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "invalid_request_error")


@pytest.mark.parametrize("body", ["<html>A proxy's page</html>", '{"is": "no object"}'])
def test_what_a_fault_puts_in_place_of_an_object_comes_as_it_is(start, echo, body):
    fault = ServerFault(fault="status", status=200, route="GET /v1/files", body=body)
    http = start(echo, dialect="openai", faults=Faults(server=(fault,))).http
    answer = http.get("/files")
    assert (answer.status_code, answer.text) == (200, body)


@pytest.mark.parametrize("body", ["<html>A proxy's page</html>", '{"is": "no object"}'])
def test_a_batch_is_cancelled_where_a_fault_hides_how_it_stands(start, echo, body):
    fault = ServerFault(fault="status", status=200, route="GET /v1/batches/{id}", body=body)
    server = start(echo, dialect="openai", faults=Faults(server=(fault,))).server
    with openai.OpenAI(base_url=server.base_url, api_key=server.token, max_retries=0) as sdk:
        batch = created(sdk, line("hold-1"))
        assert sdk.batches.cancel(batch.id).status == "cancelling"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/batches/{id}/results"),
        ("GET", "/batches/{id}/analytics"),
        ("POST", "/batches/{id}/retry"),
        ("POST", "/batches/{id}/retry-requests"),
        ("DELETE", "/batches/{id}"),
        ("GET", "/files/{file}/cost-estimate"),
    ],
)
def test_what_is_not_openai_s_is_not_there(openai_caller, sdk, method, path):
    batch = created(sdk, line("a"))
    answer = openai_caller.http.request(
        method, path.format(id=batch.id, file=batch.input_file_id), json={}
    )
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"


def test_contents_come_whole_and_lists_know_no_search(openai_caller, sdk):
    batch = ended_batch(sdk, created(sdk, line("a"), line("b")).id)
    content = f"/files/{batch.output_file_id}/content"
    answer = openai_caller.http.get(content, params={"skip": 1, "limit": 1, "search": "zzz"})
    assert len(answer.text.splitlines()) == 2
    found = openai_caller.http.get("/batches", params={"search": "zzz", "status": "x"}).json()
    assert [listed["id"] for listed in found["data"]] == [batch.id]
    assert (found["first_id"], found["last_id"]) == (batch.id, batch.id)


def test_lists_are_paged_by_openai_s_ids(sdk, openai_caller):
    ids = [created(sdk, line("a")).id for _ in range(3)]
    assert [batch.id for batch in sdk.batches.list(limit=1)] == ids[::-1]
    assert len(list(sdk.files.list(limit=2, purpose="batch"))) == 3
    empty = openai_caller.http.get("/files", params={"purpose": "none"}).json()
    assert (empty["data"], empty["first_id"], empty["last_id"]) == ([], None, None)


def test_a_cancelled_batch_is_cancelling_first_and_a_finished_one_is_refused(sdk, echo):
    running = created(sdk, line("hold-1"))
    assert sdk.batches.cancel(running.id).status == "cancelling"
    assert sdk.batches.retrieve(running.id).status == "cancelled"
    echo.gate.set()
    finished = ended_batch(sdk, created(sdk, line("a")).id)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a batch with status"):
        sdk.batches.cancel(finished.id)


def test_a_missed_window_is_the_status_expired(start, echo):
    late = ServerFault(fault="expire", route="POST /v1/batches")
    caller = start(echo, dialect="openai", faults=Faults(server=(late,)))
    with openai.OpenAI(base_url=caller.server.base_url, api_key=caller.server.token) as client:
        batch = ended_batch(client, created(client, line("a")).id)
    assert (batch.status, batch.completed_at) == ("expired", None)
    assert batch.expired_at
    assert batch.output_file_id


@pytest.mark.parametrize("provider", ["openai", "doubleword", "generic"])
async def test_this_project_works_on_it_whichever_provider_it_is_taken_for(tmp_path, provider):
    harness = Harness(tmp_path)
    harness.table(5)
    with harness.serving(dialect="openai", requests=[row(3, "error", status=400)]):
        async with harness.workspace(environment={"DOUBLEWORD_BATCH_PROVIDER": provider}) as ws:
            job = await done(ws)
            results = await fetched(ws, job, output_path="out.jsonl")
    assert results.ledger == {"ok": 4, "failed": 1}
    assert results.errors[0].cause == "http_400"
    rows = [json.loads(row) for row in (harness.work / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [str(n) for n in range(1, 6)]
