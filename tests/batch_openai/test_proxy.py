"""The proxy: any program that knows a base URL gets batch prices."""

import asyncio
import json

import httpx
import openai
import pytest
from anyio import fail_after, to_thread

from batch_openai.conftest import DEADLINE_SECONDS, chat_call, started
from batch_openai.test_interface import TOOL
from doubleword_batch.batch_openai import proxy as proxy_module
from doubleword_batch.batch_openai.batcher import BatchingOptions
from doubleword_batch.batch_openai.credentials import resolve_settings
from doubleword_batch.batch_openai.proxy import proxy_running
from doubleword_batch.errors import ConfigError
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.settings import Settings

QUICK = BatchingOptions(
    batch_window_seconds=0.05,
    poll_interval_seconds=0.1,
    deadline_seconds=DEADLINE_SECONDS,
    max_retry_seconds=1,
)


@pytest.fixture(autouse=True)
async def bounded():
    with fail_after(DEADLINE_SECONDS):
        yield


@pytest.fixture
def settings(environment):
    return Settings.from_environment()


@pytest.fixture
async def proxy(settings):
    async with proxy_running(settings, options=QUICK) as running:
        yield running


@pytest.fixture
async def program(proxy):
    """A program that knows nothing but the base URL."""
    async with openai.AsyncOpenAI(base_url=proxy.base_url, api_key="anything") as client:
        yield client


@pytest.fixture
async def http(proxy):
    async with httpx.AsyncClient(base_url=proxy.base_url, timeout=30) as http:
        yield http


async def counted(server):
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.token) as live:
        return [batch.request_counts.total async for batch in live.batches.list()]


async def test_a_program_s_calls_become_one_batch_and_come_back_typed(faulty, settings):
    with faulty() as server:
        async with (
            proxy_running(settings, options=QUICK) as proxy,
            openai.AsyncOpenAI(base_url=proxy.base_url, api_key="anything") as program,
        ):
            answers = await asyncio.gather(*(chat_call(program, f"call {n}") for n in range(5)))
            assert await counted(server) == [5]
    assert len({answer.choices[0].message.content for answer in answers}) == 5


async def test_every_endpoint_tools_streams_and_models(program):
    chat, stream, response, embedding, models = await asyncio.gather(
        chat_call(program, "a", tools=[TOOL], tool_choice="required"),
        chat_call(program, "b", stream=True),
        program.responses.create(model="chat-1", input="c"),
        program.embeddings.create(model="embed-1", input="d"),
        program.models.list(),
    )
    (call,) = chat.choices[0].message.tool_calls
    assert "city" in json.loads(call.function.arguments)
    text = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(text).startswith("[simulated] ")
    assert response.output_text
    assert len(embedding.data[0].embedding) == 384
    assert [model.id for model in models.data] == ["simulated-chat", "simulated-embedding"]
    assert (await program.models.retrieve("simulated-chat")).id == "simulated-chat"
    with pytest.raises(openai.NotFoundError):
        await program.models.retrieve("none/such")


async def test_a_responses_stream_is_made_from_the_result(program):
    stream = await program.responses.create(model="m", input="x", stream=True)
    assert [event.type async for event in stream][-1] == "response.completed"


async def test_a_failed_row_keeps_its_status_and_body_and_is_not_retried(faulty, settings):
    failing = RequestFault(fault="error", status=429, match=Match(contains="bad"))
    with faulty(requests=[failing], max_attempts=1) as server:
        async with (
            proxy_running(settings, options=QUICK) as proxy,
            openai.AsyncOpenAI(base_url=proxy.base_url, api_key="x") as program,
        ):
            with pytest.raises(openai.RateLimitError) as caught:
                await chat_call(program, "bad")
            assert await counted(server) == [1]
    assert caught.value.body["type"] == "simulated_error"


