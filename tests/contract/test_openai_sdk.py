"""The official openai SDK works against the local server as it is."""

import json

import openai
import pytest

from contract.stand_in import jsonl, line, until

LINES = jsonl([line("a"), line("b"), line("bad-1")])


@pytest.fixture
def sdk(caller):
    with openai.OpenAI(base_url=caller.server.base_url, api_key=caller.server.token) as client:
        yield client


def test_a_whole_batch_with_the_synchronous_client(sdk):
    file = sdk.files.create(file=("in.jsonl", LINES), purpose="batch")
    assert sdk.files.retrieve(file.id).bytes == len(LINES)

    batch = sdk.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"run": "1"},
    )

    def finished():
        now = sdk.batches.retrieve(batch.id)
        return now if now.status == "completed" else None

    done = until(finished)
    assert (done.request_counts.completed, done.request_counts.failed) == (2, 1)
    assert done.metadata["run"] == "1"
    output = sdk.files.content(done.output_file_id).text
    assert {json.loads(row)["custom_id"] for row in output.splitlines()} == {"a", "b"}
    errors = sdk.files.content(done.error_file_id).text
    assert [json.loads(row)["custom_id"] for row in errors.splitlines()] == ["bad-1"]
    assert [model.id for model in sdk.models.list()] == ["chat-1", "embed-1"]
    assert sdk.files.delete(file.id).deleted


def test_lists_are_paged_through_to_their_end(sdk):
    files = [sdk.files.create(file=("in.jsonl", LINES), purpose="batch").id for _ in range(5)]
    assert [file.id for file in sdk.files.list(limit=2)] == files[::-1]
    ids = [
        sdk.batches.create(
            input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h"
        ).id
        for file in files
    ]
    assert [batch.id for batch in sdk.batches.list(limit=2)] == ids[::-1]


def test_cancel_and_errors_arrive_as_the_sdk_s_own(sdk):
    file = sdk.files.create(file=("in.jsonl", jsonl([line("hold-1")])), purpose="batch")
    batch = sdk.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert sdk.batches.cancel(batch.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError):
        sdk.files.retrieve("file-abc")
    with pytest.raises(openai.NotFoundError):
        sdk.batches.retrieve("00000000-0000-4000-8000-000000000000")
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.files.create(file=("in.jsonl", b"{"), purpose="batch")
    assert "Invalid JSON on line 1" in caught.value.response.text
    with pytest.raises(openai.AuthenticationError):
        sdk.with_options(api_key="wrong").models.list()


async def test_a_whole_batch_with_the_asynchronous_client(caller):
    async with openai.AsyncOpenAI(
        base_url=caller.server.base_url, api_key=caller.server.token
    ) as sdk:
        file = await sdk.files.create(file=("in.jsonl", LINES), purpose="batch")
        batch = await sdk.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="1h"
        )
        caller.wait(batch.id)
        done = await sdk.batches.retrieve(batch.id)
        assert done.status == "completed"
        content = await sdk.files.content(done.output_file_id)
        assert len(content.text.splitlines()) == 2
        assert [item.id async for item in sdk.batches.list()] == [batch.id]
