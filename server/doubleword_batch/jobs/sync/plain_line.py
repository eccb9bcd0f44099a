"""The line that nearly all lines are, decoded in one step: a chat answer of text that ended well.

Half of the time of `answers.py`'s way, which is for everything else: any field that differs from
what stands here makes a line not plain.
"""

from typing import Annotated, Literal

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Message(msgspec.Struct, gc=False):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    refusal: None = None
    tool_calls: None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: Literal["stop"]


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count


class _Body(msgspec.Struct, gc=False):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Usage
    error: None = None


class _Response(msgspec.Struct, gc=False):
    status_code: Literal[200]
    body: _Body


class PlainLine(msgspec.Struct, gc=False):
    """A line of an output file with a text in it."""

    custom_id: str
    response: _Response
    id: str | None = None
    error: None = None


_decode = msgspec.json.Decoder(PlainLine).decode


def plain_line(line: bytes) -> PlainLine | None:
    """The line decoded, None when it is not plain: then it has to be looked at closely."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
