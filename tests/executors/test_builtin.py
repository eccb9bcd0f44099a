"""The built-in models: bound by schemas, honest about limits, silent, stoppable, not reachable."""

import base64
import json
import math
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest
from jsonschema import Draft202012Validator
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors import builtin
from doubleword_batch.local.executors.base import Request, RequestFailed, TokenUsage
from doubleword_batch.local.executors.factory import build_executor
from doubleword_batch.local.response_bodies import ResponseChoice

CHAT = "smollm2-135m-instruct"
EMBEDDING = "all-minilm-l6-v2"
SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "stars": {"type": "integer", "maximum": 5}},
    "required": ["label", "stars"],
    "additionalProperties": False,
}
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def executor(home_with_models):
    made = build_executor(LocalConfig(home=home_with_models, executor="builtin"))
    yield made
    anyio.run(made.close)


def request(body, url="/v1/chat/completions"):
    body = {"model": CHAT, "temperature": 0} | body
    return Request(id="6f1f", custom_id="row-1", url=url, body=body)


def chat(text, **options):
    return request({"messages": [{"role": "user", "content": text}]} | options)


def json_schema(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def embeddings(given, **options):
    return request({"model": EMBEDDING, "input": given} | options, "/v1/embeddings")


async def test_a_tool_that_is_called_function_is_not_taken_for_every_other(tmp_path, monkeypatch):
    texts = iter(['{"function": "other"}', "{}"])

    class Model:
        def __init__(self, *_, **_options):
            """Nothing is loaded."""

        def chat(self, _body, _is_stopped):
            return [ResponseChoice(next(texts))], TokenUsage()

    monkeypatch.setattr(builtin, "Llama", Model)
    tools = [{"type": "function", "function": {"name": name}} for name in ("function", "other")]
    executor = builtin.BuiltinExecutor(tmp_path / "model.gguf", None)
    answer = await executor.run(chat("x", tools=tools, tool_choice="required"))
    await executor.close()
    (call,) = answer.body["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "other"


async def asked_of_the_model(tmp_path, monkeypatch, **options):
    """What the model is asked for by a chat call."""
    bodies = []

    class Model:
        def __init__(self, *_, **_options):
            """Nothing is loaded."""

        def chat(self, body, _is_stopped):
            bodies.append(body)
            return [ResponseChoice("{}")], TokenUsage()

    monkeypatch.setattr(builtin, "Llama", Model)
    executor = builtin.BuiltinExecutor(tmp_path / "model.gguf", None)
    await executor.run(chat("x", **options))
    await executor.close()
    (body,) = bodies
    return body


async def test_json_without_a_schema_and_tools_that_may_be_called_reach_the_model(
    tmp_path, monkeypatch
):
    asked = await asked_of_the_model(tmp_path, monkeypatch, response_format={"type": "json_object"})
    assert asked["response_format"] == {"type": "json_object"}
    function = {"name": "weather", "description": "of a city", "parameters": CITY}
    tools = [{"type": "function", "function": function}]
    assert (await asked_of_the_model(tmp_path, monkeypatch, tools=tools))["tools"] == tools


async def test_a_schema_reaches_the_model_as_a_line_of_what_it_may_write(tmp_path, monkeypatch):
    schema = {
        "type": "object",
        "properties": {
            "mood": {"anyOf": [{"enum": ["good", "bad"]}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "more": True,
        },
    }
    form = json_schema(schema)
    hint, _ = (await asked_of_the_model(tmp_path, monkeypatch, response_format=form))["messages"]
    assert hint["role"] == "system"
    sketch = '{"mood": "good" or "bad" or null, "tags": ["text", ...], "more": ...}'
    assert hint["content"] == f"Answer in JSON: {sketch}"


async def body_of(executor, request):
    with anyio.fail_after(100):
        answer = await executor.run(request)
    assert answer.status == 200
    return json.loads(json.dumps(answer.body))


async def failure_of(executor, request):
    with anyio.fail_after(60), pytest.raises(RequestFailed) as raised:
        await executor.run(request)
    return raised.value


async def test_an_answer_is_bound_by_its_schema_and_parsed_by_the_sdk(executor):
    asked = chat("I loved this film.", response_format=json_schema(SCHEMA))
    body = await body_of(executor, asked)
    parsed = ChatCompletion.model_validate(body, strict=True)
    Draft202012Validator(SCHEMA).validate(json.loads(parsed.choices[0].message.content))
    assert parsed.choices[0].finish_reason == "stop"
    assert parsed.model == CHAT
    assert parsed.usage.completion_tokens > 0


async def test_the_choices_of_a_schema_reach_the_model_and_not_only_its_grammar(executor):
    read = []
    for labels in (["good"], ["good", "bad", "mixed", "unclear", "off topic"]):
        schema = {"type": "object", "properties": {"label": {"enum": labels}}}
        asked = chat("I loved this film.", max_tokens=1, response_format=json_schema(schema))
        read.append((await body_of(executor, asked))["usage"]["prompt_tokens"])
    assert read[1] > read[0] + 10


async def test_responses_are_bound_by_text_format_and_parsed_by_the_sdk(executor):
    form = {"type": "json_schema", "name": "answer", "schema": SCHEMA}
    asked = {"instructions": "Judge.", "input": "A dull book.", "text": {"format": form}}
    body = await body_of(executor, request(asked, "/v1/responses"))
    parsed = Response.model_validate(body, strict=True)
    Draft202012Validator(SCHEMA).validate(json.loads(parsed.output_text))
    assert parsed.status == "completed"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "map"}}])
