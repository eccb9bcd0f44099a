"""The upstream executor against real HTTP servers: what is sent, what becomes of each answer."""

import gzip
import socket
import threading
from contextlib import contextmanager

import anyio
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from starlette.responses import Response as AnyResponse
from starlette.routing import Route

from doubleword_batch.errors import ConfigError
from doubleword_batch.local.executors import upstream
from doubleword_batch.local.executors.base import Request, RequestFailed
from doubleword_batch.local.executors.simulate import SimulateExecutor
from doubleword_batch.local.executors.upstream import UpstreamExecutor

KEY = "sk-do-not-leak"


@contextmanager
def serving(app):
    """The app behind real HTTP on this machine, while the block runs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # whoever calls before uvicorn is there waits
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join(10)


class Stub:
    """A server that answers every path the way it was last told to, and keeps what it was sent."""

    def __init__(self):
        self.answer = JSONResponse({"object": "chat.completion"})
        self.seen = []
        self.release = threading.Event()
        self.app = Starlette(
            routes=[
                Route("/v1/slow", self.wait, methods=["POST"]),
                Route("/{path:path}", self.take, methods=["GET", "POST"]),
            ]
        )

    async def take(self, request):
        body = await request.body()
        self.seen.append((request.method, request.url.path, dict(request.headers), body))
        return self.answer

    async def wait(self, _request):
        await anyio.to_thread.run_sync(self.release.wait, 10)
        return self.answer


@pytest.fixture
def stub():
    stub = Stub()
    with serving(stub.app) as url:
        stub.url = url
        yield stub
        stub.release.set()


@pytest.fixture
async def executor(stub):
    made = UpstreamExecutor(stub.url, KEY, timeout_seconds=20)
    yield made
    await made.close()


def request(url="/v1/chat/completions", **options):
    return Request("id", "row-1", url, {"model": "m", "messages": []} | options)


async def failure(executor, asked=None):
    with anyio.fail_after(30), pytest.raises(RequestFailed) as raised:
        await executor.run(asked or request())
    return raised.value


async def test_the_body_goes_to_the_same_path_below_the_base_url_without_stream(stub, executor):
    answer = await executor.run(
        request(stream=True, stream_options={"include_usage": True}, temperature=0.5)
    )
    assert (answer.status, answer.body) == (200, {"object": "chat.completion"})
    method, path, headers, body = stub.seen[0]
    assert (method, path) == ("POST", "/v1/chat/completions")
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["accept-encoding"] == "gzip, deflate"  # what is unpacked here within a bound
    assert body == b'{"model":"m","messages":[],"temperature":0.5}'


async def test_without_a_key_no_authorization_is_sent(stub):
    executor = UpstreamExecutor(stub.url, timeout_seconds=20)
    await executor.run(request("/v1/embeddings"))
    await executor.close()
    assert "authorization" not in stub.seen[0][2]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, "RetriableHttpStatus"),
        (503, "RetriableHttpStatus"),
        (408, "RetriableHttpStatus"),
        (429, "RetriableHttpStatus"),
        (400, "NonRetriableHttpStatus"),
        (401, "NonRetriableHttpStatus"),
        (404, "NonRetriableHttpStatus"),
        (422, "NonRetriableHttpStatus"),
    ],
)
async def test_an_error_status_is_worth_another_try_or_not(stub, executor, status, kind):
    stub.answer = JSONResponse({"error": {"message": "no such luck"}}, status)
    failed = await failure(executor)
    assert (failed.kind, failed.status) == (kind, status)
    assert "no such luck" in failed.text


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 +9999999999999", None),
        ("soon", None),
        (None, None),
    ],
)
async def test_the_wait_that_a_429_asks_for_is_passed_on(stub, executor, header, seconds):
    headers = {} if header is None else {"Retry-After": header}
    stub.answer = PlainTextResponse("slow down", 429, headers)
    assert (await failure(executor)).retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (HTMLResponse("<html>Please log in to the proxy</html>"), "log in to the proxy"),
        (JSONResponse([1, 2]), "not a JSON object"),
        (JSONResponse({"error": {"message": "model is loading"}}), "model is loading"),
        (AnyResponse(b"\xff\xfe{"), "not JSON"),
        (AnyResponse(b""), "not JSON"),
    ],
)
async def test_a_200_that_is_not_an_answer_is_a_failure_with_its_text(
    stub, executor, answer, words
):
    stub.answer = answer
    failed = await failure(executor)
    assert (failed.kind, failed.status) == ("NonRetriableHttpStatus", 200)
    assert words in failed.text


async def test_an_answer_that_is_packed_and_broken_is_a_failure_that_says_so(stub, executor):
    packed = gzip.compress(b'{"object": "chat.completion"}')
    stub.answer = AnyResponse(b"no" + packed, headers={"content-encoding": "gzip"})
    failed = await failure(executor)
    assert (failed.kind, failed.status) == ("NonRetriableHttpStatus", 200)
    assert failed.text.startswith("the answer ")
    assert "gzip" in failed.text


@pytest.mark.parametrize("key", ["two words", "sk-schlüssel", "sk-line\n"])
def test_a_key_that_no_header_carries_is_refused_without_being_shown(key):
    with pytest.raises(ConfigError) as raised:
        UpstreamExecutor("http://127.0.0.1:9/v1", key, timeout_seconds=1)
    assert raised.value.code == "invalid_setting"
    assert "DOUBLEWORD_BATCH_LOCAL_KEY" in raised.value.hint
    assert key not in str(raised.value)


async def test_a_long_error_page_is_cut(stub, executor):
    stub.answer = HTMLResponse("<html>" + "x" * 1_000_000, 502)
    assert len((await failure(executor)).text) < 3_000


async def test_a_key_that_the_server_repeats_is_masked(stub, executor):
    stub.answer = PlainTextResponse(f"the key {KEY} is not known", 401)
    assert (await failure(executor)).text == "the key *** is not known"
    assert KEY not in repr(executor)
    assert KEY not in executor.note


async def test_a_redirect_is_not_followed_so_the_key_stays_here(stub, executor):
    other = Stub()
    with serving(other.app) as elsewhere:
        stub.answer = RedirectResponse(elsewhere + "/chat/completions")
        failed = await failure(executor)
    assert (failed.kind, failed.status) == ("NonRetriableHttpStatus", 307)
    assert other.seen == []


async def test_a_server_that_does_not_answer_in_time_is_a_timeout(stub):
    executor = UpstreamExecutor(stub.url, timeout_seconds=0.2)
    assert (await failure(executor, request("/v1/slow"))).kind == "Timeout"
    await executor.close()


async def test_an_answer_that_trickles_has_as_long_as_one_that_comes_at_once(stub):
    """Each byte comes in time, and never the last one."""

    async def endless():
        while not stub.release.is_set():
            yield b" "
            await anyio.sleep(0.02)

    stub.answer = StreamingResponse(endless(), media_type="application/json")
    executor = UpstreamExecutor(stub.url, timeout_seconds=0.5)
    with anyio.fail_after(20), pytest.raises(RequestFailed) as caught:
        await executor.run(request())
    stub.release.set()
    await executor.close()
    assert caught.value.kind == "Timeout"
    assert "0.5 seconds" in caught.value.text


@pytest.mark.parametrize("is_packed", [False, True])
async def test_an_answer_without_bound_is_read_no_further_than_the_bound(
    stub, executor, monkeypatch, is_packed
):
    """The answer has no end while it is read, so only a bound ends the reading."""
    monkeypatch.setattr(upstream, "_MOST_BYTES", 1 << 20)

    async def endless():
        piece = gzip.compress(bytes(1 << 20)) if is_packed else bytes(1 << 16)
        while not stub.release.is_set():
            yield piece

    headers = {"content-encoding": "gzip"} if is_packed else {}
    stub.answer = StreamingResponse(endless(), headers=headers)
    with anyio.fail_after(60), pytest.raises(RequestFailed) as caught:
        await executor.run(request())
    stub.release.set()
    assert (caught.value.kind, caught.value.status) == ("NonRetriableHttpStatus", 200)
    assert "longer than 1048576 bytes" in caught.value.text


async def test_a_server_that_is_not_there_is_a_network_error():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        executor = UpstreamExecutor(url, timeout_seconds=5)
        assert (await failure(executor)).kind == "NetworkError"
        assert await executor.models() == []
        await executor.close()


async def test_a_proxy_of_the_environment_is_not_a_way_to_this_machine(stub, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    executor = UpstreamExecutor(stub.url, timeout_seconds=5)
    assert (await executor.run(request())).status == 200
    await executor.close()


async def test_models_are_asked_for_once_and_embedding_models_known_by_name(stub, executor):
    stub.answer = JSONResponse({"data": [{"id": "llama3"}, {"id": "nomic-embed-text"}, {"no": 1}]})
    listed = await executor.models()
    assert [(m.id, m.kind) for m in listed] == [
        ("llama3", "chat"),
        ("nomic-embed-text", "embedding"),
    ]
    assert await executor.models() == listed
    assert [path for _, path, _, _ in stub.seen] == ["/v1/models"]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/v1",
        "http://127.0.0.1.example.com/v1",
        "https://user:pass@example.com/v1",
        "https://example.com/v1?key=1",
        "ftp://127.0.0.1/v1",
        "example.com",
        "",
    ],
)
def test_an_address_that_a_key_may_not_go_to_is_refused(url):
    with pytest.raises(ConfigError) as raised:
        UpstreamExecutor(url, KEY, timeout_seconds=1)
    assert raised.value.code == "invalid_setting"
    assert "address" in raised.value.message
    assert "DOUBLEWORD_BATCH_LOCAL_URL" in raised.value.hint


async def test_a_server_that_infers_for_real_is_passed_through_whole():
    """A second server with the simulator behind it stands for Ollama and its like."""
    simulator = SimulateExecutor()

    async def infer(asked):
        answer = await simulator.run(Request("1", "1", asked.url.path, await asked.json()))
        return JSONResponse(answer.body, answer.status)

    app = Starlette(routes=[Route("/{path:path}", infer, methods=["POST"])])
    with serving(app) as url:
        executor = UpstreamExecutor(url, timeout_seconds=20)
        body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
        answer = await executor.run(Request("2", "row", "/v1/chat/completions", body))
        await executor.close()
    assert answer.body["choices"][0]["message"]["content"].startswith("[simulated] ")