async def test_a_program_that_disconnects_and_calls_again_pays_once(faulty, settings, tmp_path):
    gate = tmp_path / "gate"
    with faulty(requests=[RequestFault(fault="hold", until=str(gate))]) as server:
        async with (
            proxy_running(settings, options=QUICK) as proxy,
            openai.AsyncOpenAI(base_url=proxy.base_url, api_key="x", max_retries=0) as program,
        ):
            with pytest.raises(openai.APITimeoutError):
                await chat_call(program, "slow", timeout=1)
            gate.touch()
            assert (await chat_call(program, "slow")).choices
        assert await counted(server) == [1]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "invalid_argument"),
        (b"[1]", "invalid_argument"),
        (b"\xff\xfe", "invalid_argument"),
        (b'{"messages": []}', "invalid_argument"),
        (b'{"model": "m", "input": "x", "background": true}', "not_batchable"),
    ],
)
async def test_bad_input_is_answered_with_400_in_openai_s_shape(http, content, code):
    answer = await http.post("/responses", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code
    assert answer.headers["x-should-retry"] == "false"


async def test_a_body_that_is_too_large_is_refused_before_all_of_it_is_read(http, monkeypatch):
    monkeypatch.setattr(proxy_module, "_MAX_BODY_BYTES", 1_000)

    async def endless():
        for _ in range(10_000):
            yield b"x" * 1_000

    answer = await http.post("/responses", content=endless())
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"
    assert "larger than 1000 bytes" in answer.json()["error"]["message"]


async def test_a_body_that_breaks_off_is_not_reported_as_a_fault_of_the_proxy(proxy, http, caplog):
    """Any program could fill the terminal of the proxy's owner with it."""
    port = int(proxy.base_url.rpartition(":")[2].removesuffix("/v1"))
    head = f"POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\nno number\r\n".encode())
    assert b" 400 " in await reader.read()  # to the end of the connection
    writer.close()
    assert (await http.get("/models")).status_code == 200
    assert [record for record in caplog.records if record.exc_info] == []


async def test_other_paths_name_the_endpoints(http):
    answer = await http.post("/images/generations", json={})
    assert answer.status_code == 404
    assert "/v1/chat/completions" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "[::1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_a_web_page_cannot_spend_the_user_s_money(http, headers):
    answer = await http.post("/chat/completions", json={"model": "m"}, headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


async def test_with_a_key_only_programs_that_send_it_get_in(settings):
    async with proxy_running(settings, options=QUICK, key="k-1") as proxy:
        for key, error in (("k-1", None), ("k-2", openai.AuthenticationError)):
            async with openai.AsyncOpenAI(base_url=proxy.base_url, api_key=key) as program:
                if error is None:
                    await program.models.list()
                else:
                    with pytest.raises(error):
                        await program.models.list()


async def test_a_port_that_is_taken_is_reported(settings, proxy):
    port = int(proxy.base_url.rpartition(":")[2].removesuffix("/v1"))
    with pytest.raises(ConfigError, match="cannot listen"):
        async with proxy_running(settings, port=port):
            pass


async def test_it_runs_in_the_foreground_until_it_is_told_to_stop(environment):
    program = (
        "from doubleword_batch.settings import Settings\n"
        "from doubleword_batch.batch_openai.proxy import serve_proxy\n"
        "ready = lambda url: print(url, flush=True)\n"
        "serve_proxy(Settings.from_environment(), port=0, on_ready=ready)\n"
    )
    with started("-c", program) as process:
        try:
            url = (await to_thread.run_sync(process.stdout.readline)).strip()
            async with httpx.AsyncClient(timeout=DEADLINE_SECONDS) as http:
                models = await http.get(f"{url}/models")
            assert models.json()["data"]
        finally:  # else a failure above would wait for ever for the proxy's end
            process.terminate()
        await to_thread.run_sync(process.wait, 20)


async def test_a_proxy_that_would_call_itself_is_refused(monkeypatch, unused_url):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", unused_url)
    port = int(unused_url.rpartition(":")[2].removesuffix("/v1"))
    with pytest.raises(ConfigError, match="the proxy itself"):
        async with proxy_running(resolve_settings(), port=port):
            pass


@pytest.mark.parametrize(
    ("used", "unused"), [("OPENAI", None), ("DOUBLEWORD", "OPENAI")], ids=["openai", "doubleword"]
)
async def test_the_command_falls_back_as_the_client_does(
    faulty, commanded, unused_url, used, unused
):
    with faulty() as server:
        environ = {f"{used}_API_KEY": server.token, f"{used}_BASE_URL": server.base_url}
        if unused:
            environ |= {f"{unused}_API_KEY": "k", f"{unused}_BASE_URL": unused_url}
        async with (
            commanded("--no-key", **environ) as (url, key),
            openai.AsyncOpenAI(base_url=url, api_key="any") as program,
        ):
            assert key == "any"
            assert (await chat_call(program, "a")).choices
        assert await counted(server) == [1]
