"""Structured answers: checks the JSON in a model's text against the job's response_schema.

Models put their JSON into a code fence, or write their reasoning before it. If the JSON inside fits
the schema, it is read, and the row's cause says how it was wrapped.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from doubleword_batch.isolated.schema import SchemaChecker
from doubleword_batch.jobs.sync.answers import Answer
from doubleword_batch.jobs.sync.reasoning import strip_reasoning
from doubleword_batch.loose_json import decode

FENCED, AFTER_THOUGHTS = "fenced", "think_prefix"
"""Causes of answers whose JSON was wrapped in something."""

WRAPPED = {FENCED: "inside a code fence", AFTER_THOUGHTS: "after the model's thoughts"}
"""The same in words."""

_FENCE = "```"
_LANGUAGE = re.compile(r"\A[A-Za-z0-9_+.-]*[ \t]*\r?\n?")


class Structured(NamedTuple):
    """The JSON in a text.

    Attributes:
        value: the decoded JSON.
        wrapping: `fenced` or `think_prefix` if it was wrapped; None if it was the whole text.
    """

    value: Any
    wrapping: str | None


Verdict = tuple[str, str | None, str | None]
"""Outcome, cause and message."""

Check = Callable[[Answer], Verdict]
"""Judges a complete answer by the job's schema."""


def parse_structured(text: str | None) -> Structured | None:
    """The JSON in a text; None if there is none."""
    if text is None:
        return None
    with suppress(ValueError):
        return Structured(decode(text), None)
    inside, wrapping = _unwrapped(text)
    if wrapping is not None:
        with suppress(ValueError):
            return Structured(decode(inside), wrapping)
    return None


def _unwrapped(text: str) -> tuple[str, str | None]:
    """The text after a model's reasoning or in its only code fence, and which of them it was."""
    wrapping = None
    last = strip_reasoning(text)
    if len(last) < len(text):
        text, wrapping = last, AFTER_THOUGHTS
    before, fence, rest = text.partition(_FENCE)
    inside, _, after = rest.partition(_FENCE)
    if fence and _FENCE not in after and _FENCE not in before:  # else no fence is certain
        text, wrapping = _LANGUAGE.sub("", inside, count=1), wrapping or FENCED
    return text, wrapping


class SchemaCheck:
    """Judges answers by a job's response_schema; call it with an answer, and close it at the end.

    Args:
        schema: the response_schema.
        is_strict: whether an answer must be JSON and nothing else.
    """

    def __init__(self, schema: Any, *, is_strict: bool = False) -> None:
        self._checker = SchemaChecker(schema)
        self._is_strict = is_strict

    def __call__(self, answer: Answer) -> Verdict:
        """Judge one answer."""
        return self._verdict(answer, self._checker)

    def noting(self, values: list[Any]) -> Check:
        """A check that accepts every value and adds it to `values`, to be checked later."""
        return lambda answer: self._verdict(answer, values.append)

    def faults(self, values: Sequence[Any]) -> Iterator[str | None]:
        """What is wrong with each value; see `SchemaChecker.problems`."""
        return iter(self._checker.problems(values))

    def judging(self, faults: Iterator[str | None]) -> Check:
        """A check of the noted answers, in the same order, once their faults are known."""
        return lambda answer: self._verdict(answer, lambda _: next(faults))

    def close(self) -> None:
        """End the checking process."""
        self._checker.close()

    def _verdict(self, answer: Answer, fault_of: Callable[[Any], str | None]) -> Verdict:
        found = parse_structured(answer.text)
        if found is None:
            if answer.tool_calls:
                return "invalid", "tool_call", "the model called a tool in place of answering"
            return "invalid", "schema", "the answer is not JSON"
        fault = fault_of(found.value)
        if found.wrapping is None:
            return ("ok", None, None) if fault is None else ("invalid", "schema", fault)
        place = WRAPPED[found.wrapping]
        if fault is not None:
            return "invalid", "schema", f"{fault}; the JSON is {place}"
        if self._is_strict:
            return "invalid", found.wrapping, f"the JSON is {place}"
        return "ok", found.wrapping, None


def schema_check(spec: str, *, is_strict: bool = False) -> SchemaCheck | None:
    """The check of a job's response_schema, or None for jobs without one.

    Args:
        spec: the job's spec as stored, JSON.
        is_strict: whether an answer must be JSON and nothing else.
    """
    schema = msgspec.json.decode(spec).get("response_schema")
    return None if schema is None else SchemaCheck(schema, is_strict=is_strict)
