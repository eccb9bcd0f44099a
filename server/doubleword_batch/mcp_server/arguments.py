"""What an agent reads when a call's arguments are not the tool's, with the call that was meant."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from doubleword_batch.errors import InputError, Next, quote_untrusted
from doubleword_batch.mcp_server.argument_names import Tools

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

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


def unknown_arguments(
    tool: str, given: dict[str, Any], tools: Mapping[str, list[str]]
) -> InputError:
    """An error for arguments that the tool does not have: a misspelt one must not be ignored.

    Where every one of them has a place, `next` is the call with all of them there.

    Args:
        tool: its name.
        given: the arguments of the call.
        tools: the arguments that each tool has.
    """
    from doubleword_batch.jobs.build_request import OPTIONS

    known = tools[tool]
    names = Tools(tools, tuple(OPTIONS))
    unknown = sorted(set(given) - set(known))
    call = {name: value for name, value in given.items() if name in known}
    hints: list[str] = []
    is_whole = True
    for name in unknown:
        place = names.place_of(tool, name, given[name], call)
        if place.arguments is None or (set(place.arguments) & set(call)) - {"params", "options"}:
            is_whole = False
        else:
            _put(call, place.arguments)
        hints += [place.hint] if place.hint else []
    if len(hints) < len(unknown):
        hints.append(f"Arguments are: {', '.join(known)}.")
    shown = ", ".join(quote_untrusted(name, _SHOWN).strip("«»") for name in unknown[:5])
    return InputError(
        f"There is no argument {shown}.",
        hint=" ".join(hints),
        next=Next(tool, call) if is_whole and _is_short(call) else None,
    )


def truth_for_a_number(
    given: dict[str, Any], properties: Mapping[str, Mapping[str, Any]]
) -> InputError | None:
    """An error for true or false where a number belongs, which would count as 1 or 0."""
    kinds = {"integer": "a whole number", "number": "a number"}
    for name, value in given.items():
        kind = kinds.get(properties.get(name, {}).get("type", ""))
        if isinstance(value, bool) and kind is not None:
            return InputError(
                f"The arguments do not fit: {name} must be {kind}.", code="invalid_argument"
            )
    return None


def _put(call: dict[str, Any], place: dict[str, Any]) -> None:
    for name, value in place.items():
        inside = call.get(name)
        call[name] = inside | value if isinstance(inside, dict) else value


def wrong_arguments(
    tool: str, error: "ValidationError", given: dict[str, Any], known: list[str]
) -> InputError:
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
    helps = None
    source = given.get("source")
    if isinstance(source, list) and source and "rows" in known and _are_rows(source):
        call = {"rows": given["source"]} | {n: v for n, v in given.items() if n != "source"}
        hint, helps = "Did you mean rows?", Next(tool, call) if _is_short(call) else None
    elif not any("is missing" in place for place in wrong):
        hint = ""
    return InputError(
        f"The arguments do not fit: {'; '.join(wrong[:_MOST_WRONG])}.",
        hint=hint,
        code="invalid_argument",
        next=helps,
    )


def _are_rows(listed: Any) -> bool:
    return all(isinstance(row, dict) for row in listed)


def _is_short(call: dict[str, Any]) -> bool:
    return len(json.dumps(call, ensure_ascii=False).encode()) <= _MOST_BYTES


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
