"""Downloads line files as whole lines, each delivered once, despite cuts and server failures."""

import json
import logging
import math
import re
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass, replace
from time import monotonic

import anyio
import httpx
import msgspec

from doubleword_batch.api.error_mapping import ErrorReply, html_error
from doubleword_batch.api.line_layout import BLANK_OR_BOM, TOKEN
from doubleword_batch.api.request import ApiRequest, unexpected_reply
from doubleword_batch.api.response_body import pieces_of_file
from doubleword_batch.api.retry_policy import may_be_retried
from doubleword_batch.api.transport import Transport
from doubleword_batch.errors import DoublewordBatchError, ProtocolError, quote_untrusted
from doubleword_batch.provider_errors import read_error_body
from doubleword_batch.settings import BASE_URL_VARIABLES

_log = logging.getLogger(__name__)

Sink = Callable[[bytes], Awaitable[bool | None] | bool | None]
"""Takes blocks of whole lines, each ending in a line feed. It may be a coroutine function, so
that slow work on the lines can leave the event loop. It may return False for a block that brought
nothing new; a download that brings nothing new for too long is ended."""

MAX_LINE_BYTES = 64 * 1024 * 1024
"""The longest line that is read; this bounds the memory of a download."""

_READ_PAST = 8
"""A line this many times longer than `MAX_LINE_BYTES` ends the download; others are skipped."""

_LINE_PROGRESS_BYTES = 256 * 1024
"""How much of an unfinished line counts as progress."""

_KEPT_BYTES = 64 * 1024
_TEXT = rb'"(?:[^"\\]|\\.)*"'
_LAST_FIELD = re.compile(
    rb'"custom_id"\s*:\s*(' + _TEXT + rb"|-?\d+)\s*(?:,[^{}\[\]]*)?\}\s*\Z", re.DOTALL
)
_NO_RESULT_LINE = b"(a line that was too long)\n"


class LongLine:
    """A line longer than `MAX_LINE_BYTES`: skipped; only its beginning and end are kept.

    It costs only its own row: a short line with its custom_id and an error takes its place.
    """

    def __init__(self, beginning: bytes) -> None:
        self._head = beginning[:_KEPT_BYTES]
        self._tail = beginning[-_KEPT_BYTES:]
        self.size_bytes: int = len(beginning)

    def add(self, piece: bytes) -> None:
        """Read on."""
        self.size_bytes += len(piece)
        self._tail = (self._tail + piece)[-_KEPT_BYTES:]

    @property
    def is_closed(self) -> bool:
        """Whether it ends as an object does."""
        return self._tail.rstrip().endswith(b"}")

    def in_short(self) -> bytes:
        """The replacement: an error with its custom_id; without one, not a result line at all."""
        custom_id = _custom_id_in(self._head)
        if custom_id is None and (found := _LAST_FIELD.search(self._tail)):
            custom_id = _name(found[1])
        if custom_id is None:
            return _NO_RESULT_LINE
        size = f"{self.size_bytes:,} bytes; up to {MAX_LINE_BYTES:,} are read."
        error = {"code": "line_too_long", "message": f"The result line has {size}"}
        line = {"custom_id": custom_id, "response": None, "error": error}
        return json.dumps(line).encode() + b"\n"


def _custom_id_in(head: bytes) -> str | None:
    """The custom_id of the outer object, if the beginning of the line shows it."""
    depth = 0
    field: bytes | None = None
    is_value = False
    for found in TOKEN.finditer(head):
        token = found[0]
        if token in {b"{", b"["}:
            depth += 1
        elif token in {b"}", b"]"}:
            depth -= 1
        elif depth != 1:
            continue
        elif token == b":":
            is_value = True
        elif token == b",":
            is_value = False
        elif not is_value:
            field = token
        elif field == b'"custom_id"':
            return _name(token)
    return None


def _name(value: bytes) -> str | None:
    try:
        name = json.loads(value.decode("utf-8", "replace"))
    except ValueError:
        return None
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    return name if isinstance(name, str) else None


@dataclass(frozen=True, slots=True)
class ContentRead:
    """What one download of a line file brought.

    Attributes:
        lines: complete lines passed to the sink, including blank lines.
        size_bytes: bytes passed to the sink.
        incomplete: the server's X-Incomplete: more lines will come; None if it did not say.
        next_skip: where the next download continues: `skip` plus the lines received.
    """

    lines: int
    size_bytes: int
    incomplete: bool | None
    next_skip: int


