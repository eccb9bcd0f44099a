"""A real HTTP/1.1 server on 127.0.0.1 whose every answer is written out by the test, cuts too."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request as it came in; `body` stays empty where the test only counts it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    body_bytes: int = 0


@dataclass
class Answer:
    """One answer.

    Attributes:
        raw: all bytes that are sent, head included.
        reset: end with a TCP reset in place of a clean close.
        hold: send no more and wait until the client hangs up.
        drip: go on with a byte every 50 ms until the client hangs up.
        drip_with: the same with these bytes, which may be more than one.
        drips: how many times, then the connection ends; None until the client hangs up.
        refuse: answer after so many bytes of the request's body, and close with the rest of it
            unread, as the real server does; None for a polite server.
        keep_body: keep the request's body instead of only counting it.
    """

    raw: bytes = b""
    reset: bool = False
    hold: bool = False
    drip: bool = False
    drip_with: bytes = b""
    drips: int | None = None
    refuse: int | None = None
    keep_body: bool = True


def answer(
    status: int = 200,
    body: bytes | dict | list = b"",
    *,
    kind: str = "application/json",
    cut_bytes: int | None = None,
    framed: bool = True,
    headers: dict[str, str] | None = None,
) -> Answer:
    """An answer with a Content-Length; `cut_bytes` of its body are kept back."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": kind, "Connection": "close", **(headers or {})}
    if framed:
        fields["Content-Length"] = str(len(data))
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    sent = data if cut_bytes is None else data[: len(data) - cut_bytes]
    return Answer(head.encode() + b"\r\n" + sent)


def lines(*texts: str, **options) -> Answer:
    """A line file, one line for each text."""
    body = "".join(text + "\n" for text in texts).encode()
    return answer(200, body, kind="application/x-ndjson", **options)


@dataclass
class ScriptedServer:
    """Gives its answers in order, one for each request, and writes down what it received.

    `open` counts the connections that it speaks on.
    """

    answers: list[Answer | Callable[[Received], Answer]]
    requests: list[Received] = field(default_factory=list)
    base_url: str = ""
    open: int = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        request = Received(method, target, {k.lower(): v for k, v in fields.items()})
        self.requests.append(request)
        scripted = self.answers.pop(0)
        reply = scripted(request) if callable(scripted) else scripted
        if reply.refuse is not None:
            await reader.read(reply.refuse)
        else:
            await self._read_body(reader, request, keep=reply.keep_body)
        writer.write(reply.raw)
        await writer.drain()
        dripped = 0
        while (reply.drip or reply.drip_with) and not reader.at_eof() and dripped != reply.drips:
            dripped += 1
            writer.write(reply.drip_with or b" ")
            await writer.drain()
            await asyncio.sleep(0.05)  # the rate of the drip, not a wait for something
        if reply.hold:
            await reader.read()
        if reply.reset:
            writer.transport.abort()

    async def _read_body(
        self, reader: asyncio.StreamReader, request: Received, *, keep: bool
    ) -> None:
        rest = int(request.headers.get("content-length", "0"))
        while rest and (piece := await reader.read(min(rest, 65536))):
            rest -= len(piece)
            request.body_bytes += len(piece)
            if keep:
                request.body += piece


@asynccontextmanager
async def serving(
    *answers: Answer | Callable[[Received], Answer], tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedServer]:
    """Run a scripted server; its `base_url` has `/v1`."""
    scripted = ScriptedServer(list(answers))
    server = await asyncio.start_server(scripted.converse, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    scripted.base_url = f"http{'s' if tls else ''}://127.0.0.1:{port}/v1"
    try:
        yield scripted
    finally:
        server.close()
        await server.wait_closed()
