"""Checks a request file: every fault of every line in one pass, before money is spent.

The server stops at the first fault, and does not see some (two lines with one custom_id).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from batchkit import strict_json
from batchkit.cli import check_file_is_there, quoted
from batchkit.limits import ALSO_TAKEN, ENDPOINTS
from batchkit.public_address import media_fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from batchkit.limits import Limits

FIXES = {
    "no_requests": "Write at least one request line into the file.",
    "bad_utf8": "Save the file as UTF-8 without a byte order mark.",
    "bom": "Save the file as UTF-8, not as UTF-8 with BOM.",
    "blank_line": "Delete blank lines; some servers refuse them.",
    "not_json": "Write one complete JSON object on each line.",
    "nan": "Write null or a number; NaN and Infinity are not JSON.",
    "not_an_object": "Write one JSON object on each line, not an array or a bare value.",
    "missing_field": "Give every line custom_id, method, url and body.",
    "wrong_type": "custom_id, method, url and body.model are strings, body is an object.",
    "custom_id_missing": "Give every line a custom_id of its own.",
    "custom_id_too_long": "Shorten the custom_id to the provider's limit.",
    "custom_id_not_header_safe": "Use printable ASCII characters in custom_id.",
    "custom_id_duplicate": "Make every custom_id unique; results are matched by it.",
    "method": 'Write "method": "POST".',
    "url": "Use an endpoint that runs in batches.",
    "mixed_urls": "Split the file: a batch has one endpoint.",
    "model_missing": "Name the model in every body.",
    "content": "Give chat a list of messages, and the other endpoints text or a list.",
    "media_address": "Send the content itself, or a plain https URL of a public server.",
    "stream": "Remove stream: a batch cannot stream its answers.",
    "body_too_large": "Shorten that request, or split it into several.",
    "too_many_requests": "Split the file into several.",
    "file_too_large": "Split the file into several.",
}
"""Every kind of fault, and what to do about it; `blank_line` alone is only a warning."""

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_AROUND_A_BODY = 4096  # bytes that a line may have besides its body and still be read whole
_SHOWN = 3
_QUOTED = 80
# In place of `input`: a stored prompt, or what was said before.
_IN_PLACE_OF_INPUT = frozenset({"prompt", "previous_response_id", "conversation"})


class Fault(NamedTuple):
    """One fault; line 0 stands for the file as a whole."""

    line: int
    message: str


@dataclass
class Report:
    """The result of a check.

    Attributes:
        requests: lines that are not blank, including broken ones.
        endpoint: the url of the first line.
        faults: the first three of each kind.
        counts: how many of each kind.
    """

    requests: int = 0
    endpoint: str = ""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def is_ok(self) -> bool:
        """Whether there is no fault but blank lines."""
        return not self.counts.keys() - {"blank_line"}

    def add(self, kind: str, line: int, message: str) -> None:
        """Count a fault, and keep it if it is one of the first of its kind."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        kept = self.faults.setdefault(kind, [])
        if len(kept) < _SHOWN:
            kept.append(Fault(line, message))


def check_file(path: Path, limits: Limits) -> Report:
    """Check a request file; memory grows by one custom_id per line."""
    check_file_is_there(path)
    check = _Check(limits)
    with path.open("rb") as stream:
        for number, line in enumerate(_lines(stream, check.longest_line), 1):
            if number == 1 and line.startswith(_UTF_16):
                check.report.requests = 1
                check.report.add("bad_utf8", 1, "The file is UTF-16; nothing in it can be read.")
                break
            check.line(number, line)
    check.whole_file(path.stat().st_size)
    return check.report


def _lines(stream: BinaryIO, longest: int) -> Iterator[bytes]:
    """Lines, with those beyond any limit cut: they are only counted."""
    line = stream.readline(longest + 1)
    while line:
        yield line
        while len(line) > longest and not line.endswith(b"\n"):
            line = stream.readline(longest + 1)
        line = stream.readline(longest + 1)


