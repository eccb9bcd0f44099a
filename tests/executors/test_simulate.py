"""The simulator: deterministic, conforming, parsed by the official SDK, wrong only on purpose."""

import base64
import json
import math
import struct

import anyio
import msgspec
import pytest
from jsonschema import Draft202012Validator
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from doubleword_batch.local.executors.base import Request, RequestFailed
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.local.executors.simulate import SimulateExecutor

SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "score": {"type": "integer"}},
    "required": ["label", "score"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
OTHER_TOOL = {"type": "function", "function": {"name": "stocks", "parameters": {"type": "object"}}}


def request(body, url="/v1/chat/completions", custom_id="row-1"):
    return Request(id=f"id-of-{custom_id}", custom_id=custom_id, url=url, body=body)


def chat(custom_id="row-1", **options):
    messages = [{"role": "user", "content": "How is the weather in Paris, and why?"}]
    return request({"model": "m", "messages": messages} | options, custom_id=custom_id)


def json_schema(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


async def answer(request, *faults):
    executor = SimulateExecutor(faults)
    try:
        answered = await executor.run(request)
    finally:
        await executor.close()
    assert answered.status == 200
    return msgspec.json.decode(msgspec.json.encode(answered.body))


async def failure(request, *faults):
    with pytest.raises(RequestFailed) as raised:
        await answer(request, *faults)
    return raised.value


async def test_a_text_answer_says_in_three_places_that_it_is_simulated():
    body = await answer(chat())
    parsed = ChatCompletion.model_validate(body, strict=True)
    assert parsed.choices[0].message.content.startswith("[simulated] ")
    assert parsed.choices[0].finish_reason == "stop"
    assert parsed.system_fingerprint == "simulated"
    assert body["simulated"] is True
    assert parsed.model == "m"
    assert parsed.usage.total_tokens == (
        parsed.usage.prompt_tokens + parsed.usage.completion_tokens
    )


async def test_the_same_request_gets_the_same_bytes_and_another_custom_id_other_ones():
    assert await answer(chat()) == await answer(chat())
    assert await answer(chat()) != await answer(chat(custom_id="row-2"))
    assert await answer(chat()) != await answer(chat(temperature=0.5))


async def test_a_structured_answer_conforms_to_its_schema():
    for n in range(30):
        body = await answer(chat(custom_id=f"row-{n}", response_format=json_schema(SCHEMA)))
        Draft202012Validator(SCHEMA).validate(json.loads(body["choices"][0]["message"]["content"]))


async def test_json_object_mode_answers_with_an_object():
    body = await answer(chat(response_format={"type": "json_object"}))
    assert json.loads(body["choices"][0]["message"]["content"])["simulated"] is True


async def test_every_choice_that_was_asked_for_is_there_and_they_differ():
    body = await answer(chat(n=3))
    assert [c["index"] for c in body["choices"]] == [0, 1, 2]
    assert len({c["message"]["content"] for c in body["choices"]}) == 3


async def test_an_answer_longer_than_max_tokens_is_cut_and_says_so():
    body = await answer(chat(max_tokens=3))
    assert body["choices"][0]["finish_reason"] == "length"
    assert len(body["choices"][0]["message"]["content"]) == 12


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"weather", "stocks"}),
        ({"type": "function", "function": {"name": "weather"}}, {"weather"}),
        ("auto", {"weather", "stocks", None}),
        ({"type": "auto"}, {"weather", "stocks", None}),
        ("none", {None}),
        ({"type": "none"}, {None}),
        ({"type": "any of them"}, {"weather", "stocks"}),
    ],
)
async def test_tools_are_called_as_tool_choice_says(choice, names):
    called = set()
    for n in range(40):
        asked = chat(custom_id=f"row-{n}", tools=[TOOL, OTHER_TOOL], tool_choice=choice)
        body = await answer(asked)
        parsed = ChatCompletion.model_validate(body, strict=True).choices[0]
        calls = parsed.message.tool_calls or []
        called |= {call.function.name for call in calls} or {None}
        assert parsed.finish_reason == ("tool_calls" if calls else "stop")
        for call in calls:
            if call.function.name == "weather":
                assert isinstance(json.loads(call.function.arguments)["city"], str)
    assert called == names


async def test_a_tool_choice_that_names_no_tool_is_refused():
    choice = {"type": "function", "function": {"name": "absent"}}
    failed = await failure(chat(tools=[TOOL], tool_choice=choice))
    assert (failed.kind, failed.status) == ("NonRetriableHttpStatus", 400)
    assert "absent" in failed.text


