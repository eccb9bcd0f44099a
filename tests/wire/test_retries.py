"""What is sent again and what is not, and how long the client goes on."""

from pathlib import Path

import httpx
import pytest
import respx

from doubleword_batch import errors
from doubleword_batch.batch_openai import caller_transport
from wire.conftest import API
from wire.scripted_server import Answer, answer, serving

ID = "0191b5f2-0000-7000-8000-000000000001"
BATCH = {"id": ID, "status": "in_progress"}
CREATE = {"input_file_id": ID, "endpoint": "/v1/embeddings", "completion_window": "24h"}
CUT = answer(200, BATCH, cut_bytes=5)
RESET = Answer(reset=True)


async def create(client):
    return await client.batches.create(**CREATE)


async def retry(client):
    return await client.batches.retry(ID)


async def retry_requests(client):
    return await client.batches.retry_requests(ID, [ID])


async def get(client):
    return await client.batches.get(ID)


async def cancel(client):
    return await client.batches.cancel(ID)


@pytest.mark.parametrize("call", [get, cancel])
@pytest.mark.parametrize("lost", [CUT, RESET], ids=["cut", "reset"])
async def test_a_repeatable_call_whose_reply_is_lost_is_sent_again(connect, call, lost):
    async with serving(lost, answer(200, BATCH)) as server:
        assert (await call(connect(server.base_url))).id == ID
        assert len(server.requests) == 2


@pytest.mark.parametrize("call", [create, retry, retry_requests])
@pytest.mark.parametrize("lost", [CUT, RESET], ids=["cut", "reset"])
async def test_a_post_whose_reply_is_lost_is_not_sent_twice(connect, call, lost):
    async with serving(lost, answer(201, BATCH)) as server:
        with pytest.raises(errors.TransportError) as caught:
            await call(connect(server.base_url))
        assert len(server.requests) == 1
    assert caught.value.may_have_happened is True
    assert "look for its result before repeating it" in caught.value.hint
    assert caught.value.next == errors.Next("list", {"kind": "batches"})


@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 201 X\r\nContent-Length: 100\r\n\r\n{"], ids=["silent", "stuck"]
)
async def test_a_post_whose_reply_is_late_is_not_sent_twice(connect, begun):
    async with serving(Answer(begun, hold=True), answer(201, BATCH)) as server:
        with pytest.raises(errors.TransportError) as caught:
            await create(connect(server.base_url, timeout_seconds=0.2))
        assert len(server.requests) == 1
    assert caught.value.may_have_happened is True
    assert caught.value.code == "transport"
    assert "gave no complete reply in time" in caught.value.message


async def test_a_get_whose_reply_is_lost_changed_nothing(connect):
    async with serving(CUT) as server:
        with pytest.raises(errors.TransportError) as caught:
            await get(connect(server.base_url, max_retry_seconds=0))
    assert caught.value.may_have_happened is False
    assert "gave no complete reply" in caught.value.message


async def test_a_reply_that_drips_is_not_waited_for_byte_by_byte(connect):
    async with serving(Answer(b"HTTP/1.1 200 X\r\n\r\n", drip=True)) as server:
        with pytest.raises(errors.TransportError):
            await connect(server.base_url, timeout_seconds=0.3, max_retry_seconds=0).models.list()


@pytest.mark.parametrize("status", [408, 499, 500, 502, 503, 504])
@respx.mock
async def test_a_post_is_not_repeated_after_a_server_failure(connect, status):
    route = respx.post(f"{API}/batches").respond(status, headers={"retry-after": "30"})
    with pytest.raises((errors.ServerError, errors.TransportError)) as caught:
        await create(connect())
    assert route.call_count == 1
    assert caught.value.retryable is True
    if status == 503:
        assert caught.value.details["retry_after_seconds"] == 30


@pytest.mark.parametrize("status", [408, 425, 429, 499, 500, 502, 503, 504, 520, 529])
@respx.mock
async def test_a_get_is_repeated_after_a_server_failure(connect, status):
    route = respx.get(f"{API}/batches/{ID}")
    route.side_effect = [httpx.Response(status), httpx.Response(200, json=BATCH)]
    assert (await get(connect())).id == ID
    assert route.call_count == 2


@pytest.mark.parametrize("call", [create, retry, retry_requests, cancel])
@respx.mock
async def test_a_post_that_was_rejected_with_429_is_sent_again(connect, fake_time, call):
    route = respx.post(url__startswith=f"{API}/batches")
    route.side_effect = [
        httpx.Response(429, headers={"retry-after": "60"}),
        httpx.Response(201, json=BATCH),
    ]
    assert (await call(connect())).id == ID
    assert 60 <= fake_time.waits[0] <= 61


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_reply_that_ends_in_the_middle_without_a_word_is_asked_for_again(connect, version):
    """HTTP/1.0 tells no length, and a gateway may tell a wrong one."""
    head = f"HTTP/{version} 200 X\r\n" + ("Content-Length: 9\r\n" if version == "1.1" else "")
    async with serving(Answer(head.encode() + b'\r\n{"id": "b'), answer(200, BATCH)) as server:
        assert (await get(connect(server.base_url))).id == ID
        assert len(server.requests) == 2


async def test_a_created_batch_whose_reply_ends_in_the_middle_is_not_made_twice(connect):
    async with serving(Answer(b'HTTP/1.0 201 X\r\n\r\n{"id": "b'), answer(201, BATCH)) as server:
        with pytest.raises(errors.ProtocolError) as caught:
            await create(connect(server.base_url))
        assert len(server.requests) == 1
    assert caught.value.details["may_have_happened"] is True


