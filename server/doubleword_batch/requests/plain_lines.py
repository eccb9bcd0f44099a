"""Request lines of text and the common parameters alone, which most are: read in one pass.

Nothing in such a line needs a second look: it names every field that it has, its texts are UTF-8,
it holds no media, and nothing in it is nested deeply.
"""

from typing import Any

import msgspec

from doubleword_batch.loose_json import is_too_deep
from doubleword_batch.requests.spec import CHAT, EMBEDDINGS, RESPONSES

_Number = int | float | None


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: str
    content: str
    name: str | None = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
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
    response_format: msgspec.Raw = msgspec.Raw()
    text: msgspec.Raw = msgspec.Raw()


class PlainLine(msgspec.Struct, forbid_unknown_fields=True):
    """A line of that kind."""

    custom_id: str
    method: str
    url: str
    body: _Body


_decode = msgspec.json.Decoder(PlainLine).decode


def read_plain(line: bytes) -> PlainLine | None:
    """Read a line of that kind which asks something; None for any other."""
    try:
        request = _decode(line)
    except (ValueError, RecursionError):
        return None
    body = request.body
    asked: Any = None
    if request.url == CHAT:
        asked = body.messages
    elif request.url in {EMBEDDINGS, RESPONSES}:
        asked = body.input
    if not asked or not (_is_plain(body.response_format) and _is_plain(body.text)):
        return None
    return request


def _is_plain(value: msgspec.Raw) -> bool:
    """Whether a value that was passed over is text that any parser reads."""
    content = bytes(value)
    return not content or (content.isascii() and not is_too_deep(content))