async def test_responses_are_parsed_by_the_sdk_with_their_text_and_schema():
    body = {
        "model": "m",
        "instructions": "Be kind.",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}],
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}},
    }
    parsed = Response.model_validate(await answer(request(body, "/v1/responses")), strict=True)
    assert parsed.status == "completed"
    Draft202012Validator(SCHEMA).validate(json.loads(parsed.output_text))


async def test_responses_call_tools_and_say_when_they_were_cut():
    tool = {"type": "function", "name": "weather", "parameters": TOOL["function"]["parameters"]}
    asked = {"model": "m", "input": "Hello", "tools": [tool], "tool_choice": "required"}
    called = Response.model_validate(await answer(request(asked, "/v1/responses")), strict=True)
    assert called.output[0].type == "function_call"
    assert "city" in json.loads(called.output[0].arguments)
    asked = {"model": "m", "input": "Hello", "max_output_tokens": 2}
    cut = Response.model_validate(await answer(request(asked, "/v1/responses")), strict=True)
    assert cut.status == "incomplete"
    assert cut.incomplete_details.reason == "max_output_tokens"


async def test_a_conversation_with_calls_images_and_thoughts_is_read_as_a_model_reads_it():
    asked = {"role": "user", "content": [{"type": "input_text", "text": "Rain?"}]}
    call = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}
    told = {"type": "function_call_output", "call_id": "c"}
    image = {"type": "input_image", "image_url": "https://example.com/a.png"}
    seen = {"role": "user", "content": [{"type": "input_text", "text": "Rain?"}, image, "Now?"]}
    thought = {"type": "reasoning", "summary": []}

    async def tokens(*items):
        body = await answer(request({"model": "m", "input": list(items)}, "/v1/responses"))
        return Response.model_validate(body, strict=True).usage.input_tokens

    alone = await tokens(asked)
    assert await tokens(asked, call, thought) == alone  # a model's own words are not counted here
    assert await tokens(asked, call, told | {"output": "wet " * 40}) == alone + 40
    parts = [{"type": "input_text", "text": "wet " * 40}]
    assert await tokens(asked, call, told | {"output": parts}) == alone + 40
    assert await tokens(seen) > alone


@pytest.mark.parametrize("url", ["/v1/completions", "/v1/messages"])
async def test_an_endpoint_that_no_job_is_built_for_is_not_answered(url):
    failed = await failure(request({"model": "m", "prompt": "x"}, url))
    assert (failed.kind, failed.status) == ("NonRetriableHttpStatus", 404)
    assert url in failed.text


async def test_embeddings_have_unit_length_and_the_dimensions_asked_for():
    body = {"model": "m", "input": ["a", "b"], "dimensions": 64}
    parsed = CreateEmbeddingResponse.model_validate(
        await answer(request(body, "/v1/embeddings")), strict=True
    )
    assert [item.index for item in parsed.data] == [0, 1]
    assert parsed.data[0].embedding != parsed.data[1].embedding
    for item in parsed.data:
        assert len(item.embedding) == 64
        assert math.hypot(*item.embedding) == pytest.approx(1)


async def test_embeddings_come_as_base64_when_asked_for():
    body = {"model": "m", "input": "a"}
    plain = (await answer(request(body, "/v1/embeddings")))["data"][0]["embedding"]
    encoded = (await answer(request(body | {"encoding_format": "base64"}, "/v1/embeddings")))[
        "data"
    ][0]["embedding"]
    decoded = struct.unpack("<384f", base64.b64decode(encoded))
    assert len(plain) == len(decoded) == 384
    assert math.hypot(*decoded) == pytest.approx(1)


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user"}]}),
        ("/v1/chat/completions", {"model": "m"}),
        ("/v1/chat/completions", {"model": "m", "messages": ["x"]}),
        ("/v1/chat/completions", {"model": "m", "messages": [{"content": "x"}]}),
        ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user"}], "n": 10**9}),
        ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user"}], "n": True}),
        ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user"}], "tools": [1]}),
        ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user"}], "tools": {}}),
        (
            "/v1/chat/completions",
            {"model": "m", "messages": [{"role": "user"}], "tools": [{"function": {}}]},
        ),
        ("/v1/responses", {"model": "m"}),
        ("/v1/responses", {"model": "m", "input": ["x"]}),
        ("/v1/responses", {"model": "m", "input": "x", "previous_response_id": "resp_1"}),
        ("/v1/embeddings", {"model": "m", "input": []}),
        ("/v1/embeddings", {"model": "m", "input": [""]}),
        ("/v1/embeddings", {"model": "m", "input": "x", "encoding_format": "hex"}),
        ("/v1/embeddings", {"model": "m", "input": "x", "encoding_format": ["float"]}),
        ("/v1/embeddings", {"model": "m", "input": "x", "dimensions": 10**9}),
    ],
)
async def test_a_body_that_no_server_takes_is_refused_like_one(url, body):
    failed = await failure(request(body, url))
    assert (failed.kind, failed.status) == ("NonRetriableHttpStatus", 400)
    assert json.loads(failed.text)["error"]["type"] == "invalid_request_error"


