"""What a result line means: the outcome of its row, and the answer in it.

Every line in which any parser finds a custom_id counts as that row's line, whatever it holds. The
known forms are those of Doubleword (errors as a JSON text in `error.message`; rows of `/results`),
OpenAI (errors in `response.body.error`, or `batch_expired` / `batch_cancelled` codes), Anthropic
(`result`), and similar servers. A row is ok only if its status means success, its body can be
parsed and its finish reason is acceptable.
"""

import logging
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.jobs.store.apply_results import LineOutcome
from doubleword_batch.jobs.sync.answers import Answer, answer_of
from doubleword_batch.jobs.sync.causes import is_success, outcome_of_error, outcome_of_rejection
from doubleword_batch.jobs.sync.envelopes import error_in
from doubleword_batch.jobs.sync.finish_reasons import reason_ending, reason_text, reason_word
from doubleword_batch.jobs.sync.json_values import MOST_TOKENS, object_of
from doubleword_batch.jobs.sync.reasoning import (
    FIRST_CHARACTERS,
    VISIBLE_ENDS,
    has_no_answer,
    is_unfinished_reasoning,
)
from doubleword_batch.jobs.sync.result_line import (
    ResultLine,
    body_object,
    custom_id_in,
    result_line,
    says_all_is_well,
)
from doubleword_batch.jobs.sync.schema_check import Check, SchemaCheck, Verdict
from doubleword_batch.loose_json import decode_or_none
from doubleword_batch.provider_errors import read_error_body

_log = logging.getLogger(__name__)

_ANSWERS = frozenset(
    {
        "choices", "candidates", "output", "output_text", "data", "embedding", "embeddings",
        "content", "generated_text", "generation", "text_output", "completion", "response", "text",
    }
)  # fmt: skip
_CODES = frozenset(
    {"code", "status", "status_code", "statusCode", "errorCode", "error_code", "__type"}
)
_FAULTS = (
    "errors", "error_code", "errorCode", "error_msg", "error_message", "errorMessage", "detail",
    "fault", "exception", "base_resp",
)  # fmt: skip

# What nearly all lines are, decoded in one step: a chat answer of text that ended well.
#
# This takes half the time of the general way, which is for all other lines: a line with any field
# that is not declared here is not plain.

_Count = Annotated[int, msgspec.Meta(ge=0, lt=MOST_TOKENS)]


class _Message(msgspec.Struct, gc=False):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: Literal["stop"]
    logprobs: None = None


class _Details(msgspec.Struct, gc=False):
    cached_tokens: _Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    prompt_tokens_details: _Details | None = None
    input_tokens_details: None = None
    prompt_cache_hit_tokens: None = None
    cache_read_input_tokens: None = None


class _Body(msgspec.Struct, gc=False):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1, max_length=1)]
    usage: _Usage
    error: None = None


class _Response(msgspec.Struct, gc=False):
    status_code: Literal[200]
    body: _Body


class _PlainLine(msgspec.Struct, gc=False):
    """A line of an output file with a text answer."""

    custom_id: str
    response: _Response
    id: str | None = None
    error: None = None


_decode_plain = msgspec.json.Decoder(_PlainLine).decode


def plain_line(line: bytes) -> _PlainLine | None:
    """The line decoded; None if it is not plain and needs a closer look."""
    try:
        plain = _decode_plain(line)
    except (ValueError, RecursionError):  # msgspec's DecodeError is a ValueError
        return None
    text = plain.response.body.choices[0].message.content
    if text[-1] not in VISIBLE_ENDS and has_no_answer(text):
        return None
    return None if text[0] in FIRST_CHARACTERS and is_unfinished_reasoning(text) else plain


# From a line to an outcome


def parse_line(line: bytes, check: Check | None = None) -> LineOutcome | None:
    """Read one line of an output or error file, or of `/results`.

    Args:
        line: the line, with or without its line break.
        check: for jobs with a response_schema.

    Returns:
        None if the line is not a result line at all; the outcome `pending` for a row of `/results`
        that has not run.
    """
    plain = plain_line(line)
    if plain is None:
        result = result_line(line)
        return None if result is None else _outcome_of_line(result, check)
    if check is None:
        return _outcome_of_plain(plain)
    return _outcome_of(plain.custom_id, _of_plain(plain), check)


