"""A refusal that contradicts what the same process has just seen: no wrong key, but an outage."""

import pytest

from doubleword_batch import errors
from wire.scripted_server import Answer, answer, serving
from wire.test_key_and_origin import moved

ID = "0191b5f2-0000-7000-8000-000000000001"
BATCH = {"id": ID, "status": "in_progress"}
WORKS = answer(200, BATCH)


def refused(status):
    return answer(status, b"Authentication required", kind="text/plain")


async def get(client):
    return await client.batches.get(ID)


async def create(client, **options):
    return await client.batches.create(
        input_file_id=ID, endpoint="/v1/embeddings", completion_window="24h", **options
    )


async def create_after_a_look(client):
    async def find():
        async for batch in client.batches.list():
            return batch
        return None

    return await create(client, find=find)


NOTHING = answer(200, {"object": "list", "data": []})


async def test_a_key_that_has_worked_is_refused_for_a_while_and_the_call_goes_on(connect):
    async with serving(WORKS, refused(401), refused(401), WORKS) as server:
        client = connect(server.base_url)
        await get(client)
        assert (await get(client)).id == ID
        assert len(server.requests) == 4


async def test_a_batch_is_looked_for_before_it_is_created_after_a_refusal(connect):
    refusals = [refused(401), NOTHING, refused(401), refused(401), NOTHING]
    async with serving(WORKS, *refusals, answer(201, BATCH)) as server:
        client = connect(server.base_url)
        await get(client)
        assert (await create_after_a_look(client)).id == ID
        made = [request.method for request in server.requests][1:]
    assert made == ["POST", "GET", "POST", "GET", "GET", "POST"]


@pytest.mark.parametrize("denial", [refused(401), answer(429), answer(425), moved("/v1/batches")])
async def test_a_batch_that_is_there_after_a_refusal_is_not_created_again(connect, denial):
    listed = answer(200, {"object": "list", "data": [BATCH]})
    async with serving(WORKS, denial, listed) as server:
        client = connect(server.base_url)
        await get(client)
        assert (await create_after_a_look(client)).id == ID
        assert len(server.requests) == 3


@pytest.mark.parametrize("denial", [refused(401), moved("/v1/batches")])
@pytest.mark.parametrize("listing", [refused(403), refused(404), refused(405), refused(501)])
async def test_where_nobody_can_look_only_what_was_not_taken_is_sent_again(
    connect, denial, listing
):
    async with serving(WORKS, answer(429), listing, denial, listing) as server:
        client = connect(server.base_url)
        await get(client)
        with pytest.raises((errors.AuthError, errors.ProtocolError)):
            await create_after_a_look(client)
        assert [request.method for request in server.requests].count("POST") == 2


async def test_a_batch_that_nobody_looks_for_is_not_created_again(connect, fake_time):
    async with serving(WORKS, refused(401)) as server:
        client = connect(server.base_url)
        await get(client)
        with pytest.raises(errors.AuthError) as caught:
            await create(client)
        assert len(server.requests) == 2
    assert caught.value.retryable is True
    assert fake_time.waits == []


async def test_a_response_whose_refusal_contradicts_is_not_begun_again(connect):
    for denial in (refused(401), moved("/v1/responses")):
        async with serving(WORKS, answer(429), denial) as server:
            client = connect(server.base_url)
            await get(client)
            with pytest.raises((errors.AuthError, errors.ProtocolError)):
                await client.responses.create({"model": "m", "input": "Say 1"})
            assert len(server.requests) == 3


REFUSED = [
    answer(401, {"error": {"message": "Invalid API key", "code": "invalid_api_key"}}),
    answer(401, b"Authentication required", kind="text/plain"),
    answer(403, b"Forbidden", kind="text/plain"),
    answer(404, b"Not Found", kind="text/plain"),
    answer(200, b"<html>dashboard</html>", kind="text/html"),
    answer(307, headers={"location": "https://elsewhere.example/models"}),
]


