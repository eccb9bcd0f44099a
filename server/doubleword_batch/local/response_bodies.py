"""Puts replies into the shape of the endpoint that was asked: bodies that the official SDKs parse.

The same replies give the same bytes: ids come from a digest and the time is the caller's.
"""

import struct
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from doubleword_batch.local.parse_request import Asked, EmbeddingsAsked

Finish = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function the model calls; `arguments` is JSON text, or what is left of it."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a model: a text, a tool call, or a refusal."""

    text: str | None
    finish: Finish = "stop"
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Stamp:
    """What identifies an answer: the digest its ids are made of, and its time (epoch seconds)."""

    digest: str
    created: int


def answer_body(
    asked: Asked, replies: Sequence[Reply], usage: Usage, stamp: Stamp
) -> dict[str, Any]:
    """The body for `asked`: one reply a choice (chat, completions), or the one reply there is."""
    if asked.endpoint == "chat":
        return _chat(asked, replies, usage, stamp)
    if asked.endpoint == "completions":
        return _completions(asked, replies, usage, stamp)
    if asked.endpoint == "responses":
        return _response(asked, replies[0], usage, stamp)
    return _message(asked, replies[0], usage, stamp)


def embeddings_body(
    asked: EmbeddingsAsked, vectors: Sequence[Sequence[float]], prompt_tokens: int
) -> dict[str, Any]:
    """The body of an embeddings answer, in the encoding that was asked for."""
    return {
        "object": "list",
        "model": asked.model,
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _base64(vector) if asked.as_base64 else list(vector),
            }
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }


def _base64(vector: Sequence[float]) -> str:
    # The wire's base64 form is packed little-endian float32, whatever the machine.
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _chat(asked: Asked, replies: Sequence[Reply], usage: Usage, stamp: Stamp) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{stamp.digest}",
        "object": "chat.completion",
        "created": stamp.created,
        "model": asked.model,
        "choices": [
            {
                "index": index,
                "message": _chat_message(reply, f"{stamp.digest}{index}"),
                "logprobs": None,
                "finish_reason": reply.finish,
            }
            for index, reply in enumerate(replies)
        ],
        "usage": _usage(usage),
    }


def _chat_message(reply: Reply, digest: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": reply.text,
        "refusal": reply.refusal,
    }
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": f"call_{digest}{index}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(reply.tool_calls)
        ]
    return message


def _completions(
    asked: Asked, replies: Sequence[Reply], usage: Usage, stamp: Stamp
) -> dict[str, Any]:
    return {
        "id": f"cmpl-{stamp.digest}",
        "object": "text_completion",
        "created": stamp.created,
        "model": asked.model,
        "choices": [
            {
                "index": index,
                "text": reply.text or reply.refusal or "",
                "logprobs": None,
                "finish_reason": reply.finish,
            }
            for index, reply in enumerate(replies)
        ],
        "usage": _usage(usage),
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _response(asked: Asked, reply: Reply, usage: Usage, stamp: Stamp) -> dict[str, Any]:
    cut = reply.finish == "length"
    return {
        "id": f"resp_{stamp.digest}",
        "object": "response",
        "created_at": stamp.created,
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "max_output_tokens": asked.max_tokens,
        "metadata": {},
        "model": asked.model,
        "output": _response_items(reply, stamp.digest, "incomplete" if cut else "completed"),
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
            "total_tokens": usage.total_tokens,
        },
    }


def _response_items(reply: Reply, digest: str, status: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [
        {
            "type": "function_call",
            "id": f"fc_{digest}{index}",
            "call_id": f"call_{digest}{index}",
            "name": call.name,
            "arguments": call.arguments,
            "status": status,
        }
        for index, call in enumerate(reply.tool_calls)
    ]
    content: dict[str, Any] | None = None
    if reply.refusal is not None:
        content = {"type": "refusal", "refusal": reply.refusal}
    elif reply.text is not None:
        content = {"type": "output_text", "text": reply.text, "annotations": []}
    if content is not None:
        message = {"type": "message", "id": f"msg_{digest}", "role": "assistant", "status": status}
        items.insert(0, message | {"content": [content]})
    return items


def _message(asked: Asked, reply: Reply, usage: Usage, stamp: Stamp) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    if reply.text is not None or reply.refusal is not None:
        blocks.append({"type": "text", "text": reply.text or reply.refusal or ""})
    blocks.extend(
        {
            "type": "tool_use",
            "id": f"toolu_{stamp.digest}{index}",
            "name": call.name,
            "input": _decoded(call.arguments),
        }
        for index, call in enumerate(reply.tool_calls)
    )
    reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
    return {
        "id": f"msg_{stamp.digest}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": blocks,
        "stop_reason": "refusal" if reply.refusal is not None else reasons[reply.finish],
        "stop_sequence": None,
        "usage": {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens},
    }


def _decoded(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}
