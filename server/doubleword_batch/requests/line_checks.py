"""Checks of single lines: what is wrong with a broken line, duplicate ids, media, inputs to embed.

A file that a provider takes is small enough for its custom_ids to be kept in memory. For a longer
file, digests of the ids go to temporary files, split by digest so that equal ones end up in the
same file, and are compared at the end.

Images, sounds, videos and files are fetched by the server that answers the request, so their
addresses follow the rules for an image column (`public_address`): a plain https URL of a public
host, unless the content itself is in the request as a data: URI. Only the places in which servers
look for media are read; addresses that are only quoted, such as in a tool's arguments, are not
fetched by anybody.
"""

import json
import re
import struct
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NoReturn, Protocol, Self, cast

import msgspec

from doubleword_batch.atomic_files import as_store_error
from doubleword_batch.errors import quote_untrusted
from doubleword_batch.loose_json import is_too_deep
from doubleword_batch.public_address import why_not_public
from doubleword_batch.requests.spec import CHAT, EMBEDDINGS, RESPONSES

MOST_IN_MEMORY = 100_000

_DIGEST_BYTES = 16
_RECORD = struct.Struct(f"{_DIGEST_BYTES}sQ")
_BUCKETS = 64
_FIRST_BYTES = 40
_BUFFER_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a line, and which of its fields can still be checked.

    Attributes:
        faults: (kind, message); the kinds are those of `ProblemGroup`.
        texts: `custom_id`, `method`, `url` and `model`, where they are strings.
    """

    faults: list[tuple[str, str]]
    texts: dict[str, str]


class _Fault(Exception):  # noqa: N818  # caught below
    """Kind and message of a fault that leaves nothing else to check."""


def diagnose(line: bytes) -> Diagnosis:
    """Find the faults of a line that does not decode as a request."""
    try:
        request = _object(line)
    except _Fault as found:
        kind, message = found.args
        return Diagnosis([(kind, message)], {})
    diagnosis = Diagnosis([], {})
    _check_texts(request, ("custom_id", "method", "url"), "", diagnosis)
    body = request.get("body")
    if isinstance(body, dict):
        fields = cast("dict[str, Any]", body)
        _check_texts(fields, ("model",), "body.", diagnosis)
        if fields.get("stream"):
            diagnosis.faults.append(("stream", "body.stream is on."))
        fault = content_fault(diagnosis.texts.get("url", ""), _Decoded(fields), fields)
        if fault:
            diagnosis.faults.append(("content", fault))
    elif "body" in request:
        diagnosis.faults.append(("wrong_type", f"body is {_kind(body)}, not an object."))
    else:
        diagnosis.faults.append(("missing_field", "body is missing."))
    if not diagnosis.faults:  # the json module reads it, msgspec does not
        diagnosis.faults.append(("not_json", "The line holds a number that is out of range."))
    return diagnosis


def _object(line: bytes) -> dict[str, Any]:
    if is_too_deep(line):
        raise _Fault("not_json", "The line is nested too deeply.")
    try:
        value = json.loads(line.decode(), parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _Fault("not_json", f"{error.msg} at character {error.pos + 1}.") from None
    except UnicodeDecodeError as error:
        raise _Fault("bad_utf8", f"Byte {error.start + 1} of the line is not UTF-8.") from None
    except UnicodeEncodeError:
        message = "The line holds half of a surrogate pair (\\ud800 to \\udfff)."
        raise _Fault("not_json", message) from None
    except RecursionError:  # where the caller's own stack is deep
        raise _Fault("not_json", "The line is nested too deeply.") from None
    except ValueError:
        raise _Fault("not_json", "The line holds a number of too many digits.") from None
    if not isinstance(value, dict):
        raise _Fault("not_an_object", f"The line is {_kind(value)}.")
    return cast("dict[str, Any]", value)


def _check_texts(
    fields: dict[str, Any], names: tuple[str, ...], prefix: str, diagnosis: Diagnosis
) -> None:
    missing = {"custom_id": "custom_id_missing", "model": "model_missing"}
    for name in names:
        if name not in fields:
            kind = missing.get(name, "missing_field")
            diagnosis.faults.append((kind, f"{prefix}{name} is missing."))
        elif isinstance(fields[name], str):
            diagnosis.texts[name] = fields[name]
        else:
            message = f"{prefix}{name} is {_kind(fields[name])}, not a string."
            diagnosis.faults.append(("wrong_type", message))


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    return quote_untrusted(json.dumps(value), 40)


def _refuse_constant(constant: str) -> NoReturn:
    raise _Fault("nan", f"The line holds {constant}.")


class _Content(Protocol):
    """The fields of a body that hold the prompt, undecoded; empty where they are missing."""

    messages: msgspec.Raw
    input: msgspec.Raw


class _Decoded:
    """The same fields, of a body that was decoded."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.messages, self.input = (
            msgspec.Raw(json.dumps(fields[name]).encode() if name in fields else b"")
            for name in ("messages", "input")
        )


