"""A finished result as the stream that the same call would have returned.

Source of the shapes: OpenAI's chat completion chunks and Responses events. The whole text comes in
one delta, because a batch does not say when each token came.
"""

from collections.abc import Iterator
from typing import Any, cast

import msgspec

from doubleword_batch.jobs.sync.response import CallResponse
from doubleword_batch.requests.spec import CHAT

NOT_OF_ITS_FORM = (ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""The errors raised when the fields of an answer have unexpected types."""

_BAD_GATEWAY = 502


def as_stream(endpoint: str, body: dict[str, Any], response: CallResponse) -> CallResponse:
    """The response as a body of server-sent events; status 502 if its body cannot be a stream.

    `body` is the body of the call, with its `stream_options`; the response has a status below 400.
    """
    try:
        events = _events(endpoint, body, msgspec.json.decode(response.body))
    except NOT_OF_ITS_FORM:
        return cannot_be_made("stream")
    return CallResponse(response.status, b"".join(events))


def cannot_be_made(what: str) -> CallResponse:
    """The response in place of one whose body does not fit its endpoint."""
    message = f"The provider's answer does not fit its endpoint: it cannot become a {what}."
    error = {"message": message, "type": "server_error", "param": None, "code": "row_failed"}
    return CallResponse(_BAD_GATEWAY, msgspec.json.encode({"error": error}))


def _events(endpoint: str, body: dict[str, Any], result: Any) -> list[bytes]:
    if endpoint != CHAT:
        return [
            b"event: %b\n" % event["type"].encode() + _data(event | {"sequence_number": number})
            for number, event in enumerate(_response_events(result))
        ]
    options = body.get("stream_options")
    with_usage = isinstance(options, dict) and bool(
        cast("dict[str, Any]", options).get("include_usage")
    )
    events = [_data(chunk) for chunk in _chat_chunks(result, with_usage=with_usage)]
    return [*events, b"data: [DONE]\n\n"]


def _data(event: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


def _chat_chunks(result: dict[str, Any], *, with_usage: bool) -> Iterator[dict[str, Any]]:
    frame = {name: value for name, value in result.items() if name not in {"choices", "usage"}}
    frame["object"] = "chat.completion.chunk"
    for choice in result.get("choices", ()):
        index = choice.get("index", 0)
        first: dict[str, Any] = {
            "index": index,
            "delta": _delta(choice.get("message") or {}),
            "finish_reason": None,
        }
        if choice.get("logprobs") is not None:
            first["logprobs"] = choice["logprobs"]
        yield frame | {"choices": [first]}
        last: dict[str, Any] = {
            "index": index,
            "delta": {},
            "finish_reason": choice.get("finish_reason"),
        }
        yield frame | {"choices": [last]}
    if with_usage:
        yield frame | {"choices": [], "usage": result.get("usage")}


def _delta(message: dict[str, Any]) -> dict[str, Any]:
    delta = {name: value for name, value in message.items() if value is not None}
    if "tool_calls" in delta:
        delta["tool_calls"] = [
            {"index": number, **call} for number, call in enumerate(delta["tool_calls"])
        ]
    return delta


def _response_events(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun: dict[str, Any] = result | {"status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, output in enumerate(result.get("output", ())):
        yield from _output_events(index, output)
    status = result.get("status")
    final = status if status in {"failed", "incomplete"} else "completed"
    yield {"type": f"response.{final}", "response": result}


def _output_events(index: int, output: dict[str, Any]) -> Iterator[dict[str, Any]]:
    position = {"output_index": index}
    of_output = position | {"item_id": output.get("id", "")}
    opened = output | {"status": "in_progress"}
    if output.get("type") == "message":
        opened["content"] = []
    elif output.get("type") == "function_call":
        opened["arguments"] = ""
    yield position | {"type": "response.output_item.added", "item": opened}
    if output.get("type") == "message":
        for number, part in enumerate(output.get("content", ())):
            yield from _part_events(of_output | {"content_index": number}, part)
    elif output.get("type") == "function_call":
        arguments = output.get("arguments", "")
        kind = "response.function_call_arguments"
        yield of_output | {"type": f"{kind}.delta", "delta": arguments}
        yield of_output | {
            "type": f"{kind}.done",
            "arguments": arguments,
            "name": output.get("name"),
        }
    yield position | {"type": "response.output_item.done", "item": output}


def _part_events(position: dict[str, Any], part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    is_refusal = part.get("type") == "refusal"
    name = "refusal" if is_refusal else "text"
    kind = "response.refusal" if is_refusal else "response.output_text"
    text = part.get(name, "")
    extra: dict[str, Any] = {} if is_refusal else {"logprobs": part.get("logprobs") or []}
    yield position | {"type": "response.content_part.added", "part": part | {name: ""}}
    yield position | extra | {"type": f"{kind}.delta", "delta": text}
    yield position | extra | {"type": f"{kind}.done", name: text}
    yield position | {"type": "response.content_part.done", "part": part}
