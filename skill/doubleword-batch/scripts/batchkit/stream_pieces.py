"""A stream that was kept as it was sent, put together: the body that its pieces make.

Such a body is a list of pieces, or their text with `data: ` in front of each (server-sent events).
Read here are chat completions, completions, and responses, whose last event holds the whole.
"""

from __future__ import annotations

import re
from typing import Any

from batchkit.json_values import list_of, object_of
from batchkit.loose_json import decode_or_none

_LINE = re.compile(r"\r\n|\n|\r")
# Not a set: what stands in the place of a word may be a list, which has no hash.
_WHOLE = ("response.completed", "response.incomplete", "response.failed")
CUT = "stream_cut"
"""The finish reason of a stream that ended without one."""


def joined(body: Any) -> Any:
    """The body that the pieces of a stream make; a body of another kind as it is."""
    pieces = _pieces(body)
    for piece in pieces:
        if piece.get("type") in _WHOLE and object_of(piece.get("response")):
            return piece["response"]
    if not any("choices" in piece or "error" in piece for piece in pieces):
        return body
    choices: dict[int, _Choice] = {}
    told: dict[str, Any] = {}
    for piece in pieces:
        told |= {name: piece[name] for name in ("usage", "error") if piece.get(name)}
        for choice in map(object_of, list_of(piece.get("choices"))):
            index = choice.get("index")
            place = index if isinstance(index, int) else 0
            choices.setdefault(place, _Choice()).add(choice)
    found = [choices[index].whole(index, told.get("error")) for index in sorted(choices)]
    return {"choices": found, "usage": told.get("usage")} if found else {"error": told.get("error")}


class _Choice:
    """One of the choices of a chat, as far as its pieces have been read."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._finish: Any = None

    def add(self, choice: dict[str, Any]) -> None:
        delta = object_of(choice.get("delta") or choice.get("message"))
        for words in (delta.get("content"), choice.get("text")):
            self._texts += [words] if isinstance(words, str) else []
        self._refusals += [delta["refusal"]] if _is(delta.get("refusal")) else []
        for number, call in enumerate(map(object_of, list_of(delta.get("tool_calls")))):
            index = call.get("index")
            function = object_of(call.get("function"))
            known = self._calls.setdefault(
                index if isinstance(index, int) else number, {"name": "", "arguments": ""}
            )
            for name in known:
                known[name] += function[name] if _is(function.get(name)) else ""
        self._finish = choice.get("finish_reason") or self._finish

    def whole(self, index: int, error: Any) -> dict[str, Any]:
        message = {
            "content": "".join(self._texts),
            "refusal": "".join(self._refusals),
            "tool_calls": [{"function": self._calls[number]} for number in sorted(self._calls)],
        }
        return {
            "index": index,
            "message": message,
            "finish_reason": self._finish or CUT,
            "error": error,
        }


def _pieces(body: Any) -> list[dict[str, Any]]:
    if isinstance(body, list):
        found = [object_of(piece) for piece in list_of(body)]
        choices = [object_of(choice) for piece in found for choice in list_of(piece.get("choices"))]
        return found if any("delta" in choice for choice in choices) else []
    if not isinstance(body, str) or "data:" not in body:
        return []
    lines = [line[5:].strip() for line in _LINE.split(body) if line.startswith("data:")]
    return [object_of(decode_or_none(line)) for line in lines if line.startswith("{")]


def _is(text: Any) -> bool:
    return isinstance(text, str)
