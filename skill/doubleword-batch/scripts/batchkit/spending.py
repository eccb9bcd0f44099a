"""The most that requests can make a server write, by their own lines; caps are checked against it.

A server's estimate says what is likely, and does not know a request's limits. So under a cap the
very lines that will be sent are read: counts must be whole numbers, only parameters whose cost is
bounded are allowed, and a request without a token limit counts with the most that any model writes.
The package doubleword-batch counts in the same way.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from batchkit.cli import Exit, ScriptError, quoted
from batchkit.limits import CHAT, EMBEDDINGS, RESPONSES

if TYPE_CHECKING:
    from pathlib import Path

UNLIMITED_OUTPUT_TOKENS = 262_144

_FREE = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "stop_sequences"),
        *("stop_token_ids", "frequency_penalty", "presence_penalty", "repetition_penalty"),
        *("length_penalty", "logit_bias", "logprobs", "top_logprobs", "ignore_eos"),
        *("skip_special_tokens", "include_stop_str_in_output", "guided_json", "guided_regex"),
        *("guided_choice", "guided_grammar", "structured_outputs", "chat_template_kwargs"),
        *("metadata", "store", "user", "safety_identifier", "prompt_cache_key"),
        *("reasoning_effort", "verbosity", "tool_choice", "parallel_tool_calls"),
    }
)
_OF_ENDPOINT = {
    CHAT: "messages response_format functions function_call",
    "/v1/completions": "suffix",
    "/v1/messages": "messages system",
    RESPONSES: "input instructions text truncation include",
    EMBEDDINGS: "input dimensions encoding_format input_type truncate_prompt_tokens",
}
_COUNTS = {
    CHAT: ("max_tokens", "max_completion_tokens", "n", "min_tokens"),
    "/v1/completions": ("max_tokens", "n", "best_of", "min_tokens"),
    "/v1/messages": ("max_tokens", "min_tokens"),
    RESPONSES: ("max_output_tokens", "min_tokens"),
}
_TEXTS = {"/v1/completions": ("model", "prompt")}
_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
_OFF = {
    CHAT: ("stream",),
    "/v1/completions": ("stream", "echo"),
    "/v1/messages": ("stream",),
    RESPONSES: ("stream", "background"),
}
_CONTENT = frozenset(
    {
        *("text", "input_text", "output_text", "refusal", "reasoning", "summary_text", "thinking"),
        *("message", "function_call", "function_call_output", "tool_use", "tool_result"),
        *("image_url", "input_image", "image"),
    }
)
_IMAGES = frozenset({"image_url", "input_image", "image"})
_MEMBERS = frozenset(
    {
        *("role", "type", "name", "id", "index", "status", "phase", "weight", "prefix", "partial"),
        *("content", "text", "refusal", "annotations", "citations", "logprobs", "cache_control"),
        *("reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks"),
        *("signature", "summary", "encrypted_content", "extra_content", "provider_specific_fields"),
        *("tool_calls", "tool_call_id", "tool_name", "tool_plan", "tool_use_id", "is_error"),
        *("function_call", "call_id", "caller", "namespace", "arguments", "input", "output"),
    }
)
_IMAGE_MEMBERS = frozenset({"image_url", "input_image", "image", "source", "file_id", "detail"})
_TOOL_MEMBERS = frozenset(
    {
        *("type", "function", "custom", "name", "description", "parameters", "input_schema"),
        *("input_examples", "format", "strict", "defer_loading", "cache_control"),
    }
)
_DEEPEST = 4


_MISPLACED = "content in a place where none is expected"
_TWICE = "a name occurs twice in one object"


class _UnknownCost(Exception):  # noqa: N818  # becomes a ScriptError below
    """Why nobody can foresee what a request costs."""


def most_output_tokens(path: Path) -> int:
    """The most that the requests of a file can make a server write, over all choices.

    Raises:
        ScriptError: nobody can foresee what a line costs.
    """
    total = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                request = _members(line)
                total += output_tokens_of(request["body"], request["url"])
            except (_UnknownCost, ValueError, KeyError, TypeError, RecursionError) as error:
                raise ScriptError(
                    Exit.INPUT,
                    f"What line {number} may cost is unknown: {error}. There is a cap, so nothing "
                    "was submitted.",
                    "Leave that parameter out, or ask the person who set the cap to lift it.",
                ) from None
    return total


def output_tokens_of(body: dict[str, Any], endpoint: str) -> int:
    """The same for one request.

    Raises:
        _UnknownCost: its cost has no known bound.
    """
    if endpoint not in _OF_ENDPOINT:
        raise _UnknownCost(f"the endpoint {quoted(str(endpoint), 60)} is not known")
    embeds = endpoint == EMBEDDINGS
    free = set(_OF_ENDPOINT[endpoint].split()) | ({"metadata", "user"} if embeds else _FREE)
    counts = {name: _count(body, name) for name in _COUNTS.get(endpoint, ())}
    for name, value in body.items():
        if name in free or name in counts:
            continue
        if name in _OFF.get(endpoint, ()) and (value is None or value is False):
            continue
        if isinstance(value, str) and name in _TEXTS.get(endpoint, ("model",)):
            continue
        if embeds or not _is_bounded(name, value, endpoint):
            raise _UnknownCost(f"it holds {quoted(name, 60)}")
    for name in ("messages", "input", "system", "instructions"):
        _check_content(body.get(name), 0)
    if embeds:
        return 0
    limits = [counts[name] for name in _LIMITS if counts.get(name)]
    most = max(max(limits, default=UNLIMITED_OUTPUT_TOKENS), counts["min_tokens"] or 0)
    for outer, inner in (("thinking", "budget_tokens"), ("reasoning", "max_tokens")):
        most += _count(body.get(outer) or {}, inner) or 0
    return most * max(counts.get("n") or 1, counts.get("best_of") or 1)


def _is_bounded(name: str, value: Any, endpoint: str) -> bool:
    """Whether an unusual parameter costs nothing beyond tokens."""
    if name == "tools":
        kinds = ("function", "custom")
        return value is None or (
            isinstance(value, list)
            and all(
                isinstance(tool, dict)
                and tool.get("type", "function") in kinds
                and set(tool) <= _TOOL_MEMBERS
                for tool in value
            )
        )
    if name == "modalities":
        return endpoint == CHAT and value in (None, [], ["text"])
    names = {
        "thinking": {"type", "budget_tokens", "display"},
        "reasoning": {"effort", "summary", "generate_summary", "enabled", "exclude", "max_tokens"},
    }.get(name)
    return names is not None and (
        value is None or (isinstance(value, dict) and names >= set(value))
    )


def _count(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is not None and (type(value) is not int or value < 1):
        raise _UnknownCost(f"{name} is {quoted(json.dumps(value), 40)}, not a whole number from 1")
    return value


def _check_content(node: Any, depth: int) -> None:
    """Refuse content of a kind whose cost is unknown, even if it does not name its kind."""
    if isinstance(node, dict) or (isinstance(node, list) and depth > _DEEPEST):
        raise _UnknownCost(_MISPLACED)
    if not isinstance(node, list):
        return
    for part in node:
        if isinstance(part, list) and not all(isinstance(number, int) for number in part):
            raise _UnknownCost(_MISPLACED)
        if isinstance(part, dict):
            kind = part.get("type", "text")
            if not isinstance(kind, str) or kind not in _CONTENT:
                raise _UnknownCost(f"content of the type {quoted(str(kind), 40)}")
            for name, value in part.items():
                if value is None or name in _MEMBERS:
                    continue
                if kind not in _IMAGES or name not in _IMAGE_MEMBERS or not _is_image(value):
                    raise _UnknownCost(f"{quoted(name, 40)} in content")
            _check_content(part.get("content"), depth + 1)
            _check_content(part.get("output"), depth + 1)


def _is_image(value: Any) -> bool:
    """Whether it is one image, by its address or its data."""
    given = list(value.values()) if isinstance(value, dict) else [value]
    starts = [each[:11].lower() for each in given if isinstance(each, str)]
    return not any(isinstance(each, (list, dict)) for each in given) and all(
        start == "data:image/" for start in starts if start.startswith("data:")
    )


def _members(line: bytes) -> dict[str, Any]:
    """The members of a line; some servers ignore the case of their names."""
    members = json.loads(line, object_pairs_hook=_without_twins)
    if len({name.casefold() for name in members}) != len(members):
        raise _UnknownCost(_TWICE)
    return members


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):  # the server might use the other one
        raise _UnknownCost(_TWICE)
    return fields
