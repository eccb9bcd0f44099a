"""Turns the conversations of /v1/responses and /v1/messages into that of chat/completions."""

from collections.abc import Iterator
from typing import Any

import msgspec

from doubleword_batch.local.json_types import is_list, is_object, rejected

_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})


def from_responses(instructions: Any, given: Any) -> tuple[dict[str, Any], ...]:
    """Read `instructions` and `input`: a text, or a list of messages and function calls.

    Raises:
        RequestFailed: 400 where `input` is neither.
    """
    messages: list[dict[str, Any]] = []
    if isinstance(instructions, str) and instructions:
        messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        return (*messages, {"role": "user", "content": given})
    if not is_list(given) or not given:
        raise rejected("input must be a text or a list of items", param="input")
    messages.extend(m for item in given for m in _from_item(item))
    return tuple(messages)


def from_messages(system: Any, messages: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Read `system` and `messages`, whose content may hold tool calls and their results."""
    read = [m for message in messages for m in _from_message(message)]
    if system:
        read.insert(0, {"role": "system", "content": _content(system)})
    return tuple(read)


def text_of(messages: tuple[dict[str, Any], ...]) -> str:
    """All the text of a conversation, for counting its tokens."""
    return "\n".join(_plain(message.get("content")) for message in messages)


def _from_item(item: Any) -> Iterator[dict[str, Any]]:
    if not is_object(item):
        raise rejected("every item of input must be an object", param="input")
    kind = item.get("type", "message")
    if kind == "message":
        role = item.get("role", "user")
        role = "system" if role == "developer" else role
        yield {"role": role, "content": _content(item.get("content"))}
    elif kind == "function_call":
        yield _call(item.get("call_id"), item.get("name"), item.get("arguments"))
    elif kind == "function_call_output":
        yield _result(item.get("call_id"), item.get("output"))
    # What is left (reasoning and the like) is not part of what the model reads again.


def _from_message(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    content: Any = message.get("content")
    if not is_list(content):
        yield {"role": message["role"], "content": _content(content)}
        return
    kept: list[Any] = []
    for block in content:
        kind = block.get("type") if is_object(block) else None
        if kind == "tool_use":
            arguments = msgspec.json.encode(block.get("input") or {}).decode()
            yield _call(block.get("id"), block.get("name"), arguments)
        elif kind == "tool_result":
            yield _result(block.get("tool_use_id"), block.get("content"))
        else:
            kept.append(block)
    if kept:
        yield {"role": message["role"], "content": _content(kept)}


def _call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    call = {"id": call_id, "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _result(call_id: Any, output: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": _plain(output)}


def _content(given: Any) -> Any:
    """Content in chat's words: a text, or text and image parts."""
    if not is_list(given):
        return given if isinstance(given, str) else ""
    parts = [_part(part) for part in given]
    if all(part.get("type") == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _part(part: Any) -> dict[str, Any]:
    if not is_object(part):
        return {"type": "text", "text": _plain(part)}
    if part.get("type") in _TEXT_PARTS:
        return {"type": "text", "text": _plain(part.get("text"))}
    if part.get("type") == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url")}}
    return part


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    if is_list(content):
        return "\n".join(_plain(p.get("text") if is_object(p) else p) for p in content)
    return ""
