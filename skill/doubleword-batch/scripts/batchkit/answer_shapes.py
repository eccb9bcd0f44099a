"""Finds the answer in a response body, whatever server wrote it.

It reads chat completions and completions, responses, embeddings, Anthropic's messages, Gemini's
candidates, and similar servers' variants of these. A body of unknown shape is not lost: it becomes
the answer, as JSON, and is marked as unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from batchkit.body_shapes import decode_tensors, is_bare_answer, is_typed, listed_choices
from batchkit.finish_reasons import reason_ending, reason_text
from batchkit.json_values import (
    as_list,
    by_index,
    count_of,
    first_value,
    json_text,
    list_of,
    object_of,
    string_of,
)
from batchkit.loose_json import decode_or_none
from batchkit.reasoning import has_no_answer
from batchkit.stream_chunks import CUT
from batchkit.vectors import has_numbers, has_vectors, vectors_in

_INPUT_TOKENS = (
    "prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens", "promptTokens",
    "prompt_token_count",
)  # fmt: skip
_OUTPUT_TOKENS = (
    "completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokens",
    "completionTokens", "candidates_token_count",
)  # fmt: skip
_USAGES = ("usage", "usageMetadata", "usage_metadata", "meta_info", "meta")
_READ = ("prompt_eval_count", "tokens_evaluated", "inputTextTokenCount")
_WRITTEN = ("eval_count", "tokens_predicted")
_ENDS = (
    "finish_reason", "finishReason", "stop_reason", "stopReason", "finish_details", "done_reason",
    "stop_type", "completionReason",
)  # fmt: skip
_AT_THE_TOP = (
    "content", "message", "generated_text", "generation", "text_output", "completion", "response",
    "text", "summary_text", "translation_text", "translated_text",
)  # fmt: skip
_BESIDE_ANSWERS = {*_USAGES, *_ENDS, *_READ, *_WRITTEN, "model", "role", "done", "tool_calls"}
_THOUGHTS = frozenset(
    {
        "thinking", "think", "redacted_thinking", "thought", "thoughts", "analysis", "reasoning",
        "reasoning_text", "reasoning_content", "reasoning_summary", "reasoning.text",
        "reasoning.summary", "reasoning.encrypted", "summary_text",
    }
)  # fmt: skip
_ON_THE_WAY = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "mcp_list_tools",
        "server_tool_use",
        "compaction",
    }
)
_CALLS = frozenset({"function_call", "function.call", "custom_tool_call", "tool_use", "tool_call"})
_CALLED = ("function", "custom", "functionCall", "function_call", "toolUse")
_FEEDBACKS = ("candidates", "promptFeedback", "prompt_feedback")


@dataclass
class Answer:
    """The answer in a response body.

    Attributes:
        text: the model's text, None if there is none.
        embedding: the vector (or vectors, for a list input); the text itself if it is not a vector.
        tool_calls: `{"name", "arguments"}` each, arguments parsed if they are JSON.
        refusal: the model's message when it declined.
        finish_reason: `stop`, `length`, `MAX_TOKENS`, ... as the server wrote it.
        input_tokens: as reported in `usage`.
        output_tokens: the same.
        error: what the server says about a choice that failed.
        logprobs: as the server wrote them, if they were requested.
        audio: spoken answer, in base64 as received.
        others: the other choices if `n` is above 1, in the order of their index.
        is_broken: a tool call's arguments are not JSON, or an embedding is not a vector.
        is_unknown: the body has no known shape; `text` is the body.
    """

    text: str | None = None
    embedding: Any = None
    tool_calls: list[dict[str, Any]] | None = None
    refusal: str | None = None
    finish_reason: Any = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: Any = None
    logprobs: Any = None
    audio: str | None = None
    others: list[Answer] = field(default_factory=list)
    is_broken: bool = False
    is_unknown: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that could be called an answer."""
        has_text = self.text is not None and not has_no_answer(self.text)
        return not (has_text or self.tool_calls or self.audio) and not has_numbers(self.embedding)


