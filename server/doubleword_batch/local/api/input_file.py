"""Reads an uploaded input file line by line and refuses it at its first bad line.

Source of the rules and of their order: the real server's upload, doubleword's control layer.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Literal

import msgspec

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.local.api.replies import Refused
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


@dataclass(frozen=True, slots=True)
class InputRules:
    """What a line is held against; `models` maps the known ids to their kind."""

    models: Mapping[str, Literal["chat", "embedding"]]
    any_model: bool
    max_requests: int
    max_request_bytes: int


class _Line(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _Body(msgspec.Struct):
    model: str


_line_decoder = msgspec.json.Decoder(_Line)
_body_decoder = msgspec.json.Decoder(_Body)


def read_lines(file: BinaryIO, rules: InputRules) -> Iterator[InputLine]:
    """Yield the lines of `file`, checked.

    Blank lines are skipped and not counted in the line numbers that errors name.

    Raises:
        Refused: 400 or 403 for the first line that is not acceptable, or for an empty file.
    """
    count = 0
    for raw in _raw_lines(file, rules.max_request_bytes + _LINE_OVERHEAD_BYTES):
        count += 1
        if count > rules.max_requests:
            total = count + sum(1 for _ in _raw_lines(file, rules.max_request_bytes))
            raise Refused(
                400,
                f"File contains {total} requests, which exceeds the maximum of"
                f" {rules.max_requests}",
            )
        yield _checked(raw, count, rules)
    if not count:
        raise Refused(400, "File contains no valid request templates")


def _raw_lines(file: BinaryIO, most_bytes: int) -> Iterator[bytes]:
    for number in itertools.count(1):
        raw = file.readline(most_bytes + 1)
        if not raw:
            return
        if len(raw) > most_bytes:
            raise Refused(400, f"Line {number}: longer than {most_bytes} bytes")
        if line := raw.strip():
            yield line


def _checked(raw: bytes, number: int, rules: InputRules) -> InputLine:
    # msgspec looks at the UTF-8 of declared fields only.
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            raise Refused(
                400, f"Invalid UTF-8 on line {number} at byte offset {error.start}"
            ) from None
    try:
        line = _line_decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise Refused(400, f"Invalid JSON on line {number}: {error}") from None
    _check_envelope(line, number)
    body = bytes(line.body)
    if len(body) > rules.max_request_bytes:
        raise Refused(
            400,
            f"Line {number}: the body has {len(body)} bytes; at most {rules.max_request_bytes}"
            " are allowed",
        )
    try:
        model = _body_decoder.decode(body).model
    except msgspec.DecodeError as error:
        raise Refused(400, f"Line {number}: invalid body: {error}") from None
    _check_model(model, line.url, number, rules)
    return InputLine(line.custom_id, line.url, model, _stored_body(body))


def _check_envelope(line: _Line, number: int) -> None:
    custom_id = line.custom_id
    if len(custom_id.encode("utf-8", "surrogatepass")) > _MOST_CUSTOM_ID_BYTES:
        raise Refused(400, f"Line {number}: custom_id is longer than {_MOST_CUSTOM_ID_BYTES} bytes")
    if not (custom_id.isascii() and custom_id.isprintable()):
        raise Refused(400, f"Line {number}: custom_id holds characters other than printable ASCII")
    if line.method.upper() != "POST":
        method = quote_untrusted(line.method, 20)
        raise Refused(400, f"Line {number}: unsupported method {method}; only POST is supported")
    if line.url not in ALLOWED_URLS:
        raise Refused(
            400,
            f"Line {number}: unsupported url {quote_untrusted(line.url, 100)};"
            f" allowed: {', '.join(ALLOWED_URLS)}",
        )


def _check_model(model: str, url: str, number: int, rules: InputRules) -> None:
    kind = rules.models.get(model)
    if kind is None and not rules.any_model:
        raise Refused(
            403,
            f"Line {number}: Model {quote_untrusted(model, 100)} has not been configured or is"
            " not available to user",
        )
    wanted = "embedding" if url == "/v1/embeddings" else "chat"
    if kind is not None and kind != wanted:
        raise Refused(
            400,
            f"Line {number}: Model {quote_untrusted(model, 100)} is of kind {kind} and cannot"
            f" answer {url}",
        )


def _stored_body(body: bytes) -> bytes:
    # The real server decides priorities itself and takes the caller's out.
    if b'"priority"' in body:
        fields = msgspec.json.decode(body)
        fields.pop("priority", None)
        return msgspec.json.encode(fields)
    return msgspec.json.format(body, indent=-1)
