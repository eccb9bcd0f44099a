"""Batches over the caller's connections and keys: what goes wrong with keys, loops and hooks."""

import asyncio
import gc
import threading

import httpx
import httpx2
import openai
import pytest
from anyio import fail_after, to_thread

from batch_openai.conftest import DEADLINE_SECONDS, at, batches_of, chat_call, quick, soon
from doubleword_batch import BatchClient, LocalConfig, LocalServer
from doubleword_batch.batch_openai import BatchCallError
from doubleword_batch.batch_openai.caller_transport import CallerTransport
from doubleword_batch.batch_openai.loop_affinity import LoopAffinity
from doubleword_batch.errors import RejectedError
from doubleword_batch.local.executors.simulate import SimulateExecutor


async def test_a_key_that_changes_is_sent_as_it_is_now(server, recorder):
    keys = iter([server.token, *["stale"] * 20])
    client = at(server, api_key=lambda: soon(next(keys)), http_client=recorder.client())
    async with client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await chat_call(client, "a")
    assert caught.value.status_code == 401
    assert [r.headers["authorization"] for r in recorder.requests[:2]] == [
        f"Bearer {server.token}",
        "Bearer stale",
    ]


async def test_a_key_of_a_function_is_kept_nowhere_on_disk(server, home):
    async with at(server, api_key=lambda: soon(server.token)) as client:
        assert (await chat_call(client, "a")).choices
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if server.token.encode() in path.read_bytes()]


