"""Reads request lines that hold only text and common parameters, as most do, in one pass.

Such a line needs no second look: all its fields are known, its texts are UTF-8, it holds no media,
and nothing in it is nested deeply.
"""

import msgspec

from doubleword_batch.loose_json import is_too_deep
from doubleword_batch.requests.spec import CHAT, EMBEDDINGS, RESPONSES

_Number = int | float | None
_NOTHING = msgspec.Raw()
_QUOTE = ord('"')
_OF_INPUT = frozenset({EMBEDDINGS, RESPONSES})


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: msgspec.Raw  # not decoded: that is slow for texts with escapes
    name: str | None = None


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    model: str
    messages: list[_Message] = []
    input: str | list[str] = ""
    instructions: str | None = None
    max_tokens: _Number = None
    max_completion_tokens: _Number = None
    max_output_tokens: _Number = None
    temperature: _Number = None
    top_p: _Number = None
    seed: _Number = None
    n: _Number = None
    reasoning_effort: str | None = None
    service_tier: str | None = None
    response_format: msgspec.Raw = _NOTHING
    text: msgspec.Raw = _NOTHING


class PlainLine(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A request line of only text and common parameters."""

    custom_id: str
    method: str
    url: str
    body: _Body


_decode = msgspec.json.Decoder(PlainLine).decode


def read_plain(line: bytes) -> PlainLine | None:
    """Read such a line; None for any other line, and for one without a prompt."""
    try:
        if not line.isascii():
            str(line, "utf-8")  # msgspec does not check what it skips
        request = _decode(line)
    except (ValueError, RecursionError):
        return None
    body = request.body
    for message in body.messages:
        if memoryview(message.content)[0] != _QUOTE:
            return None
    if body.response_format is not _NOTHING and is_too_deep(bytes(body.response_format)):
        return None
    if body.text is not _NOTHING and is_too_deep(bytes(body.text)):
        return None
    if request.url == CHAT:
        return request if body.messages else None
    return request if body.input and request.url in _OF_INPUT else None
