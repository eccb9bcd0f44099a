"""Addresses of images, sounds, videos and files in a ready request, which who answers it fetches.

The same rules as for an image column (`public_address`): plain https, to a public host. Content
lies in the request itself, as a data: URI, or leads there. Only the places in which servers look
for media are read; what is only quoted, such as a tool's arguments, is nobody's to fetch.
"""

import re
from collections.abc import Iterator
from typing import Any, Protocol, cast

import msgspec

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.public_address import why_not_public

MEDIA = frozenset(
    {
        *("image_url", "video_url", "audio_url", "file_url", "document_url", "input_image"),
        *("input_audio", "input_video", "input_file", "image", "audio", "video", "file", "source"),
    }
)
"""Members of a message or of a part of it that hold such an address, or the content itself."""

_ADDRESSES = frozenset({"url", "uri", "data", "file_data", "path"})
_QUOTED = ("tool_use", "function_call", "custom_tool_call")
_SHOWN = 100
_DATA = re.compile("data:", re.IGNORECASE)


class Asked(Protocol):
    """What a body asks, undecoded; empty where there is none."""

    messages: msgspec.Raw
    input: msgspec.Raw
    prompt: msgspec.Raw


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """A message of text alone."""

    role: str
    content: str | None = None
    name: str | None = None


_decode_texts = msgspec.json.Decoder(str | list[str | int | list[int] | _Said]).decode


def media_fault(asked: Asked) -> str | None:
    """What is wrong with the first address in a request that leads nowhere public, or None.

    Raises:
        ValueError: a number in it is beyond what is read.
    """
    for content in (asked.messages, asked.input, asked.prompt):
        if not content:
            continue
        try:
            _decode_texts(content)
        except (ValueError, RecursionError):  # something else than texts
            for place, address in _addresses(msgspec.json.decode(content)):
                wrong = why_not_public(address)
                if wrong is not None:
                    return f"{place} is {quote_untrusted(address, _SHOWN)}, which {wrong}."
    return None


def _addresses(content: Any) -> Iterator[tuple[str, str]]:
    """(place, address) of everything that is to be fetched."""
    waiting = [content]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += reversed(cast("list[Any]", node))
        if not isinstance(node, dict):
            continue
        part = cast("dict[str, Any]", node)
        for name, value in part.items():
            if name in MEDIA:
                yield from _of(name, value)
        if part.get("type") not in _QUOTED:
            waiting += reversed(part.values())


def _of(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and name != "source" and _is_address(name, value):
        yield name, value
    elif isinstance(value, dict):
        for inner, text in cast("dict[str, Any]", value).items():
            if inner in _ADDRESSES and isinstance(text, str) and _is_address(inner, text):
                yield f"{name}.{inner}", text


def _is_address(name: str, text: str) -> bool:
    """Whether a text is an address and not the content itself, which base64 writes without ":"."""
    if _DATA.match(text.lstrip()):
        return False
    return ":" in text or name.endswith(("url", "uri", "path"))
