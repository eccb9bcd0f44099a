"""What the first row of a job asks, for a person's eye on the prompt."""

from pathlib import Path
from typing import Any, cast

import msgspec

_SHOWN_CHARACTERS = 120


def first_request(path: Path | None) -> str:
    """The messages of the first request of a file, cut; nothing without a file."""
    if path is None:
        return ""
    with path.open("rb") as lines:
        body = msgspec.json.decode(lines.readline())["body"]
    messages: list[dict[str, Any]] = body.get("messages") or []
    texts = [_text_of(message.get("content")) for message in messages]
    if not texts:
        texts = [body.get("instructions") or "", _text_of(body.get("input"))]
    text = "\n".join(filter(None, texts))
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _text_of(content: Any) -> str:
    """The text in a message's content, images as `[image]`."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    pieces = cast("list[dict[str, Any]]", content)
    if pieces and "content" in pieces[0]:
        return "\n".join(_text_of(piece["content"]) for piece in pieces)
    return " ".join(piece.get("text") or "[image]" for piece in pieces)
