"""Caps hold against whatever an argument, a file or a program writes into a request."""

import json

import pytest

from agent import agent
from as_doubleword import as_doubleword
from doubleword_batch.errors import DoublewordBatchError, InputError
from doubleword_batch.local.executors.faults import RequestFault
from doubleword_batch.requests.token_bounds import UNLIMITED_OUTPUT_TOKENS, bound_body, bound_tokens
from doubleword_batch.settings import Settings
from tools.conftest import listing

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
COMPLETIONS, MESSAGES = "/v1/completions", "/v1/messages"
MODEL = "Qwen/Qwen3.5-397B-A17B"
ORDER = {"source": "reviews.csv", "prompt": "{{ text }}", "model": MODEL}

COUNTS_THAT_ARE_NONE = [
    {name: value}
    for name in ("n", "best_of", "max_tokens", "max_completion_tokens", "min_tokens")
    for value in ("128", 128.0, True, 0, -1, None, [5], {"a": 1}, "{{ stars }}")
]
PRICED = [
    {"tools": [{"type": "web_search"}]},
    {"tools": [{"type": "mcp", "server_url": "https://x"}]},
    {"tools": [{"type": "function", "function": {}}, {"type": "code_interpreter"}]},
    {"tools": "all"},
    {"web_search_options": {}},
    {"service_tier": "priority"},
    {"best_of": 4},
    {"use_beam_search": True},
    {"extra_body": {"n": 64}},
    {"body": {"n": 64}},
    {"modalities": ["text", "audio"]},
    {"prediction": {"type": "content", "content": "x"}},
    {"plugins": [{"id": "web"}]},
    {"max_output_tokens": 5},
    {"num_return_sequences": 64},
    {"url": "/v1/other"},
    {"Max_Tokens": 1},
]

# Tools, parts and messages that hide what costs more behind a kind that is known, or none.
HOSTED = [
    {"google_search": {}},
    {"type": "function", "googleSearch": {}},
    {"server_url": "https://x", "server_label": "y"},
]
DATA = "data:image/png;base64,AA=="
IMAGE = {"type": "image_url", "image_url": {"url": DATA}}
HIDDEN_PARTS = [
    IMAGE | {"video_url": {"url": "data:video/mp4;base64,AA=="}},
    IMAGE | {"min_pixels": 10**10},
    {"type": "image", "image": [DATA] * 50},
    {"type": "image_url", "image_url": {"url": [DATA, DATA]}},
    {"type": "image_url", "image_url": {"url": "data:application/pdf;base64,AA=="}},
    [{"type": "video_url", "video_url": {"url": "x"}}],
    {"type": "text", "text": "x", "files": [{"file_id": "f"}]},
    {"inline_data": {"mime_type": "video/mp4", "data": "AA=="}},
]
HIDDEN_MESSAGES = [
    {"content": "x", "attachments": [{"file_id": "f"}]},
    {"content": "x", "file_ids": ["f"]},
    {"parts": [{"fileData": {"fileUri": "gs://x"}}]},
    {"content": "x", "tools": [{"type": "web_search"}]},
    {"Content": [{"type": "video_url"}]},
]
HIDDEN = [
    *({"tools": [tool]} for tool in HOSTED),
    *({"messages": [{"role": "user", "content": [part]}]} for part in HIDDEN_PARTS),
    *({"messages": [{"role": "user", **message}]} for message in HIDDEN_MESSAGES),
    {"system": [{"type": "document", "source": {}}]},
]

# A video in results of tools, each in the next.
IN_RESULTS = b'[{"type": "tool_result", "content": ' * 9 + b'[{"type": "video_url"}]' + b"}]" * 9


def capped(environment, server, **more):
    return Settings.from_environment(
        {
            **environment,
            **as_doubleword(server),
            "DOUBLEWORD_BATCH_MAX_COST_USD": "0.01",
            **more,
        }
    )


