"""Replies made to take all memory, or all time."""

import gzip
import json
import os
import zlib
from decimal import Decimal
from random import Random

import anyio
import pytest
import respx

from doubleword_batch import errors
from doubleword_batch.api import BatchClient, response_body, transport
from doubleword_batch.content_encoding import EncodingError, Unpacker
from wire.conftest import API
from wire.scripted_server import Answer, answer, serving

ID = "0191b5f2-0000-7000-8000-000000000001"
MODELS = {"data": [{"id": "m"}]}
LINE = b'{"custom_id":"r1"}\n'


def zipped(size_bytes, *, layers=1):
    """Many members of spaces: quick to make, and unpacked as one file."""
    data = gzip.compress(b" " * (1 << 20)) * (size_bytes >> 20)
    for _ in range(layers - 1):
        data = gzip.compress(data)
    return data


def packed(data, encoding, status=200):
    return answer(status, data, headers={"Content-Encoding": encoding})


@pytest.mark.parametrize(
    "encoding", ["gzip, gzip", "gzip,gzip,gzip", "br", "zstd", "gzip, br", "x"]
)
@pytest.mark.parametrize("status", [200, 400])
async def test_a_reply_in_an_encoding_that_nobody_asked_for_is_not_unpacked(
    connect, encoding, status
):
    async with serving(packed(zipped(4 << 20, layers=2), encoding, status)) as server:
        with pytest.raises((errors.ProtocolError, errors.RejectedError)) as caught:
            await connect(server.base_url, max_retry_seconds=0).models.list()
        assert server.requests[0].headers["accept-encoding"] == "gzip, deflate"
    if status == 200:
        assert f"is encoded as «{encoding}», which was not requested" in caught.value.message


CASES = range(200)


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate", "raw deflate", "members"])
async def test_what_was_packed_is_what_is_unpacked(encoding):
    for seed in CASES:
        chance = Random(seed)  # must be repeatable, not secure
        data = chance.randbytes(chance.randrange(3000)) * 40 + bytes(80_000)  # more than a piece
        cut = chance.randrange(1, 400)
        raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        sent = {
            "": data,
            "gzip": gzip.compress(data),
            "deflate": zlib.compress(data),
            "raw deflate": raw.compress(data) + raw.flush(),
            "members": gzip.compress(data[:50]) + gzip.compress(data[50:]),
        }[encoding]
        unpacker = Unpacker({"members": "gzip", "raw deflate": "deflate"}.get(encoding, encoding))
        pieces = [
            piece
            for start in range(0, len(sent), cut)
            for piece in unpacker.unpacked(sent[start : start + cut])
        ]
        assert b"".join(pieces) == data, f"seed {seed}"
        assert unpacker.is_whole
        assert all(len(piece) <= 65_536 for piece in pieces)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_bytes_that_are_not_packed_are_an_error_and_nothing_else(encoding):
    messages = set()
    for seed in CASES:
        try:
            list(Unpacker(encoding).unpacked(Random(seed).randbytes(300)))
        except EncodingError as error:
            messages.add(str(error))
    assert messages == {f"is not {encoding}, although its header says so"}


TRICKLE = "HTTP/1.1 200 X\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n"


@pytest.mark.parametrize("sent", ["head", "blank lines", "bytes of a line", "foreign words"])
async def test_a_download_that_trickles_ends_and_what_came_is_kept(connect, monkeypatch, sent):
    monkeypatch.setattr(transport, "_CONNECT_SECONDS", 0.5)
    head = TRICKLE.encode()
    raw = {
        "head": (head, b"X: y\r\n"),
        "blank lines": (head + b"\r\n" + LINE, b"\n"),
        "bytes of a line": (head + b"\r\n" + LINE, b"x"),
        "foreign words": (head + b"\r\n" + LINE, b"nothing\n"),
    }[sent]
    got = []
    trickling = Answer(raw[0], drip_with=raw[1])
    async with serving(trickling) as server:
        client = connect(server.base_url, max_retry_seconds=0, timeout_seconds=0.5)
        with anyio.fail_after(15), pytest.raises(errors.TransportError) as caught:
            await client.files.content(ID, got.append)
    assert "gave no complete reply in time" in caught.value.message
    assert b"".join(got).startswith(LINE if sent != "head" else b"")
    assert caught.value.details["lines"] >= (sent != "head")


async def test_a_sink_that_has_no_use_for_what_comes_ends_the_download(connect):
    endless = Answer(TRICKLE.encode() + b"\r\n" + LINE, drip_with=LINE)
    async with serving(endless) as server:
        client = connect(server.base_url, max_retry_seconds=0, timeout_seconds=0.5)
        with anyio.fail_after(15), pytest.raises(errors.TransportError) as caught:
            await client.files.content(ID, lambda _: False)
    assert "gave no complete reply in time" in caught.value.message


