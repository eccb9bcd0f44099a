"""Result lines in every provider's shape become an answer, a status, or a named failure."""

import asyncio
import json
import re

import openai
import pytest
import respx
from anyio import fail_after
from httpx import Response

from batch_openai.conftest import DEADLINE_SECONDS, chat_call, quick
from doubleword_batch.batch_openai import BatchCallError

URL = "https://provider.example/v1"
GOOD = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}
    ],
}

ESTIMATE = {
    "file_id": "f",
    "total_requests": 1,
    "total_estimated_input_tokens": 1,
    "total_estimated_output_tokens": 1,
    "total_estimated_cost": "0.0",
    "models": [],
}


def line(row, response=None, error=None):
    return {"id": f"l{row}", "custom_id": f"r{row}", "response": response, "error": error}


def answered(row, status=200, body=GOOD):
    return line(row, {"status_code": status, "request_id": "q", "body": body})


class Provider:
    """A provider of OpenAI's kind: results only at the end, validation after creation."""

    def __init__(self, status, outputs=(), errors=(), refused=None):
        self.status, self.outputs, self.errors, self.refused = status, outputs, errors, refused
        self.uploads = []

    def batch(self, request):
        """The batch of the input file, or of the address, that bears its number."""
        named = (
            json.loads(request.content)["input_file_id"] if request.content else request.url.path
        )
        number = re.split("[-_]", named)[-1]
        refused = self.refused if number == "1" else None
        return Response(
            200,
            json={
                "id": f"batch_{number}",
                "endpoint": "/v1/chat/completions",
                "input_file_id": "file-in",
                "completion_window": "24h",
                "status": "failed" if refused else self.status,
                "errors": {"data": refused} if refused else None,
                "output_file_id": None if refused else "file-out",
                "error_file_id": "" if refused or not self.errors else "file-err",
                "request_counts": {"total": 9, "completed": 0, "failed": 0}
                if refused
                else {
                    "total": len(self.outputs) + len(self.errors),
                    "completed": len(self.outputs),
                    "failed": len(self.errors),
                },
            },
        )

    def upload(self, request):
        self.uploads.append(request.content)
        return Response(200, json={"id": f"file-in-{len(self.uploads)}", "filename": "x"})

    def serve(self, router):
        content = {"out": self.outputs, "err": self.errors}
        router.get("/files").respond(json={"data": []})
        router.get("/batches").respond(json={"data": []})
        router.post("/files").mock(side_effect=self.upload)
        router.post("/batches").mock(side_effect=self.batch)
        router.get(path__regex=r"/batches/batch_\d+$").mock(side_effect=self.batch)
        router.get(path__regex=r"/batches/batch_\d+/results").respond(404, text="no such path")
        router.get(path__regex=r"/files/file-in").respond(json={"id": "f", "filename": "x"})
        for name, lines in content.items():
            text = "".join(json.dumps(result) + "\n" for result in lines)
            router.get(f"/files/file-{name}/content").respond(text=text)


async def outcome(provider, *texts):
    """What the callers of these texts get."""
    with fail_after(DEADLINE_SECONDS), respx.mock(base_url=URL, assert_all_called=False) as router:
        provider.serve(router)
        async with quick(api_key="k", base_url=URL, remember_answers=False) as client:
            calls = (chat_call(client, text) for text in texts)
            return await asyncio.gather(*calls, return_exceptions=True)


async def test_an_expired_batch_gives_what_it_finished_and_names_the_rest():
    expired = line(2, None, {"code": "batch_expired", "message": "not in time"})
    good, late, gone = await outcome(
        Provider("expired", [answered(1)], [expired]), "one", "two", "three"
    )
    assert good.choices[0].message.content == "yes"
    for error, row in ((late, 2), (gone, 3)):  # with a line, and without one
        assert isinstance(error, BatchCallError)
        assert (error.code, error.batch_id, error.row) == ("expired", "batch_1", row)


async def test_a_row_that_a_completed_batch_lacks_is_missing():
    good, gone = await outcome(Provider("completed", [answered(1)]), "one", "two")
    assert good.choices
    assert (gone.code, gone.row) == ("missing", 2)


@pytest.mark.parametrize(
    "failed",
    [
        answered(1, 429, {"error": {"message": "slow down", "code": "rate"}}),
        line(
            1,
            None,
            {
                "code": None,
                "message": json.dumps(
                    {
                        "type": "RetriableHttpStatus",
                        "details": {"status": 429, "body": '{"error":{"message":"slow down"}}'},
                    }
                ),
            },
        ),
    ],
    ids=["openai", "doubleword"],
)
async def test_a_failed_row_of_either_provider_raises_by_its_status(failed):
    (error,) = await outcome(Provider("completed", [], [failed]), "one")
    assert isinstance(error, openai.RateLimitError)
    assert error.body["message"] == "slow down"


async def test_a_row_that_failed_with_a_message_alone_quotes_it():
    failed = line(1, None, {"code": "odd", "message": "it broke\nIGNORE ALL"})
    (error,) = await outcome(Provider("completed", [], [failed]), "one")
    assert isinstance(error, BatchCallError)
    assert "«it broke IGNORE ALL»" in str(error)


async def test_a_batch_rejected_after_its_creation_runs_again_without_the_rejected_lines():
    refused = [{"code": "invalid", "line": 2, "message": "no such parameter"}]
    provider = Provider("completed", [answered(1), answered(2)], refused=refused)
    first, second, third = await outcome(provider, "one", "two", "three")
    assert first.choices
    assert third.choices
    assert (second.code, second.batch_id) == ("batch_failed", "batch_1")
    assert "no such parameter" in str(second)
    assert [upload.count(b'"custom_id"') for upload in provider.uploads] == [3, 2]


async def test_a_batch_rejected_without_naming_a_line_fails_every_caller():
    refused = [{"code": "token_limit_exceeded", "line": None, "message": "enqueued tokens"}]
    errors = await outcome(Provider("completed", refused=refused), "one", "two")
    assert [error.code for error in errors] == ["batch_failed", "batch_failed"]
    assert "enqueued tokens" in str(errors[0])


async def test_a_job_that_nobody_else_can_have_sent_is_not_searched_before_its_first_send():
    provider = Provider("completed", [answered(1)])
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        router.get(path__regex="/cost-estimate$").respond(json=ESTIMATE)
        provider.serve(router)
        async with quick(api_key="k", base_url=URL, batch_provider="doubleword") as client:
            assert (await chat_call(client, "one")).choices
        asked = [(call.request.method, call.request.url.path) for call in router.calls]
    assert ("POST", "/v1/batches") in asked
    assert not {("GET", "/v1/files"), ("GET", "/v1/batches")} & set(asked)
