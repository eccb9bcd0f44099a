"""Replies of servers, byte for byte over real sockets: an object, or an error in words, and soon.

Whatever is in a reply, the key that was sent does not come back out of an error.
"""

import asyncio
import json
from contextlib import contextmanager, suppress

from doubleword_batch.api import BatchClient
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.providers import profile
from fake_time import FakeTime
from fuzz.inputs import any_of, damaged, encoded, grafted, one_of, together
from fuzz.tables import suppress_said

KEY = "sk-do-not-leak-0123456789"
ID = "0191b5f2-0000-7000-8000-000000000001"
BATCH = {
    "id": ID, "object": "batch", "status": "completed", "created_at": 1793707200,
    "endpoint": "/v1/chat/completions", "input_file_id": "f", "output_file_id": "o",
    "error_file_id": None, "completion_window": "24h", "expires_at": 1793807200,
    "request_counts": {"total": 3, "completed": 2, "failed": 1}, "metadata": {"a": "b"},
    "errors": {"data": [{"code": "c", "message": "m", "line": 1}]}, "usage": {"total_tokens": 9},
}  # fmt: skip
FILE = {
    "id": "f",
    "object": "file",
    "bytes": 3,
    "created_at": 1,
    "filename": "x",
    "purpose": "batch",
}
ERROR = {"error": {"message": f"no: Bearer {KEY}", "type": "t", "code": 429, "param": None}}
BODIES = [
    BATCH,
    FILE,
    ERROR,
    {"data": [BATCH], "has_more": False, "last_id": ID},
    {"object": "list", "data": [{"id": "m", "object": "model"}], "has_more": True},
    {"detail": [{"loc": ["body"], "msg": "x"}]},
]
WORDS = [
    *BATCH,
    *FILE,
    "data",
    "has_more",
    "first_id",
    "last_id",
    "error",
    "message",
    "code",
    "detail",
]
HEADERS = [
    b"Content-Type: application/json", b"Content-Type: text/html", b"Content-Encoding: gzip",
    b"Content-Encoding: gzip, gzip", b"Transfer-Encoding: chunked", b"Content-Length: 0",
    b"Content-Length: 99999999999", b"Content-Length: -1", b"Retry-After: 1e9", b"Retry-After: -5",
    b"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", b"Retry-After: nan", b"Location: http://[::1",
    b"Location: /v1/other", b"Location: file:///etc/passwd",
    b"X-Request-Id: \x1b[2J" + KEY.encode(),
    b"X-Last-Line: 99999999999999999999", b"X-Incomplete: true", b"Set-Cookie: a=b", b": x", b"Bad",
]  # fmt: skip
STATUSES = [
    200,
    200,
    200,
    201,
    204,
    206,
    301,
    302,
    400,
    401,
    402,
    403,
    404,
    409,
    413,
    422,
    429,
    500,
]


@contextmanager
def replies(folder):
    """A client and a server in one loop; every input is the server's answer to one call."""
    with asyncio.Runner() as runner:
        server = Server()
        runner.run(server.start())
        requests = folder / "requests.jsonl"
        requests.write_text('{"custom_id": "r1"}\n', encoding="utf-8")
        bodies = one_of(
            encoded(grafted(BODIES, WORDS)), damaged([json.dumps(body).encode() for body in BODIES])
        )

        def written(chance):
            headers = [chance.choice(HEADERS) for _ in range(chance.randint(0, 3))]
            status = chance.choice([*STATUSES, chance.randint(0, 1000)])
            return reply(status, headers, bodies(chance), framed=chance.random() < 0.5)

        samples = [
            reply(status, [], json.dumps(body).encode(), framed=True)
            for status in (200, 429)
            for body in BODIES
        ]

        def check(fed):
            server.answer = fed[0]
            runner.run(asyncio.wait_for(ask(server.base_url, fed[1], requests), 30))

        yield together(one_of(written, damaged(samples, HEADERS)), any_of(sorted(CALLS))), check
        runner.run(server.stop())


def reply(status, headers, body, *, framed):
    length = [b"Content-Length: %d" % len(body)] if framed else []
    lines = [b"HTTP/1.1 %d X" % status, *headers, *length, b"Connection: close", b"", body]
    return b"\r\n".join(lines)


CALLS = {
    "get": lambda client, _: client.batches.get(ID),
    "list": lambda client, _: client.batches.list(),
    "create": lambda client, _: client.batches.create(
        input_file_id="f", endpoint="/v1/chat/completions", completion_window="24h"
    ),
    "cancel": lambda client, _: client.batches.cancel(ID),
    "files": lambda client, _: client.files.list(),
    "upload": lambda client, path: client.files.upload(path),
    "content": lambda client, _: client.files.content("f", Sink()),
    "models": lambda client, _: client.models.list(),
    "analytics": lambda client, _: client.batches.analytics(ID),
    "estimate": lambda client, _: client.files.estimate_cost("f", "24h"),
}


async def ask(base_url, call, requests):
    async with BatchClient(
        base_url=base_url,
        api_key=KEY,
        profile=profile("doubleword"),
        timeout_seconds=5,
        max_retry_seconds=1,
        retry_clock=FakeTime().clock,
    ) as client:
        with suppress_said():
            try:
                found = CALLS[call](client, requests)
                if hasattr(found, "__aiter__"):
                    async for _ in found:
                        pass
                else:
                    await found
            except DoublewordBatchError as error:
                shown = json.dumps([str(error), error.hint, error.details], default=repr)
                assert KEY not in shown, shown
                raise


class Sink:
    """Says of each block whether it brought anything new, as whoever downloads has to."""

    def __init__(self):
        self._seen = set()

    async def __call__(self, lines):
        before = len(self._seen)
        self._seen.update(lines.splitlines())
        return len(self._seen) > before


class Server:
    """Gives the same bytes to whoever asks."""

    answer = b""

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}/v1"

    async def stop(self):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
            await writer.drain()
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 1)
        writer.close()


TARGETS = {"replies": replies}
