"""The asynchronous tier: a call alone, without file or batch, paid for once all the same."""

import asyncio
import json
import sqlite3
from contextlib import closing, suppress

import openai
import pytest
import respx
from anyio import fail_after

from batch_openai.conftest import DEADLINE_SECONDS, batches_of, chat_call, quick
from batch_openai.test_interface import TOOL
from batch_openai.test_proxy import QUICK
from batch_openai.test_survival import PROGRAM, finished, program, until  # noqa: F401  # a fixture
from doubleword_batch.batch_openai import BatchCallError, background
from doubleword_batch.batch_openai.batcher import BatchingOptions
from doubleword_batch.batch_openai.proxy import proxy_running
from doubleword_batch.jobs.store.bills import runs_without_bill
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.local.executors.faults import Match, RequestFault, ServerFault
from doubleword_batch.settings import Settings

STORE = "store.sqlite3"
ASYNC = {"completion_window": "async"}
SENT_AS = 'BatchOpenAI(completion_window="async", **options)'


@pytest.fixture(autouse=True)
async def bounded():
    with fail_after(DEADLINE_SECONDS):
        yield


async def files_and_batches(client):
    return [file async for file in client.files.list()] + await batches_of(client)


def user(*parts):
    return {"role": "user", "content": list(parts)}


def count_in(path, query):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT count(*) FROM {query}").fetchone()[0]  # noqa: S608


def singles_at(server):
    """How many single requests the server has taken."""
    return count_in(server._config.folder / "server.sqlite3", "batches WHERE is_single")


async def test_calls_go_alone_without_file_or_batch_and_come_back_typed(faulty):
    with faulty() as server:
        async with quick(**ASYNC) as client:
            chat, tool, response = await asyncio.gather(
                chat_call(client, "a", max_tokens=50, temperature=0),
                chat_call(client, "b", tools=[TOOL], tool_choice="required"),
                client.responses.create(model="chat-1", input="c"),
            )
            assert await files_and_batches(client) == []
        assert singles_at(server) == 3
    assert chat.choices[0].message.content.startswith("[simulated] ")
    assert chat.choices[0].finish_reason in {"stop", "length"}
    assert chat.usage.total_tokens > 0
    (call,) = tool.choices[0].message.tool_calls
    assert "city" in call.function.arguments
    assert tool.choices[0].finish_reason == "tool_calls"
    assert response.output_text


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
DETAILED = {"type": "image_url", "image_url": {"url": "https://example.com/b", "detail": "low"}}
FORMAT = {"name": "answer", "schema": {"type": "object"}, "strict": True}
COUNTERPARTS = {
    "a text and images": (
        {"messages": [user({"type": "text", "text": "What is it?"}, IMAGE, DETAILED)]},
        {
            "input": [
                user(
                    {"type": "input_text", "text": "What is it?"},
                    {"type": "input_image", "image_url": "https://example.com/a.png"},
                    {
                        "type": "input_image",
                        "image_url": "https://example.com/b",
                        "detail": "low",
                    },
                )
            ]
        },
    ),
    "a schema": (
        {"response_format": {"type": "json_schema", "json_schema": FORMAT}},
        {"text": {"format": {"type": "json_schema", **FORMAT}}},
    ),
    "any JSON": (
        {"response_format": {"type": "json_object"}},
        {"text": {"format": {"type": "json_object"}}},
    ),
    "a tool that must be called": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look_up"}}},
        {
            "tools": [{"type": "function", **TOOL["function"]}],
            "tool_choice": {"type": "function", "name": "look_up"},
        },
    ),
    "an effort and a length": (
        {"reasoning_effort": "low", "max_completion_tokens": 7},
        {"reasoning": {"effort": "low"}, "max_output_tokens": 7},
    ),
}


@pytest.mark.parametrize("name", COUNTERPARTS)
@respx.mock
async def test_a_chat_call_is_sent_in_the_words_of_a_response(name, unused_url):
    given, sent = COUNTERPARTS[name]
    message = {"type": "message", "content": [{"type": "output_text", "text": name}]}
    ended = {"id": "resp_1", "object": "response", "status": "completed", "output": [message]}
    begun = respx.post(f"{unused_url}/responses").respond(200, json=ended)
    async with quick(**ASYNC, base_url=unused_url, api_key="k", batch_provider="doubleword") as c:
        chat = await c.chat.completions.create(
            model="chat-1", **{"messages": [user({"type": "text", "text": name})]} | given
        )
    assert chat.choices[0].message.content == name
    body = json.loads(begun.calls.last.request.content)
    assert {field: body[field] for field in sent} == sent
    assert "messages" not in body


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter")],
)
@respx.mock
async def test_an_answer_that_broke_off_says_why_as_a_chat_completion_does(
    reason, finish, unused_url
):
    message = {"type": "message", "content": [{"type": "output_text", "text": "Once upon"}]}
    ended = {"id": "resp_1", "object": "response", "status": "incomplete", "output": [message]}
    ended["incomplete_details"] = {"reason": reason}
    respx.post(f"{unused_url}/responses").respond(200, json=ended)
    async with quick(**ASYNC, base_url=unused_url, api_key="k", batch_provider="doubleword") as c:
        (choice,) = (await chat_call(c, reason)).choices
    assert (choice.message.content, choice.finish_reason) == ("Once upon", finish)


