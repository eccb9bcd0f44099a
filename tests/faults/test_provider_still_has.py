"""What the provider still has is used: lists of results, the true bill; what it lacks is said."""

import json

import httpx
import pytest
import respx

from doubleword_batch.api import download
from doubleword_batch.jobs.status import get_status
from doubleword_batch.models import Batch
from faults.harness import CONTENT, RESULTS, done, fault, fetched, status
from faults.test_openai import answer
from tables import rows_of


def table(harness):
    return rows_of(harness.work / "out.jsonl")


@pytest.mark.parametrize("code", [404, 410])
async def test_answers_of_a_deleted_output_file_come_from_the_list_of_results(harness, code):
    with harness.serving(status(code, CONTENT, times=None)):
        async with harness.workspace() as ws:
            job = await done(ws)
            results = await fetched(ws, job, output_path="out.jsonl")
    assert results.ledger == {"ok": 40}
    assert any("lists of results" in warning for warning in results.warnings)
    assert all(row["answer"] for row in table(harness))


@pytest.mark.parametrize("cut", [1, 3_000, 20_000])
async def test_a_list_of_results_that_breaks_off_costs_no_row(harness, cut):
    broken = fault("cut", RESULTS, bytes=cut, times=2)
    with harness.serving(status(404, CONTENT, times=None), broken):
        async with harness.workspace() as ws:
            results = await fetched(ws, await done(ws))
    assert results.ledger == {"ok": 40}


async def test_lines_that_the_files_never_bring_are_found_in_the_list_of_results(harness):
    with harness.serving(fault("late_lines", CONTENT, lines=5, times=None)):
        async with harness.workspace() as ws:
            results = await fetched(ws, await done(ws))
    assert results.ledger == {"ok": 40}


async def test_while_the_list_of_results_is_away_no_row_is_called_missing(harness):
    away = [
        fault("late_lines", CONTENT, lines=5, times=None),
        status(503, RESULTS, times=None),
    ]
    with harness.serving(*away):
        async with harness.workspace(max_retry_seconds=0) as ws:
            job = await done(ws)
            with pytest.raises(Exception, match="503"):
                await fetched(ws, job)
            seen = await get_status(ws, job)
    with harness.serving():
        async with harness.workspace() as ws:
            results = await fetched(ws, job)
    assert seen.complete
    assert results.ledger == {"ok": 40}


class Server:
    """A server of OpenAI's shape with one batch that somebody else made."""

    def __init__(self, router, *, requests=None, output=(), listed=None, **batch):
        self._lines = {"in": requests, "out": output}
        self.batch = {
            "id": "batch_1",
            "endpoint": "/v1/chat/completions",
            "status": "completed",
            "input_file_id": "file-in",
            "output_file_id": "file-out",
            "completion_window": "24h",
            "request_counts": {"total": 3, "completed": 3, "failed": 0},
            **batch,
        }
        router.get("/batches/batch_1").mock(
            side_effect=lambda _: httpx.Response(200, json=self.batch)
        )
        gone = httpx.Response(404, text="not found")
        for name, lines in (("in", requests), ("out", output)):
            route = router.get(f"/files/file-{name}/content")
            if lines is None:
                route.mock(return_value=gone)
            else:
                route.mock(side_effect=_in_pieces(_text(lines).encode()))
        content = gone if listed is None else httpx.Response(200, text=_text(listed))
        router.get("/batches/batch_1/results").mock(return_value=content)
        router.get("/batches/batch_1/analytics").respond(404)


def _text(lines):
    return "".join(line + "\n" for line in lines)


def _in_pieces(content):
    async def pieces():
        for at in range(0, len(content), 32_768):
            yield content[at : at + 32_768]

    return lambda _: httpx.Response(200, content=pieces())


def asked(custom_id, **body):
    body = {"model": "m", "messages": [], **body}
    request = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions"}
    return json.dumps(request | {"body": body})


def answered(custom_id, text):
    return answer(1).replace('"r1"', json.dumps(custom_id)).replace("answer 1", text)


def listed(custom_id, text, body):
    response = json.loads(answer(1).replace("answer 1", text))["response"]["body"]
    fields = {"status": "completed", "response_body": response, "input_body": body, "error": None}
    return json.dumps({"id": text, "custom_id": custom_id, "model": "m", **fields})


@pytest.fixture
async def adopted(harness):
    """Fetch the batch of a server like that; returns the reply and the rows of the table."""
    environment = {
        "DOUBLEWORD_BASE_URL": "https://api.example.test/v1",
        "DOUBLEWORD_API_KEY": "sk-test",
        "DOUBLEWORD_BATCH_PROVIDER": "generic",
    }
    with (
        harness.serving(),
        respx.mock(base_url="https://api.example.test/v1", assert_all_called=False) as router,
    ):

        async def fetch(**server):
            found = Server(router, **server)
            async with harness.workspace(environment=environment, max_retry_seconds=0) as ws:
                results = await fetched(ws, "batch_1", output_path="out.jsonl", overwrite=True)
            return results, table(harness), found

        yield fetch


ANSWERS = [answered("c", "third"), answered("a", "first"), answered("b", "second")]