@pytest.mark.parametrize("kind", ["text/plain", "text/html"])
@pytest.mark.parametrize("status", [425, 429])
@respx.mock
async def test_a_post_that_was_not_taken_yet_is_sent_again(connect, status, kind):
    route = respx.post(f"{API}/batches")
    refused = httpx.Response(status, headers={"content-type": kind}, text="<h1>not now</h1>")
    route.side_effect = [refused, httpx.Response(201, json=BATCH)]
    assert (await create(connect())).id == ID
    assert route.call_count == 2


@respx.mock
async def test_a_post_that_could_not_connect_is_sent_again(connect):
    route = respx.post(f"{API}/batches")
    never_sent = [httpx.ConnectError("refused"), httpx.ConnectTimeout(""), httpx.PoolTimeout("")]
    route.side_effect = [*never_sent, httpx.Response(201, json=BATCH)]
    assert (await create(connect())).id == ID
    assert route.call_count == 4


async def test_a_server_that_does_not_listen_is_reported_when_the_time_is_used_up(
    connect, fake_time
):
    async with serving() as server:
        gone = server.base_url
    with pytest.raises(errors.TransportError) as caught:
        await create(connect(gone, max_retry_seconds=90))
    assert caught.value.may_have_happened is False
    assert caught.value.retryable is True
    assert "could not be reached (POST /batches)" in caught.value.message
    assert sum(fake_time.waits) == pytest.approx(90)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 410, 413, 422])
@respx.mock
async def test_a_rejected_request_is_not_repeated(connect, status):
    route = respx.get(f"{API}/batches/{ID}").respond(status)
    if status == 401:
        respx.get(f"{API}/models").respond(401)
    with pytest.raises(errors.ApiError):
        await get(connect())
    assert route.call_count == 1


@respx.mock
async def test_a_quota_429_is_not_repeated(connect):
    body = {"error": {"message": "used up", "code": "insufficient_quota"}}
    route = respx.get(f"{API}/models").respond(429, json=body, headers={"retry-after": "5"})
    with pytest.raises(errors.RateLimitedError):
        await connect().models.list()
    assert route.call_count == 1


@respx.mock
async def test_a_wait_beyond_the_budget_fails_at_once(connect, fake_time):
    respx.post(f"{API}/batches").respond(429, headers={"retry-after": "121"})
    with pytest.raises(errors.RateLimitedError) as caught:
        await create(connect(max_retry_seconds=120))
    assert fake_time.waits == []
    assert "asks to wait 121 seconds" in caught.value.message
    assert caught.value.retry_after_seconds == 121


@respx.mock
async def test_the_backoff_doubles_is_capped_and_ends_with_the_budget(connect, fake_time):
    respx.get(f"{API}/models").respond(500)
    with pytest.raises(errors.ServerError):
        await connect(max_retry_seconds=60).models.list()
    assert fake_time.waits == [0.5, 1, 2, 4, 8, 16, 20, 8.5]


@respx.mock
async def test_the_backoff_is_jittered_down_to_nothing(connect, fake_time):
    fake_time.jitter_share = 0.25
    route = respx.get(f"{API}/models")
    route.side_effect = [*[httpx.Response(500)] * 3, httpx.Response(200, json={"data": []})]
    assert await connect().models.list() == []
    assert fake_time.waits == [0.125, 0.25, 0.5]


@respx.mock
async def test_a_get_is_repeated_after_a_gateways_html_failure(connect):
    route = respx.get(f"{API}/models")
    route.side_effect = [httpx.Response(502, html="<html>"), httpx.Response(200, json={"data": []})]
    assert await connect().models.list() == []


@respx.mock
async def test_a_delete_found_gone_after_a_lost_try_is_done(connect):
    route = respx.delete(f"{API}/files/{ID}")
    route.side_effect = [httpx.ReadError("cut"), httpx.Response(404)]
    await connect().files.delete(ID)
    assert route.call_count == 2


@pytest.mark.parametrize(
    "before", [[], [httpx.ConnectError("refused")], [httpx.Response(429)]], ids=["first", "c", "r"]
)
@respx.mock
async def test_a_delete_of_what_was_never_there_is_an_error(connect, before):
    respx.delete(f"{API}/files/{ID}").side_effect = [*before, httpx.Response(404)]
    with pytest.raises(errors.NotFoundError):
        await connect().files.delete(ID)


async def test_an_upload_rejected_with_429_is_sent_again_whole(connect, tmp_path: Path):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b'{"custom_id":"1"}\n')
    stored = answer(201, {"id": ID, "bytes": 18})
    async with serving(answer(429, b""), stored) as server:
        await connect(server.base_url).files.upload(path)
        first, second = server.requests
        assert first.body == second.body
        assert path.read_bytes() in second.body


async def test_an_upload_whose_reply_is_lost_is_not_sent_twice(
    connect, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(caller_transport, "_REFUSAL_SECONDS", 0.5)
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b'{"custom_id":"1"}\n')
    async with serving(RESET, answer(201, {"id": ID})) as server:
        with pytest.raises(errors.TransportError) as caught:
            await connect(server.base_url).files.upload(path)
        assert sum(bool(request.body_bytes) for request in server.requests) == 1
    assert caught.value.may_have_happened is True
