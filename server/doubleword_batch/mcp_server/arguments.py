"""What an agent reads when a call's arguments are not the tool's, with the call that was meant."""

import difflib
import json
from typing import TYPE_CHECKING, Any

from doubleword_batch.errors import InputError, Next, quote_untrusted

if TYPE_CHECKING:
    from pydantic import ValidationError

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
    from doubleword_batch.jobs.build_options import OPTIONS

    if name in _PARAMETERS and "params" in known:
        return {"params": {name: value}}, f"{name} goes into params."
    if name in OPTIONS and "options" in known:
        return {"options": {name: value}}, f"{name} goes into options."
    meant = _MEANT.get(tool, {}).get(name) or _MEANT_ANYWHERE.get(name)
    if meant not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        meant = near[0] if near else None
    if meant is None:
        return None, ""
    return {meant: value}, f"Did you mean {meant}?"


def _put(call: dict[str, Any], place: dict[str, Any]) -> None:
    for name, value in place.items():
        inside = call.get(name)
        call[name] = inside | value if isinstance(inside, dict) else value


def wrong_arguments(error: "ValidationError", known: list[str]) -> InputError:
    """An error for arguments that do not fit, without repeating their values."""
    wrong = [
        f"{'.'.join(str(step) for step in problem['loc'][:2])}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)[:5]
    ]
    return InputError(
        f"The arguments do not fit: {'; '.join(wrong)}.",
        hint=f"Arguments are: {', '.join(known)}.",
        code="invalid_argument",
    )
