"""Every argument of AsyncOpenAI holds for batches as for live calls: keys, connections, queries."""

import asyncio
import gc
import threading

import httpx
import httpx2
import openai
import pytest
import respx
from anyio import fail_after, to_thread
from openai.providers import bedrock

from doubleword_batch import BatchClient, LocalConfig, LocalServer
from doubleword_batch.drop_in import BatchCallError
from doubleword_batch.drop_in.carrier import SdkCarrier, checked
from doubleword_batch.drop_in.home import HomeLoop
from doubleword_batch.errors import ConfigError, RejectedError
from doubleword_batch.local.simulate import SimulateExecutor
from drop_in.conftest import DEADLINE_SECONDS, ask, batches_of, quick

TOKEN_EXCHANGE = "https://auth.openai.com/oauth/token"
OF_A_BATCH = {("POST", "/v1/files"), ("POST", "/v1/batches")}


class Recorder:
    """An HTTP client's event hook: what was sent, and in which loop."""

    def __init__(self):
        self.requests = []
        self.loops = set()

    async def __call__(self, request):
        self.requests.append(request)
        self.loops.add(asyncio.get_running_loop())

    def client(self, library=httpx2):
        return library.AsyncClient(event_hooks={"request": [self]}, trust_env=False)

    @property
    def of_the_batch(self):
        """The requests that carry a batch; the fixture's server keeps its results."""
        sent = {(one.method, one.url.path) for one in self.requests}
        assert sent >= OF_A_BATCH, sent
        assert any(path.endswith("/content") for _, path in sent)
        return self.requests


@pytest.fixture
def server(tmp_path):
    with LocalServer(LocalConfig(home=tmp_path / "server", executor="simulate")) as running:
        yield running


@pytest.fixture
def recorder():
    return Recorder()


def at(server, **options):
    """A quick client of that server; the key is the server's unless another way is named."""
    access = {"base_url": server.base_url, "batch_provider": "doubleword"}
    if not options.keys() & {"api_key", "workload_identity", "default_headers"}:
        access["api_key"] = server.token
    return quick(**access | options)


async def test_a_key_function_is_asked_in_the_callers_loop_for_each_request(server, recorder):
    asked_in = []

    async def key():
        asked_in.append(asyncio.get_running_loop())
        return server.token

    async with at(server, api_key=key, http_client=recorder.client()) as client:
        assert (await ask(client, "a")).choices
        assert [model.id async for model in client.models.list()]
    assert set(asked_in) == {asyncio.get_running_loop()}
    assert len(asked_in) == len(recorder.of_the_batch)


async def test_a_key_that_changes_is_sent_as_it_is_now(server, recorder):
    keys = iter([server.token, *["stale"] * 20])
    client = at(server, api_key=lambda: _soon(next(keys)), http_client=recorder.client())
    async with client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await ask(client, "a")
    assert caught.value.status_code == 401
    assert [r.headers["authorization"] for r in recorder.requests[:2]] == [
        f"Bearer {server.token}",
        "Bearer stale",
    ]


async def test_a_key_of_a_function_is_kept_nowhere_on_disk(server, home):
    async with at(server, api_key=lambda: _soon(server.token)) as client:
        assert (await ask(client, "a")).choices
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if server.token.encode() in path.read_bytes()]