def parse_lines(lines: Sequence[bytes], check: SchemaCheck | None) -> list[LineOutcome | None]:
    """Read lines as `parse_line` does, but check all answers together, which is much faster.

    A bug that one line triggers does not stop the other lines from being read.

    Raises:
        StoreError: code `no_process`: answers cannot be checked now.
    """
    if check is None:
        try:
            return [parse_line(line) for line in lines]
        except Exception:  # noqa: BLE001  # it is logged, and the others are read
            return [_read(line, None) for line in lines]
    outcomes: list[LineOutcome | None] = []
    values: list[Any] = []
    to_judge: list[int] = []
    for place, line in enumerate(lines):
        known = len(values)
        outcomes.append(_read(line, check.noting(values)))
        if len(values) > known:
            to_judge.append(place)
    judge = check.judging(check.faults(values))
    for place in to_judge:
        outcomes[place] = _read(lines[place], judge)
    return outcomes


def _read(line: bytes, check: Check | None) -> LineOutcome | None:
    try:
        return parse_line(line, check)
    except Exception:  # noqa: BLE001  # it is logged
        _log.exception("A result line could not be read")
        return _kept(line)


def _kept(line: bytes) -> LineOutcome | None:
    """The outcome of a line that triggers a bug of ours: it was paid for, so it is not missing."""
    custom_id = custom_id_in(object_of(decode_or_none(line)))
    if custom_id is None:
        return None
    return LineOutcome(custom_id, "invalid", "unknown_body", "the line has no known shape")


def answer_in(line: bytes) -> Answer | None:
    """The answer in a line that `parse_line` found to be answered; None if there is none."""
    plain = plain_line(line)
    return _of_plain(plain) if plain is not None else _answer_in(line)


def text_or_answer_in(line: bytes) -> str | Answer | None:
    """The same, but for a plain line only its text, which is faster."""
    plain = plain_line(line)
    if plain is not None:
        return plain.response.body.choices[0].message.content
    return _answer_in(line)


def _answer_in(line: bytes) -> Answer | None:
    try:
        return _answer_closely(line)
    except Exception:  # noqa: BLE001  # it is logged; the table has the other rows
        _log.exception("A result line could not be read")
        return Answer(text=line.decode("utf-8", "replace").strip(), is_unknown=True)


def _answer_closely(line: bytes) -> Answer | None:
    result = result_line(line)
    if result is None or not is_success(result.status):
        return None
    body = body_object(result.body)
    return answer_of(body) if body and not _is_error(body) else None


def _outcome_of_plain(plain: _PlainLine) -> LineOutcome:
    usage = plain.response.body.usage
    details = usage.prompt_tokens_details
    return LineOutcome(
        plain.custom_id,
        "ok",
        None,
        None,
        usage.prompt_tokens,
        usage.completion_tokens,
        None if details is None else details.cached_tokens,
    )


def _of_plain(plain: _PlainLine) -> Answer:
    body = plain.response.body
    choice, usage = body.choices[0], body.usage
    details = usage.prompt_tokens_details
    return Answer(
        text=choice.message.content,
        finish_reason=choice.finish_reason,
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cached_tokens=None if details is None else details.cached_tokens,
    )


def _outcome_of_line(result: ResultLine, check: Check | None) -> LineOutcome:
    if result.is_waiting:
        return LineOutcome(result.custom_id, "pending")
    if result.error is not None:
        return _beside_answer(result, outcome_of_error(result), check)
    return _outcome_of_body(result, body_object(result.body), check)


def _outcome_of_body(result: ResultLine, body: dict[str, Any], check: Check | None) -> LineOutcome:
    if not is_success(result.status) or _is_error(body):
        return outcome_of_rejection(result.custom_id, result.status, result.body)
    if not body:
        if result.body is None and result.status is None:
            return LineOutcome(result.custom_id, "failed", "no_response")
        words = quote_untrusted(result.body) if isinstance(result.body, str) else None
        return LineOutcome(result.custom_id, "failed", "not_json", words)
    told = error_in(body.get("error"))
    if told is None:
        return _outcome_of(result.custom_id, answer_of(body), check)
    result = msgspec.structs.replace(result, error=told, body=body | {"error": None})
    return _beside_answer(result, outcome_of_error(result), check)