async def test_this_machine_is_reached_without_the_environments_proxy(
    server, monkeypatch, unused_url
):
    monkeypatch.setenv("HTTP_PROXY", unused_url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with at(server, api_key=lambda: soon(server.token)) as client:
        assert (await chat_call(client, "a")).choices


async def test_a_key_function_that_raises_fails_the_call_at_once_with_its_message(server):
    async def broken():
        raise LookupError("the vault is sealed")

    async with at(server, api_key=broken, max_retry_seconds=600) as client:
        with pytest.raises(openai.APIConnectionError, match=r"LookupError.*the vault is sealed"):
            await chat_call(client, "a")


async def test_a_key_that_cannot_be_a_header_is_not_shown(server):
    async with at(server, api_key=lambda: soon("sk-first\nsecond")) as client:
        with pytest.raises(BatchCallError, match="line break") as caught:
            await chat_call(client, "a")
    assert "sk-first" not in str(caught.value)


async def test_a_key_function_that_fails_while_the_batch_runs_is_called_again(server):
    keys = iter([server.token, server.token, LookupError("a moment"), *[server.token] * 200])

    async def key():
        found = next(keys)
        if isinstance(found, Exception):
            raise found
        return found

    async with at(server, api_key=key, max_retry_seconds=30) as client:
        assert (await chat_call(client, "a")).choices


async def test_errors_of_the_callers_connections_are_the_sdk_s_own(unused_url):
    async def key():
        return "k"

    async with quick(api_key=key, base_url=unused_url, max_retry_seconds=0) as client:
        with pytest.raises(openai.APIConnectionError, match="could not be reached"):
            await chat_call(client, "a")


async def test_a_second_loop_is_refused_while_the_first_is_open(server, recorder):
    async with at(server, http_client=recorder.client()) as client:
        assert (await chat_call(client, "a")).choices
        with pytest.raises(BatchCallError) as caught:
            await asyncio.to_thread(asyncio.run, chat_call(client, "b"))
        assert caught.value.code == "second_loop"


class Held(SimulateExecutor):
    """Answers nothing until it is told to."""

    def __init__(self):
        super().__init__()
        self.has_begun = threading.Event()
        self.may_answer = threading.Event()

    async def run(self, request):
        self.has_begun.set()
        await to_thread.run_sync(self.may_answer.wait, DEADLINE_SECONDS)
        return await super().run(request)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # what the first loop leaves open
def test_a_later_loop_gets_what_a_loop_that_ended_too_early_has_paid_for(tmp_path):
    held = Held()
    config = LocalConfig(home=tmp_path / "server", executor="simulate")
    with LocalServer(config, executor=held) as server:
        client = at(server, api_key=lambda: soon(server.token))

        async def first():
            calling = asyncio.create_task(chat_call(client, "a"))
            assert await to_thread.run_sync(held.has_begun.wait, DEADLINE_SECONDS)
            assert not calling.done()

        async def second():
            async with client:
                return await chat_call(client, "a"), await batches_of(client)

        asyncio.run(first())
        held.may_answer.set()
        answer, batches = asyncio.run(second())
    gc.collect()
    assert answer.choices
    assert len(batches) == 1


@pytest.mark.parametrize("library", [httpx2, httpx])
async def test_a_header_that_cannot_be_sent_is_not_shown(server, library):
    headers = {"Authorization": "Bearer sk-secret-of-a-file\n"}
    http_client = library.AsyncClient(trust_env=False)
    options = {"api_key": "unused", "default_headers": headers, "http_client": http_client}
    async with at(server, **options) as client:
        with pytest.raises(openai.OpenAIError) as caught:
            await chat_call(client, "a")
    error, shown = caught.value, ""
    while error is not None:
        shown += f"{error} {error!r}"
        error = error.__cause__
    assert "sk-secret" not in shown


async def test_a_function_that_returns_no_key_and_a_closed_http_client_fail_at_once(server):
    closed = httpx2.AsyncClient()
    await closed.aclose()
    options = {"max_retry_seconds": 600}
    for given in ({"api_key": lambda: soon(None)}, {"http_client": closed}):
        async with at(server, **given, **options) as client:
            with fail_after(20), pytest.raises(openai.APIConnectionError):
                await chat_call(client, "a")


class Signing:
    """An authentication that signs the body."""

    requires_request_body = True

    def __init__(self):
        self.signed = []

    def auth_flow(self, request):
        self.signed.append((f"{request.method} {request.url.path}", len(request.content)))
        yield request


@pytest.mark.parametrize("library", [httpx2, httpx])
async def test_an_authentication_that_signs_a_body_sees_all_of_it(server, library):
    signing = type("Signed", (Signing, library.Auth), {})()
    http_client = library.AsyncClient(auth=signing, trust_env=False)
    async with at(server, http_client=http_client) as client:
        assert (await chat_call(client, "a")).choices
        file = await anext(aiter(client.files.list(purpose="batch")))
    assert dict(signing.signed)["POST /v1/files"] > file.bytes


async def test_keys_that_rotate_are_removed_from_what_the_server_writes():
    keys = iter(["sk-first-key", "sk-second-key"])

    def echo(request):
        return httpx2.Response(400, json={"error": {"message": "sk-first-key, sk-second-key"}})

    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(echo))
    affinity = LoopAffinity()
    affinity.bind()
    base_url = "https://provider.example/v1"
    transport = CallerTransport(affinity, http_client, authorization=lambda: soon(next(keys)))
    async with BatchClient(base_url=base_url, custom_transport=transport) as client:
        with pytest.raises(RejectedError):
            await client.models.list()
        with pytest.raises(RejectedError, match=r"\*\*\*, \*\*\*"):
            await client.models.list()


def test_a_client_that_is_dropped_ends_its_thread_though_its_loop_never_closes(server):
    class Owner:
        def __init__(self):
            self.client = at(server, api_key=self.key)

        async def key(self):
            return server.token

    before = set(threading.enumerate())
    loop = asyncio.new_event_loop()
    owner = Owner()
    loop.run_until_complete(chat_call(owner.client, "a"))
    (batching_thread,) = [t for t in set(threading.enumerate()) - before if t.name == "batch-calls"]
    del owner
    gc.collect()
    batching_thread.join(DEADLINE_SECONDS)
    assert not batching_thread.is_alive()
    loop.close()


async def test_a_write_that_was_sent_is_not_repeated_when_a_hook_raises(server):
    failing = ["/v1/batches"]

    async def hook(response):
        if response.request.method == "POST" and response.request.url.path in failing:
            failing.clear()
            raise openai.OpenAIError("a hook of the caller's")

    http_client = httpx2.AsyncClient(event_hooks={"response": [hook]}, trust_env=False)
    async with at(server, http_client=http_client) as client:
        assert (await chat_call(client, "a")).choices
        assert len(await batches_of(client)) == 1
    assert not failing