class _Check:
    def __init__(self, limits: Limits) -> None:
        self.report = Report()
        self.longest_line = limits.max_request_bytes + _AROUND_A_BODY
        self._limits = limits
        self._line_of: dict[str, int] = {}

    def line(self, number: int, line: bytes) -> None:
        add = self.report.add
        if number == 1 and line.startswith(_BOM):
            add("bom", 1, "The file begins with a byte order mark.")
            line = line.removeprefix(_BOM)
        if not line or line.isspace():
            add("blank_line", number, "The line is blank.")
            return
        self.report.requests += 1
        if len(line) > self.longest_line:
            add("body_too_large", number, self._too_large("more"))
            return
        request = self._object(number, line)
        if request is None:
            return
        texts = self._texts(number, request, ("custom_id", "method", "url"), "")
        body = request.get("body")
        if isinstance(body, dict):
            texts.update(self._texts(number, body, ("model",), "body."))
            self._body(number, body, len(line))
            fault = _content_fault(texts.get("url", ""), body)
            if fault:
                add("content", number, fault)
        elif "body" in request:
            add("wrong_type", number, f"body is {_kind(body)}, not an object.")
        else:
            add("missing_field", number, "body is missing.")
        for name, text in texts.items():
            getattr(self, f"_{name}")(number, text)

    def whole_file(self, size_bytes: int) -> None:
        requests, limits, add = self.report.requests, self._limits, self.report.add
        if not requests:
            add("no_requests", 0, "There is no request in the file.")
        if requests > limits.max_requests:
            message = f"The file holds {requests} requests; {limits.max_requests} are allowed."
            add("too_many_requests", 0, message)
        if size_bytes > limits.max_file_bytes:
            message = f"The file has {size_bytes} bytes; {limits.max_file_bytes} are allowed."
            add("file_too_large", 0, message)

    def _object(self, number: int, line: bytes) -> dict[str, Any] | None:
        try:
            request = strict_json.decode(line)
        except UnicodeDecodeError as error:
            message = f"Byte {error.start + 1} of the line is not UTF-8."
            self.report.add("bad_utf8", number, message)
            return None
        except ValueError as error:
            is_nan = str(error).startswith("it holds ") and "number" not in str(error)
            self.report.add("nan" if is_nan else "not_json", number, f"The line: {error}.")
            return None
        if not isinstance(request, dict):
            self.report.add("not_an_object", number, f"The line is {_kind(request)}.")
            return None
        return request

    def _texts(
        self, number: int, fields: dict[str, Any], names: tuple[str, ...], prefix: str
    ) -> dict[str, str]:
        """Those of the fields that are strings; the others are faults."""
        kinds = {"custom_id": "custom_id_missing", "model": "model_missing"}
        for name in names:
            if name not in fields:
                kind = kinds.get(name, "missing_field")
                self.report.add(kind, number, f"{prefix}{name} is missing.")
            elif not isinstance(fields[name], str):
                message = f"{prefix}{name} is {_kind(fields[name])}, not a string."
                self.report.add("wrong_type", number, message)
        return {name: fields[name] for name in names if isinstance(fields.get(name), str)}

    def _body(self, number: int, body: dict[str, Any], line_bytes: int) -> None:
        if body.get("stream"):
            self.report.add("stream", number, "body.stream is on.")
        fault = media_fault(body)
        if fault:
            self.report.add("media_address", number, fault)
        if line_bytes > self._limits.max_request_bytes:
            size = len(strict_json.encode(body))
            if size > self._limits.max_request_bytes:
                self.report.add("body_too_large", number, self._too_large(str(size)))

    def _custom_id(self, number: int, custom_id: str) -> None:
        limit, add = self._limits.max_custom_id_bytes, self.report.add
        name = quoted(custom_id, _QUOTED)
        if not custom_id:
            add("custom_id_missing", number, "custom_id is empty.")
            return
        if not (custom_id.isascii() and custom_id.isprintable()):
            what = "has a control character" if custom_id.isascii() else "is not ASCII"
            add("custom_id_not_header_safe", number, f"custom_id {name} {what}.")
        size = len(custom_id.encode("utf-8"))
        if size > limit:
            message = f"custom_id {name} has {size} bytes; {limit} are allowed."
            add("custom_id_too_long", number, message)
        other = self._line_of.setdefault(custom_id, number)
        if other != number:
            message = f"custom_id {name} is also on line {other}."
            add("custom_id_duplicate", number, message)

    def _method(self, number: int, method: str) -> None:
        if method.upper() != "POST":
            self.report.add("method", number, f"method is {quoted(method, _QUOTED)}.")

    def _url(self, number: int, url: str) -> None:
        if url not in ENDPOINTS + ALSO_TAKEN:
            taken = ", ".join(ENDPOINTS + ALSO_TAKEN)
            message = f"url is {quoted(url, _QUOTED)}; {taken} are accepted."
            self.report.add("url", number, message)
        self.report.endpoint = self.report.endpoint or url
        if url != self.report.endpoint:
            first = quoted(self.report.endpoint, _QUOTED)
            message = f"url is {quoted(url, _QUOTED)}, but on the first line {first}."
            self.report.add("mixed_urls", number, message)

    def _model(self, number: int, model: str) -> None:
        if not model.strip():
            self.report.add("model_missing", number, "body.model is empty.")

    def _too_large(self, size: str) -> str:
        return f"The body has {size} bytes; {self._limits.max_request_bytes} are allowed."


def _content_fault(url: str, body: dict[str, Any]) -> str:
    """What is wrong with what a body asks, "" for nothing."""
    if url in {"/v1/chat/completions", "/v1/messages"}:
        return _messages_fault(body)
    if url == "/v1/embeddings":
        return _input_fault(body)
    may_lack = "input" not in body and not _IN_PLACE_OF_INPUT.isdisjoint(body)
    return "" if url != "/v1/responses" or may_lack else _input_fault(body)


def _messages_fault(body: dict[str, Any]) -> str:
    if "messages" not in body:
        return "body.messages is missing."
    messages = body["messages"]
    if not isinstance(messages, list):
        return "body.messages is not a list."
    if not messages:
        return "body.messages is empty."
    if not isinstance(messages[0], dict):
        return "body.messages is a list of something other than objects."
    return ""


def _input_fault(body: dict[str, Any]) -> str:
    if "input" not in body:
        return "body.input is missing."
    if body["input"] in ("", []):
        return "body.input is empty."
    if not isinstance(body["input"], (str, list)):
        return "body.input is neither text nor a list."
    return ""


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    return quoted(json.dumps(value), 40)
