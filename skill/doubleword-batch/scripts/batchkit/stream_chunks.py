"""Assembles a response that was stored as its stream: the body that the chunks make.

Such a body is a list of chunks, or their text: server-sent events, each with `data: ` in front, or
one line for each. It reads chat completions, completions, responses, Anthropic's messages, Cohere's
and Gemini's chunks, and Ollama's.
"""

from __future__ import annotations

import re
from typing import Any

from batchkit.json_values import first_value, json_text, list_of, object_of, string_of
from batchkit.loose_json import decode_or_none

_LINE = re.compile(r"\r\n|\n|\r")
# Not a set: the value may be a list, which cannot be hashed.
_WHOLE = ("response.completed", "response.incomplete", "response.failed")
CUT = "stream_cut"
"""The finish reason of a stream that ended without one."""


def join_chunks(body: Any) -> Any:
    """The body that the chunks of a stream make; any other body unchanged."""
    pieces = _pieces(body)
    for piece in pieces:
        if piece.get("type") in _WHOLE and object_of(piece.get("response")):
            return piece["response"]
    pieces = list(map(_of_chat, pieces))
    if not any("choices" in piece or "error" in piece for piece in pieces):
        return body
    choices: dict[int, _Choice] = {}
    told: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    for piece in pieces:
        usage |= object_of(piece.get("usage"))
        told |= {"error": piece["error"]} if piece.get("error") else {}
        for choice in map(object_of, list_of(piece.get("choices"))):
            index = choice.get("index")
            place = index if isinstance(index, int) else 0
            choices.setdefault(place, _Choice()).add(choice)
    found = [choices[index].whole(index, told.get("error")) for index in sorted(choices)]
    return {"choices": found, "usage": usage} if found else {"error": told.get("error")}


class _Choice:
    """One of the choices of a chat, as far as its chunks have been read."""

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
            if isinstance(function.get("arguments"), dict):  # a whole call of Gemini's or Ollama's
                told = {
                    "name": string_of(function.get("name")),
                    "arguments": json_text(function["arguments"]),
                }
                self._calls[len(self._calls)] = told
                continue
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
        are_pieces = any("delta" in choice for choice in choices) or _are_of_others(found)
        return found if are_pieces else []
    if not isinstance(body, str):
        return []
    lines = _LINE.split(body) if "data:" in body or body.startswith("{") else []
    if lines and "data:" not in (line[:5] for line in lines):
        found = [object_of(decode_or_none(line)) for line in lines if line.strip()]
        return found if _are_of_others(found) else []
    lines = [line[5:].strip() for line in lines if line.startswith("data:")]
    return [object_of(decode_or_none(line)) for line in lines if line.startswith("{")]


def _are_of_others(pieces: list[dict[str, Any]]) -> bool:
    """Whether objects are several chunks from Gemini or Ollama."""
    are_of_gemini = all("candidates" in piece or "usageMetadata" in piece for piece in pieces)
    are_of_ollama = all(isinstance(piece.get("done"), bool) for piece in pieces)
    return len(pieces) > 1 and (are_of_gemini or are_of_ollama)


# Other servers' chunks as chunks of a chat


def _of_chat(piece: dict[str, Any]) -> dict[str, Any]:
    kind, delta = string_of(piece.get("type")), object_of(piece.get("delta"))
    if isinstance(piece.get("done"), bool):
        return _of_ollama(piece)
    if "candidates" in piece:
        return _of_gemini(piece)
    if kind == "response.output_text.delta":
        return _with({"content": piece.get("delta")})
    if kind in ("message_start", "content_block_start", "content_block_delta", "message_delta"):
        return _of_anthropic(piece, delta)
    if kind in ("content-delta", "message-end"):
        content = object_of(object_of(delta.get("message")).get("content"))
        return _with({"content": content.get("text")}, delta.get("finish_reason"))
    return piece


def _with(delta: dict[str, Any], finish: Any = None, usage: Any = None) -> dict[str, Any]:
    return {"choices": [{"delta": delta, "finish_reason": finish}], "usage": usage}


def _of_ollama(piece: dict[str, Any]) -> dict[str, Any]:
    message = object_of(piece.get("message")) or {"content": piece.get("response")}
    counts = {
        usual: piece[name]
        for name, usual in (
            ("prompt_eval_count", "prompt_tokens"),
            ("eval_count", "completion_tokens"),
        )
        if name in piece
    }
    end = piece.get("done_reason") or ("stop" if piece["done"] else None)
    return {"error": piece.get("error")} | _with(message, end, counts)


def _of_gemini(piece: dict[str, Any]) -> dict[str, Any]:
    choices: list[dict[str, Any]] = []
    for candidate in map(object_of, list_of(piece.get("candidates"))):
        parts = list(map(object_of, list_of(object_of(candidate.get("content")).get("parts"))))
        texts = [string_of(part.get("text")) for part in parts if not part.get("thought")]
        calls: list[dict[str, Any]] = [
            {"function": {"name": it.get("name"), "arguments": it.get("args") or {}}}
            for it in (object_of(part.get("functionCall")) for part in parts)
            if it
        ]
        choices.append(
            {
                "index": candidate.get("index"),
                "delta": {"content": "".join(texts), "tool_calls": calls},
                "finish_reason": first_value(candidate, ("finishReason", "finish_reason")),
            }
        )
    return {"choices": choices, "usage": piece.get("usageMetadata")}


def _of_anthropic(piece: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    if piece.get("type") == "message_start":
        return _with({}, usage=object_of(piece.get("message")).get("usage"))
    if piece.get("type") == "message_delta":
        return _with({}, delta.get("stop_reason"), piece.get("usage"))
    block = object_of(piece.get("content_block"))
    told: dict[str, Any] = {"content": first_value(delta | block, ("text",))}
    if block.get("type") == "tool_use" or "partial_json" in delta:
        called = {"name": block.get("name"), "arguments": delta.get("partial_json")}
        told["tool_calls"] = [{"index": piece.get("index"), "function": called}]
    return _with(told)


def _is(text: Any) -> bool:
    return isinstance(text, str)