async def test_this_machine_is_reached_without_the_environments_proxy(
    server, monkeypatch, unused_url
):
    monkeypatch.setenv("HTTP_PROXY", unused_url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with at(server, api_key=lambda: _soon(server.token)) as client:
        assert (await ask(client, "a")).choices
    async with quick(provider=bedrock(api_key=server.token, base_url=server.base_url)) as client:
        assert (await ask(client, "b")).choices


async def test_a_function_that_gives_no_key_fails_the_call_at_once_in_its_own_words(server):
    async def broken():
        raise LookupError("the vault is sealed")

    async with at(server, api_key=broken, max_retry_seconds=600) as client:
        with pytest.raises(openai.APIConnectionError, match=r"LookupError.*the vault is sealed"):
            await ask(client, "a")


async def test_a_key_that_cannot_stand_in_a_header_is_not_shown(server):
    async with at(server, api_key=lambda: _soon("sk-first\nsecond")) as client:
        with pytest.raises(BatchCallError, match="line break") as caught:
            await ask(client, "a")
    assert "sk-first" not in str(caught.value)


async def test_a_function_that_fails_while_the_batch_runs_is_asked_again(server):
    keys = iter([server.token, server.token, LookupError("a moment"), *[server.token] * 200])

    async def key():
        found = next(keys)
        if isinstance(found, Exception):
            raise found
        return found

    async with at(server, api_key=key, max_retry_seconds=30) as client:
        assert (await ask(client, "a")).choices


@pytest.mark.parametrize("library", [httpx2, httpx])
async def test_the_callers_http_client_carries_the_batches_in_the_callers_loop(
    server, recorder, library
):
    async with at(server, http_client=recorder.client(library)) as client:
        answers = await asyncio.gather(*(ask(client, f"question {n}") for n in range(50)))
        (batch,) = await batches_of(client)
    assert all(one.choices for one in answers)
    assert batch.request_counts.completed == 50
    assert recorder.of_the_batch
    assert recorder.loops == {asyncio.get_running_loop()}


async def test_the_callers_query_goes_with_every_request(server, recorder):
    options = {"default_query": {"api-version": "7"}, "http_client": recorder.client()}
    async with at(server, **options) as client:
        assert (await ask(client, "a")).choices
    assert {one.url.params["api-version"] for one in recorder.of_the_batch} == {"7"}


async def test_an_authorization_of_the_callers_takes_the_place_of_the_key(server, recorder):
    headers = {"authorization": f"Bearer {server.token}"}
    options = {"api_key": "unused", "default_headers": headers}
    async with at(server, **options, http_client=recorder.client()) as client:
        assert (await ask(client, "a")).choices
    sent = [one.headers.get_list("authorization") for one in recorder.of_the_batch]
    assert all(one == [headers["authorization"]] for one in sent)


async def test_a_workload_identity_exchanges_its_token_for_the_batches_too(server, recorder):
    identity = {
        "provider": {"token_type": "jwt", "get_token": lambda: "of the cluster"},
        "identity_provider_id": "idp-1",
        "service_account_id": "sa-1",
    }
    given = {"access_token": server.token, "expires_in": 3600}
    given |= {"token_type": "Bearer", "issued_token_type": "x"}
    with respx.mock(assert_all_called=False) as router:
        exchange = router.post(TOKEN_EXCHANGE).respond(json=given)
        router.route(host="127.0.0.1").pass_through()
        options = {"workload_identity": identity, "http_client": recorder.client(httpx)}
        async with at(server, **options) as client:
            assert (await ask(client, "a")).choices
    assert exchange.call_count == 1
    sent = {one.headers["authorization"] for one in recorder.of_the_batch}
    assert sent == {f"Bearer {server.token}"}


async def test_a_provider_of_the_sdk_says_where_and_proves_who(server, recorder):
    provider = bedrock(api_key=server.token, base_url=server.base_url)
    options = {"provider": provider, "batch_provider": "doubleword"}
    async with quick(**options, http_client=recorder.client()) as client:
        assert (await ask(client, "a")).choices
    sent = {one.headers["authorization"] for one in recorder.of_the_batch}
    assert sent == {f"Bearer {server.token}"}


async def test_data_residency_says_where_the_batches_go(monkeypatch):
    hosts = []

    def refuse(request):
        hosts.append(request.url.host)
        return httpx2.Response(401, json={"error": {"message": "no such key"}})

    monkeypatch.setenv("DOUBLEWORD_API_KEY", "dw-of-another")
    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(refuse))
    options = {"api_key": "sk-eu", "data_residency": "eu", "http_client": http_client}
    async with quick(**options) as client:
        assert str(client.base_url) == "https://eu.api.openai.com/v1/"
        with pytest.raises(openai.AuthenticationError):
            await ask(client, "a")
    assert set(hosts) == {"eu.api.openai.com"}
    with pytest.raises(openai.OpenAIError, match="credentials"):
        quick(data_residency="eu")  # Doubleword's key is not sent to OpenAI