async def test_a_slow_download_that_gets_on_is_read_to_its_end(connect):
    body = LINE * 40
    slow = Answer(TRICKLE.encode() + b"\r\n", drip_with=LINE, drips=40)
    got = []
    async with serving(slow) as server:
        client = connect(server.base_url, max_retry_seconds=0, timeout_seconds=1.5)
        read = await client.files.content(ID, got.append)
    assert b"".join(got) == body
    assert read.lines == 40


WITHOUT_END = b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\n"
TRICKLES = {
    "head": (b"HTTP/1.1 200 X\r\n", b"X: y\r\n"),
    "body": (WITHOUT_END + b"Content-Length: 1000000\r\n\r\n{", b" "),
    "chunks": (WITHOUT_END + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "body without a length": (WITHOUT_END + b"Connection: close\r\n\r\n{", b" "),
}


@pytest.mark.parametrize("sent", TRICKLES)
@pytest.mark.parametrize("call", ["list", "create"])
async def test_a_reply_that_trickles_ends(connect_directly, monkeypatch, call, sent):
    """Each byte comes in time; the whole reply has as long as one read may take."""
    monkeypatch.setattr(response_body, "ERROR_BODY_SECONDS", 0.2)
    monkeypatch.setattr(transport, "_CONNECT_SECONDS", 0.5)
    head, drip = TRICKLES[sent]
    async with serving(Answer(head, drip_with=drip)) as server:
        client: BatchClient = connect_directly(
            server.base_url, max_retry_seconds=0, timeout_seconds=0.5
        )
        work = {
            "list": client.models.list,
            "create": lambda: client.batches.create(
                input_file_id="f", endpoint="/v1/embeddings", completion_window="24h"
            ),
        }[call]
        with anyio.fail_after(20), pytest.raises(errors.TransportError) as caught:
            await work()
    assert "gave no complete reply in time" in caught.value.message


@pytest.mark.posix("a limit on the descriptors of this process")
async def test_a_reply_is_waited_for_without_another_descriptor(connect_directly):
    """As in a server that has as many open as it may: the request is out, and may cost money."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def takes_all_others(_request):
        os.close(free := os.dup(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        return Answer(b"HTTP/1.1 400 X\r\n", drip_with=b"X: y\r\n", drips=20)

    try:
        async with serving(takes_all_others) as server:
            client = connect_directly(server.base_url, max_retry_seconds=0)
            with anyio.fail_after(60), pytest.raises(errors.TransportError) as caught:
                await client.batches.create(
                    input_file_id="f", endpoint="/v1/embeddings", completion_window="24h"
                )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.code == "transport"


# Numbers of a server that is broken or hostile

ID = "0191b5f2-0000-7000-8000-000000000001"
MOST = 10**15


@pytest.mark.parametrize(
    ("given", "taken"),
    [("-1000", 0), ("1e999999999", MOST), ("Infinity", MOST), ("NaN", MOST), ("0.25", "0.25")],
)
@respx.mock
async def test_an_estimate_is_at_least_nothing_and_at_most_what_no_cap_allows(
    connect_directly, given, taken
):
    body = {"file_id": ID, "total_estimated_cost": given, "total_requests": -3}
    respx.get(f"{API}/files/{ID}/cost-estimate").respond(json=body)
    found = await connect_directly().files.estimate_cost(ID, "24h")
    assert found.total_estimated_cost == Decimal(taken)
    assert found.total_requests == 0


@respx.mock
async def test_an_estimate_that_is_no_amount_is_called_unexpected(connect_directly):
    body = {"file_id": ID, "total_estimated_cost": "a lot", "total_requests": 3.0}
    respx.get(f"{API}/files/{ID}/cost-estimate").respond(json=body)
    with pytest.raises(errors.ProtocolError) as caught:
        await connect_directly().files.estimate_cost(ID, "24h")
    assert caught.value.code == "unexpected_reply"
    assert "total_estimated_cost" in caught.value.message


@respx.mock
async def test_counts_without_bound_are_counts(connect_directly):
    counts = {"total": 10**400, "completed": -1, "failed": 2}
    text = json.dumps({"id": "b", "object": "batch", "request_counts": counts})
    respx.get(f"{API}/batches/{ID}").respond(
        text=text, headers={"content-type": "application/json"}
    )
    batch = await connect_directly().batches.get(ID)
    assert batch.request_counts.model_dump() == {"total": MOST, "completed": 0, "failed": 2}


@respx.mock
async def test_a_status_is_a_word_and_not_a_book(connect_directly):
    respx.get(f"{API}/batches/{ID}").respond(json={"id": ID, "status": "Over " * 1_000_000})
    batch = await connect_directly().batches.get(ID)
    assert batch.status == "over_over_over_over_over_over_over_over"


@respx.mock
async def test_a_reply_with_the_id_of_another_batch_does_not_become_that_batch(connect_directly):
    respx.get(f"{API}/batches/{ID}").respond(json={"id": "another", "status": "completed"})
    assert (await connect_directly().batches.get(ID)).id == ID
