"""The key goes to the configured server and nowhere else, and shows itself nowhere."""

import logging
import re

import httpx
import pytest
import respx

from doubleword_batch import errors
from doubleword_batch.api import BatchClient
from doubleword_batch.settings import Secret
from wire.certificates import self_signed
from wire.conftest import API, KEY
from wire.scripted_server import Answer, answer, lines, serving

ID = "0191b5f2-0000-7000-8000-000000000001"
MODELS = {"data": [{"id": "m"}]}


def moved(to: str, status: int = 307) -> Answer:
    return answer(status, b"", headers={"Location": to})


async def test_the_key_is_a_bearer_token_and_the_client_names_itself(connect):
    async with serving(answer(200, MODELS)) as server:
        await connect(server.base_url).models.list()
        headers = server.requests[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert re.fullmatch(r"doubleword-batch/\S+ \(python 3\.\S+\)", headers["user-agent"])


@respx.mock
async def test_headers_of_the_caller_replace_neither_the_key_nor_the_clients_name(connect_directly):
    route = respx.get(f"{API}/models").mock(return_value=httpx.Response(200, json=MODELS))
    others = {"authorization": "Bearer other", "user-agent": "other", "X-Team": "red"}
    await connect_directly(API, headers=others).models.list()
    sent = route.calls[0].request.headers
    assert sent.get_list("authorization") == [f"Bearer {KEY}"]
    assert [name.startswith("doubleword-batch/") for name in sent.get_list("user-agent")] == [True]
    assert sent["x-team"] == "red"


async def test_without_a_key_none_is_sent(connect_directly):
    async with serving(answer(200, MODELS), answer(200, MODELS)) as server:
        await connect_directly(server.base_url, api_key=None).models.list()
        await connect_directly(server.base_url, api_key=Secret("")).models.list()
        assert all("authorization" not in request.headers for request in server.requests)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_get_follows_a_redirect_on_the_same_server(connect, status):
    async with serving(moved("/v1/other?x=1", status), answer(200, MODELS)) as server:
        assert (await connect(server.base_url).models.list())[0].id == "m"
        assert server.requests[1].target == "/v1/other?x=1"


async def test_a_download_follows_a_redirect_on_the_same_server(connect):
    async with serving(moved("elsewhere"), lines('{"custom_id":"1"}')) as server:
        read = await connect(server.base_url).files.content(ID, lambda _: None)
    assert read.lines == 1


async def test_no_request_at_all_reaches_another_server(connect):
    async with serving() as other, serving(moved(other.base_url + "/models")) as server:
        with pytest.raises(errors.ProtocolError) as caught:
            await connect(server.base_url).models.list()
        assert other.requests == []
    assert caught.value.code == "redirect"
    assert "another server" in caught.value.message
    assert "DOUBLEWORD_BASE_URL" in caught.value.hint


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.test/v1/models",
        "//evil.test/v1/models",
        "http://api.example.test/v1/models",
        "https://api.example.test:444/v1/models",
        "https://user:pass@api.example.test/v1/models",
        "https://api.example.test.evil.test/v1/models",
        "http://[broken",
        "file:///etc/passwd",
        f"https://{KEY}.evil.test/",
    ],
)
@respx.mock
async def test_a_redirect_to_another_origin_is_not_followed(connect, to):
    route = respx.get(f"{API}/models").respond(302, headers={"location": to})
    with pytest.raises(errors.ProtocolError) as caught:
        await connect().models.list()
    assert route.call_count == 1
    assert caught.value.code == "redirect"
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303])
@respx.mock
async def test_a_post_that_is_redirected_as_a_get_is_not_followed(connect, status):
    route = respx.post(f"{API}/batches")
    route.respond(status, headers={"location": "/v1/elsewhere"})
    with pytest.raises(errors.ProtocolError) as caught:
        await connect().batches.create(
            input_file_id=ID, endpoint="/v1/embeddings", completion_window="24h"
        )
    assert route.call_count == 1
    assert caught.value.code == "redirect"
    assert caught.value.details.get("may_have_happened", False) is (status == 303)


@pytest.mark.parametrize("status", [307, 308])
async def test_a_post_is_sent_again_where_the_same_server_wants_it(connect, status, tmp_path):
    """As servers do that want a slash at the end of an address."""
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"{}\n" * 1_000)
    async with serving(moved("/v1/files/", status), answer(201, {"id": "f"})) as server:
        assert (await connect(server.base_url).files.upload(path)).id == "f"
        first, second = server.requests
    assert (second.method, second.target) == ("POST", "/v1/files/")
    assert second.body == first.body
    assert b"{}\n" * 1_000 in second.body


