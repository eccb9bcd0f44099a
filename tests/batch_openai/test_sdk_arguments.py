"""Which arguments of AsyncOpenAI hold for batches as for live calls, and which do not."""

import asyncio
import gc
from contextlib import contextmanager

import httpx
import httpx2
import openai
import pytest
import respx
from openai.providers import bedrock

from batch_openai.conftest import at, batches_of, chat_call, quick, soon
from batch_openai.test_outcomes import GOOD
from doubleword_batch.batch_openai import BatchCallError
from doubleword_batch.errors import ConfigError

TOKEN_EXCHANGE = "https://auth.openai.com/oauth/token"


async def test_a_key_function_is_called_in_the_callers_loop_for_each_request(server, recorder):
    called_in = []

    async def key():
        called_in.append(asyncio.get_running_loop())
        return server.token

    async with at(server, api_key=key, http_client=recorder.client()) as client:
        assert (await chat_call(client, "a")).choices
        assert [model.id async for model in client.models.list()]
    assert set(called_in) == {asyncio.get_running_loop()}
    assert len(called_in) == len(recorder.of_the_batch)


@pytest.mark.parametrize("library", [httpx2, httpx])
async def test_the_callers_http_client_sends_the_batches_in_the_callers_loop(
    server, recorder, library
):
    async with at(server, http_client=recorder.client(library)) as client:
        answers = await asyncio.gather(*(chat_call(client, f"question {n}") for n in range(50)))
        (batch,) = await batches_of(client)
    assert all(answer.choices for answer in answers)
    assert batch.request_counts.completed == 50
    assert recorder.of_the_batch
    assert recorder.loops == {asyncio.get_running_loop()}


async def test_the_callers_query_goes_with_every_request(server, recorder):
    options = {"default_query": {"api-version": "7"}, "http_client": recorder.client()}
    async with at(server, **options) as client:
        assert (await chat_call(client, "a")).choices
    assert {request.url.params["api-version"] for request in recorder.of_the_batch} == {"7"}


async def test_an_authorization_of_the_callers_takes_the_place_of_the_key(server, recorder):
    headers = {"authorization": f"Bearer {server.token}"}
    options = {"api_key": "unused", "default_headers": headers}
    async with at(server, **options, http_client=recorder.client()) as client:
        assert (await chat_call(client, "a")).choices
    sent = [request.headers.get_list("authorization") for request in recorder.of_the_batch]
    assert all(values == [headers["authorization"]] for values in sent)


IDENTITY = {
    "provider": {"token_type": "jwt", "get_token": lambda: "of the cluster"},
    "identity_provider_id": "idp-1",
    "service_account_id": "sa-1",
}
ISSUED = {"expires_in": 3600, "token_type": "Bearer", "issued_token_type": "x"}


@contextmanager
def exchanging(token):
    """OpenAI's exchange of a cluster's token for an access token, which is this one."""
    with respx.mock(assert_all_called=False) as router:
        router.post(TOKEN_EXCHANGE).respond(json=ISSUED | {"access_token": token})
        router.route(host="127.0.0.1").pass_through()
        yield


def live_only(name, server):
    """A way to name a server, or to prove who asks, that batches do not have."""
    return {
        "provider": {"provider": bedrock(api_key=server.token, base_url=server.base_url)},
        "workload_identity": {"workload_identity": IDENTITY, "base_url": server.base_url},
        "data_residency": {"data_residency": "eu", "api_key": "sk-eu"},
    }[name]


LIVE_ONLY = pytest.mark.parametrize("name", ["provider", "workload_identity", "data_residency"])


@LIVE_ONLY
async def test_an_argument_for_live_calls_alone_is_refused_at_the_first_batched_call(
    server, recorder, name
):
    options = live_only(name, server) | {"http_client": recorder.client(httpx)}
    async with quick(**options) as client:
        for call in (
            chat_call(client, "a"),
            chat_call(client, "a", stream=True),
            client.responses.create(model="m", input="a"),
            client.embeddings.create(model="e", input="a"),
        ):
            with pytest.raises(BatchCallError, match=f"{name}= makes live calls only") as caught:
                await call
            assert caught.value.code == "not_batchable"
            assert "unbatchable='live'" in caught.value.hint
            assert isinstance(caught.value.__cause__, ConfigError)
    assert recorder.requests == []


@pytest.mark.parametrize("name", ["provider", "workload_identity"])
async def test_live_calls_go_on_working_with_an_argument_for_them_alone(server, recorder, name):
    options = live_only(name, server) | {"http_client": recorder.client(httpx)}
    with exchanging(server.token):
        async with quick(**options) as client:
            assert [model.id async for model in client.models.list()]
            assert [file.id async for file in client.files.list()] == []
    live = [r for r in recorder.requests if r.url.host == "127.0.0.1"]
    assert {request.headers["authorization"] for request in live} == {f"Bearer {server.token}"}