def answer_of(body: dict[str, Any]) -> Answer:
    """The answer in a body that is not an error."""
    answer = _answer(body)
    usage = object_of(first_value(body, _USAGES))
    usage = object_of(usage.get("tokens")) or usage
    answer.input_tokens = count_of(_first_of(usage, _INPUT_TOKENS, body, _READ))
    answer.output_tokens = count_of(_first_of(usage, _OUTPUT_TOKENS, body, _WRITTEN))
    return answer


def _first_of(
    usage: dict[str, Any], names: tuple[str, ...], body: dict[str, Any], at_the_top: tuple[str, ...]
) -> Any:
    told = first_value(usage, names)
    return first_value(body, at_the_top) if told is None else told


def _answer(body: dict[str, Any]) -> Answer:
    body = decode_tensors(body)
    choices = as_list(body.get("choices"))
    if choices or isinstance(body.get("choices"), list):
        return _of_choices(
            [_choice(object_of(choice) or {"text": choice}) for choice in by_index(choices)]
        )
    if as_list(body.get("candidates")) or any(name in body for name in _FEEDBACKS):
        return _of_candidates(body)
    if "output" in body or "output_text" in body or is_typed(body.get("outputs")):
        return _of_response(body)
    if has_vectors(body):
        embedding, is_broken = vectors_in(body)
        return Answer(embedding=embedding, is_broken=is_broken)
    return _of_other_names(body)


def _of_other_names(body: dict[str, Any]) -> Answer:
    """Answers at the top of the body or in lists with other names; otherwise the body itself."""
    for name in _AT_THE_TOP:
        if name in body and not (name == "message" and _is_word(body)):
            return _of_message(body, body[name])
    if isinstance(body.get("result"), str):
        return _of_message(body, body["result"])
    choices = listed_choices(body)
    if choices or body.get("choices", ...) is None:
        return _of_choices([_choice(choice) for choice in choices])
    return Answer(text=json_text(body), is_unknown=not is_bare_answer(body))


def _is_word(body: dict[str, Any]) -> bool:
    """Whether a message is a text without anything else that answers have."""
    return isinstance(body["message"], str) and body.keys().isdisjoint(_BESIDE_ANSWERS)


def _of_choices(choices: list[Answer]) -> Answer:
    first = choices[0] if choices else Answer()
    first.others = choices[1:]
    return first


def _choice(choice: dict[str, Any]) -> Answer:
    message = first_value(choice, ("message", "delta", "messages"))
    if message is None and "content" in choice:
        message = choice
    fields = object_of(message) or object_of(next(iter(list_of(message)[-1:]), None))
    if isinstance(message, dict) or fields:
        answer = _content(first_value(fields, ("content", "text")))
        _add_parts_of_message(answer, fields)
        answer.text = answer.text or _text(choice.get("text"))
    else:
        answer = _content(choice.get("text") if message is None else message)
    answer.finish_reason = _end_of(choice, fields)
    answer.logprobs = choice.get("logprobs")
    answer.error = choice.get("error")
    return answer


def _end_of(choice: dict[str, Any], message: dict[str, Any]) -> Any:
    """Why a choice ended: from the usual field or, if that is empty, from any known other one.

    The stop token or text that some servers name beside it is not a reason.
    """
    usual = choice.get("finish_reason", choice.get("stop_reason"))
    if reason_text(usual):
        return usual
    told = (place[name] for place in (choice, message) for name in _ENDS if name in place)
    return next((it for it in told if reason_text(it) and reason_ending(it) != "unknown"), usual)


def _add_parts_of_message(answer: Answer, message: dict[str, Any]) -> None:
    """The parts that chat keeps beside the content: tool calls, even old ones, refusal, speech."""
    calls = as_list(first_value(message, ("tool_calls", "toolCalls")))
    if not calls and isinstance(message.get("function_call"), dict):
        calls = [{"function": message["function_call"]}]
    for call in filter(None, map(object_of, calls)):
        _add_call(answer, call)
    answer.refusal = answer.refusal or _text(message.get("refusal"))
    audio = object_of(message.get("audio"))
    if isinstance(audio.get("data"), str):
        answer.audio = audio["data"] or None
    if answer.text is None:
        answer.text = _text(audio.get("transcript"))
    images = as_list(message.get("images"))
    if images and not (answer.text or answer.tool_calls):
        answer.text = json_text(images)