async def test_arguments_that_the_sdk_does_not_take_together_are_refused(server):
    with pytest.raises(ValueError, match="mutually exclusive"):
        quick(api_key="k", base_url=server.base_url, data_residency="eu")
    with pytest.raises(openai.OpenAIError, match="cannot be combined"):
        quick(api_key="k", provider=bedrock(api_key="k", base_url=server.base_url))
    with pytest.raises(ConfigError, match="plain http"):
        quick(provider=bedrock(api_key="k", base_url="http://far.example/v1"))


async def test_an_argument_counts_more_than_openai_s_variables(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    async with at(server, batch_provider="openai") as client:
        assert (client.api_key, str(client.base_url)) == (server.token, f"{server.base_url}/")


async def test_errors_of_the_callers_connections_are_the_sdk_s_own(unused_url):
    async def key():
        return "k"

    async with quick(api_key=key, base_url=unused_url, max_retry_seconds=0) as client:
        with pytest.raises(openai.APIConnectionError, match="could not be reached"):
            await ask(client, "a")


async def test_a_second_loop_is_refused_while_the_first_one_lives(server, recorder):
    async with at(server, http_client=recorder.client()) as client:
        assert (await ask(client, "a")).choices
        with pytest.raises(BatchCallError) as caught:
            await asyncio.to_thread(asyncio.run, ask(client, "b"))
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


def test_a_later_loop_gets_what_a_loop_that_ended_too_early_has_paid_for(tmp_path):
    held = Held()
    config = LocalConfig(home=tmp_path / "server", executor="simulate")
    with LocalServer(config, executor=held) as server:
        client = at(server, api_key=lambda: _soon(server.token))

        async def first():
            calling = asyncio.create_task(ask(client, "a"))
            assert await to_thread.run_sync(held.has_begun.wait, DEADLINE_SECONDS)
            assert not calling.done()

        async def second():
            async with client:
                return await ask(client, "a"), await batches_of(client)

        asyncio.run(first())
        held.may_answer.set()
        answer, batches = asyncio.run(second())
    assert answer.choices
    assert len(batches) == 1


async def test_a_changed_client_outlives_the_one_that_it_was_made_from():
    client = quick().with_options(max_retries=0)
    gc.collect()
    async with client:
        assert (await ask(client, "a")).choices


async def test_a_copy_keeps_the_ways_of_its_original_and_takes_new_ones(server, recorder):
    original = at(server, api_key=lambda: _soon(server.token))
    async with original.with_options(max_retries=0) as client:
        assert (await ask(client, "a")).choices
    keyed = quick(api_key="wrong", base_url=server.base_url, batch_provider="doubleword")
    async with keyed.with_options(
        api_key=lambda: _soon(server.token), http_client=recorder.client()
    ) as client:
        assert (await ask(client, "b")).choices
    assert recorder.of_the_batch
    async with client.with_options(api_key="wrong", http_client=recorder.client()) as client:
        with pytest.raises(openai.AuthenticationError):
            await ask(client, "c")
    assert recorder.requests[-1].headers["authorization"] == "Bearer wrong"


async def test_what_changes_nothing_at_the_sdk_changes_nothing_in_a_copy(
    server, recorder, monkeypatch
):
    monkeypatch.setenv("DOUBLEWORD_API_KEY", "dw-of-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    nothing = {
        "api_key": "",
        "base_url": openai.not_given,
        "provider": openai.not_given,
        "organization": None,
    }
    async with at(server, http_client=recorder.client()) as client:
        for name, value in nothing.items():
            other = client.with_options(**{name: value})
            assert (other.api_key, other.base_url) == (client.api_key, client.base_url), name
        await asyncio.gather(ask(client, "a"), ask(client.with_options(**nothing), "b"))
        assert len(await batches_of(client)) == 1
    assert {one.url.host for one in recorder.requests} == {"127.0.0.1"}


async def test_a_copy_finds_what_its_original_has_paid_for(server, home):
    provider = bedrock(api_key=server.token, base_url=server.base_url)
    async with quick(provider=provider, batch_provider="doubleword") as client:
        first = await ask(client, "a")
        again = await ask(client.with_options(state_dir=home), "a")
        assert again.id == first.id
        assert len(await batches_of(client)) == 1


async def test_the_rules_of_a_provider_are_told_by_the_address(server):
    identity = {"type": "x", "provider": {"token_type": "jwt", "get_token": lambda: "t"}}
    options = {"workload_identity": identity}
    hosted = quick(base_url="https://api.doubleword.ai/v1", **options)
    assert hosted._gathered.engine.settings.provider == "doubleword"
    assert quick(**options)._gathered.engine.settings.provider == "openai"


async def test_openai_s_own_headers_of_the_environment_bring_no_key_to_another(
    server, recorder, monkeypatch
):
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-openai\nX-Team: red")
    async with at(server, http_client=recorder.client()) as client:
        assert (await ask(client, "a")).choices
        assert [model.id async for model in client.models.list()]
    sent = {(one.headers["authorization"], one.headers["x-team"]) for one in recorder.of_the_batch}
    assert sent == {(f"Bearer {server.token}", "red")}


async def test_the_local_server_is_not_sent_the_key_of_a_function(monkeypatch):
    monkeypatch.setenv("DOUBLEWORD_BATCH_PROVIDER", "local")

    async def key():
        raise AssertionError("nobody may ask")

    async with quick(api_key=key) as client:
        assert (await ask(client, "a")).choices
        assert [model.id async for model in client.models.list()]


@pytest.mark.parametrize("library", [httpx2, httpx])
async def test_a_header_that_cannot_be_sent_is_not_shown(server, library):
    headers = {"Authorization": "Bearer sk-secret-of-a-file\n"}
    http_client = library.AsyncClient(trust_env=False)
    options = {"api_key": "unused", "default_headers": headers, "http_client": http_client}
    async with at(server, **options) as client:
        with pytest.raises(openai.OpenAIError) as caught:
            await ask(client, "a")
    error, shown = caught.value, ""
    while error is not None:
        shown += f"{error} {error!r}"
        error = error.__cause__
    assert "sk-secret" not in shown


async def test_a_function_without_a_key_and_a_closed_http_client_fail_at_once(server):
    closed = httpx2.AsyncClient()
    await closed.aclose()
    options = {"max_retry_seconds": 600}
    for given in ({"api_key": lambda: _soon(None)}, {"http_client": closed}):
        async with at(server, **given, **options) as client:
            with fail_after(20), pytest.raises(openai.APIConnectionError):
                await ask(client, "a")


class Signing:
    """An authentication that signs the body."""

    requires_request_body = True

    def __init__(self):
        self.signed = []

    def auth_flow(self, request):
        self.signed.append((f"{request.method} {request.url.path}", len(request.content)))
        yield request


@pytest.mark.parametrize("library", [httpx2, httpx])
async def test_who_signs_a_body_sees_all_of_it(server, library):
    signing = type("Signed", (Signing, library.Auth), {})()
    http_client = library.AsyncClient(auth=signing, trust_env=False)
    async with at(server, http_client=http_client) as client:
        assert (await ask(client, "a")).choices
        file = await anext(aiter(client.files.list(purpose="batch")))
    assert dict(signing.signed)["POST /v1/files"] > file.bytes


async def test_keys_that_rotate_are_taken_out_of_what_the_server_writes():
    keys = iter(["sk-first-key", "sk-second-key"])

    def echo(request):
        return httpx2.Response(400, json={"error": {"message": "sk-first-key, sk-second-key"}})

    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(echo))
    home = HomeLoop()
    home.enter()
    base_url = "https://provider.example/v1"
    options = {"api_key": checked(lambda: _soon(next(keys))), "base_url": base_url}
    carrier = SdkCarrier(home, base_url, options | {"http_client": http_client}, is_local=False)
    async with BatchClient(base_url=base_url, carrier=carrier) as client:
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
    loop.run_until_complete(ask(owner.client, "a"))
    (engine,) = [t for t in set(threading.enumerate()) - before if t.name == "batch-calls"]
    del owner
    gc.collect()
    engine.join(DEADLINE_SECONDS)
    assert not engine.is_alive()
    loop.close()


async def _soon(value):
    return value
