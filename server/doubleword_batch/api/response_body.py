"""Reads response bodies, unpacking them within bounds; everything that reads one uses this."""

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
"""How much of an error body is read: the status says enough if the rest is cut or slow."""

ERROR_BODY_SECONDS = 5.0
"""How long to wait for an error body."""


async def pieces_of(request: ApiRequest, response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body in pieces, which stay small however well it was compressed.

    Raises:
        ProtocolError: it is compressed in a way that was not requested.
        httpx.RequestError: the connection broke, or the data cannot be unpacked to its end.
    """
    try:
        unpacker = Unpacker(response.headers.get("content-encoding", ""))
    except EncodingError as error:
        raise unexpected_reply(request, str(error)) from None
    try:
        # A generator, so that a reader who stops early closes it at once.
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
    """The pieces of a file of result lines, whatever format and layout the server stores it in.

    Raises:
        ProtocolError, httpx.RequestError: as `pieces_of`; ProtocolError also for an unsupported
            format.
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
            "report how the provider stores it.",
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
        ProtocolError: as `pieces_of`; also if it is too large or a web page.
        httpx.RequestError: as `pieces_of`; also if its end did not come in time.
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
    """What arrives of an error body within `ERROR_BODY_SECONDS`, up to `MAX_ERROR_BYTES`."""
    body = bytearray()
    with anyio.move_on_after(ERROR_BODY_SECONDS), suppress(httpx.RequestError, ProtocolError):
        async with aclosing(pieces_of(request, response)) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) >= MAX_ERROR_BYTES:
                    break
    return bytes(body[:MAX_ERROR_BYTES])
