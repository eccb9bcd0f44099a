"""The same interface as AsyncOpenAI: types, options, streams and what goes to the live API."""

import asyncio

import openai
import pytest
import respx
from anyio import fail_after
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from batch_openai.conftest import DEADLINE_SECONDS, batches_of, chat_call, quick
from batch_openai.test_outcomes import URL, Provider, answered
from doubleword_batch.batch_openai import BatchCallError
from doubleword_batch.errors import ConfigError, InputError
from doubleword_batch.local.executors.simulate import SimulateExecutor

MESSAGES = [{"role": "user", "content": "Who is it?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture
async def client():
    with fail_after(DEADLINE_SECONDS):
        async with quick() as client:
            yield client


async def test_it_is_an_async_openai_and_gives_the_sdk_s_own_types(client):
    assert isinstance(client, openai.AsyncOpenAI)
    chat, response, embedding = await asyncio.gather(
        chat_call(client, "a"),
        client.responses.create(model="chat-1", input="b"),
        client.embeddings.create(model="embed-1", input=["c", "d"]),
    )
    assert type(chat) is ChatCompletion
    assert chat.choices[0].message.content.startswith("[simulated] ")
    assert response.output_text.startswith("[simulated] ")
    assert [len(embedded.embedding) for embedded in embedding.data] == [384, 384]
    assert isinstance(embedding.data[0].embedding[0], float)


async def test_the_short_way_gives_what_the_sdk_s_own_way_gives(client):
    short = await chat_call(client, "the same", tools=[TOOL], n=2)
    long = await chat_call(client, "the same", tools=[TOOL], n=2, extra_body={})
    assert short.to_dict() == long.to_dict()
    assert short.to_json() == long.to_json()
    assert repr(short) == repr(long)
    declared = ChatCompletion.model_fields.keys()
    assert short.model_fields_set & declared == long.model_fields_set


async def test_parse_gives_pydantic_models(client):
    chat, response = await asyncio.gather(
        client.chat.completions.parse(model="m", messages=MESSAGES, response_format=Person),
        client.responses.parse(model="m", input="Who?", text_format=Person),
    )
    assert isinstance(chat.choices[0].message.parsed, Person)
    assert isinstance(response.output_parsed, Person)


async def test_raw_and_streaming_responses_carry_the_body(client):
    raw = await client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
    assert raw.status_code == 200
    assert raw.http_response.json()["object"] == "chat.completion"
    assert isinstance(raw.parse(), ChatCompletion)
    streaming = client.chat.completions.with_streaming_response
    async with streaming.create(model="m", messages=MESSAGES) as response:
        assert (await response.json())["simulated"] is True


async def test_messages_of_the_sdk_s_own_types_can_be_sent_back(client):
    first = await chat_call(client, "hello")
    history = [*MESSAGES, first.choices[0].message, {"role": "user", "content": "and?"}]
    second = await client.chat.completions.create(model="m", messages=history)
    assert second.choices[0].message.content


async def test_with_options_shares_the_batches(client):
    other = client.with_options(max_retries=0, timeout=5)
    await asyncio.gather(chat_call(client, "a"), chat_call(other, "b"))
    assert len(await batches_of(client)) == 1


async def test_with_options_takes_the_constructor_s_own_options(client):
    async with client.with_options(completion_window="1h", batch_metadata={"run": "7"}) as other:
        await chat_call(other, "a")
        (batch,) = await batches_of(other)
    assert batch.completion_window == "1h"
    assert batch.metadata["run"] == "7"


async def test_models_files_and_batches_go_to_the_live_api(client):
    assert [model.id async for model in client.models.list()]
    await chat_call(client, "a")
    (batch,) = await batches_of(client)
    assert batch.request_counts.completed == 1
    assert [file.purpose async for file in client.files.list()].count("batch") == 1


async def test_a_chat_stream_is_made_from_the_result(client):
    whole = await chat_call(client, "a", temperature=0)
    stream = await chat_call(
        client, "a", temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content  # remembered, or simulated alike
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens > 0


async def test_streamed_tool_calls_keep_their_arguments_and_every_choice_its_own(client):
    stream = await chat_call(client, "a", tools=[TOOL], tool_choice="required", n=2, stream=True)
    calls = {}
    async for chunk in stream:
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or ():
                calls.setdefault((choice.index, call.index), call.function)
    assert calls.keys() == {(0, 0), (1, 0)}
    assert all(call.name == "look_up" and "city" in call.arguments for call in calls.values())


class Unsure(SimulateExecutor):
    async def run(self, request):
        answer = await super().run(request)
        answer.body["choices"][0]["logprobs"] = {
            "content": [{"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": []}],
            "refusal": None,
        }
        return answer


async def test_the_log_probabilities_of_an_answer_are_in_its_stream(faulty):
    with faulty(executor=Unsure()):
        async with quick() as client:
            stream = await chat_call(client, "how sure", logprobs=True, stream=True)
            chunks = [chunk async for chunk in stream]
    (token,) = chunks[0].choices[0].logprobs.content
    assert (token.token, token.logprob) == ("a", -0.5)


class TwoCalls(SimulateExecutor):
    async def run(self, request):
        answer = await super().run(request)
        message = answer.body["choices"][0]["message"]
        message["tool_calls"] = [message["tool_calls"][0] | {"id": name} for name in "ab"]
        return answer


async def test_parallel_tool_calls_stay_apart_in_a_stream(faulty):
    with faulty(executor=TwoCalls()):
        async with quick() as client:
            stream = await chat_call(client, "a", tools=[TOOL], tool_choice="required", stream=True)
            chunks = [chunk async for chunk in stream]
    assert [(call.index, call.id) for call in chunks[0].choices[0].delta.tool_calls] == [
        (0, "a"),
        (1, "b"),
    ]


async def test_the_sdk_s_stream_helpers_accumulate_such_a_stream(client):
    stream = client.chat.completions.stream(model="m", messages=MESSAGES, response_format=Person)
    async with stream as events:
        completion = await events.get_final_completion()
    assert isinstance(completion.choices[0].message.parsed, Person)
    async with client.responses.stream(model="m", input="x", text_format=Person) as events:
        kinds = [event.type async for event in events]
        response = await events.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert isinstance(response.output_parsed, Person)


async def test_responses_stream_their_function_calls(client):
    tool = {"type": "function", "strict": True, **TOOL["function"]}
    stream = await client.responses.create(
        model="m", input="x", tools=[tool], tool_choice="required", stream=True
    )
    events = {event.type: event async for event in stream}
    assert "city" in events["response.function_call_arguments.done"].arguments
    assert events["response.completed"].response.output[0].name == "look_up"


async def test_what_cannot_be_batched_is_refused_with_an_alternative(client):
    for call in (
        client.images.generate(model="m", prompt="x"),
        client.responses.create(model="m", input="x", background=True),
        chat_call(client, "a", extra_query={"v": 1}),
        chat_call(client, "a", extra_headers={"OpenAI-Beta": "x"}),
        client.post("/chat/completions", cast_to=object, body={}, files={"a": b"a picture"}),
        client.post("/chat/completions", cast_to=object, body=["no", "object"]),
    ):
        with pytest.raises(BatchCallError, match="cannot run in a batch") as caught:
            await call
        assert caught.value.code == "not_batchable"
        assert "unbatchable='live'" in caught.value.hint


async def test_what_cannot_be_batched_goes_live_when_the_user_said_so(client):
    live = client.with_options(unbatchable="live", max_retries=0)
    with pytest.raises(openai.NotFoundError):  # the local server's word: it was asked
        await live.images.generate(model="m", prompt="x")


@pytest.mark.parametrize("cap", ["MAX_COST", "MAX_DAILY", "ASK_ABOVE"])
async def test_under_a_cap_no_model_call_goes_live(server, monkeypatch, cap):
    monkeypatch.setenv(f"DOUBLEWORD_BATCH_{cap}_USD", "100")
    options = {"max_retries": 0, "unbatchable": "live", "api_key": server.token}
    async with quick(**options, base_url=server.base_url) as client:
        with pytest.raises(BatchCallError, match="is counted nowhere") as caught:
            await client.images.generate(model="m", prompt="x")
        assert caught.value.code == "unknown_cost"
        assert [model.id async for model in client.models.list()]
    async with quick(**options, data_residency="eu") as of_live_calls:
        with pytest.raises(BatchCallError, match="is counted nowhere"):
            await chat_call(of_live_calls, "a")


async def test_key_and_address_fall_back_to_doubleword_s_then_openai_s(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs")
    async with quick() as client:
        assert (client.api_key, str(client.base_url)) == ("sk-theirs", "https://api.openai.com/v1/")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.example/v1")
    async with quick() as client:
        assert str(client.base_url) == "https://gateway.example/v1/"
    monkeypatch.setenv("DOUBLEWORD_API_KEY", "dw-ours")
    async with quick() as client:
        assert client.api_key == "dw-ours"  # and it is not sent to the other provider's address
        assert str(client.base_url) == "https://api.doubleword.ai/v1/"
    async with quick(api_key="k", base_url="https://own.example/v1") as client:
        assert (client.api_key, str(client.base_url)) == ("k", "https://own.example/v1/")


async def test_settings_that_cannot_be_used_are_refused_at_once():
    with pytest.raises(ConfigError, match="plain http"):
        quick(api_key="k", base_url="http://far.example/v1")
    with pytest.raises(InputError, match="batch_size"):
        quick(batch_size=0)


async def test_organization_project_and_headers_go_with_the_batches(monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    wanted = {"openai-organization": "org-1", "openai-project": "proj-1", "x-gateway": "g"}
    options = {"project": "proj-1", "default_headers": {"X-Gateway": "g"}}
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        Provider("completed", [answered(1)]).serve(router)
        async with quick(api_key="k", base_url=URL, **options) as client:
            assert (await chat_call(client, "a")).choices
            sent = [call.request.headers for call in router.calls]
            assert sent
            assert all(wanted.items() <= dict(headers).items() for headers in sent)
            assert all(headers["authorization"] == "Bearer k" for headers in sent)
            other = client.with_options(project="proj-2", default_headers={"X-Gateway": "h"})
            async with other:
                assert (await chat_call(other, "b")).choices
            assert router.calls.last.request.headers["openai-project"] == "proj-2"
            assert router.calls.last.request.headers["x-gateway"] == "h"