async def test_data_residency_says_where_live_calls_go(monkeypatch):
    hosts = []

    def serve(request):
        hosts.append(request.url.host)
        return httpx2.Response(200, json={"object": "list", "data": []})

    monkeypatch.setenv("DOUBLEWORD_API_KEY", "dw-of-another")
    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(serve))
    options = {"api_key": "sk-eu", "data_residency": "eu", "http_client": http_client}
    async with quick(**options) as client:
        assert str(client.base_url) == "https://eu.api.openai.com/v1/"
        assert [model async for model in client.models.list()] == []
    assert hosts == ["eu.api.openai.com"]
    with pytest.raises(openai.OpenAIError, match="credentials"):
        quick(data_residency="eu")  # Doubleword's key is not sent to OpenAI


async def test_what_cannot_be_batched_goes_live_with_such_an_argument_when_the_user_said_so():
    paths = []

    def serve(request):
        paths.append(request.url.path)
        return httpx2.Response(200, json=GOOD)

    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(serve))
    options = {"api_key": "sk-eu", "data_residency": "eu", "http_client": http_client}
    async with quick(**options, unbatchable="live") as client:
        assert (await chat_call(client, "a")).choices[0].message.content == "yes"
    assert paths == ["/v1/chat/completions"]


@LIVE_ONLY
async def test_a_copy_that_takes_such_an_argument_makes_live_calls_only_and_so_do_its_copies(
    server, name
):
    given = live_only(name, server)
    async with at(server, batch_size=1) as original:
        for client in (
            original.with_options(**{name: given[name]}),
            quick(**given).with_options(max_retries=0, batch_size=2),
        ):
            with pytest.raises(BatchCallError, match=f"{name}= makes live calls only"):
                await chat_call(client, "a")
        assert (await chat_call(original, "a")).choices


async def test_arguments_that_the_sdk_does_not_take_together_are_refused(server):
    with pytest.raises(ValueError, match="mutually exclusive"):
        quick(api_key="k", base_url=server.base_url, data_residency="eu")
    with pytest.raises(openai.OpenAIError, match="cannot be combined"):
        quick(api_key="k", provider=bedrock(api_key="k", base_url=server.base_url))


async def test_an_argument_counts_more_than_openai_s_variables(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    async with at(server, batch_provider="openai") as client:
        assert (client.api_key, str(client.base_url)) == (server.token, f"{server.base_url}/")


async def test_a_changed_client_outlives_the_one_that_it_was_made_from():
    client = quick().with_options(max_retries=0)
    gc.collect()
    async with client:
        assert (await chat_call(client, "a")).choices


async def test_a_copy_keeps_the_key_function_of_its_original_or_takes_another(server, recorder):
    original = at(server, api_key=lambda: soon(server.token))
    async with original.with_options(max_retries=0) as client:
        assert (await chat_call(client, "a")).choices
    keyed = quick(api_key="wrong", base_url=server.base_url, batch_provider="doubleword")
    async with keyed.with_options(
        api_key=lambda: soon(server.token), http_client=recorder.client()
    ) as client:
        assert (await chat_call(client, "b")).choices
    assert recorder.of_the_batch
    async with client.with_options(api_key="wrong", http_client=recorder.client()) as client:
        with pytest.raises(openai.AuthenticationError):
            await chat_call(client, "c")
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
        await asyncio.gather(chat_call(client, "a"), chat_call(client.with_options(**nothing), "b"))
        assert len(await batches_of(client)) == 1
    assert {request.url.host for request in recorder.requests} == {"127.0.0.1"}


async def test_a_copy_finds_what_its_original_has_paid_for(server, home):
    async with at(server, api_key=lambda: soon(server.token)) as client:
        first = await chat_call(client, "a")
        again = await chat_call(client.with_options(state_dir=home), "a")
        assert again.id == first.id
        assert len(await batches_of(client)) == 1


async def test_the_rules_of_a_provider_are_told_by_the_address():
    key_function = {"api_key": lambda: soon("k")}
    hosted = quick(base_url="https://api.doubleword.ai/v1", **key_function)
    openais = quick(base_url="https://api.openai.com/v1", **key_function)
    assert hosted._state.shared.batching_thread.settings.provider == "doubleword"
    assert openais._state.shared.batching_thread.settings.provider == "openai"


async def test_openai_s_own_headers_of_the_environment_bring_no_key_to_another(
    server, recorder, monkeypatch
):
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-openai\nX-Team: red")
    async with at(server, http_client=recorder.client()) as client:
        assert (await chat_call(client, "a")).choices
        assert [model.id async for model in client.models.list()]
    sent = {(r.headers["authorization"], r.headers["x-team"]) for r in recorder.of_the_batch}
    assert sent == {(f"Bearer {server.token}", "red")}


async def test_the_local_server_is_not_sent_the_key_of_a_function(monkeypatch):
    monkeypatch.setenv("DOUBLEWORD_BATCH_PROVIDER", "local")

    async def key():
        raise AssertionError("nobody may ask")

    async with quick(api_key=key) as client:
        assert (await chat_call(client, "a")).choices
        assert [model.id async for model in client.models.list()]