async def test_no_count_and_no_priced_parameter_passes_a_cap(environment, faulty, reviews):
    with faulty() as server:
        async with agent(capped(environment, server)) as a:
            for params in (*COUNTS_THAT_ARE_NONE, *PRICED):
                reply = await a.fails(
                    "create_batch_file", **ORDER, params={"max_tokens": 5, **params}
                )
                assert reply["error"]["code"] in {"invalid_argument", "unknown_cost"}, params
            batches = await a.calls("list", kind="batches")
    assert "lines" not in batches.fields


async def test_a_retry_is_held_to_the_same(environment, faulty, reviews):
    failing = RequestFault(fault="error", status=400, message="no")
    with faulty(requests=[failing]) as server:
        async with agent(capped(environment, server)) as a:
            results = await a.runs_job(**ORDER, params={"max_tokens": 5})
            for params in (*COUNTS_THAT_ARE_NONE, *PRICED, {"max_tokens": 1_000_000}, {"n": 128}):
                reply = await a.fails("retry_failed", job=results["job"], params=params)
                assert reply["error"]["code"] in {
                    "invalid_argument", "unknown_cost", "over_cap"
                }, params  # fmt: skip
            batches = await a.calls("list", kind="batches")
    assert len(batches["lines"]) == 1


async def test_under_a_cap_each_request_gets_our_limit_and_the_reply_says_so(
    environment, faulty, reviews, home
):
    with faulty() as server:
        settings = capped(environment, server, DOUBLEWORD_BATCH_MAX_COST_USD="1")
        async with agent(settings) as a:
            created = await a.calls("create_batch_file", **ORDER)
            await a.calls("create_batch", job=created["job"])
    assert "max_tokens = 1024" in created.text
    lines = (home / "jobs" / created["job"] / "part-0001.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(line)["body"]["max_tokens"] for line in lines} == {1024}


async def test_a_cap_named_at_the_end_counts_requests_without_a_limit_with_the_most_there_is(
    environment, faulty, reviews
):
    with faulty() as server:
        free = capped(environment, server, DOUBLEWORD_BATCH_MAX_COST_USD="")
        async with agent(free) as a:
            created = await a.calls("create_batch_file", **ORDER)
            reply = await a.fails("create_batch", job=created["job"], max_cost_usd=5)
    assert reply["error"]["code"] == "over_cap"
    assert "without a token limit" in reply["error"]["message"]


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (CHAT, b'{"max_tokens": 5, "n": "128"}'),
        (CHAT, b'{"max_tokens": 5, "n": -1}'),
        (CHAT, b'{"max_tokens": 5, "max_tokens": 1000000}'),
        (CHAT, b'{"max_tokens": 1000000, "max_t\\u006fkens": 5}'),
        (CHAT, b'{"max_tokens": 5, "best_of": 9}'),
        (CHAT, b'{"max_output_tokens": 5}'),
        (CHAT, b'{"max_tokens": 5, "stream": true}'),
        (CHAT, b'{"max_tokens": 5, "tools": [{"type": "web_search_preview"}]}'),
        (CHAT, b'{"max_tokens": 5, "messages": [{"content": [{"type": "file"}]}]}'),
        (CHAT, b'{"max_tokens": 5, "messages": [{"content": [{"type": "video_url"}]}]}'),
        (CHAT, b'{"max_tokens": 5, "messages": [{"content": [{"video_url": {"url": "x"}}]}]}'),
        (CHAT, b'{"max_tokens": 5, "messages": [{"content": [{"image_url": {"url": "x"}}]}]}'),
        (CHAT, b'{"max_tokens": 5, "messages": [{"content": {"type": "video_url"}}]}'),
        (CHAT, b'{"max_tokens": 5, "messages": [{"content": "x", "images": ["aGVsbG8="]}]}'),
        (CHAT, b'{"max_tokens": 5, "messages": [{"content": [{"type": "file"}], "content": ""}]}'),
        (CHAT, b'{"max_tokens": 5, "messages": [{"content": [{"type": "file"}]}], "messages": []}'),
        (CHAT, b'{"max_tokens": 5, "messages": [{"content": [{"type": ["text"]}]}]}'),
        (CHAT, b'{"max_tokens": 5, "messages": ' + IN_RESULTS + b"}"),
        (RESPONSES, b'{"max_output_tokens": 5, "input": [{"image_url": "x"}]}'),
        (RESPONSES, b'{"max_tokens": 5, "max_output_tokens": 5}'),
        (RESPONSES, b'{"max_output_tokens": 5, "background": true}'),
        (RESPONSES, b'{"max_output_tokens": 5, "previous_response_id": "r"}'),
        (RESPONSES, b'{"max_output_tokens": 5, "tools": [{"type": "image_generation"}]}'),
        (MESSAGES, b'{"max_tokens": 5, "thinking": {"budget_tokens": "9"}}'),
        (MESSAGES, b'{"max_tokens": 5, "tools": [{"type": "web_search_20250305"}]}'),
        ("/v1/embeddings", b'{"input": "x", "n": 5}'),
        ("/v1/images/generations", b"{}"),
    ],
)
def test_no_body_of_a_ready_file_hides_what_it_costs(endpoint, body):
    with pytest.raises(InputError) as refused:
        bound_body(body, endpoint)
    assert refused.value.code == "unknown_cost"