# In place of `input`: a stored prompt, or an earlier conversation.
_IN_PLACE_OF_INPUT = frozenset({"prompt", "previous_response_id", "conversation"})


def content_fault(url: str, body: _Content, names: Collection[str] = ()) -> str:
    """What is wrong with a body's prompt, judged by its first bytes; "" if nothing is.

    Args:
        url: the endpoint.
        body: the fields that hold the prompt.
        names: the names of the body's other fields, where they are known.
    """
    if url in {CHAT, "/v1/messages"}:
        return _messages_fault(_first_bytes(body.messages))
    if url in {EMBEDDINGS, RESPONSES}:
        first = _first_bytes(body.input)
        may_lack = url == RESPONSES and not _IN_PLACE_OF_INPUT.isdisjoint(names)
        return "" if may_lack and not first else _input_fault(first)
    return ""


def _first_bytes(value: msgspec.Raw) -> bytes:
    return bytes(memoryview(value)[:_FIRST_BYTES]).lstrip()


def _messages_fault(first: bytes) -> str:
    if not first:
        return "body.messages is missing."
    if not first.startswith(b"["):
        return "body.messages is not a list."
    inside = first[1:].lstrip()
    if inside.startswith(b"]"):
        return "body.messages is empty."
    if inside and not inside.startswith(b"{"):
        return "body.messages is a list of something other than objects."
    return ""


def _input_fault(first: bytes) -> str:
    if not first:
        return "body.input is missing."
    if first.startswith((b'""', b"[]")):
        return "body.input is empty."
    if not first.startswith((b'"', b"[")):
        return "body.input is neither text nor a list."
    return ""


class SeenIds:
    """The custom_ids seen so far; use it as a context manager."""

    def __init__(self) -> None:
        self._line_of: dict[str, int] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._buffers: list[bytearray] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def other_line(self, custom_id: str, line: int) -> int | None:
        """The earlier line with that id; None if there is none or `late_duplicates` reports it."""
        if self._folder is not None:
            self._add_digest(custom_id, line)
            return None
        other = self._line_of.setdefault(custom_id, line)
        if len(self._line_of) > MOST_IN_MEMORY:
            self._spill()
        return None if other == line else other

    def add_new(self, custom_ids: list[str], first: int) -> bool:
        """Add the ids of the lines from `first` on; if any is a duplicate, add none: False."""
        lines = range(first, first + len(custom_ids))
        if self._folder is not None:
            for custom_id, line in zip(custom_ids, lines, strict=True):
                self._add_digest(custom_id, line)
            return True
        line_of = dict(zip(custom_ids, lines, strict=True))
        if len(line_of) < len(lines) or not self._line_of.keys().isdisjoint(line_of):
            return False
        self._line_of.update(line_of)
        if len(self._line_of) > MOST_IN_MEMORY:
            self._spill()
        return True

    def late_duplicates(self) -> Iterator[tuple[int, int]]:
        """(line, earlier line) of the duplicates that `other_line` did not report."""
        for number, buffer in enumerate(self._buffers):
            self._write(number, buffer)
            line_of: dict[bytes, int] = {}
            for digest, line in _RECORD.iter_unpack(self._bucket(number).read_bytes()):
                other = line_of.setdefault(digest, line)
                if other != line:
                    yield line, other

    def _spill(self) -> None:
        with as_store_error(Path(tempfile.gettempdir())):
            self._folder = tempfile.TemporaryDirectory(prefix="custom-ids-")
        self._buffers = [bytearray() for _ in range(_BUCKETS)]
        for custom_id, line in self._line_of.items():
            self._add_digest(custom_id, line)
        self._line_of.clear()

    def _add_digest(self, custom_id: str, line: int) -> None:
        digest = blake2b(custom_id.encode(), digest_size=_DIGEST_BYTES).digest()
        number = digest[0] % _BUCKETS
        buffer = self._buffers[number]
        buffer += _RECORD.pack(digest, line)
        if len(buffer) >= _BUFFER_BYTES:
            self._write(number, buffer)

    def _write(self, number: int, buffer: bytearray) -> None:
        bucket = self._bucket(number)
        with as_store_error(bucket), bucket.open("ab") as file:
            file.write(buffer)
        buffer.clear()

    def _bucket(self, number: int) -> Path:
        return Path(self._folder.name if self._folder else "", f"{number}")