async def test_no_bill_is_looked_for_where_there_is_no_batch(faulty, home):
    with faulty():
        async with quick(**ASYNC) as client:
            await asyncio.gather(chat_call(client, "alone"), chat_call(client, "in a batch", n=2))
    store = Store(home)
    try:
        found = runs_without_bill(store, "local", 0, but_not="async")
        assert len(found) == 1
        assert not found[0].batch_id.startswith("resp_")
    finally:
        store.close()


async def test_what_has_no_counterpart_runs_in_a_batch(faulty):
    with faulty() as server:
        async with quick(**ASYNC) as client:
            chat, embedding = await asyncio.gather(
                chat_call(client, "a", n=2),
                client.embeddings.create(model="embed-1", input="x"),
            )
            assert {batch.completion_window for batch in await batches_of(client)} == {"1h"}
        assert singles_at(server) == 0
    assert len(chat.choices) == 2
    assert embedding.data


CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
CUSTOM = {"type": "custom", "custom": {"name": "write"}}


@pytest.mark.parametrize(
    "given",
    [
        {"messages": [user(IMAGE | {"type": "video_url"})]},
        {"messages": [{"role": "assistant", "content": [{"type": "text", "text": "yes"}]}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [CALL]}]},
        {"messages": [{"role": "tool", "content": "sunny"}]},
        {"tools": [CUSTOM]},
        {"seed": 1},
    ],
    ids=["another part", "an answer in parts", "a call", "a tool's answer", "a tool", "a seed"],
)
async def test_a_chat_call_that_no_response_can_ask_for_runs_in_a_batch(faulty, given):
    with faulty(max_attempts=1) as server:
        async with quick(**ASYNC) as client:
            messages = [user({"type": "text", "text": str(given)})]
            with suppress(openai.BadRequestError):  # the simulator knows no such tool
                await client.chat.completions.create(
                    model="chat-1", **{"messages": messages} | given
                )
            assert len(await batches_of(client)) == 1
        assert singles_at(server) == 0


async def test_a_call_of_an_earlier_run_is_not_paid_for_again(faulty):
    with faulty() as server:
        async with quick(**ASYNC) as client:
            first = await chat_call(client, "a")
        async with quick(**ASYNC) as client:
            assert (await chat_call(client, "a")).id == first.id
        async with quick() as client:
            assert (await chat_call(client, "a")).id == first.id
            assert await batches_of(client) == []
        assert singles_at(server) == 1


async def test_a_killed_program_run_again_finds_the_response(
    faulty,
    program,  # noqa: F811
    home,
    tmp_path,
):
    gate = tmp_path / "gate"
    text = PROGRAM.replace("BatchOpenAI(**options)", SENT_AS)
    assert SENT_AS in text
    with faulty(requests=[RequestFault(fault="hold", until=str(gate))]) as server:
        killed = program("a", "b", text=text)

        async def sent():
            if singles_at(server) < 2:
                return False
            return count_in(home / STORE, "writes WHERE remote_id IS NOT NULL") == 2

        await until(sent)
        killed.kill()
        await asyncio.to_thread(killed.communicate)
        gate.touch()
        assert len(await finished(program("a", "b", text=text))) == 2
        assert singles_at(server) == 2


async def test_given_up_and_made_again_it_is_one_request(faulty, tmp_path):
    gate = tmp_path / "gate"
    with faulty(requests=[RequestFault(fault="hold", until=str(gate))]) as server:
        async with quick(**ASYNC) as client:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(chat_call(client, "a"), 0.5)
            gate.touch()
            assert (await chat_call(client, "a")).choices
        assert singles_at(server) == 1


