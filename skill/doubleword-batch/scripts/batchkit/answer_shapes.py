"""From a response body to the answer in it, whatever server wrote it.

Read here: chat completions and completions, responses, embeddings, Anthropic's messages, Gemini's
candidates, and what servers like them make of these. A body of no known shape is not lost: it is
the answer, as JSON, and said to be strange.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from dataclasses import dataclass, field
from typing import Any

from batchkit import strict_json
from batchkit.finish_reasons import ending_of
from batchkit.loose_json import decode_or_none

MOST_TOKENS = 1 << 40
"""No answer has as many tokens: what says so does not count them."""

_INPUT_TOKENS = ("prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens")
_OUTPUT_TOKENS = ("completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokens")
_THOUGHTS = frozenset(
    {
        "thinking", "think", "redacted_thinking", "thought", "thoughts", "analysis", "reasoning",
        "reasoning_text", "reasoning_content", "reasoning_summary", "reasoning.text",
        "reasoning.summary", "reasoning.encrypted", "summary_text",
    }
)  # fmt: skip
_CALLS = frozenset({"function_call", "custom_tool_call", "tool_use", "tool_call"})
_FLOAT_BYTES = 4
_MOST_DIGITS = 18


@dataclass
class Answer:
    """The answer in a response body.

    Attributes:
        text: the model's text, None where there is none.
        embedding: the vector (or vectors, for a list input); the text that came where it is none.
        tool_calls: `{"name", "arguments"}` each, arguments parsed where they are JSON.
        refusal: the model's words when it declined.
        finish_reason: `stop`, `length`, `MAX_TOKENS`, ... as the server wrote it.
        input_tokens: as reported in `usage`.
        output_tokens: the same.
        error: what the server says of a choice that went wrong.
        logprobs: as the server wrote them, where they were asked for.
        audio: spoken answer, base64 as it came.
        others: the further choices of `n` above 1, in the order of their index.
        is_broken: a tool call has arguments that are not JSON, or an embedding is none.
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
        has_text = self.text is not None and not self.text.isspace() and self.text != ""
        return not (has_text or self.tool_calls or self.audio) and not _is_something(self.embedding)


def answer_of(body: dict[str, Any]) -> Answer:
    """The answer in a body that is not an error."""
    answer = _answer(body)
    usage = object_of(body.get("usage") or body.get("usageMetadata"))
    read, written = _first(usage, _INPUT_TOKENS), _first(usage, _OUTPUT_TOKENS)
    answer.input_tokens = _count(body.get("prompt_eval_count") if read is None else read)
    answer.output_tokens = _count(body.get("eval_count") if written is None else written)
    return answer


def _answer(body: dict[str, Any]) -> Answer:
    choices = _listed(body.get("choices"))
    if choices or isinstance(body.get("choices"), list):
        return _of_choices(
            [_choice(object_of(choice) or {"text": choice}) for choice in _in_order(choices)]
        )
    if isinstance(body.get("candidates"), list) or isinstance(body.get("promptFeedback"), dict):
        return _of_candidates(body)
    if "output" in body or "output_text" in body:
        return _of_response(body)
    if any(name in body for name in ("data", "embedding", "embeddings")):
        return _of_vectors(body)
    for name in ("content", "message", "generated_text", "completion", "response", "text"):
        if name in body:
            return _of_message(body, body[name])
    return Answer(text=_as_json(body), is_unknown=True)


def _of_choices(choices: list[Answer]) -> Answer:
    first = choices[0] if choices else Answer()
    first.others = choices[1:]
    return first


def _choice(choice: dict[str, Any]) -> Answer:
    message = _first(choice, ("message", "delta"))
    fields = object_of(message)
    if isinstance(message, dict):
        answer = _content(fields.get("content"))
        _add_parts_of_message(answer, fields)
    else:
        answer = _content(choice.get("text") if message is None else message)
    answer.finish_reason = choice.get("finish_reason", choice.get("stop_reason"))
    answer.logprobs = choice.get("logprobs")
    answer.error = choice.get("error")
    return answer