_MEDIA = frozenset(
    {
        *("image_url", "video_url", "audio_url", "file_url", "document_url", "input_image"),
        *("input_audio", "input_video", "input_file", "image", "audio", "video", "file", "source"),
    }
)
"""Fields of a message or of its parts that hold the address of media, or the content itself."""

_ADDRESSES = frozenset({"url", "uri", "data", "file_data", "path"})
_ONLY_QUOTED = ("tool_use", "function_call", "custom_tool_call")
_ADDRESS_SHOWN = 100
_DATA = re.compile("data:", re.IGNORECASE)


class _PromptContent(_Content, Protocol):
    """The same, with the text that the completions endpoint takes."""

    prompt: msgspec.Raw


class _TextMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A message that holds only text."""

    role: str
    content: str | None = None
    name: str | None = None


_decode_texts = msgspec.json.Decoder(str | list[str | int | list[int] | _TextMessage]).decode


def media_fault(asked: _PromptContent) -> str | None:
    """What is wrong with the first address in a request that is not public; None if all are.

    Raises:
        ValueError: the request holds a number that is out of range.
    """
    for content in (asked.messages, asked.input, asked.prompt):
        if not content:
            continue
        try:
            _decode_texts(content)
        except (ValueError, RecursionError):  # more than texts
            for place, address in _addresses(msgspec.json.decode(content)):
                wrong = why_not_public(address)
                if wrong is not None:
                    return f"{place} is {quote_untrusted(address, _ADDRESS_SHOWN)}, which {wrong}."
    return None


def _addresses(content: Any) -> Iterator[tuple[str, str]]:
    """(place, address) of everything that the server would fetch."""
    waiting = [content]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += reversed(cast("list[Any]", node))
        if not isinstance(node, dict):
            continue
        part = cast("dict[str, Any]", node)
        for name, value in part.items():
            if name in _MEDIA:
                yield from _addresses_of(name, value)
        if part.get("type") not in _ONLY_QUOTED:
            waiting += reversed(part.values())


def _addresses_of(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and name != "source" and _is_address(name, value):
        yield name, value
    elif isinstance(value, dict):
        for inner, text in cast("dict[str, Any]", value).items():
            if inner in _ADDRESSES and isinstance(text, str) and _is_address(inner, text):
                yield f"{name}.{inner}", text


def _is_address(name: str, text: str) -> bool:
    """Whether a text is an address, not the content itself in base64, which has no ":"."""
    if _DATA.match(text.lstrip()):
        return False
    return ":" in text or name.endswith(("url", "uri", "path"))


class _EmbeddingBody(msgspec.Struct):
    input: Any = None


_decode_inputs = msgspec.json.Decoder(_EmbeddingBody).decode


def inputs_of(body: bytes | msgspec.Raw) -> int:
    """The number of inputs in a request's body; one text, or one list of tokens, counts as 1.

    Args:
        body: a JSON object, as OpenAI's embeddings API takes it.
    """
    match _decode_inputs(body).input:
        case [str() | list(), *_] as inputs:
            return len(inputs)
        case _:
            return 1