async def download_lines(
    transport: Transport, request: ApiRequest, sink: Sink, *, skip: int, can_skip: bool
) -> ContentRead:
    """Download `request` from line `skip` on.

    Resumes after the last delivered line when the connection breaks or the server answers 429 or
    5xx, as long as there is progress within the retry time. One try ends when nothing useful has
    come for the transport's timeout. Useful are lines the sink can use, lines that are left out,
    and the growth of a long line.

    A line over `MAX_LINE_BYTES` is skipped: the sink gets a short one in its place, with its
    custom_id and the error `line_too_long`.

    An exception from the sink ends the download and passes through. If the server cannot skip
    lines, each try reads the file from its start and leaves lines out on this side.

    Raises:
        ApiError, TransportError, ProtocolError: with `lines` and `next_skip` in the details.
    """
    download = _Download(sink, skip, transport.timeout_seconds)
    budget = transport.retry_budget()
    is_said = False
    while True:
        before = download.lines
        start = skip + before if can_skip else 0
        rest = replace(request, params={**request.params, "skip": start or None})
        try:
            incomplete = await _download_once(transport, rest, download, skip + before - start)
        except DoublewordBatchError as error:
            error.details |= {"lines": download.lines, "next_skip": skip + download.lines}
            if not may_be_retried(rest, error):
                raise
            if download.has_progress:
                budget.renew()
            if not is_said:
                _log.warning("%s Going on after line %d.", error.message, skip + download.lines)
                is_said = True
            await budget.wait_after(error)
        else:
            budget.recovered()
            return download.read(incomplete)


async def _download_once(
    transport: Transport, request: ApiRequest, download: "_Download", leave_out: int
) -> bool | None:
    download.begin_try()
    async with AsyncExitStack() as stack:
        with transport.log_if_slow(request):
            response = await stack.enter_async_context(transport.stream(request))
        body = _Body(request, leave_out, transport.redact, download.note_progress)
        async with aclosing(pieces_of_file(request, response)) as pieces:
            with download.patience():
                async for piece in pieces:
                    await download.hand_over(transport.redact_lines(body.lines_of(piece)))
        await download.hand_over(transport.redact_lines(body.last_line(response)))
    is_incomplete = response.headers.get("x-incomplete", "").lower()
    return {"true": True, "false": False}.get(is_incomplete)


class _Download:
    """What has been delivered so far over all tries, and the time by which more must come.

    Attributes:
        lines: delivered so far.
        has_progress: the current try has brought something useful.
    """

    def __init__(self, sink: Sink, skip: int, patience_seconds: float) -> None:
        self._sink = sink
        self._skip = skip
        self._patience_seconds = patience_seconds
        self._deadline = math.inf
        self._scope = anyio.CancelScope()
        self._size_bytes = 0
        self.lines = 0
        self.has_progress = False

    def begin_try(self) -> None:
        self.has_progress = False
        self._deadline = anyio.current_time() + self._patience_seconds

    def note_progress(self) -> None:
        self.has_progress = True
        self._deadline = anyio.current_time() + self._patience_seconds

    @contextmanager
    def patience(self) -> Generator[None]:
        """Ends the work inside when nothing useful has come for too long.

        Raises:
            httpx.ReadTimeout: when that happens.
        """
        with anyio.CancelScope(deadline=self._deadline) as self._scope:
            yield
        if self._scope.cancelled_caught:
            raise httpx.ReadTimeout("no data has come for too long")

    async def hand_over(self, block: bytes) -> None:
        if block:
            begun = monotonic()
            taken = self._sink(block)
            if isinstance(taken, Awaitable):
                self._scope.deadline = math.inf
                taken = await taken
            self.lines += block.count(b"\n")
            self._size_bytes += len(block)
            if taken is True or (taken is None and b"{" in block):
                self.note_progress()
            else:
                self._deadline += monotonic() - begun  # the sink's time does not count
        if self._scope.deadline != self._deadline:
            self._scope.deadline = self._deadline

    def read(self, incomplete: bool | None) -> ContentRead:  # noqa: FBT001  # a value, not a switch
        return ContentRead(self.lines, self._size_bytes, incomplete, self._skip + self.lines)