def _add_parts_of_message(answer: Answer, message: dict[str, Any]) -> None:
    """What chat keeps beside the content: tool calls, the legacy one too, refusal, speech."""
    calls = _listed(message.get("tool_calls"))
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


def _of_response(body: dict[str, Any]) -> Answer:
    """OpenAI's responses; also Bedrock's `{"output": {"message": ...}, "stopReason": ...}`."""
    output = body.get("output")
    answer = Answer(finish_reason="stop")
    if isinstance(output, list):
        answer = _content([_unwrapped(object_of(one)) for one in output])
    elif output is not None:
        message = object_of(output).get("message")
        answer = _content(output if message is None else object_of(message).get("content"))
    if answer.text is None:
        answer.text = _text(body.get("output_text"))
    status = body.get("status")
    if status == "incomplete":
        answer.finish_reason = object_of(body.get("incomplete_details")).get("reason") or status
    elif ending_of(status) == "failed":
        answer.finish_reason = status
    else:
        answer.finish_reason = body.get("stopReason") or "stop"
    return answer


def _unwrapped(output: dict[str, Any]) -> Any:
    """An output of a response as a piece of content."""
    return output.get("content") if output.get("type") == "message" else output


def _of_candidates(body: dict[str, Any]) -> Answer:
    choices: list[Answer] = []
    for candidate in map(object_of, list_of(body.get("candidates"))):
        answer = _content(candidate.get("content"))
        answer.finish_reason = candidate.get("finishReason", candidate.get("finish_reason"))
        answer.logprobs = candidate.get("logprobsResult")
        choices.append(answer)
    answer = _of_choices(choices)
    blocked = object_of(body.get("promptFeedback")).get("blockReason")
    if not choices and blocked is not None:
        answer.finish_reason = "blocked"
    return answer


def _of_message(body: dict[str, Any], message: Any) -> Answer:
    """Anthropic's messages, and bodies whose answer stands at the top."""
    fields = object_of(message)
    answer = _content(fields.get("content", message))
    if "content" in fields:
        _add_parts_of_message(answer, fields)
    for place in (body, object_of(body.get("details")), object_of(body.get("meta_info"))):
        for name in ("stop_reason", "finish_reason", "done_reason", "stop_type"):
            answer.finish_reason = answer.finish_reason or place.get(name)
    if ending_of(answer.finish_reason) == "refused" and answer.text and "stop_reason" in body:
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
        kind = _word(fields.get("type"))
        if kind in _THOUGHTS or fields.get("thought") is True:
            continue
        if kind in _CALLS or "functionCall" in fields or "toolUse" in fields:
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
        answer.text = _as_json(strange)
    answer.logprobs = probabilities or None
    return answer


def _pieces(content: Any) -> list[Any]:
    """The pieces of content, lists inside lists opened; an object without any is a text of JSON."""
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    if isinstance(content, dict):
        fields = content
        for name in ("parts", "content"):
            if isinstance(fields.get(name), (list, str)):
                return _pieces(fields[name])
        is_piece = isinstance(fields.get("text"), str) or isinstance(fields.get("type"), str)
        return [fields] if is_piece and not _is_of_the_model(fields) else [_as_json(fields)]
    if isinstance(content, list):
        pieces: list[Any] = []
        for piece in content:
            pieces += _pieces(piece) if isinstance(piece, list) else [piece]
        return pieces
    return [_as_json(content)]


def _is_of_the_model(fields: dict[str, Any]) -> bool:
    """Whether an object is the model's own, and no piece of content that holds the answer."""
    known = {"text", "type", "annotations", "logprobs", "citations", "refusal", "thinking"}
    return _word(fields.get("type")) not in _CALLS | _THOUGHTS and not fields.keys() <= known


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content or None
    if isinstance(content, dict):
        return _text(_first(content, ("value", "text")))
    pieces = (object_of(piece).get("text") for piece in list_of(content))
    return "".join(piece for piece in pieces if isinstance(piece, str)) or None