def _of_response(body: dict[str, Any]) -> Answer:
    """OpenAI's responses; also Bedrock's `{"output": {"message": ...}, "stopReason": ...}`."""
    output = body.get("output", body.get("outputs"))
    answer = Answer(finish_reason="stop")
    if isinstance(output, list):
        answer = _content([_unwrapped(item) for item in _final_outputs(output)])
    elif output is not None:
        message = object_of(output).get("message")
        answer = _content(output if message is None else object_of(message).get("content"))
    if answer.text is None:
        answer.text = _text(body.get("output_text"))
    status = body.get("status")
    if any(object_of(item).get("status") == "incomplete" for item in list_of(output)):
        status = "incomplete"
    if status == "incomplete":
        answer.finish_reason = object_of(body.get("incomplete_details")).get("reason") or status
    elif reason_ending(status) == "failed":
        answer.finish_reason = status
    else:
        answer.finish_reason = body.get("stopReason") or "stop"
    return answer


def _final_outputs(output: list[Any]) -> list[Any]:
    """The outputs of a response, without remarks on the way to the final answer."""
    phases = [object_of(item).get("phase") for item in output]
    is_final = "final_answer" in phases
    return [item for item, phase in zip(output, phases) if not (is_final and phase == "commentary")]


def _unwrapped(output: Any) -> Any:
    """An output of a response as a piece of content."""
    fields = object_of(output)
    is_message = fields.get("type") in ("message", "message.output")
    return fields.get("content") if is_message else output


def _of_candidates(body: dict[str, Any]) -> Answer:
    choices: list[Answer] = []
    for candidate in map(object_of, as_list(body.get("candidates"))):
        answer = _content(first_value(candidate, ("content", "text")))
        places = (candidate, object_of(candidate.get("metadata")))
        ends = (first_value(place, ("finishReason", "finish_reason")) for place in places)
        answer.finish_reason = next((end for end in ends if end is not None), None)
        answer.logprobs = candidate.get("logprobsResult")
        choices.append(answer)
    answer = _of_choices(choices)
    feedback = object_of(first_value(body, _FEEDBACKS[1:]))
    blocked = first_value(feedback, ("blockReason", "block_reason"))
    if not choices and blocked is not None:
        answer.finish_reason = "blocked"
    return answer


def _of_message(body: dict[str, Any], message: Any) -> Answer:
    """Anthropic's messages, and bodies with the answer at the top."""
    fields = object_of(message)
    is_message = not fields.keys().isdisjoint({"content", "role", "tool_calls", "function_call"})
    answer = _content(fields.get("content") if is_message else message)
    _add_parts_of_message(answer, fields if is_message else body)
    for place in (body, object_of(body.get("details")), object_of(body.get("meta_info"))):
        for name in _ENDS:
            answer.finish_reason = answer.finish_reason or place.get(name)
    if True in (body.get("stopped_limit"), body.get("is_truncated")):  # llama.cpp's, Baidu's
        answer.finish_reason = "limit"
    if body.get("done") is False:  # a chunk of Ollama's stream
        answer.finish_reason = answer.finish_reason or CUT
    if reason_ending(answer.finish_reason) == "refused" and answer.text and "stop_reason" in body:
        answer.refusal = answer.text
    return answer


# Content: a text, an object, or pieces of several kinds


