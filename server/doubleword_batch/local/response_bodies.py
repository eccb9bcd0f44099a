"""Turns a model's choices into an endpoint's response body that the official SDKs can parse.

The same choices give the same bytes: ids come from a digest and the time from the caller.
"""

import struct
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from doubleword_batch.local.executors.base import TokenUsage
from doubleword_batch.local.parse_request import ParsedEmbeddings, ParsedRequest

Finish = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function the model calls; `arguments` is JSON text, or the beginning of it."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ResponseChoice:
    """One of a model's answers to a request: a text, tool calls, or a refusal."""

    text: str | None
    finish: Finish = "stop"
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Stamp:
    """Identifies an answer: the digest its ids are made from, and its time (epoch seconds)."""

    digest: str
    created: int


def response_body(
    parsed: ParsedRequest, choices: Sequence[ResponseChoice], usage: TokenUsage, stamp: Stamp
) -> dict[str, Any]:
    """The response body for a parsed request; /v1/responses has one choice."""
    if parsed.endpoint == "chat":
        return _chat(parsed, choices, usage, stamp)
    return _response(parsed, choices[0], usage, stamp)


def embeddings_body(
    parsed: ParsedEmbeddings, vectors: Sequence[Sequence[float]], prompt_tokens: int
) -> dict[str, Any]:
    """The body of an embeddings answer, in the requested encoding."""
    return {
        "object": "list",
        "model": parsed.model,
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _base64(vector) if parsed.as_base64 else list(vector),
            }
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }


def _base64(vector: Sequence[float]) -> str:
    # The API's base64 form is packed little-endian float32 on every machine.
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _chat(
    parsed: ParsedRequest, choices: Sequence[ResponseChoice], usage: TokenUsage, stamp: Stamp
) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{stamp.digest}",
        "object": "chat.completion",
        "created": stamp.created,
        "model": parsed.model,
        "choices": [
            {
                "index": index,
                "message": _chat_message(choice, f"{stamp.digest}{index}"),
                "logprobs": None,
                "finish_reason": choice.finish,
            }
            for index, choice in enumerate(choices)
        ],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
    }


def _chat_message(choice: ResponseChoice, digest: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": choice.text,
        "refusal": choice.refusal,
    }
    if choice.tool_calls:
        message["tool_calls"] = [
            {
                "id": f"call_{digest}{index}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(choice.tool_calls)
        ]
    return message


def _response(
    parsed: ParsedRequest, choice: ResponseChoice, usage: TokenUsage, stamp: Stamp
) -> dict[str, Any]:
    cut = choice.finish == "length"
    return {
        "id": f"resp_{stamp.digest}",
        "object": "response",
        "created_at": stamp.created,
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "max_output_tokens": parsed.max_tokens,
        "metadata": {},
        "model": parsed.model,
        "output": _response_items(choice, stamp.digest, "incomplete" if cut else "completed"),
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
    }


def _response_items(choice: ResponseChoice, digest: str, status: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [
        {
            "type": "function_call",
            "id": f"fc_{digest}{index}",
            "call_id": f"call_{digest}{index}",
            "name": call.name,
            "arguments": call.arguments,
            "status": status,
        }
        for index, call in enumerate(choice.tool_calls)
    ]
    content: dict[str, Any] | None = None
    if choice.refusal is not None:
        content = {"type": "refusal", "refusal": choice.refusal}
    elif choice.text is not None:
        content = {"type": "output_text", "text": choice.text, "annotations": []}
    if content is not None:
        message = {"type": "message", "id": f"msg_{digest}", "role": "assistant", "status": status}
        items.insert(0, message | {"content": [content]})
    return items