@pytest.mark.parametrize(
    ("endpoint", "body", "most"),
    [
        (CHAT, {"max_tokens": 5, "n": 128}, 640),
        (CHAT, {"max_tokens": 5, "max_completion_tokens": 7}, 7),
        (CHAT, {"max_tokens": 5, "min_tokens": 900}, 900),
        (CHAT, {}, UNLIMITED_OUTPUT_TOKENS),
        (CHAT, {"max_tokens": None, "n": 2}, 2 * UNLIMITED_OUTPUT_TOKENS),
        (CHAT, {"reasoning_effort": "high"}, UNLIMITED_OUTPUT_TOKENS),
        (CHAT, {"max_tokens": 5, "reasoning": {"max_tokens": 1000}}, 1005),
        (RESPONSES, {"max_output_tokens": 9, "reasoning": {"effort": "high"}}, 9),
        (COMPLETIONS, {"prompt": "x", "max_tokens": 5, "n": 2, "best_of": 20}, 100),
        (MESSAGES, {"max_tokens": 5, "thinking": {"type": "enabled", "budget_tokens": 99}}, 104),
        ("/v1/embeddings", {"input": "x"}, 0),
    ],
)
def test_the_most_that_a_body_can_write_is_what_counts(endpoint, body, most):
    assert bound_body(json.dumps(body).encode(), endpoint).output_tokens == most


@pytest.mark.parametrize("hidden", HIDDEN)
def test_what_costs_more_does_not_hide_beside_what_is_known(hidden):
    with pytest.raises(InputError) as refused:
        bound_body(json.dumps({"max_tokens": 5, **hidden}).encode(), MESSAGES)
    assert refused.value.code == "unknown_cost"


def test_messages_as_servers_give_them_are_taken_under_a_cap():
    answered = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
        "audio": None,
        "reasoning_content": "x",
        "tool_calls": [{}],
    }
    image_of_a_file = {"type": "input_image", "file_id": "f", "detail": "low"}
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "x", "cache_control": {}}]},
        answered,
        {"role": "tool", "tool_call_id": "c", "content": [IMAGE, {"type": "text", "text": "x"}]},
        {"role": "user", "content": ["x", image_of_a_file]},
    ]
    tools = [{"type": "function", "function": {}}, {"name": "f", "input_schema": {}}]
    body = json.dumps({"max_tokens": 5, "messages": messages, "tools": tools}).encode()
    assert bound_body(body, CHAT).input_tokens == len(body) // 4 + 2_000
    bound_body(b'{"model": "m", "input": [[1, 2], [3]]}', "/v1/embeddings")


