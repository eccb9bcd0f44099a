"""The body of a response, unpacked within bounds, for everything that reads one."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import cast

import anyio
import httpx

from doubleword_batch.api.error_mapping import ErrorReply, html_error
from doubleword_batch.api.file_encoding import FileDecoder, UnsupportedEncodingError
from doubleword_batch.api.line_layout import LineLayout
from doubleword_batch.api.request import ApiRequest, unexpected_reply
from doubleword_batch.content_encoding import EncodingError, Unpacker
from doubleword_batch.errors import ProtocolError

MAX_REPLY_BYTES = 32 * 1024 * 1024
"""The largest JSON reply: a page of 100 batches with full metadata is about 4 MB."""

MAX_ERROR_BYTES = 64 * 1024
"""What is read of an error body: its status says enough if the rest is cut or slow."""

ERROR_BODY_SECONDS = 5.0
"""How long an error body is waited for."""


async def pieces_of(request: ApiRequest, response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body, in pieces that stay small however well they were packed.

    Raises:
        ProtocolError: it is packed in a way that was not asked for.
        httpx.RequestError: the connection broke, or what came cannot be unpacked to its end.
    """
    try:
        unpacker = Unpacker(response.headers.get("content-encoding", ""))
    except EncodingError as error:
        raise unexpected_reply(request, str(error)) from None
    try:
        # A generator, which whoever stops early closes at once.
        raw = cast("AsyncGenerator[bytes, None]", response.aiter_raw())
        async with aclosing(raw):
            async for data in raw:
                for piece in unpacker.unpacked(data):
                    yield piece
    except EncodingError as error:
        raise httpx.DecodingError(f"the reply {error}") from None
    if not unpacker.is_whole:
        raise httpx.RemoteProtocolError("the compressed reply was cut short")


async def pieces_of_file(
    request: ApiRequest, response: httpx.Response
) -> AsyncGenerator[bytes, None]:
    """A file of result lines, in pieces, whatever form and layout the server keeps it in.

    Raises:
        ProtocolError, httpx.RequestError: as `pieces_of`, or it has a form that is not read.
    """
    form, layout = FileDecoder(), LineLayout()
    try:
        async with aclosing(pieces_of(request, response)) as pieces:
            async for data in pieces:
                for piece in form.decoded(data):
                    if lines := layout.lines_of(piece):
                        yield lines
        for piece in form.rest():
            yield layout.lines_of(piece)
    except UnsupportedEncodingError as error:
        raise ProtocolError(
            f"The file behind {request} is {error}, which cannot be read here.",
            hint="Nothing has to be paid again: the answers are in that file. Download it, and "
            "report how the provider keeps it.",
        ) from None
    except EncodingError as error:
        raise httpx.DecodingError(f"the file {error}") from None
    if not form.is_whole:
        raise httpx.RemoteProtocolError("the compressed file was cut short")
    yield layout.rest()


async def whole_body(
    request: ApiRequest, response: httpx.Response, timeout_seconds: float
) -> bytes:
    """All of a reply that is read at once.

    Raises:
        ProtocolError: as `pieces_of`, or it is too large, or a web page.
        httpx.RequestError: as `pieces_of`, or its end did not come in time.
    """
    body = bytearray()
    try:
        with anyio.fail_after(timeout_seconds):
            async with aclosing(pieces_of(request, response)) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) > MAX_REPLY_BYTES:
                        raise unexpected_reply(request, f"is larger than {MAX_REPLY_BYTES} bytes")
    except TimeoutError as error:
        raise httpx.ReadTimeout("the rest of the reply did not come") from error
    if body.lstrip().startswith(b"<"):
        raise html_error(request, ErrorReply(response.status_code))
    return bytes(body)


async def read_error_bytes(request: ApiRequest, response: httpx.Response) -> bytes:
    """What arrives of an error body, up to `MAX_ERROR_BYTES` and for `ERROR_BODY_SECONDS`."""
    body = bytearray()
    with anyio.move_on_after(ERROR_BODY_SECONDS), suppress(httpx.RequestError, ProtocolError):
        async with aclosing(pieces_of(request, response)) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) >= MAX_ERROR_BYTES:
                    break
    return bytes(body[:MAX_ERROR_BYTES])