class _Body:
    """Cuts a response body into blocks of whole lines, without the first `leave_out` lines."""

    def __init__(
        self,
        request: ApiRequest,
        leave_out: int,
        redact: Callable[[str], str],
        note_progress: Callable[[], None],
    ) -> None:
        self._note_progress = note_progress
        self._request = request
        self._redact = redact
        self._leave_out = leave_out
        self._open_line = bytearray()
        self._long_line: LongLine | None = None
        self._is_checked = False

    def lines_of(self, piece: bytes) -> bytes:
        in_short = b""
        if self._long_line is not None:
            in_short, piece = self._past_long_line(self._long_line, piece)
        end = piece.rfind(b"\n") + 1
        block = bytes(self._open_line) + piece[:end] if end else b""
        if end:
            self._open_line.clear()
        self._note_growth(len(self._open_line), len(piece) - end)
        self._open_line += piece[end:]
        if len(self._open_line) > MAX_LINE_BYTES:
            self._long_line = LongLine(bytes(self._open_line))
            self._open_line.clear()
        return self._wanted(in_short + block)

    def _past_long_line(self, line: LongLine, piece: bytes) -> tuple[bytes, bytes]:
        """The replacement line once the long line has ended, and what follows it in the piece."""
        end = piece.find(b"\n")
        rest = piece if end < 0 else piece[:end]
        self._note_growth(line.size_bytes, len(rest))
        line.add(rest)
        if line.size_bytes > _READ_PAST * MAX_LINE_BYTES:
            most = f"{_READ_PAST * MAX_LINE_BYTES} bytes"
            raise unexpected_reply(self._request, f"holds a line longer than {most}")
        if end < 0:
            return b"", b""
        self._long_line = None
        return line.in_short(), piece[end + 1 :]

    def _note_growth(self, size_bytes: int, more_bytes: int) -> None:
        noted = size_bytes // _LINE_PROGRESS_BYTES
        if (size_bytes + more_bytes) // _LINE_PROGRESS_BYTES > noted:
            self._note_progress()

    def last_line(self, response: httpx.Response) -> bytes:
        """The text after the last line feed as a line, if the body's end can be trusted."""
        if self._long_line is not None:
            if not _has_known_end(response) and not self._long_line.is_closed:
                raise httpx.RemoteProtocolError("the connection ended inside a line")
            return self._wanted(self._long_line.in_short())
        if not self._open_line:
            return b""
        self._reject_other_than_lines(bytes(self._open_line))
        if not _has_known_end(response) and not _is_json(self._open_line):
            raise httpx.RemoteProtocolError("the connection ended inside a line")
        return self._wanted(bytes(self._open_line) + b"\n")

    def _wanted(self, block: bytes) -> bytes:
        self._reject_other_than_lines(block)
        start = 0
        while self._leave_out and start < len(block):
            self._leave_out -= 1
            start = block.index(b"\n", start) + 1
        if start:
            self._note_progress()
        return block[start:]

    def _reject_other_than_lines(self, block: bytes) -> None:
        if self._is_checked:
            return
        first = block.lstrip(BLANK_OR_BOM).partition(b"\n")[0].rstrip()
        if not first:
            return
        self._is_checked = True
        if first.startswith(b"<"):
            raise html_error(self._request, ErrorReply(200))
        words = "" if first == b"{" else _error_in_place_of_lines(first)
        if words is not None:
            quoted = quote_untrusted(self._redact(words)) if words else "a JSON object"
            raise ProtocolError(
                f"The server answered {self._request} with status 200, but with {quoted} in place "
                "of lines.",
                hint=f"Call again in a minute; if it lasts, check the id and {BASE_URL_VARIABLES}.",
            )


class _ErrorObject(msgspec.Struct):
    error: dict[str, object] | str
    custom_id: str | None = None


def _error_in_place_of_lines(line: bytes) -> str | None:
    """The message of an error object where result lines should be, or None."""
    try:
        found = msgspec.json.decode(line, type=_ErrorObject)
    except (ValueError, RecursionError):
        return None
    return read_error_body(line).message if found.custom_id is None else None


def _has_known_end(response: httpx.Response) -> bool:
    # Without a length or chunks a body ends with its connection, so a cut cannot be seen.
    framed = "content-length" in response.headers or "transfer-encoding" in response.headers
    return framed or response.http_version not in {"HTTP/1.0", "HTTP/1.1"}


def _is_json(line: bytearray) -> bool:
    try:
        msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return False
    return True