async def test_a_tool_that_must_be_called_is_called_with_conforming_arguments(executor, choice):
    tools = [
        {"type": "function", "function": {"name": name, "parameters": CITY}}
        for name in ("weather", "map")
    ]
    body = await body_of(executor, chat("Rome?", tools=tools, tool_choice=choice))
    chosen = ChatCompletion.model_validate(body, strict=True).choices[0]
    assert chosen.finish_reason == "tool_calls"
    function = chosen.message.tool_calls[0].function
    assert function.name in ({"weather", "map"} if choice == "required" else {"map"})
    Draft202012Validator(CITY).validate(json.loads(function.arguments))


async def test_text_is_cut_at_max_tokens_and_every_choice_is_there(executor):
    body = await body_of(executor, chat("Tell me a long story.", max_tokens=5, n=2))
    parsed = ChatCompletion.model_validate(body, strict=True)
    assert [c.finish_reason for c in parsed.choices] == ["length", "length"]
    assert parsed.usage.completion_tokens <= 10


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (chat("word " * 4000), "Shorten the prompt"),
        (chat("x", response_format=json_schema(1)), "object"),
        (chat("x", response_format=json_schema({"type": "no-type"})), "no-type"),
        (chat([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]), "image"),
        (embeddings("x", dimensions=12), "384"),
        (embeddings([[1, 2]]), "send text"),
        (embeddings("x", model=CHAT), "makes no embeddings"),
    ],
)
async def test_what_the_models_cannot_take_is_refused_with_the_reason(executor, asked, words):
    failed = await failure_of(executor, asked)
    assert (failed.kind, failed.status) == ("NonRetriableHttpStatus", 400)
    assert words in failed.text


async def test_another_model_is_not_answered_under_a_false_name(executor):
    assert (
        await failure_of(executor, request({"model": "gpt-9", "messages": [{"role": "user"}]}))
    ).status == 404
    assert not executor.accepts_any_model
    assert {(m.id, m.kind) for m in await executor.models()} == {
        (CHAT, "chat"),
        (EMBEDDING, "embedding"),
    }


async def test_a_file_that_is_not_a_model_fails_its_requests_with_its_name(extra_local, tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing that follows")
    config = LocalConfig(tmp_path, executor="builtin", model_path=tmp_path / "broken.gguf")
    executor = build_executor(config)
    failed = await failure_of(executor, chat("Hi", model="broken"))
    await executor.close()
    assert failed.kind == "NonRetriableHttpStatus"
    assert "broken.gguf cannot be loaded" in failed.text


async def test_a_cancelled_request_frees_its_slot_at_once(executor):
    form = json_schema({"type": "array", "items": {"type": "integer"}, "minItems": 1_000})
    endless = chat("Count.", max_tokens=1900, response_format=form)
    with anyio.fail_after(30):
        for _ in range(executor.concurrency * 2):
            with anyio.move_on_after(0.3):
                await executor.run(endless)
        await executor.run(chat("Hi", max_tokens=1))


async def test_near_meanings_lie_near_and_far_ones_far(executor):
    texts = [
        "a cat sleeps on the sofa",
        "a kitten naps on a couch",
        "the central bank raised rates",
    ]
    parsed = CreateEmbeddingResponse.model_validate(await body_of(executor, embeddings(texts)))
    cat, kitten, bank = (item.embedding for item in parsed.data)
    assert len(cat) == 384
    assert math.hypot(*cat) == pytest.approx(1, abs=1e-5)
    assert dot(cat, kitten) > 0.5
    assert dot(cat, bank) < 0.2
    assert parsed.usage.prompt_tokens > 0


def dot(first, second):
    return sum(a * b for a, b in zip(first, second, strict=True))


async def test_embeddings_come_as_base64_when_asked_for_and_long_texts_are_cut(executor):
    body = await body_of(executor, embeddings("many words " * 2000, encoding_format="base64"))
    vector = struct.unpack("<384f", base64.b64decode(body["data"][0]["embedding"]))
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)
    assert body["usage"]["prompt_tokens"] == 256


SCRIPT = """
import anyio, sys
from pathlib import Path
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors.base import Request
from doubleword_batch.local.executors.factory import build_executor

async def main():
    executor = build_executor(LocalConfig(home=Path(sys.argv[1]), executor="builtin"))
    body = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Hi"}]}
    answer = await executor.run(Request("1", "1", "/v1/chat/completions", body | {"max_tokens": 2}))
    address = executor._llama._server.listening_address
    print(address, file=sys.stderr)
    sys.stdin.read()
    await executor.close()

anyio.run(main)
"""


def test_llama_cpp_writes_nothing_and_its_port_answers_nobody(home_with_models):
    with (
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(home_with_models)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        ) as child,
        ThreadPoolExecutor(1) as reader,
    ):
        try:
            address = reader.submit(child.stderr.readline).result(60).strip()
            ask = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
            origin = {"Origin": "https://evil.example"}
            for key in ("none", "x"):
                headers = origin | {"Authorization": f"Bearer {key}"}
                answer = httpx.post(f"{address}/v1/chat/completions", json=ask, headers=headers)
                assert answer.status_code == 401
                assert answer.headers.get("Access-Control-Allow-Origin") != "*"
            stdout, stderr = child.communicate("", timeout=60)
        finally:
            child.kill()
    assert stdout == ""
    assert stderr == ""
