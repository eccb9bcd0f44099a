"""A refusal that comes before the request's body is read: it is the answer, not a lost connection.

The real server answers 401, 403, 413 and 429 to the head of an upload and closes with the body
unread, so that the connection breaks under whoever still writes.
"""

from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from doubleword_batch import errors
from doubleword_batch.batch_openai import caller_transport
from wire.certificates import self_signed
from wire.scripted_server import Answer, answer, serving

SIZES = [300, 2_000_000, 50_000_000]
FULL = {"error": "too_many_requests", "message": "No capacity.", "retry_after_seconds": 30}
REFUSALS = {
    401: (answer(401, b"Authentication required", kind="text/plain"), errors.AuthError),
    403: (answer(403, b"Insufficient permissions", kind="text/plain"), errors.ForbiddenError),
    413: (answer(413, b"File exceeds the maximum", kind="text/plain"), errors.RejectedError),
    429: (answer(429, FULL, headers={"Retry-After": "60"}), errors.RateLimitedError),
}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["plain", "tls"])
def tls(request, certificate, monkeypatch):
    if request.param == "plain":
        return None
    context, trusted = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    return context


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for size in SIZES:
        found[size] = folder / f"{size}.jsonl"
        with found[size].open("wb") as file:
            file.truncate(size)
    return found


def refusing(reply, tls, *, refuse=0):
    """Over a caller's HTTP client, which loses it, the server is asked once more; of a 401 without
    a code, its list of models says whether it is the key's."""
    refusal = replace(reply, refuse=refuse)
    return serving(refusal, refusal, refusal, tls=tls)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("status", REFUSALS)
async def test_an_upload_shows_the_refusal_whatever_its_size(connect, files, tls, status, size):
    reply, kind = REFUSALS[status]
    async with refusing(reply, tls) as server:
        with pytest.raises(kind) as caught:
            await connect(server.base_url, max_retry_seconds=0).files.upload(files[size])
    assert caught.value.status == status
    if status == 429:
        assert caught.value.retry_after_seconds == 60


@pytest.mark.parametrize("taken", [1, 100_000, 3_000_000])
async def test_a_refusal_in_the_middle_of_an_upload_is_shown(connect_directly, files, tls, taken):
    reply, kind = REFUSALS[413]
    async with refusing(reply, tls, refuse=taken) as server:
        with pytest.raises(kind):
            await connect_directly(server.base_url, max_retry_seconds=0).files.upload(
                files[50_000_000]
            )


@pytest.mark.parametrize("status", REFUSALS)
async def test_a_create_shows_the_refusal(connect, tls, status):
    reply, kind = REFUSALS[status]
    async with refusing(reply, tls) as server:
        with pytest.raises(kind):
            await connect(server.base_url, max_retry_seconds=0).batches.create(
                input_file_id="f", endpoint="/v1/embeddings", completion_window="24h"
            )


@pytest.mark.parametrize("status", REFUSALS)
async def test_a_post_with_a_long_body_shows_the_refusal(connect, tls, status):
    ids = ["0191b5f2-0000-7000-8000-000000000001"] * 50_000
    reply, kind = REFUSALS[status]
    async with refusing(reply, tls) as server:
        with pytest.raises(kind):
            await connect(server.base_url, max_retry_seconds=0).batches.retry_requests("b", ids)


async def test_over_the_clients_own_connections_one_request_is_enough(connect_directly, files, tls):
    reply, kind = REFUSALS[403]
    async with refusing(reply, tls) as server:
        with pytest.raises(kind):
            await connect_directly(server.base_url).files.upload(files[50_000_000])
        assert len(server.requests) == 1


async def test_an_upload_that_breaks_without_an_answer_stays_in_doubt(
    connect, files, tls, monkeypatch
):
    monkeypatch.setattr(caller_transport, "_REFUSAL_SECONDS", 0.5)
    cut = Answer(refuse=100_000)
    async with serving(cut, cut, tls=tls) as server:
        with pytest.raises(errors.TransportError) as caught:
            await connect(server.base_url).files.upload(files[2_000_000])
    assert caught.value.may_have_happened is True


async def test_a_cancelled_upload_ends_soon_and_sends_no_more(connect_directly, files):
    async with serving(Answer(keep_body=False)) as server:
        client = connect_directly(server.base_url)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as uploading:
                uploading.start_soon(client.files.upload, files[50_000_000])
                while not (server.requests and server.requests[0].body_bytes):
                    await anyio.lowlevel.checkpoint()
                uploading.cancel_scope.cancel()
            while server.open:
                await anyio.sleep(0.01)
    assert server.requests[0].body_bytes < 50_000_000