def _beside_answer(result: ResultLine, error: LineOutcome, check: Check | None) -> LineOutcome:
    """The outcome of a line with an error; a good answer beside it was paid for: invalid, but kept.

    Nobody can tell whether the error spoils the answer, so it is asked again only on request.
    """
    body = body_object(result.body)
    if error.outcome != "failed" or not is_success(result.status) or not body or _is_error(body):
        return error
    answered = _outcome_of(result.custom_id, answer_of(body), check)
    if says_all_is_well(result.error):
        return answered
    if answered.outcome != "ok":
        return error
    return msgspec.structs.replace(
        answered, outcome="invalid", cause=error.cause, message=error.message
    )


def _is_error(body: dict[str, Any]) -> bool:
    says_so = body.get("object") == "error" or body.get("type") == "error"
    if says_so or (error_in(body.get("error")) is not None and not body.get("choices")):
        return True
    if any(body.get(name) not in (None, "", [], {}) for name in _ANSWERS):
        output = object_of(body.get("output"))
        return "message" in output and "code" in output and _is_error(output)
    is_coded = any(error_in(body.get(name)) is not None for name in _CODES)
    has_words = is_coded and any(isinstance(body.get(name), str) for name in ("message", "msg"))
    faults = (error_in(body.get(name)) for name in _FAULTS)
    return has_words or body.get("success") is False or any(fault is not None for fault in faults)


def _outcome_of(custom_id: str, answer: Answer, check: Check | None) -> LineOutcome:
    outcome, cause, message = _judge(answer, check)
    if outcome == "failed" and any(_judge(other, None)[0] == "ok" for other in answer.others):
        outcome, message = "invalid", f"answer 1 of {len(answer.others) + 1}: {message or cause}"
    for number, other in enumerate(answer.others, start=2):
        if outcome != "ok":
            break
        outcome_of_other, why, words = _judge(other, None)
        if outcome_of_other != "ok":  # there is an answer all the same: another choice
            outcome = "invalid" if outcome_of_other == "failed" else outcome_of_other
            cause, message = why, f"answer {number} of {len(answer.others) + 1}: {words or why}"
    return LineOutcome(
        custom_id,
        outcome,
        cause,
        message,
        answer.input_tokens,
        answer.output_tokens,
        answer.cached_tokens,
    )


def _judge(answer: Answer, check: Check | None) -> Verdict:
    verdict = _judge_end(answer) or _judge_content(answer)
    if verdict is None and check is not None:
        verdict = check(answer)
    elif verdict is None and not answer.tool_calls and is_unfinished_reasoning(answer.text or ""):
        verdict = "invalid", "open_thoughts", "the text ends within the model's thoughts"
    reason = reason_text(answer.finish_reason)
    if reason_ending(reason) == "unknown" and (verdict is None or verdict[0] == "ok"):
        return "invalid", f"finish_{reason_word(reason)}", f"it ended for {quote_untrusted(reason)}"
    return verdict or ("ok", None, None)


def _judge_content(answer: Answer) -> Verdict | None:
    """The verdict on an empty answer, or one that is not what was asked for, whatever the job."""
    if answer.is_empty:
        return "failed", "empty_answer", None
    if answer.is_unknown:
        return "invalid", "unknown_body", "the response has no known shape"
    if answer.is_broken and answer.tool_calls:
        return "invalid", "tool_arguments", "the arguments of a tool call are not JSON"
    if answer.is_broken:
        return "invalid", "embedding", "the embedding is neither numbers nor base64 of floats"
    return None


def _judge_end(answer: Answer) -> Verdict | None:
    """The verdict on an answer that the server or the model did not finish."""
    if answer.error:
        return "failed", "error", quote_untrusted(_words(answer.error))
    if answer.refusal:
        return "refused", "refusal", quote_untrusted(answer.refusal)
    reason = reason_text(answer.finish_reason)
    ending = reason_ending(reason)
    words = f"it ended for {quote_untrusted(reason)}"
    if ending == "refused":
        is_filter = reason == "content_filter"
        cause = "refusal" if reason_word(reason) == "refusal" else "content_filter"
        return "refused", cause, None if is_filter else words
    if ending == "cut":
        return "truncated", "length", None if reason == "length" else words
    if ending == "full":
        return "truncated", "context_length", words
    is_lost = ending == "failed" or (ending == "unknown" and answer.is_empty)
    return ("failed", f"finish_{reason_word(reason)}", words) if is_lost else None


def _words(error: Any) -> str:
    return read_error_body(msgspec.json.encode(error)).message
