"""Addresses of images, sounds, videos and files in a ready request, which who answers it fetches.

The same rules as for an image column (`public_address`): plain https, to a public host. Content
lies in the request itself, as a data: URI, or leads there. Only the places in which servers look
for media are read; what is only quoted, such as a tool's arguments, is nobody's to fetch.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from batchkit.ending import quoted
from batchkit.public_address import why_not_public

if TYPE_CHECKING:
    from collections.abc import Iterator

MEDIA = frozenset(
    {
        *("image_url", "video_url", "audio_url", "file_url", "document_url", "input_image"),
        *("input_audio", "input_video", "input_file", "image", "audio", "video", "file", "source"),
    }
)
_ADDRESSES = frozenset({"url", "uri", "data", "file_data", "path"})
_ASKED = ("messages", "input", "prompt")
_QUOTED = ("tool_use", "function_call", "custom_tool_call")
_SHOWN = 100
_DATA = re.compile("data:", re.IGNORECASE)


def media_fault(body: dict[str, Any]) -> str | None:
    """What is wrong with the first address in a request that leads nowhere public, or None."""
    for place, address in _addresses([body.get(name) for name in _ASKED]):
        wrong = why_not_public(address)
        if wrong is not None:
            return f"{place} is {quoted(address, _SHOWN)}, which {wrong}."
    return None


def _addresses(content: Any) -> Iterator[tuple[str, str]]:
    """(place, address) of everything that is to be fetched."""
    waiting = [content]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += reversed(node)
        if not isinstance(node, dict):
            continue
        for name, value in node.items():
            if name in MEDIA:
                yield from _of(name, value)
        if node.get("type") not in _QUOTED:
            waiting += reversed(node.values())


def _of(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and name != "source" and _is_address(name, value):
        yield name, value
    elif isinstance(value, dict):
        for inner, text in value.items():
            if inner in _ADDRESSES and isinstance(text, str) and _is_address(inner, text):
                yield f"{name}.{inner}", text


def _is_address(name: str, text: str) -> bool:
    """Whether a text is an address and not the content itself, which base64 writes without ":"."""
    if _DATA.match(text.lstrip()):
        return False
    return ":" in text or name.endswith(("url", "uri", "path"))