async def test_a_lost_reply_is_never_sent_again(faulty):
    lost = ServerFault(fault="drop_after", route="POST /v1/responses")
    with faulty(server=[lost]) as server:
        async with quick(**ASYNC) as client:
            with pytest.raises(openai.APIConnectionError, match="not known whether"):
                await chat_call(client, "a")
        assert singles_at(server) == 1


@pytest.mark.parametrize(
    "fields",
    [{"output": ["text"]}, {"output": 5}, {"output": [], "usage": 5}],
    ids=json.dumps,
)
async def test_an_answer_of_which_no_chat_completion_can_be_made_says_so(faulty, fields):
    body = json.dumps({"id": "resp_1", "status": "completed"} | fields)
    odd = ServerFault(fault="status", status=202, route="POST /v1/responses", body=body)
    with faulty(server=[odd]):
        async with quick(**ASYNC) as client:
            with pytest.raises(
                openai.InternalServerError, match="cannot become a chat completion"
            ) as caught:
                await chat_call(client, json.dumps(fields))
    assert caught.value.status_code == 502


async def test_a_bug_on_an_answer_s_way_is_told_to_the_caller(faulty, monkeypatch):
    def as_chat(_response):
        raise KeyError("x")

    monkeypatch.setattr(background, "as_chat", as_chat)
    with faulty():
        async with quick(**ASYNC) as client:
            with pytest.raises(BatchCallError) as caught:
                await chat_call(client, "a")
    assert caught.value.code == "bug"


async def test_a_time_that_cannot_be_read_costs_nobody_the_answer(faulty):
    message = {"type": "message", "content": [{"type": "output_text", "text": "yes"}]}
    answer = {"id": "resp_1", "status": "completed", "created_at": "soon", "output": [message]}
    odd = ServerFault(
        fault="status", status=202, route="POST /v1/responses", body=json.dumps(answer)
    )
    with faulty(server=[odd]):
        async with quick(**ASYNC) as client:
            chat = await chat_call(client, "a")
    assert (chat.choices[0].message.content, chat.created) == ("yes", 0)


async def test_a_failure_has_the_status_and_words_of_a_row_s(faulty):
    failing = RequestFault(fault="error", status=400, message="no such thing", match=Match())
    with faulty(requests=[failing], max_attempts=1):
        async with quick(**ASYNC) as client:
            with pytest.raises(openai.OpenAIError, match="no such thing"):
                await chat_call(client, "a")


@pytest.mark.parametrize(
    "told",
    [
        {"code": "server_error", "message": "it ran out of memory"},
        {"error": {"message": "it ran out of memory"}},
        {"detail": "it ran out of memory"},
        '{"message": "it ran out of memory"}',
        "it ran out of memory",
    ],
    ids=["as OpenAI", "one deeper", "as FastAPI", "as JSON text", "as text"],
)
@respx.mock
async def test_a_failure_keeps_its_words_in_whatever_form_they_come(told, unused_url):
    ended = {"id": "resp_1", "object": "response", "status": "failed", "error": told}
    respx.post(f"{unused_url}/responses").respond(200, json=ended)
    async with quick(**ASYNC, base_url=unused_url, api_key="k", batch_provider="doubleword") as c:
        with pytest.raises(openai.OpenAIError, match="it ran out of memory"):
            await chat_call(c, f"what {told} says")


async def test_a_cap_counts_for_it_too(monkeypatch, unused_url):
    monkeypatch.setenv("DOUBLEWORD_API_KEY", "k")
    monkeypatch.setenv("DOUBLEWORD_BATCH_MAX_COST_USD", "0.01")
    async with quick(**ASYNC, base_url=unused_url, batch_provider="doubleword") as client:
        with pytest.raises(openai.OpenAIError, match="there is a cap on it"):
            await chat_call(client, "a")


async def test_a_provider_without_the_tier_is_named(unused_url):
    async with quick(**ASYNC, base_url=unused_url, api_key="k", batch_provider="openai") as client:
        with pytest.raises(openai.OpenAIError, match="no asynchronous tier"):
            await chat_call(client, "a")


async def test_the_proxy_offers_it(faulty, environment):
    options = BatchingOptions(completion_window="async", poll_interval_seconds=0.1)
    assert options.longest_wait_seconds < QUICK.longest_wait_seconds + 86_400
    with faulty() as server:
        async with (
            proxy_running(Settings.from_environment(), options=options) as proxy,
            openai.AsyncOpenAI(base_url=proxy.base_url, api_key="x") as caller,
        ):
            assert (await chat_call(caller, "a")).choices
            stream = await chat_call(caller, "b", stream=True)
            assert [chunk async for chunk in stream]
        assert singles_at(server) == 2
