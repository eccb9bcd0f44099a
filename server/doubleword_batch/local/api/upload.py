"""Receives an upload, fields first and then the file's lines, and rejects it at the first bad line.

Fields are kept in memory, the file on disk, and sizes are checked as it arrives. Source of the
rules and their order: the real server's upload, doubleword's control layer.
"""

import unicodedata
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import msgspec
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors.base import ModelKind
from doubleword_batch.local.store.files import InputLine

ALLOWED_URLS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
)
_MOST_CUSTOM_ID_BYTES = 64
_LINE_OVERHEAD_BYTES = 65_536
_MULTIPART_BYTES = 10_240
_MOST_FIELD_BYTES = 10_240
_MOST_FIELDS = 20
_MOST_FILENAME_CHARACTERS = 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded input file; the receiver must close `file`."""

    file: UploadFile
    filename: str
    size_bytes: int
    life_seconds: int | None


async def receive(request: Request, max_file_bytes: int) -> Upload:
    """Receive the form of `POST /v1/files`; 413 once its real or announced size is too large."""
    too_large = HTTPException(
        413, f"File exceeds the maximum allowed size of {max_file_bytes} bytes"
    )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_file_bytes + _MULTIPART_BYTES:
        raise too_large
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(400, "The content type must be multipart/form-data")
    stream = _LimitedStream(request, max_file_bytes + _MULTIPART_BYTES)
    parser = MultiPartParser(
        request.headers,
        stream.parts(),
        max_files=1,
        max_fields=_MOST_FIELDS,
        max_part_size=_MOST_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise (too_large if stream.overrun else HTTPException(400, error.message)) from None
    try:
        upload = _read_form(dict(form))
    except BaseException:
        await form.close()
        raise
    if upload.size_bytes > max_file_bytes:
        await form.close()
        raise too_large
    return upload


def _read_form(form: dict[str, UploadFile | str]) -> Upload:
    purpose, file = form.get("purpose", "batch"), form.get("file")
    if not isinstance(purpose, str) or purpose.lower() != "batch":
        purpose = purpose if isinstance(purpose, str) else "a file"
        shown = "".join(c for c in purpose[:50] if c.isprintable())
        raise HTTPException(400, f"Invalid purpose '{shown}'. Only 'batch' is supported.")
    if not isinstance(file, UploadFile):
        raise HTTPException(400, "The field file is missing")
    seconds = form.get("expires_after[seconds]")
    if not (isinstance(seconds, str) and seconds.isascii() and seconds.isdecimal()):
        seconds = None  # anything but a number is ignored
    return Upload(
        file=file,
        filename=(file.filename or "upload.jsonl")[:_MOST_FILENAME_CHARACTERS],
        size_bytes=file.size or 0,
        life_seconds=None if seconds is None else min(int(str(seconds)[:12]), 2**40),
    )


class _LimitedStream:
    """The request's body; ends with the parser's own error, which also closes its files."""

    def __init__(self, request: Request, most_bytes: int) -> None:
        self._request = request
        self._left = most_bytes
        self.overrun = False

    async def parts(self) -> AsyncGenerator[bytes, None]:
        try:
            async for part in self._request.stream():
                self._left -= len(part)
                if self._left < 0:
                    self.overrun = True
                    raise MultiPartException("The file is too large")
                yield part
        except ClientDisconnect:
            raise MultiPartException("The connection was closed in the middle") from None


@dataclass(frozen=True, slots=True)
class InputRules:
    """The rules for lines; `models` maps the executor's known models to their kind."""

    config: LocalConfig
    models: Mapping[str, ModelKind]
    any_model: bool


class _Line(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _Body(msgspec.Struct):
    model: str


_line_decoder = msgspec.json.Decoder(_Line)
_body_decoder = msgspec.json.Decoder(_Body)


def parse_request_lines(file: BinaryIO, rules: InputRules) -> Iterator[InputLine]:
    """Yield the lines of `file`, checked; 400 or 403 for the first that is not acceptable.

    Blank lines are skipped and do not count in the line numbers of errors.
    """
    count, most = 0, rules.config.max_requests
    lines = _raw_lines(file, rules.config.max_request_bytes + _LINE_OVERHEAD_BYTES)
    for count, raw in enumerate(lines, 1):
        if count > most:
            total = count + sum(1 for _ in lines)
            raise HTTPException(
                400, f"File contains {total} requests, which exceeds the maximum of {most}"
            )
        yield _checked(raw, count, rules)
    if not count:
        raise HTTPException(400, "File contains no valid request templates")


def _raw_lines(file: BinaryIO, most_bytes: int) -> Iterator[bytes]:
    number = 1
    while raw := file.readline(most_bytes + 1):
        if len(raw) > most_bytes:
            raise _refused(number, f"longer than {most_bytes} bytes")
        if line := raw.strip():
            yield line
            number += 1


def _refused(number: int, why: str, status: int = 400) -> HTTPException:
    return HTTPException(status, f"Line {number}: {why}")


def _checked(raw: bytes, number: int, rules: InputRules) -> InputLine:
    # msgspec checks the UTF-8 of declared fields only.
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            raise HTTPException(
                400, f"Invalid UTF-8 on line {number} at byte offset {error.start}"
            ) from None
    try:
        line = _line_decoder.decode(raw)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"Invalid JSON on line {number}: {error}") from None
    _check_envelope(line, number)
    body = bytes(line.body)
    most = rules.config.max_request_bytes
    if len(body) > most:
        raise _refused(number, f"the body has {len(body)} bytes; at most {most} are allowed")
    try:
        model = _body_decoder.decode(body).model
        stored = _stored_body(body)
    except (ValueError, RecursionError) as error:
        raise _refused(number, f"invalid body: {error}") from None
    _check_model(model, line.url, number, rules)
    return InputLine(line.custom_id, line.url, model, stored)


def _check_envelope(line: _Line, number: int) -> None:
    custom_id = line.custom_id
    if len(custom_id.encode("utf-8", "surrogatepass")) > _MOST_CUSTOM_ID_BYTES:
        raise _refused(number, f"custom_id is longer than {_MOST_CUSTOM_ID_BYTES} bytes")
    if any(unicodedata.category(character) == "Cc" for character in custom_id):
        raise _refused(number, "custom_id holds control characters")
    if line.method.upper() != "POST":
        method = quote_untrusted(line.method, 20)
        raise _refused(number, f"unsupported method {method}; only POST is supported")
    if line.url not in ALLOWED_URLS:
        url = quote_untrusted(line.url, 100)
        raise _refused(number, f"unsupported url {url}; allowed: {', '.join(ALLOWED_URLS)}")


def _check_model(model: str, url: str, number: int, rules: InputRules) -> None:
    kind, only = rules.models.get(model), rules.config.models
    is_known = kind is not None or rules.any_model
    if not (is_known if only is None else model in only):
        why = "has not been configured or is not available to user"
        raise _refused(number, f"Model {quote_untrusted(model, 100)} {why}", 403)
    wanted = "embedding" if url == "/v1/embeddings" else "chat"
    if kind is not None and kind != wanted:
        why = f"is of kind {kind} and cannot answer {url}"
        raise _refused(number, f"Model {quote_untrusted(model, 100)} {why}")


def _stored_body(body: bytes) -> bytes:
    # The real server sets priorities itself and removes the caller's.
    if b'"priority"' in body:
        fields = msgspec.json.decode(body)
        fields.pop("priority", None)
        return msgspec.json.encode(fields)
    return msgspec.json.format(body, indent=-1)