async def test_a_schema_that_is_none_is_refused_with_the_reason():
    failed = await failure(chat(response_format=json_schema({"type": "nope"})))
    assert failed.status == 400
    assert "not a JSON Schema" in failed.text


@pytest.mark.parametrize(
    ("status", "kind"), [(500, "RetriableHttpStatus"), (422, "NonRetriableHttpStatus")]
)
async def test_a_scripted_error_fails_the_requests_it_matches_and_no_others(status, kind):
    fault = RequestFault(
        fault="error", match=Match(custom_id="row-1"), status=status, message="no such luck"
    )
    failed = await failure(chat(), fault)
    assert (failed.kind, failed.status) == (kind, status)
    assert "no such luck" in failed.text
    await answer(chat(custom_id="row-2"), fault)


async def test_a_fault_matches_by_a_text_of_the_body_or_by_a_share_of_all():
    by_text = RequestFault(fault="error", match=Match(contains="Paris"))
    await failure(chat(), by_text)
    await answer(chat(messages=[{"role": "user", "content": "London"}]), by_text)
    one_in_four = RequestFault(fault="refusal", match=Match(every=4))
    bodies = [await answer(chat(custom_id=f"row-{n}"), one_in_four) for n in range(200)]
    refused = sum(body["choices"][0]["message"]["refusal"] is not None for body in bodies)
    assert 25 < refused < 75


async def test_a_refusal_has_no_content():
    body = await answer(chat(response_format=json_schema(SCHEMA)), RequestFault(fault="refusal"))
    choice = ChatCompletion.model_validate(body, strict=True).choices[0]
    assert choice.message.content is None
    assert choice.message.refusal.startswith("[simulated] ")
    assert choice.finish_reason == "stop"


async def test_a_truncated_answer_ends_in_the_middle_and_says_length():
    whole = await answer(chat(response_format=json_schema(SCHEMA)))
    cut = await answer(chat(response_format=json_schema(SCHEMA)), RequestFault(fault="truncated"))
    text = cut["choices"][0]["message"]["content"]
    assert whole["choices"][0]["message"]["content"].startswith(text)
    assert cut["choices"][0]["finish_reason"] == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


async def test_an_invalid_answer_does_not_conform_but_claims_to_be_whole():
    body = await answer(chat(response_format=json_schema(SCHEMA)), RequestFault(fault="invalid"))
    assert body["choices"][0]["finish_reason"] == "stop"
    with pytest.raises(json.JSONDecodeError):
        json.loads(body["choices"][0]["message"]["content"])


async def test_a_flaky_request_fails_so_many_times_and_then_works():
    executor = SimulateExecutor([RequestFault(fault="flaky", times=2)])
    for _ in range(2):
        with pytest.raises(RequestFailed) as raised:
            await executor.run(chat())
        assert (raised.value.kind, raised.value.status) == ("RetriableHttpStatus", 503)
    assert (await executor.run(chat())).status == 200


async def test_a_held_request_answers_when_its_file_appears(tmp_path):
    gate = tmp_path / "go"
    executor = SimulateExecutor([RequestFault(fault="hold", until=str(gate))])
    with anyio.fail_after(10):
        with anyio.move_on_after(0.1) as still_held:
            await executor.run(chat())
        assert still_held.cancelled_caught
        gate.touch()
        assert (await executor.run(chat())).status == 200


async def test_a_slow_request_waits_as_long_as_it_was_told():
    with anyio.fail_after(10):
        began = anyio.current_time()
        await answer(chat(), RequestFault(fault="slow", seconds=0.2))
        assert anyio.current_time() - began >= 0.2


async def test_any_model_is_answered_and_one_of_each_kind_is_named():
    executor = SimulateExecutor()
    assert executor.accepts_any_model
    assert {(m.id, m.kind) for m in await executor.models()} == {
        ("simulated-chat", "chat"),
        ("simulated-embedding", "embedding"),
    }
