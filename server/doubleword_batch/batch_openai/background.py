"""A call in the asynchronous tier: started once, polled by its id, returned to its caller.

Only responses have an id in that tier, so a chat completion is sent as a response and translated
back. If part of a call has no counterpart there, it runs in a batch instead.
"""

from collections.abc import Callable
from typing import Any, cast

import msgspec

from doubleword_batch.batch_openai.batch_task import BatchTask
from doubleword_batch.batch_openai.call import Call, Outcome
from doubleword_batch.batch_openai.streaming import NOT_OF_ITS_FORM, cannot_be_made
from doubleword_batch.jobs.background_calls import begin_response, read_response
from doubleword_batch.jobs.sync.response import CallResponse
from doubleword_batch.requests.spec import CHAT, RESPONSES

_ROLES = frozenset({"assistant", "developer", "system", "user"})
_SAME = frozenset({"metadata", "model", "parallel_tool_calls", "temperature", "top_p", "user"})
_DROPPED = frozenset({"messages", "n", "service_tier"})
_Json = dict[str, Any]


class _NoCounterpartError(Exception):
    """Part of the call cannot be expressed as a response."""


def as_response_body(endpoint: str, body: bytes) -> bytes | None:
    """The body of /v1/responses that asks the same; None if there is none."""
    if endpoint == RESPONSES:
        return body
    if endpoint != CHAT:
        return None
    try:
        return msgspec.json.encode(_translated(msgspec.json.decode(body)))
    except (_NoCounterpartError, KeyError, *NOT_OF_ITS_FORM):
        return None


def as_chat(response: CallResponse) -> CallResponse:
    """A response as a chat completion; status 502 if its body cannot be one."""
    try:
        return CallResponse(response.status, _chat_body(msgspec.json.decode(response.body)))
    except NOT_OF_ITS_FORM:
        return cannot_be_made("chat completion")


def _chat_body(response: _Json) -> bytes:
    text, refusal, calls = "", None, list[_Json]()
    for item in response.get("output") or ():
        if item.get("type") == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            calls.append({"id": item.get("call_id"), "type": "function", "function": function})
        for part in item.get("content") or () if item.get("type") == "message" else ():
            text += part.get("text") or ""
            refusal = part.get("refusal") or refusal
    message: _Json = {
        "role": "assistant",
        "content": text if text or not (calls or refusal) else None,
        "refusal": refusal,
    }
    if calls:
        message["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish_reason(response, bool(calls)),
    }
    created = response.get("created_at")
    return msgspec.json.encode(
        {
            "id": response.get("id"),
            "object": "chat.completion",
            "created": int(created) if isinstance(created, int | float) else 0,
            "model": response.get("model"),
            "choices": [choice],
            "usage": _usage(response.get("usage") or {}),
            "service_tier": response.get("service_tier"),
        }
    )


def _translated(chat: _Json) -> _Json:
    sent: _Json = {"input": [_message(message) for message in chat["messages"]]}
    for name, value in chat.items():
        if name in _SAME:
            sent[name] = value
        elif name in _TRANSLATED:
            sent |= _TRANSLATED[name](value)
        elif name not in _DROPPED or (name == "n" and value not in {None, 1}):
            raise _NoCounterpartError
    return sent


def _message(message: _Json) -> _Json:
    if message.keys() - {"role", "content"} or message["role"] not in _ROLES:
        raise _NoCounterpartError
    content = message["content"]
    if isinstance(content, str):
        return message
    if message["role"] == "assistant":
        raise _NoCounterpartError
    return {"role": message["role"], "content": [_part(part) for part in content]}


def _part(part: _Json) -> _Json:
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    if part["type"] == "image_url":
        image = part["image_url"]
        detail = {"detail": image["detail"]} if "detail" in image else {}
        return {"type": "input_image", "image_url": image["url"], **detail}
    raise _NoCounterpartError


def _format(given: _Json) -> _Json:
    if given["type"] == "json_schema":
        return {"text": {"format": {"type": "json_schema", **given["json_schema"]}}}
    return {"text": {"format": given}}


def _tools(given: list[_Json]) -> _Json:
    return {"tools": [{"type": "function", **tool["function"]} for tool in given]}


def _tool_choice(given: str | _Json) -> _Json:
    if isinstance(given, str):
        return {"tool_choice": given}
    return {"tool_choice": {"type": "function", "name": given["function"]["name"]}}


_TRANSLATED: dict[str, Callable[[Any], _Json]] = {
    "max_completion_tokens": lambda given: {"max_output_tokens": given},
    "max_tokens": lambda given: {"max_output_tokens": given},
    "reasoning_effort": lambda given: {"reasoning": {"effort": given}},
    "response_format": _format,
    "tool_choice": _tool_choice,
    "tools": _tools,
}


def _finish_reason(response: _Json, has_calls: bool) -> str:  # noqa: FBT001  # one caller
    if response.get("status") == "incomplete":
        reason = cast("_Json", response.get("incomplete_details") or {}).get("reason")
        return "content_filter" if reason == "content_filter" else "length"
    return "tool_calls" if has_calls else "stop"


def _usage(usage: _Json) -> _Json:
    read, written = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": usage.get("total_tokens", read + written),
    }


class ResponseTask(BatchTask):
    """A job whose only row is a background response; otherwise like `BatchTask`."""

    _response_id = ""

    async def _submit(self) -> None:
        async with self._limits.submitting:
            self._response_id = await begin_response(self.job)

    async def _poll(self) -> bool:
        has_ended = await read_response(self.job, self._response_id)
        if has_ended or self._has_joined:
            self._has_joined = False
            await self._deliver_finished(self._response_id, self.waiting)
        return has_ended

    def _in_asked_form(self, found: list[tuple[int, Outcome]]) -> list[tuple[int, Outcome]]:
        return [(row, _as_answer_to(self.waiting[row], outcome)) for row, outcome in found]


def _as_answer_to(call: Call, outcome: Outcome) -> Outcome:
    if call.endpoint != CHAT or isinstance(outcome, Exception) or outcome.is_failure:
        return outcome
    return as_chat(outcome)