def _add_call(answer: Answer, call: dict[str, Any]) -> None:
    """A tool call of any server: its own fields, or those inside `function` and the like."""
    inner = call
    for name in ("function", "custom", "functionCall", "toolUse"):
        if isinstance(call.get(name), dict):
            inner = call[name]
            break
    is_free_text = inner is call.get("custom") or call.get("type") == "custom_tool_call"
    arguments: Any = None
    for name in ("arguments", "input", "args", "parameters"):
        if name in inner:
            arguments = inner[name]
            break
    if isinstance(arguments, str) and not is_free_text:
        # A function without parameters: some servers write "" for {}.
        parsed: Any = decode_or_none(arguments) if arguments.strip() else {}
        if isinstance(parsed, str):  # written as JSON twice
            parsed = object_of(decode_or_none(parsed)) or parsed
        if parsed is None and arguments.strip() != "null":
            answer.is_broken = True
        else:
            arguments = parsed
    calls = answer.tool_calls or []
    answer.tool_calls = [*calls, {"name": inner.get("name"), "arguments": arguments}]


# Embeddings


def _of_vectors(body: dict[str, Any]) -> Answer:
    found = body.get("data", body.get("embeddings", body.get("embedding")))
    if "data" not in body and "embeddings" not in body:
        found = [found]
    if isinstance(found, dict):
        found = found.get("float", [found])
    vectors: list[Any] = []
    for one in _in_order(found):
        vector = object_of(one).get("embedding", object_of(one).get("values", one))
        vectors.append(_vector(object_of(vector).get("float", vector)))
    answer = Answer(embedding=vectors[0] if len(vectors) == 1 else vectors or None)
    answer.is_broken = not all(_is_vector(vector) for vector in vectors)
    return answer


def _vector(value: Any) -> Any:
    """A vector as numbers; base64 is what `encoding_format` asks for, floats of 32 bits."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        return decode_or_none(value) or value
    try:
        data = base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        return value
    if not data or len(data) % _FLOAT_BYTES:
        return value
    numbers = struct.unpack(f"<{len(data) // _FLOAT_BYTES}f", data)
    return [number if math.isfinite(number) else None for number in numbers]


def _is_vector(value: Any) -> bool:
    """Numbers, those that JSON cannot hold as None; or a vector for each token."""
    if not isinstance(value, list):
        return value is None
    return all(
        element is None
        or (isinstance(element, (int, float)) and not isinstance(element, bool))
        or (isinstance(element, list) and _is_vector(element))
        for element in value
    )


def _is_something(embedding: Any) -> bool:
    if isinstance(embedding, list):
        return any(_is_something(one) for one in embedding)
    return embedding is not None


# JSON of unknown shape


def object_of(value: Any) -> dict[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """The value where it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def _listed(value: Any) -> list[Any]:
    """The elements of a list; some servers write the only one without it."""
    return [value] if isinstance(value, dict) and value else list_of(value)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def whole_number(value: Any) -> int | None:
    """A whole number of at least 0, however it is written: 200, 200.0, "200"."""
    number: Any = value
    if isinstance(value, str) and len(value) <= _MOST_DIGITS and value.strip().isascii():
        number = int(value) if value.strip().isdigit() else None
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    is_number = isinstance(number, int) and not isinstance(number, bool)
    return number if is_number and number >= 0 else None


def _in_order(values: Any) -> list[Any]:
    """Choices or vectors by their index, where all have one."""
    values = list_of(values)
    if len(values) > 1 and all(isinstance(object_of(one).get("index"), int) for one in values):
        values = sorted(values, key=lambda one: one["index"])
    return values


def _count(value: Any) -> int | None:
    count = whole_number(value)
    return count if count is not None and count < MOST_TOKENS else None


def _first(fields: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _as_json(value: Any) -> str:
    return strict_json.encode(value).decode()
