"""Refusals as gateways and old servers word them while an upload is still on its way."""

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from doubleword_batch import errors
from wire.scripted_server import answer

SIZES = [300, 2_000_000]
ID = "0191b5f2-0000-7000-8000-000000000001"
PAGE = b"<html><h1>Proxy</h1></html>"


def refusal(status, body=b"Insufficient permissions", kind="text/plain", **headers):
    return answer(status, body, kind=kind, headers=headers).raw


def old(status, body=b"Insufficient permissions"):
    """As HTTP/1.0 has it: no length, the end of the connection is the end of the body."""
    return f"HTTP/1.0 {status} X\r\nContent-Type: text/plain\r\n\r\n".encode() + body


@dataclass
class Unkind:
    """A server that takes some of a request's body, writes pieces, and closes.

    Attributes:
        pieces: what it writes, each in a segment of its own.
        takes: so many bytes of the body are read before the first piece, and after it.
        reads_all: the body is read to its end before the last piece.
    """

    pieces: list[bytes]
    takes: tuple[int, int] = (0, 0)
    reads_all: bool = False
    body_bytes: int = 0
    requests: int = 0
    base_url: str = ""
    running: set = field(default_factory=set)

    async def converse(self, reader, writer):
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _converse(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        self.requests += 1
        length = int(re.search("content-length: (.*)|$", head)[1] or 0)
        self.body_bytes = 0
        await self._take(reader, self.takes[0])
        *first, last = self.pieces
        for piece in first:
            writer.write(piece)
            await writer.drain()
            await self._take(reader, self.takes[1])
        if self.reads_all:
            await self._take(reader, length - self.body_bytes)
        writer.write(last)
        await writer.drain()

    async def _take(self, reader, count):
        if count:
            self.body_bytes += len(await reader.readexactly(count))


@asynccontextmanager
async def unkind(*pieces, **manner):
    found = Unkind(list(pieces), **manner)
    server = await asyncio.start_server(found.converse, "127.0.0.1", 0)
    found.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield found
    finally:
        server.close()
        await server.wait_closed()


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
FORBIDDEN = refusal(403)
MANNERS = {
    "100 and then 403": ([CONTINUE, FORBIDDEN], {}),
    "100 and 403 at once": ([CONTINUE + FORBIDDEN], {}),
    "103 and then 403": ([HINTS, FORBIDDEN], {}),
    "an interim answer in two segments": ([CONTINUE[:9], CONTINUE[9:] + FORBIDDEN], {}),
    "HTTP/1.0 and a close": ([old(403)], {}),
    "two segments": ([FORBIDDEN[:40], FORBIDDEN[40:]], {}),
    "two segments, cut in the status": ([FORBIDDEN[:10], FORBIDDEN[10:]], {}),
    "some of the body between": (
        [FORBIDDEN[:60], FORBIDDEN[60:]],
        {"takes": (50, 50)},
    ),
    "two segments, cut before the status": ([FORBIDDEN[:7], FORBIDDEN[7:]], {}),
    "after one byte of the body": ([FORBIDDEN], {"takes": (1, 0)}),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for size in SIZES:
        found[size] = folder / f"{size}.jsonl"
        found[size].write_bytes(b"x" * size)
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("manner", MANNERS)
async def test_a_refusal_is_shown_however_it_comes(connect_directly, files, manner, size):
    pieces, how = MANNERS[manner]
    async with unkind(*pieces, **how) as server:
        with pytest.raises(errors.ForbiddenError, match="Insufficient permissions"):
            await connect_directly(server.base_url, max_retry_seconds=0).files.upload(files[size])
        assert server.requests == 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interim", [CONTINUE, HINTS, CONTINUE + HINTS], ids=["100", "103", "both"])
async def test_an_interim_answer_does_not_end_an_upload(connect_directly, files, interim, size):
    stored = answer(201, {"id": ID, "bytes": size}).raw
    async with unkind(interim[:5], interim[5:], stored, takes=(0, 0), reads_all=True) as server:
        file = await connect_directly(server.base_url, max_retry_seconds=0).files.upload(
            files[size]
        )
        assert server.body_bytes > size
    assert file.id == ID


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("status", [407, 502])
async def test_a_proxys_page_is_named_and_not_quoted(connect_directly, files, status, size):
    async with unkind(refusal(status, PAGE, "text/html")) as server:
        with pytest.raises(errors.ProtocolError) as caught:
            await connect_directly(server.base_url, max_retry_seconds=0).files.upload(files[size])
    assert caught.value.code == "unexpected_reply"
    assert "with HTML" in caught.value.message
    assert f"HTTP {status}" in caught.value.message
    assert "<h1>" not in str(caught.value)
    assert bool(caught.value.details.get("may_have_happened")) == (status == 502)


@pytest.mark.parametrize("size", SIZES)
async def test_a_proxy_that_wants_a_login_is_named(connect_directly, files, monkeypatch, size):
    """The proxy of the environment, on the way to a server behind TLS."""
    async with unkind(refusal(407, PAGE, "text/html")) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.base_url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        client = connect_directly("https://api.example.test/v1", max_retry_seconds=0)
        with pytest.raises(errors.TransportError, match="407") as caught:
            await client.files.upload(files[size])
    assert caught.value.may_have_happened is False