def _content(content: Any) -> Answer:
    answer = Answer()
    texts: list[str] = []
    probabilities: list[Any] = []
    strange: list[Any] = []
    for piece in _pieces(content):
        if isinstance(piece, str):
            texts.append(piece)
            continue
        fields = object_of(piece)
        if not fields:
            continue
        kind = string_of(fields.get("type"))
        is_thought = kind in _THOUGHTS or "reasoningContent" in fields
        if is_thought or kind in _ON_THE_WAY or fields.get("thought") is True:
            continue
        if kind in _CALLS or any(isinstance(fields.get(name), dict) for name in _CALLED):
            _add_call(answer, fields)
        elif isinstance(fields.get("refusal"), str):
            answer.refusal = answer.refusal or fields["refusal"] or None
        elif "text" in fields:
            texts.append(_text(fields["text"]) or "")
            probabilities += list_of(fields.get("logprobs"))
        else:
            strange.append(piece)
    answer.text = "".join(texts) or None
    if strange and not (answer.text or answer.tool_calls or answer.refusal):
        answer.text = json_text(strange if isinstance(content, list) else strange[0])
    answer.logprobs = probabilities or None
    return answer


def _pieces(content: Any) -> list[Any]:
    """The pieces of content, with nested lists flattened; an object without pieces as JSON text."""
    if isinstance(content, dict):
        return _pieces_of(object_of(content))
    if not isinstance(content, list):
        told = content if isinstance(content, str) else json_text(content)
        return [] if content is None else [told]
    pieces: list[Any] = []
    for piece in list_of(content):
        if {"role", "content"} <= object_of(piece).keys():  # of several messages, the last one
            pieces = _pieces(piece)
        else:
            pieces += _pieces(piece) if isinstance(piece, list) else [piece]
    return pieces


def _pieces_of(fields: dict[str, Any]) -> list[Any]:
    for name in ("parts", "content"):
        if isinstance(fields.get(name), (list, str)) and _is_wrapper(fields, name):
            return _pieces(fields[name])
    if fields.keys() == {"role"}:
        return []
    is_piece = isinstance(fields.get("text"), str) or isinstance(fields.get("type"), str)
    return [fields] if is_piece and not _is_of_the_model(fields) else [json_text(fields)]


def _is_of_the_model(fields: dict[str, Any]) -> bool:
    """Whether an object is the model's own answer rather than content that holds it."""
    known = {"text", "type", "annotations", "logprobs", "citations", "refusal", "thinking"}
    kind = string_of(fields.get("type"))
    is_piece = fields.keys() <= known and (not kind or "text" in kind or kind == "refusal")
    return kind not in _CALLS | _THOUGHTS and not is_piece


def _is_wrapper(fields: dict[str, Any], name: str) -> bool:
    """Whether an object only wraps content, rather than being an answer with such a field."""
    return "role" in fields or fields.keys() <= {name, "type", "id", "status"}


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content or None
    if isinstance(content, dict):
        return _text(first_value(content, ("value", "text")))
    pieces = (object_of(piece).get("text") for piece in list_of(content))
    return "".join(piece for piece in pieces if isinstance(piece, str)) or None


def _add_call(answer: Answer, call: dict[str, Any]) -> None:
    """A tool call of any server: its own fields, or those inside `function` and the like."""
    inner = call
    for name in _CALLED:
        if isinstance(call.get(name), dict):
            inner = call[name]
            break
    if all(value is None for name, value in inner.items() if name not in ("id", "type", "index")):
        return  # no function is named
    is_free_text = inner is call.get("custom") or call.get("type") == "custom_tool_call"
    arguments: Any = None
    for name in ("arguments", "input", "args", "parameters"):
        if name in inner:
            arguments = inner[name]
            break
    if isinstance(arguments, str) and not is_free_text:
        # A function without parameters: some servers write "" for {}.
        parsed: Any = decode_or_none(arguments) if arguments.strip() else {}
        if isinstance(parsed, str):  # JSON inside a JSON string
            parsed = object_of(decode_or_none(parsed)) or parsed
        if parsed is None and arguments.strip() != "null":
            answer.is_broken = True
        else:
            arguments = parsed
    calls = answer.tool_calls or []
    answer.tool_calls = [*calls, {"name": inner.get("name"), "arguments": arguments}]
