"""What a result line means: an outcome for its row, and the answer in it.

Reads the lines of Doubleword (errors as a JSON text in `error.message`), of OpenAI (errors in
`response.body.error`, or `batch_expired` / `batch_cancelled` codes) and of servers like them.
A row is ok only if its status is 2xx, its body parses and its finish reason is acceptable.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, cast

import msgspec

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.jobs.store.apply_results import LineOutcome
from doubleword_batch.models import ResultError, ResultLine, ResultResponse
from doubleword_batch.provider_errors import FailureReason, read_error_body, read_failure_reason

_line = msgspec.json.Decoder(ResultLine)

Check = Callable[[Any], str | None]
"""Checks a structured answer; returns what is wrong with it, or None."""


class Answer(msgspec.Struct):
    """The answer in a response body.

    Attributes:
        text: the model's text, None where there is none.
        embedding: the vector (or vectors, for a list input).
        tool_calls: `{"name", "arguments"}` each, arguments parsed where they are JSON.
        refusal: the model's words when it declined.
        finish_reason: `stop`, `length`, `tool_calls`, `content_filter`, ... as chat names them.
        input_tokens: as reported in `usage`.
        output_tokens: the same.
    """

    text: str | None = None
    embedding: Any = None
    tool_calls: list[dict[str, Any]] | None = None
    refusal: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that could be called an answer."""
        return not self.text and self.embedding is None and not self.tool_calls


# The line that nearly all lines are, decoded in one step: a chat answer of text that ended well.
#
# It takes half of the time of the general way, which is for everything else: any field that differs
# from what stands here makes a line not plain.

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Message(msgspec.Struct, gc=False):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    refusal: None = None
    tool_calls: None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: Literal["stop"]


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count


class _Body(msgspec.Struct, gc=False):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Usage
    error: None = None


class _Response(msgspec.Struct, gc=False):
    status_code: Literal[200]
    body: _Body


class _PlainLine(msgspec.Struct, gc=False):
    """A line of an output file with a text in it."""

    custom_id: str
    response: _Response
    id: str | None = None
    error: None = None


_decode_plain = msgspec.json.Decoder(_PlainLine).decode