@pytest.mark.parametrize("models", REFUSED)
async def test_a_key_that_never_worked_is_refused_at_once(connect, fake_time, models):
    async with serving(refused(401), models) as server:
        with pytest.raises(errors.AuthError) as caught:
            await get(connect(server.base_url))
        assert [request.target for request in server.requests][1:] == ["/v1/models"]
    assert fake_time.waits == []
    assert caught.value.retryable is False
    assert caught.value.message.startswith("The server did not accept the key (HTTP 401")


async def test_a_server_that_names_the_key_as_the_fault_is_asked_nothing_more(connect, fake_time):
    async with serving(REFUSED[0]) as server:
        with pytest.raises(errors.AuthError):
            await get(connect(server.base_url))
        assert len(server.requests) == 1
    assert fake_time.waits == []


AWAY = [
    answer(500, {"error": {"message": "Internal server error", "code": "database_error"}}),
    answer(503, {"error": "service_unavailable"}, headers={"retry-after": "30"}),
    answer(429, {"error": "too_many_requests"}),
    Answer(reset=True),
]


@pytest.mark.parametrize("models", AWAY)
async def test_an_outage_at_first_contact_is_not_a_wrong_key(connect, fake_time, models):
    outage = [refused(401), models] * 3
    async with serving(*outage, WORKS) as server:
        assert (await get(connect(server.base_url))).id == ID
        assert len(server.requests) == 7


@pytest.mark.parametrize("models", AWAY)
async def test_an_outage_at_the_first_creation_is_not_a_wrong_key(connect, fake_time, models):
    outage = [refused(401), models] * 2
    async with serving(*outage, NOTHING, answer(201, BATCH)) as server:
        assert (await create_after_a_look(connect(server.base_url))).id == ID
        assert len(server.requests) == 6


async def test_an_outage_that_lasts_is_said_as_what_it_is(connect, fake_time):
    async with serving(*[refused(401), AWAY[0]] * 60) as server:
        with pytest.raises(errors.TransportError) as caught:
            await create_after_a_look(connect(server.base_url, max_retry_seconds=20))
    assert sum(fake_time.waits) == pytest.approx(50)
    assert caught.value.message.startswith("The server could not check the key (HTTP 401 on POST")
    assert "such as its database, is away" in caught.value.message
    assert "DOUBLEWORD_API_KEY" not in str(caught.value)
    assert caught.value.code == "server"
    assert caught.value.retryable is True
    assert caught.value.may_have_happened is False


@pytest.mark.parametrize("models", [AWAY[0], answer(200, {"object": "list", "data": []})])
@pytest.mark.parametrize("then", [answer(503), Answer(reset=True)])
async def test_a_restart_within_an_outage_has_the_time_of_the_outage(
    connect, fake_time, models, then
):
    async with serving(refused(401), models, *[then] * 60) as server:
        with pytest.raises(errors.DoublewordBatchError):
            await get(connect(server.base_url, max_retry_seconds=20))
    assert sum(fake_time.waits) == pytest.approx(50, abs=0.6)  # a pause before it is known


async def test_a_key_that_turns_out_wrong_after_an_outage_is_said_to_be_wrong(connect):
    async with serving(refused(401), AWAY[0], refused(401), REFUSED[0]) as server:
        with pytest.raises(errors.AuthError) as caught:
            await get(connect(server.base_url))
    assert caught.value.retryable is False


async def test_a_server_that_takes_the_key_for_its_models_is_asked_again_for_a_moment(connect):
    listed = answer(200, {"object": "list", "data": []})
    async with serving(refused(401), listed, WORKS) as server:
        assert (await get(connect(server.base_url))).id == ID


async def test_models_that_anybody_may_list_do_not_make_a_wrong_key_right(connect, fake_time):
    listed = answer(200, {"object": "list", "data": []})
    async with serving(*[refused(401), listed] * 60) as server:
        with pytest.raises(errors.AuthError) as caught:
            await get(connect(server.base_url))
    assert sum(fake_time.waits) == pytest.approx(15)
    assert caught.value.retryable is False


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
