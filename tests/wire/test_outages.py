"""A refusal that contradicts what the same process has just seen: no wrong key, but an outage."""

import pytest

from doubleword_batch import errors
from wire.scripted_server import answer, serving

ID = "0191b5f2-0000-7000-8000-000000000001"
BATCH = {"id": ID, "status": "in_progress"}
WORKS = answer(200, BATCH)


def refused(status):
    return answer(status, b"Authentication required", kind="text/plain")


async def get(client):
    return await client.batches.get(ID)


async def create(client):
    return await client.batches.create(
        input_file_id=ID, endpoint="/v1/embeddings", completion_window="24h"
    )


@pytest.mark.parametrize("call", [get, create])
async def test_a_key_that_has_worked_is_refused_for_a_while_and_the_call_goes_on(connect, call):
    async with serving(WORKS, refused(401), refused(401), WORKS) as server:
        client = connect(server.base_url)
        await get(client)
        assert (await call(client)).id == ID
        assert len(server.requests) == 4


async def test_a_key_that_never_worked_is_refused_at_once(connect, fake_time):
    async with serving(refused(401)) as server:
        with pytest.raises(errors.AuthError) as caught:
            await get(connect(server.base_url))
        assert len(server.requests) == 1
    assert fake_time.waits == []
    assert caught.value.retryable is False
    assert caught.value.message.startswith("The server did not accept the key (HTTP 401")


async def test_a_key_that_stays_refused_is_said_to_have_worked_before(connect, fake_time):
    async with serving(WORKS, *[refused(401)] * 60) as server:
        client = connect(server.base_url, max_retry_seconds=60)
        await get(client)
        with pytest.raises(errors.AuthError) as caught:
            await get(client)
    assert sum(fake_time.waits) == pytest.approx(60)
    assert caught.value.message.startswith("The server did not accept the key that it accepted")
    assert "whose database is down" in caught.value.hint
    assert caught.value.code == "auth"
    assert caught.value.retryable is True


@pytest.mark.parametrize("status", [402, 403, 404])
async def test_what_was_there_a_moment_ago_is_asked_for_again(connect, status):
    async with serving(WORKS, refused(status), WORKS) as server:
        client = connect(server.base_url)
        await get(client)
        assert (await get(client)).id == ID


@pytest.mark.parametrize("status", [402, 403, 404])
async def test_what_stays_gone_is_said_soon(connect, fake_time, status):
    async with serving(WORKS, *[refused(status)] * 60) as server:
        client = connect(server.base_url)
        await get(client)
        with pytest.raises(errors.ApiError) as caught:
            await get(client)
    assert sum(fake_time.waits) == pytest.approx(15)
    assert caught.value.status == status
    assert "The same request was answered a short while ago." in caught.value.message


@pytest.mark.parametrize("status", [402, 403, 404])
async def test_what_was_never_seen_and_what_was_deleted_here_is_refused_at_once(
    connect, fake_time, status
):
    file = {"id": ID, "bytes": 1}
    deleted = answer(200, {"id": ID, "deleted": True})
    answers = [refused(status), answer(200, file), deleted, refused(status)]
    async with serving(*answers) as server:
        client = connect(server.base_url)
        with pytest.raises(errors.ApiError):
            await client.batches.get(ID)
        await client.files.get(ID)
        await client.files.delete(ID)
        with pytest.raises(errors.ApiError):
            await client.files.get(ID)
    assert fake_time.waits == []


async def test_a_batch_that_a_replica_does_not_have_yet_is_asked_for_again(connect):
    made = answer(201, {"id": ID})
    async with serving(made, answer(404, b"not found"), answer(200, {"id": ID})) as server:
        client = connect(server.base_url)
        batch = await client.batches.create(
            input_file_id=ID, endpoint="/v1/embeddings", completion_window="24h"
        )
        assert (await client.batches.get(batch.id)).id == ID
        assert len(server.requests) == 3