def plain_line(line: bytes) -> _PlainLine | None:
    """The line decoded, None when it is not plain: then it has to be looked at closely."""
    try:
        return _decode_plain(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


# From a line to an outcome


def read_line(line: bytes, check: Check | None = None) -> LineOutcome | None:
    """Read one line of an output or error file.

    Args:
        line: the line, with or without its line break.
        check: for jobs with a response_schema.

    Returns:
        None when the line is not a result line at all (cut, not JSON, no custom_id).
    """
    plain = plain_line(line)
    if plain is not None:
        return (
            _outcome_of_plain(plain)
            if check is None
            else _outcome_of(plain.custom_id, _of_plain(plain), check)
        )
    try:
        result = _line.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    error = result.error
    if error is not None and error != "" and error != ResultError():
        return _failed(result, error)
    if result.response is None:
        return LineOutcome(result.custom_id, "failed", "no_response")
    if not _is_success(result.response.status_code):
        return _rejected_by_server(result.custom_id, result.response)
    return _answered(result.custom_id, result.response, check)


def answer_in(line: bytes) -> Answer | None:
    """The answer of a line that `read_line` called answered; None when there is none."""
    plain = plain_line(line)
    if plain is not None:
        return _of_plain(plain)
    result = _line.decode(line)
    if result.response is None:
        return None
    body = _object(_decoded(bytes(result.response.body)))
    return _answer(body) if body else None


def structured(text: str | None) -> Any:
    """The JSON value a structured answer holds, or None when it is not JSON."""
    return None if text is None else _decoded(text.encode())


def _outcome_of_plain(plain: _PlainLine) -> LineOutcome:
    usage = plain.response.body.usage
    return LineOutcome(
        plain.custom_id, "ok", None, None, usage.prompt_tokens, usage.completion_tokens
    )


def _answered(custom_id: str, response: ResultResponse, check: Check | None) -> LineOutcome:
    body = _object(_decoded(bytes(response.body)))
    if not body:
        return LineOutcome(custom_id, "failed", "not_json")
    if body.get("error") and not body.get("choices"):
        return _rejected_by_server(custom_id, response)
    return _outcome_of(custom_id, _answer(body), check)


def _outcome_of(custom_id: str, answer: Answer, check: Check | None) -> LineOutcome:
    outcome, cause, message = _judge(answer, check)
    return LineOutcome(
        custom_id, outcome, cause, message, answer.input_tokens, answer.output_tokens
    )


def _judge(answer: Answer, check: Check | None) -> tuple[str, str | None, str | None]:
    if answer.refusal:
        return "refused", "refusal", quote_untrusted(answer.refusal)
    if answer.finish_reason == "content_filter":
        return "refused", "content_filter", None
    if answer.finish_reason == "length":
        return "truncated", "length", None
    if answer.is_empty:
        return "failed", "empty_answer", None
    if check is not None and not answer.tool_calls:
        wrong = check(structured(answer.text))
        if wrong:
            return "invalid", "schema", wrong
    return "ok", None, None


def _failed(result: ResultLine, error: ResultError | str) -> LineOutcome:
    if isinstance(error, str):
        error = ResultError(message=error)
    code = str(error.code or "")
    text = error.message or code
    if code in {"batch_expired", "batch_cancelled"}:
        outcome = code.removeprefix("batch_")
        return LineOutcome(result.custom_id, outcome, outcome, quote_untrusted(text))
    reason = read_failure_reason(text)
    if reason is not None:
        cause, text = _cause_of(reason), reason.message
    elif result.response is not None and result.response.status_code >= 400:  # noqa: PLR2004  # HTTP
        text = read_error_body(text.encode()).message
        cause = _http_cause(result.response.status_code, text)
    else:
        text = read_error_body(text.encode()).message
        cause = _slug(code) or "error"
    return LineOutcome(result.custom_id, "failed", cause, quote_untrusted(text))


_REASONS = {
    "NetworkError": "network",
    "Timeout": "timeout",
    "TaskTerminated": "terminated",
    "BatchTerminated": "terminated",
    "RequestBuilderError": "request_builder",
}


def _cause_of(reason: FailureReason) -> str:
    if reason.status is not None:
        return _http_cause(reason.status, reason.message)
    return _REASONS.get(reason.kind) or _slug(reason.kind) or "error"


def _rejected_by_server(custom_id: str, response: ResultResponse) -> LineOutcome:
    status, text = response.status_code, read_error_body(bytes(response.body)).message
    cause = "error" if _is_success(status) else _http_cause(status, text)
    return LineOutcome(custom_id, "failed", cause, quote_untrusted(text) if text else None)


def _is_success(status: int) -> bool:
    return 200 <= status < 400  # noqa: PLR2004  # HTTP


def _http_cause(status: int, text: str) -> str:
    lowered = text.lower()
    too_long = any(word in lowered for word in ("length", "window", "maximum"))
    if status in {400, 413, 422} and "context" in lowered and too_long:
        return "context_length"
    return f"http_{status}"


def _slug(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in text.lower())[:40].strip("_")


# From a response body to an answer


def _of_plain(plain: _PlainLine) -> Answer:
    choice = plain.response.body.choices[0]
    usage = plain.response.body.usage
    return Answer(
        text=choice.message.content,
        finish_reason=choice.finish_reason,
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
    )


def _answer(body: dict[str, Any]) -> Answer:
    if isinstance(body.get("choices"), list):
        answer = _chat(body)
    elif isinstance(body.get("output"), list):
        answer = _responses(body)
    else:
        answer = _embeddings(body)
    usage = _object(body.get("usage"))
    answer.input_tokens = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
    answer.output_tokens = _count(usage.get("completion_tokens", usage.get("output_tokens")))
    return answer


def _chat(body: dict[str, Any]) -> Answer:
    choice = next(map(_object, _list(body["choices"])), _object(None))
    message = _object(choice.get("message"))
    if not message:
        return Answer(text=_text(choice.get("text")), finish_reason=choice.get("finish_reason"))
    calls = [_call(_object(_object(c).get("function"))) for c in _list(message.get("tool_calls"))]
    return Answer(
        text=_text(message.get("content")),
        tool_calls=calls or None,
        refusal=_text(message.get("refusal")),
        finish_reason=choice.get("finish_reason"),
    )


def _responses(body: dict[str, Any]) -> Answer:
    answer = Answer(finish_reason="stop")
    if body.get("status") == "incomplete":
        reason = _object(body.get("incomplete_details")).get("reason")
        answer.finish_reason = "length" if reason == "max_output_tokens" else reason
    outputs = [_object(output) for output in _list(body["output"])]
    pieces = [
        _object(piece)
        for output in outputs
        if output.get("type") == "message"
        for piece in _list(output.get("content"))
    ]
    answer.text = "".join(_text(p.get("text")) or "" for p in pieces) or None
    answer.refusal = next((_text(p["refusal"]) for p in pieces if p.get("refusal")), None)
    answer.tool_calls = [_call(o) for o in outputs if o.get("type") == "function_call"] or None
    return answer


def _embeddings(body: dict[str, Any]) -> Answer:
    vectors = [_object(vector).get("embedding") for vector in _list(body.get("data"))]
    return Answer(embedding=vectors[0] if len(vectors) == 1 else vectors or None)


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content or None
    pieces = (_object(piece).get("text") for piece in _list(content))
    return "".join(piece for piece in pieces if isinstance(piece, str)) or None


def _call(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        parsed = _decoded(arguments.encode())
        arguments = arguments if parsed is None else parsed
    return {"name": function.get("name"), "arguments": arguments}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


# JSON of unknown shape


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


# Against the schema


def schema_check(spec: str) -> Check | None:
    """The check of a job's response_schema, or None for jobs without one.

    Args:
        spec: as stored with the job, JSON.
    """
    schema = msgspec.json.decode(spec).get("response_schema")
    if schema is None:
        return None
    from jsonschema import Draft202012Validator, exceptions

    validator: Any = Draft202012Validator(schema)
    best = cast("Callable[[Any], Any]", exceptions.best_match)  # pyright: ignore[reportUnknownMemberType]

    def check(value: Any) -> str | None:
        if value is None:
            return "the answer is not JSON"
        wrong = best(validator.iter_errors(value))
        if wrong is None:
            return None
        where = "/".join(str(step) for step in wrong.absolute_path) or "the answer"
        return f"{where} breaks the schema's {wrong.validator!s}"

    return check