@pytest.mark.parametrize("status", [307, 308])
@respx.mock
async def test_a_post_is_sent_to_no_other_server(connect, status):
    route = respx.post(f"{API}/batches/{ID}/cancel")
    route.respond(status, headers={"location": "https://evil.test:444/v1/batches"})
    with pytest.raises(errors.ProtocolError, match=r"«https://evil\.test:444»") as caught:
        await connect().batches.cancel(ID)
    assert route.call_count == 1
    assert caught.value.code == "redirect"


@respx.mock
async def test_a_post_in_a_redirect_loop_ends(connect):
    route = respx.post(f"{API}/batches/{ID}/cancel")
    route.respond(308, headers={"location": f"/v1/batches/{ID}/cancel"})
    with pytest.raises(errors.ProtocolError, match="in a circle"):
        await connect().batches.cancel(ID)
    assert route.call_count < 10


@respx.mock
async def test_a_redirect_loop_ends(connect):
    route = respx.get(f"{API}/models").respond(302, headers={"location": "/v1/models"})
    with pytest.raises(errors.ProtocolError, match="in a circle"):
        await connect().models.list()
    assert route.call_count == 6


@pytest.mark.parametrize("key", ["sk-1\nsk-2", "sk 1", "sk-\u00fc", "sk-1\r\nX-Evil: 1"])
async def test_a_key_that_cannot_be_a_header_is_rejected_without_showing_it(key):
    with pytest.raises(errors.ConfigError) as caught:
        BatchClient(base_url=API, api_key=key)
    assert caught.value.code == "invalid_setting"
    assert "API key contains" in caught.value.message
    assert "sk" not in f"{caught.value!r} {caught.value}"


@respx.mock
async def test_the_key_is_in_no_repr_and_no_log(connect, caplog):
    caplog.set_level(logging.DEBUG)
    respx.get(f"{API}/models").mock(side_effect=[httpx.ReadError("cut"), httpx.Response(401)])
    client = connect()
    with pytest.raises(errors.AuthError) as caught:
        await client.models.list()
    shown = f"{client!r} {vars(client)!r} {caught.getrepr(style='long', showlocals=True)}"
    assert KEY not in shown
    assert KEY not in caplog.text


async def test_the_real_log_of_a_real_request_holds_no_key(connect, caplog):
    caplog.set_level(logging.DEBUG)
    async with serving(answer(200, MODELS)) as server:
        await connect(server.base_url).models.list()
    assert "GET" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/v1",
        "ftp://127.0.0.1",
        "https://u:p@example.com/v1",
        "example.com",
        "https://[::1/v1",
        "https://example.com:99999/v1",
    ],
)
async def test_a_base_url_that_a_key_must_not_go_to_is_rejected(url):
    with pytest.raises(errors.ConfigError) as caught:
        BatchClient(base_url=url, api_key=KEY)
    assert caught.value.code == "invalid_setting"
    assert caught.value.message.startswith("DOUBLEWORD_BASE_URL ")


async def test_this_machine_is_reached_without_the_environments_proxy(
    connect_directly, monkeypatch
):
    async with serving() as proxy, serving(answer(200, MODELS)) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.base_url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        await connect_directly(server.base_url).models.list()
        assert proxy.requests == []


async def test_another_host_is_reached_through_the_environments_proxy(connect, monkeypatch):
    async with serving(answer(403, b"")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.base_url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(errors.TransportError) as caught:
            await connect(max_retry_seconds=0).models.list()
        (asked,) = proxy.requests
    assert (asked.method, asked.target) == ("CONNECT", "api.example.test:443")
    assert "authorization" not in asked.headers
    assert caught.value.may_have_happened is False


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "gopher://u:secret@127.0.0.1:1"])
async def test_a_proxy_that_cannot_be_used_is_a_setting_to_change(monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(errors.ConfigError) as caught:
        BatchClient(base_url=API, api_key=KEY)
    assert caught.value.code == "invalid_setting"
    assert "HTTPS_PROXY" in caught.value.hint
    assert "secret" not in str(caught.value)


async def test_a_certificate_that_nobody_vouches_for_is_rejected_at_once(
    connect, fake_time, tmp_path
):
    async with serving(tls=self_signed(tmp_path)[0]) as server:
        with pytest.raises(errors.TransportError) as caught:
            await connect(server.base_url).models.list()
        assert server.requests == []
    assert fake_time.waits == []
    assert caught.value.code == "tls"
    assert caught.value.retryable is False
    assert "SSL_CERT_FILE" in caught.value.hint
