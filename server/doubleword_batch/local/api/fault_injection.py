"""Simulates faults of the server; installed only if the configuration has some.

The routes know nothing about it: it answers in their place, changes the requests they get, or
changes the lines they send.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from doubleword_batch.local.executors.faults import ServerFault, ServerFaultKind, until_it_exists

_GARBAGE_LINE = b"<html>this line is not JSON</html>\n"
_RETRY_AFTER_HEADER = "60"
_RETRY_AFTER_BODY = 30

_Met = dict[ServerFaultKind, ServerFault]


class FaultInjection:
    """ASGI middleware that applies the configured faults to requests."""

    def __init__(self, app: ASGIApp, faults: Sequence[ServerFault]) -> None:
        self._app = app
        self._due = [_Due(fault) for fault in faults]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless a fault changes or replaces it."""
        call = f"{scope['method']} {scope['path']}"
        met: _Met = {due.fault.fault: due.fault for due in self._due if due.meets(call)}
        await _wait(met)
        if replacement := _replacement(met):
            if fault := met.get("status"):
                await _read(receive, fault.after_bytes)
            await replacement(scope, receive, send)
        elif "drop_before" in met:
            scope["extensions"]["close"]()
        elif "drop_after" in met:
            await self._app(scope, receive, _discard)
            scope["extensions"]["close"]()
        else:
            _change_request(scope, met)
            await self._app(scope, receive, _LineFaults(met, scope, send))


class _Due:
    """A fault and how many requests have matched it."""

    def __init__(self, fault: ServerFault) -> None:
        self.fault = fault
        self._calls = 0
        # A route is written with {id}; everything else in it is literal.
        parts = re.split(r"\{\w+\}", fault.route)
        pattern = "[^/]+".join(re.escape(part) for part in parts)
        self._pattern = re.compile(".*" if fault.route == "*" else pattern)

    def meets(self, call: str) -> bool:
        if not self._pattern.fullmatch(call):
            return False
        self._calls += 1
        turn = self._calls - self.fault.after
        return turn > 0 and (self.fault.times is None or turn <= self.fault.times)


def _replacement(met: _Met) -> ASGIApp | None:
    if "capacity" in met:
        return JSONResponse(
            {
                "error": "too_many_requests",
                "message": "Insufficient capacity for this completion window. Try again later.",
                "retry_after_seconds": _RETRY_AFTER_BODY,
            },
            429,
            headers={"Retry-After": _RETRY_AFTER_HEADER},
        )
    if fault := met.get("status"):
        headers = fault.headers | {"content-type": fault.content_type}
        return Response(fault.body, fault.status, headers=headers)
    return None


async def _wait(met: _Met) -> None:
    if slow := met.get("slow"):
        await asyncio.sleep(slow.seconds)
    if held := met.get("hold"):
        await until_it_exists(held.until)


def _change_request(scope: Scope, met: _Met) -> None:
    if "expire" in met:
        scope["overdue"] = True
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    skip = query.get("skip", "0")
    if "no_skip" in met:
        query.pop("skip", None)
    elif "duplicate_lines" in met and skip.isdecimal() and int(skip) > 0:
        query["skip"] = str(int(skip) - 1)
    scope["query_string"] = urlencode(query).encode("latin-1")


async def _read(receive: Receive, most_bytes: int) -> None:
    """Read about this many bytes of the request's body, or all of it."""
    while most_bytes > 0:
        message = await receive()
        most_bytes -= len(message.get("body", b""))
        if not message.get("more_body", False):
            return


async def _discard(_message: Message) -> None:
    """Drop the response."""


class _LineFaults:
    """Passes a response on, with its lines changed or cut by the faults."""

    def __init__(self, met: _Met, scope: Scope, send: Send) -> None:
        self._met = met
        self._scope = scope
        self._send = send
        self._started: Message | None = None
        self._held: list[bytes] = []
        self._rest = b""
        self._count = 0
        self._sent_bytes = 0
        self._closed = False

    async def __call__(self, message: Message) -> None:
        if message["type"] != "http.response.body" or not self._met:
            if self._met and message["type"] == "http.response.start":
                message = _without_length(message, self._met)
            await self._send(message)
            return
        more = message.get("more_body", False)
        body = b"".join(self._changed(message.get("body", b""), more=more))
        if self._closed:
            return
        cut = self._met.get("cut")
        if cut and self._sent_bytes + len(body) > cut.bytes:
            body, more = body[: cut.bytes - self._sent_bytes], True
            self._closed = True
        self._sent_bytes += len(body)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        if self._closed:
            self._scope["extensions"]["close"]()

    def _changed(self, body: bytes, *, more: bool) -> Iterator[bytes]:
        """The lines that can be sent now; `late_lines` holds the last ones back forever."""
        lines = (self._rest + body).splitlines(keepends=True)
        self._rest = lines.pop() if more and lines and not lines[-1].endswith(b"\n") else b""
        late = self._met.get("late_lines")
        self._held += lines
        ready = self._held[: -late.lines] if late else self._held
        self._held = self._held[len(ready) :]
        for line in ready:
            self._count += 1
            yield line
            yield from self._extras(line)

    def _extras(self, line: bytes) -> Iterator[bytes]:
        duplicate = self._met.get("duplicate_lines")
        if duplicate and self._count % duplicate.every == 0:
            yield line
        if "garbage_line" in self._met and self._count == 1:
            yield _GARBAGE_LINE


def _without_length(message: Message, met: _Met) -> dict[str, Any]:
    if not met.keys() & {"late_lines", "duplicate_lines", "garbage_line"}:
        return dict(message)
    # The faults change the body's length, so it has to be sent in chunks.
    headers = [(name, value) for name, value in message["headers"] if name != b"content-length"]
    return {**message, "headers": headers}


class ClosableProtocol(H11Protocol):
    """A uvicorn connection that a fault can close: ASGI itself cannot hang up.

    Gives the application `scope["extensions"]["close"]`, a function that hangs up.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep the transport for the application of this connection."""
        super().connection_made(transport)
        self.app = cast("Any", _closable(cast("ASGIApp", self.app), transport))


def _closable(app: ASGIApp, transport: asyncio.Transport) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        closed = False

        def close() -> None:
            nonlocal closed
            closed = True
            transport.close()

        scope.setdefault("extensions", {})["close"] = close
        await app(scope, receive, send)
        while closed and (await receive())["type"] != "http.disconnect":
            """uvicorn answers 500 by itself unless it has seen the end of the connection."""

    return serve
