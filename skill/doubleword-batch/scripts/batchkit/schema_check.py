"""Structured answers: the JSON in a model's text, checked against the requested schema.

Models put their JSON into a code fence, or write their thoughts before it: the JSON inside is read,
unless DOUBLEWORD_BATCH_STRICT_JSON forbids that.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from batchkit.loose_json import decode
from batchkit.reasoning import strip_reasoning
from batchkit.schema import Checker

if TYPE_CHECKING:
    from batchkit.result_line import Reading

_FENCE = "```"
_LANGUAGE = re.compile(r"\A[A-Za-z0-9_+.-]*[ \t]*\r?\n?")
_THOUGHTS, _FENCED = "after the model's thoughts", "inside a code fence"
_CAUSES = {_FENCED: "fenced", _THOUGHTS: "think_prefix"}


class Structured(NamedTuple):
    """The JSON in a text.

    Attributes:
        value: the decoded JSON.
        place: where it was, "" if nothing surrounds it.
    """

    value: Any
    place: str


def structured(text: str | None) -> Structured | None:
    """The JSON in a text; None if there is none."""
    if text is None:
        return None
    for inside, place in ((text, ""), _unwrapped(text)):
        try:
            return Structured(decode(inside), place)
        except ValueError:  # noqa: PERF203  # only two texts are tried
            continue
    return None


class SchemaCheck:
    """Judges answers by a job's schema.

    Args:
        schema: the schema that they must fit.
        is_strict: accept JSON only if nothing surrounds it.
    """

    def __init__(self, schema: dict[str, Any], *, is_strict: bool = False) -> None:
        self._checker = Checker(schema)
        self._is_strict = is_strict

    def judged(self, reading: Reading) -> Reading:
        """The reading of an answer, after checking it against the schema if it is complete."""
        text = None if reading.parts is None else reading.parts.text
        found = structured(text)
        if found is None and reading.parts is not None and reading.parts.tool_calls:
            return _invalid(reading, "tool_call", "the model called a tool in place of answering")
        if found is None:
            return _invalid(reading, "schema", "the answer is not JSON")
        fault = self._checker.fault(found.value)
        if fault is not None:
            words = f"{fault}; the JSON is {found.place}" if found.place else fault
            return _invalid(reading, "schema", words)
        if found.place and self._is_strict:
            return _invalid(reading, _CAUSES[found.place], f"the JSON is {found.place}")
        unchecked = tuple(sorted(self._checker.unchecked))
        return reading._replace(outcome="ok", cause="", message="", unchecked=unchecked)


def _invalid(reading: Reading, cause: str, message: str) -> Reading:
    return reading._replace(outcome="invalid", cause=cause, message=message)


def _unwrapped(text: str) -> tuple[str, str]:
    """The text after a model's thoughts and in its only code fence, and which of these it was."""
    place = ""
    last = strip_reasoning(text)
    if len(last) < len(text):
        text, place = last, _THOUGHTS
    before, fence, rest = text.partition(_FENCE)
    inside, _, after = rest.partition(_FENCE)
    if fence and _FENCE not in after and _FENCE not in before:  # of several, none is the answer
        text, place = _LANGUAGE.sub("", inside, count=1), place or _FENCED
    return text, place
