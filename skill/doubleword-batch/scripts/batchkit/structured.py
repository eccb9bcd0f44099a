"""Structured answers: the JSON in a model's text, and what is plainly wrong with it.

Models put their JSON into a code fence, or write down their thoughts before it: what is inside is
read. Held against the schema are the kind of the answer, its required properties, and the types and
enums of its properties; the package checks the whole schema.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from batchkit.loose_json import decode

_FENCE = "```"
_END_OF_THOUGHTS = re.compile(r"</\s*(?:think|thinking|thought|reasoning)\s*>", re.IGNORECASE)
_LANGUAGE = re.compile(r"\A[A-Za-z0-9_+.-]*[ \t]*\r?\n?")
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


class Structured(NamedTuple):
    """The JSON in a text.

    Attributes:
        value: what it says.
        place: where it stood, "" if alone.
    """

    value: Any
    place: str


def structured(text: str | None) -> Structured | None:
    """The JSON in a text; None when it holds none."""
    if text is None:
        return None
    for inside, place in ((text, ""), _unwrapped(text)):
        try:
            return Structured(decode(inside), place)
        except ValueError:  # noqa: PERF203  # of two
            continue
    return None


def fault_of(
    text: str | None, schema: dict[str, Any], *, has_calls: bool
) -> tuple[str, str] | None:
    """Cause and message of an answer that does not fit its schema; None for one that may."""
    found = structured(text)
    if found is None and has_calls:
        return "tool_call", "the model called a tool in place of answering"
    if found is None:
        return "schema", "the answer is not JSON"
    wrong = _wrong(found.value, schema)
    if wrong is None:
        return None
    return "schema", f"{wrong}; the JSON stands {found.place}" if found.place else wrong


def _wrong(value: Any, schema: dict[str, Any]) -> str | None:
    if not _has_type(value, schema.get("type")):
        return "the answer breaks the schema's type"
    return _wrong_in(value, schema) if isinstance(value, dict) else None


def _wrong_in(value: dict[str, Any], schema: dict[str, Any]) -> str | None:
    required, properties = schema.get("required"), schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    if isinstance(required, list) and not all(name in value for name in required):
        return "the answer breaks the schema's required"
    if schema.get("additionalProperties") is False and value.keys() - properties.keys():
        return "the answer breaks the schema's additionalProperties"
    for name, described in properties.items():
        if name not in value or not isinstance(described, dict):
            continue
        if not _has_type(value[name], described.get("type")):
            return f"{name} breaks the schema's type"
        if isinstance(described.get("enum"), list) and value[name] not in described["enum"]:
            return f"{name} breaks the schema's enum"
    return None


def _has_type(value: Any, named: Any) -> bool:
    names = named if isinstance(named, list) else [named]
    if not all(isinstance(name, str) and name in _TYPES for name in names):
        return True  # no type is named, or none that we know
    if isinstance(value, bool):
        return "boolean" in names
    if isinstance(value, float) and value.is_integer() and "integer" in names:
        return True
    return any(isinstance(value, _TYPES[name]) for name in names)


def _unwrapped(text: str) -> tuple[str, str]:
    """What stands behind a model's thoughts and in its only code fence, and which it was."""
    place = ""
    last = _END_OF_THOUGHTS.split(text)[-1]
    if len(last) < len(text):
        text, place = last, "behind the model's thoughts"
    before, fence, rest = text.partition(_FENCE)
    inside, _, after = rest.partition(_FENCE)
    if fence and _FENCE not in after and _FENCE not in before:  # of several none is the answer
        text, place = _LANGUAGE.sub("", inside, count=1), place or "inside a code fence"
    return text, place
