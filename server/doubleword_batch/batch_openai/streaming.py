"""A finished result as the stream that the same call would have had.

Source of the shapes: OpenAI's chat completion chunks and Responses events. The whole text comes in
one delta: a batch has no moments of its own to replay.
"""

from collections.abc import Iterator
from typing import Any, cast

import msgspec

from doubleword_batch.batch_openai.call import Answer

_CHAT = "/v1/chat/completions"


def replayed(endpoint: str, asked: dict[str, Any], answer: Answer) -> Answer:
    """The answer as a body of server-sent events.

    Args:
        endpoint: of the call.
        asked: the body of the call, `stream_options` included.
        answer: a JSON body with a status below 400.
    """
    try:
        result = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        return answer
    if endpoint == _CHAT:
        options = asked.get("stream_options")
        with_usage = isinstance(options, dict) and bool(
            cast("dict[str, Any]", options).get("include_usage")
        )
        events = [_data(chunk) for chunk in _chat_chunks(result, with_usage=with_usage)]
        events.append(b"data: [DONE]\n\n")
    else:
        events = [
            b"event: %b\n" % event["type"].encode() + _data(event | {"sequence_number": number})
            for number, event in enumerate(_response_events(result))
        ]
    return Answer(answer.status, b"".join(events))


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
    for index, item in enumerate(result.get("output", ())):
        yield from _item_events(index, item)
    ending = result.get("status")
    ended = ending if ending in {"failed", "incomplete"} else "completed"
    yield {"type": f"response.{ended}", "response": result}


def _item_events(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    where = {"output_index": index}
    of_item = where | {"item_id": item.get("id", "")}
    opened = item | {"status": "in_progress"}
    if item.get("type") == "message":
        opened["content"] = []
    elif item.get("type") == "function_call":
        opened["arguments"] = ""
    yield where | {"type": "response.output_item.added", "item": opened}
    if item.get("type") == "message":
        for number, part in enumerate(item.get("content", ())):
            yield from _part_events(of_item | {"content_index": number}, part)
    elif item.get("type") == "function_call":
        written = item.get("arguments", "")
        kind = "response.function_call_arguments"
        yield of_item | {"type": f"{kind}.delta", "delta": written}
        yield of_item | {"type": f"{kind}.done", "arguments": written, "name": item.get("name")}
    yield where | {"type": "response.output_item.done", "item": item}


def _part_events(where: dict[str, Any], part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    is_refusal = part.get("type") == "refusal"
    name = "refusal" if is_refusal else "text"
    kind = "response.refusal" if is_refusal else "response.output_text"
    written = part.get(name, "")
    extra: dict[str, Any] = {} if is_refusal else {"logprobs": part.get("logprobs") or []}
    yield where | {"type": "response.content_part.added", "part": part | {name: ""}}
    yield where | extra | {"type": f"{kind}.delta", "delta": written}
    yield where | extra | {"type": f"{kind}.done", name: written}
    yield where | {"type": "response.content_part.done", "part": part}
