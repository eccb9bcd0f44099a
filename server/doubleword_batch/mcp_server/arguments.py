"""What an agent reads when a call's arguments are not the tool's, with the call that was meant."""

import difflib
import json
import re
from typing import TYPE_CHECKING, Any

from doubleword_batch.errors import InputError, Next, quote_untrusted

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_MEANT = {
    "create_batch_file": {
        "input": "source",
        "path": "source",
        "file": "source",
        "data": "source",
        "template": "prompt",
        "schema": "response_schema",
        "output": "output_path",
        "sample": "limit",
        "system_prompt": "system",
    },
    "upload": {"file": "path", "source": "path", "name": "job"},
    "create_batch": {
        "window": "completion_window",
        "max_cost": "max_cost_usd",
        "name": "job",
        "batch_id": "job",
        "input_file_id": "job",
    },
    "fetch_results": {
        "output": "output_path",
        "path": "output_path",
        "sql": "query",
        "samples": "sample",
        "limit": "sample",
    },
    "list": {"type": "kind", "query": "search", "name": "search"},
    "retry_failed": {"cause": "causes", "outcomes": "causes"},
}
_MEANT_ANYWHERE = {
    "batch": "job",
    "batch_id": "job",
    "id": "job",
    "job_id": "job",
    "job_name": "job",
    "wait": "wait_seconds",
    "timeout": "wait_seconds",
}
# fmt: off
_PARAMETERS = frozenset((
    "audio", "dimensions", "extra_body", "frequency_penalty", "guided_json", "logit_bias",
    "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens", "min_p", "modalities",
    "n", "parallel_tool_calls", "presence_penalty", "reasoning", "reasoning_effort",
    "repetition_penalty", "response_format", "seed", "stop", "temperature", "thinking",
    "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "verbosity",
))
# fmt: on
_MUST_BE = {
    "missing": "is missing",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "string_type": "must be text",
    "bool_parsing": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
}
_MOST_WRONG = 5
_MOST_BYTES = 600
_SHOWN = 60


def unknown_arguments(tool: str, given: dict[str, Any], known: list[str]) -> InputError:
    """An error for arguments that the tool does not have: a misspelt one must not be ignored.

    Where every one of them has a place, `next` is the call with all of them there.
    """
    unknown = sorted(set(given) - set(known))
    call = {name: value for name, value in given.items() if name in known}
    hints: list[str] = []
    is_whole = True
    for name in unknown:
        place, hint = _place_of(tool, name, given[name], known)
        if place is None or (set(place) & set(call)) - {"params", "options"}:
            is_whole = False
        else:
            _put(call, place)
        hints += [hint] if hint else []
    if len(hints) < len(unknown):
        hints.append(f"Arguments are: {', '.join(known)}.")
    names = ", ".join(quote_untrusted(name, _SHOWN).strip("«»") for name in unknown[:5])
    is_short = len(json.dumps(call, ensure_ascii=False).encode()) <= _MOST_BYTES
    return InputError(
        f"There is no argument {names}.",
        hint=" ".join(hints),
        next=Next(tool, call) if is_whole and is_short else None,
    )


def _place_of(
    tool: str, name: str, value: Any, known: list[str]
) -> tuple[dict[str, Any] | None, str]:
    """Where a value belongs, as arguments, and what to say of it."""
    from doubleword_batch.jobs.build_request import OPTIONS

    if name in _PARAMETERS and "params" in known:
        return {"params": {name: _plain(value)}}, f"{name} goes into params."
    if name in OPTIONS and "options" in known:
        return {"options": {name: value}}, f"{name} goes into options."
    meant = _MEANT.get(tool, {}).get(name) or _MEANT_ANYWHERE.get(name)
    if meant not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        meant = near[0] if near else None
    if meant is None:
        return None, ""
    return {meant: value}, f"Did you mean {meant}?"


def _plain(value: Any) -> Any:
    """A number that was written as text, as a number."""
    if isinstance(value, str) and re.fullmatch(r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?", value):
        return json.loads(value)
    return value


def _put(call: dict[str, Any], place: dict[str, Any]) -> None:
    for name, value in place.items():
        inside = call.get(name)
        call[name] = inside | value if isinstance(inside, dict) else value


def wrong_arguments(error: "ValidationError", known: list[str]) -> InputError:
    """An error for arguments that do not fit, without repeating their values."""
    words: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False, include_input=False):
        first, *rest = problem["loc"] or ("the call",)
        inside = [str(step) for step in rest[:1] if not _is_a_kind(step)]
        words.setdefault(".".join((str(first), *inside)), []).append(_must_be(problem))
    wrong = [
        f"{place} {' or '.join(dict.fromkeys(kinds)).replace(' or must be ', ' or ')}"
        for place, kinds in words.items()
    ]
    hint = f"Arguments are: {', '.join(known)}."
    return InputError(
        f"The arguments do not fit: {'; '.join(wrong[:_MOST_WRONG])}.",
        hint=hint if any("is missing" in place for place in wrong) else "",
        code="invalid_argument",
    )


def _is_a_kind(step: int | str) -> bool:
    """Whether a step names one of several kinds that a value may have, and no place in it."""
    return isinstance(step, str) and ("[" in step or step in {"str", "int", "float", "bool"})


def _must_be(problem: "ErrorDetails") -> str:
    """What pydantic says of a value, in words for who has to write it."""
    told = _MUST_BE.get(problem["type"])
    if told is not None:
        return told
    for bound, words in (("ge", "at least"), ("le", "at most")):
        if (limit := problem.get("ctx", {}).get(bound)) is not None:
            return f"must be {words} {limit:g}"
    message = problem["msg"].removeprefix("Input should be ")
    return f"must be {message}" if message != problem["msg"] else message