def test_an_image_counts_however_short_its_address_is():
    message = {"content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}] * 3}
    body = json.dumps({"max_tokens": 5, "messages": [message]}).encode()
    assert bound_body(body, CHAT).input_tokens >= 3_000


async def test_a_ready_file_is_held_to_the_cap_line_by_line(environment, faulty, work):
    lines = [
        {
            "custom_id": f"c{n}",
            "method": "POST",
            "url": CHAT,
            "body": {"model": MODEL, "messages": [{"role": "user", "content": "x"}], **more},
        }
        for n, more in enumerate([{"max_tokens": 5}, {"max_tokens": 5, "best_of": 128}])
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (work / "ready.jsonl").write_text(text, encoding="utf-8")
    with faulty(server=[listing(MODEL)]) as server:
        async with agent(capped(environment, server)) as a:
            uploaded = await a.calls("upload", path="ready.jsonl")
            reply = await a.fails("create_batch", job=uploaded["job"])
    assert reply["error"]["code"] == "unknown_cost"
    assert "line 2" in reply["error"]["message"]


@pytest.mark.parametrize(
    "twins",
    [
        b'"body": {"max_tokens": 1000000}, "body": {"max_tokens": 5}',
        b'"body": {"max_tokens": 5}, "b\\u006fdy": {"max_tokens": 1000000}',
        b'"body": {"max_tokens": 5}, "Body": {"max_tokens": 1000000}',
        b'"body": {"max_tokens": 5}, "url": "/v1/embeddings"',
    ],
)
def test_no_line_of_a_ready_file_has_two_of_what_counts(tmp_path, twins):
    file = tmp_path / "ready.jsonl"
    file.write_bytes(b'{"custom_id": "c", "url": "/v1/chat/completions", ' + twins + b"}\n")
    with pytest.raises(InputError, match=r"line 1 of the request file.*twice") as refused:
        bound_tokens([file])
    assert refused.value.code == "unknown_cost"


@pytest.mark.parametrize("window", ["24h", "async"])
async def test_calls_of_programs_are_held_to_the_cap(faulty, tmp_path, monkeypatch, window):
    openai = pytest.importorskip("openai")
    from doubleword_batch.batch_openai import BatchOpenAI

    monkeypatch.setenv("DOUBLEWORD_BATCH_MAX_COST_USD", "0.01")
    with faulty() as server:
        async with BatchOpenAI(
            api_key=server.token,
            base_url=server.base_url,
            batch_provider="doubleword",
            state_dir=tmp_path / "calls",
            batch_window_seconds=0.05,
            completion_window=window,
        ) as client:
            for more in ({}, {"max_tokens": 100_000, "n": 64}, {"extra_body": {"best_of": 9}}):
                with pytest.raises((openai.OpenAIError, DoublewordBatchError), match="cap"):
                    await client.chat.completions.create(
                        model=MODEL, messages=[{"role": "user", "content": "x"}], **more
                    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m\xff","messages":[{"role":"user","content":"x"}],"max_tokens":5}',
        b'{"model":"m","messages":[{"role":"user","content":' + b"[" * 5000 + b"]" * 5000 + b"}]}",
        b'{"model":"m","messages":[{"\xferole":"user","content":"x"}],"max_tokens":5}',
        b"\xff\xfe{",
        b"",
    ],
    ids=[
        "bytes that are not text",
        "nested without end",
        "a name of no text",
        "no JSON",
        "nothing",
    ],
)
def test_a_body_that_nobody_can_read_passes_no_cap(body):
    with pytest.raises(InputError) as refused:
        bound_body(body, "/v1/chat/completions")
    assert refused.value.code == "unknown_cost"


def test_the_name_of_an_unknown_parameter_is_shown_without_what_hides_in_it():
    body = '{"model":"m","messages":[],"max_tokens":5,"x\u202ey%s":1}' % ("z" * 9000)
    with pytest.raises(InputError) as refused:
        bound_body(body.encode(), "/v1/chat/completions")
    assert "x\ufffdyz" in refused.value.message
    assert len(refused.value.message) < 600


@pytest.mark.parametrize("params", [{"max_tokens": 10**400}, {"n": 2**63}, {"max_tokens": 10**8}])
async def test_a_count_that_no_store_holds_is_refused_in_words(settings, reviews, params):
    async with agent(settings) as a:
        reply = await a.fails(
            "create_batch_file", source="reviews.csv", prompt="{{ text }}", params=params
        )
    assert reply["error"]["code"] == "invalid_argument"
    assert "at most 10,000,000" in reply["error"]["message"]