async def test_a_batch_whose_input_file_is_gone_is_a_table_by_custom_id(adopted):
    results, rows, _ = await adopted(output=ANSWERS)
    assert results.ledger == {"ok": 3}
    assert [(row["custom_id"], row["answer"]) for row in rows] == [
        ("c", "third"),
        ("a", "first"),
        ("b", "second"),
    ]
    assert any("input file is gone" in warning for warning in results.warnings)
    assert results.complete


async def test_the_row_of_a_long_answer_says_why_and_the_others_come(adopted, monkeypatch):
    monkeypatch.setattr(download, "MAX_LINE_BYTES", 100_000)
    output = [answered("a", "first"), answered("b", "x" * 200_000), answered("c", "third")]
    results, rows, _ = await adopted(output=output)
    assert results.ledger == {"ok": 2, "failed": 1}
    assert [(row["custom_id"], row["answer"]) for row in rows if row["outcome"] == "ok"] == [
        ("a", "first"),
        ("c", "third"),
    ]
    (error,) = results.errors
    assert (error.cause, error.rows) == ("line_too_long", 1)
    assert "bytes; up to 100,000 are read" in (error.message or "")


async def test_a_batch_that_says_it_has_no_input_file_is_one_too(adopted):
    results, rows, _ = await adopted(output=ANSWERS, input_file_id="")
    assert results.ledger == {"ok": 3}
    assert len(rows) == 3


async def test_a_list_of_results_stands_in_for_an_input_file_that_is_gone(adopted):
    body = {"model": "m", "messages": []}
    lines = [listed(name, name.upper(), body) for name in "abc"]
    results, rows, _ = await adopted(output=None, listed=lines)
    assert results.ledger == {"ok": 3}
    assert [(row["custom_id"], row["answer"]) for row in rows] == [
        ("a", "A"),
        ("b", "B"),
        ("c", "C"),
    ]


async def test_an_input_file_that_is_deleted_while_it_is_read_leaves_none_of_its_beginning(harness):
    with harness.serving():
        async with harness.workspace() as ws:
            await done(ws)
        batch = harness.batches()[0]["id"]
        requests = f"GET /v1/files/{harness.input_files()[0]['id']}/content"
    harness.home = harness.folder / "other"
    deleted = [fault("cut", requests, bytes=2_000), status(404, requests, after=1, times=None)]
    with harness.serving(*deleted):
        async with harness.workspace() as ws:
            results = await fetched(ws, batch, output_path="out.jsonl")
    assert results.ledger == {"ok": 40}
    assert len({row["custom_id"] for row in table(harness)}) == 40


async def test_rows_with_one_custom_id_have_each_their_answer_by_the_list_of_results(adopted):
    requests = [asked("a"), asked("b"), asked("a")]
    lines = [
        listed("a", "first", {"x": 1}),
        listed("b", "second", {"x": 1}),
        listed("a", "third", {"x": 1}),
    ]
    output = [answered("a", "third"), answered("b", "second"), answered("a", "first")]
    results, rows, _ = await adopted(requests=requests, output=output, listed=lines)
    assert [row["answer"] for row in rows] == ["first", "second", "third"]
    assert any("share a custom_id" in warning for warning in results.warnings)


async def test_rows_with_one_custom_id_lose_no_answer_without_such_a_list(adopted):
    requests = [asked("a"), asked("b"), asked("a")]
    output = [answered("a", "one"), answered("b", "two"), answered("a", "three")]
    for _ in range(2):
        results, rows, _ = await adopted(requests=requests, output=output)
        assert results.ledger == {"ok": 3}
        assert [row["answer"] for row in rows] == ["one", "two", "three"]


@pytest.mark.parametrize("word", ["scheduling", "in_queue", "PAUSED", "Very New", "", None, 7])
async def test_an_odd_status_is_shown_and_is_neither_an_error_nor_an_end(adopted, word):
    results, _, _ = await adopted(
        requests=[asked("a"), asked("b")], output=ANSWERS, status=word, completion_window="1d"
    )
    assert not results.complete
    assert results.status == ("unknown" if not word else str(word).lower().replace(" ", "_"))
    assert results.ledger == {"ok": 2}


@pytest.mark.parametrize("word", ["COMPLETED", "Completed", "canceled", "EXPIRED"])
async def test_an_end_is_one_however_it_is_spelled(adopted, word):
    results, _, _ = await adopted(requests=[asked("a")], output=ANSWERS[1:2], status=word)
    assert results.complete


def test_a_batch_of_odd_values_is_a_batch():
    batch = Batch.model_validate(
        {
            "id": "b",
            "status": "Running",
            "completion_window": 24,
            "created_at": "yesterday",
            "errors": {"data": [{"code": 7, "line": "x", "message": None}]},
        }
    )
    assert (batch.status, batch.completion_window, batch.created_at) == ("in_progress", "24", None)


async def test_a_table_by_custom_id_says_that_its_file_is_cut(adopted):
    results, rows, _ = await adopted(output=ANSWERS[:2])
    assert [row["custom_id"] for row in rows] == ["c", "a"]
    assert any("lines for 2 of its 3 requests" in warning for warning in results.warnings)
    results, rows, _ = await adopted(output=ANSWERS)
    assert [row["custom_id"] for row in rows] == ["c", "a", "b"]
    assert not any("lines for" in warning for warning in results.warnings)
