"""Which answers are labels, whether two of them agree, and how sure a model was of its answer."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.jobs.sync.answers import Answer
from doubleword_batch.jobs.sync.json_values import list_of, object_of
from doubleword_batch.jobs.sync.schema_check import parse_structured

LOGPROBS, AGREEMENT = "logprobs", "agreement"
"""The scores: the probability that the model gave its own words, or whether two samples of its
answer agree."""

DOUBTS = 362
"""Doubts are whole numbers below this; an answer without a score has the largest."""

LONGEST_LABEL = 64
_SUREST, _STEPS_PER_DECADE = 1e-7, 40
_LEAST_LOGPROB = -1e6  # less than any token has; so sums of a hostile server's values stay finite
_IN_DISPUTE = DOUBTS - 2
_WITHOUT_SCORE = DOUBTS - 1
_HOPS = 20
_KEYS_OF_A_CHOICE = ("anyOf", "oneOf")
_SHORT_TYPES = frozenset({"boolean", "integer", "null"})


def label_fields(schema: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The properties of a schema whose answers are labels.

    Raises:
        InputError: there is no schema, or one of its properties may hold free text, in which no
            two answers are the same.
    """
    properties = object_of(object_of(schema).get("properties"))
    if not properties:
        raise InputError(
            "A cascade compares labels, so it needs a response_schema that names them.",
            hint='Give one such as {"type": "object", "properties": {"label": {"enum": ["good", '
            '"bad"]}}, "required": ["label"], "additionalProperties": false}.',
        )
    known: dict[int, bool] = {}
    for name, node in properties.items():
        if not _is_label(schema or {}, node, _HOPS, known):
            raise InputError(
                f"A cascade compares labels, and {quote_untrusted(name, 60)} may be free text or "
                "a list, which two models rarely write alike.",
                hint="Make it an enum, a boolean, an integer or a string with a maxLength of at "
                f"most {LONGEST_LABEL}, or ask for it in another job.",
            )
    return tuple(properties)


def _is_label(schema: Mapping[str, Any], node: Any, hops: int, known: dict[int, bool]) -> bool:
    """Whether a schema node allows only labels; `known` holds the findings by the nodes' `id()`.

    References may lead to the same node again and again, so each node is looked at once.
    """
    if not isinstance(node, dict) or not hops:
        return False
    fields = cast("dict[str, Any]", node)
    if id(fields) not in known:
        known[id(fields)] = False  # while it is looked at: a circle never ends
        known[id(fields)] = _allows_labels(schema, fields, hops - 1, known)
    return known[id(fields)]


def _allows_labels(
    schema: Mapping[str, Any], fields: dict[str, Any], hops: int, known: dict[int, bool]
) -> bool:
    if "enum" in fields or "const" in fields:
        return True
    if isinstance(fields.get("$ref"), str):
        return _is_label(schema, _target(schema, fields["$ref"]), hops, known)
    for key in _KEYS_OF_A_CHOICE:
        if list_of(fields.get(key)):
            return all(_is_label(schema, part, hops, known) for part in list_of(fields[key]))
    types = fields.get("type")
    named = list_of(types) if isinstance(types, list) else [types]
    longest = fields.get("maxLength")
    is_short = isinstance(longest, int) and longest <= LONGEST_LABEL
    short = _SHORT_TYPES | {"string"} if is_short else _SHORT_TYPES
    return bool(named) and all(isinstance(name, str) and name in short for name in named)


def _target(schema: Mapping[str, Any], reference: str) -> Any:
    node: Any = schema
    for step in reference.removeprefix("#/").split("/"):
        node = object_of(node).get(step.replace("~1", "/").replace("~0", "~"))
    return node


def label_of(answer: Answer | None, fields: tuple[str, ...]) -> bytes | None:
    """The values of these properties in a form that can be compared; None if there are none."""
    found = None if answer is None else parse_structured(answer.text)
    values = object_of(None if found is None else found.value)
    if not values:
        return None
    return msgspec.json.encode([values.get(name) for name in fields], order="sorted")


def doubt_of(answer: Answer | None, fields: tuple[str, ...], score: str) -> int:
    """How unsure the model was of an answer: 0 (surest) to `DOUBTS` - 1."""
    if answer is None:
        return _WITHOUT_SCORE
    if score == AGREEMENT:
        labels = {label_of(written, fields) for written in (answer, *answer.others)}
        if not answer.others or None in labels:
            return _WITHOUT_SCORE
        return 0 if len(labels) == 1 else _IN_DISPUTE
    values = list(_logprobs(answer.logprobs))
    if not values or None in values:
        return _WITHOUT_SCORE
    return _doubt(-math.fsum(value for value in values if value is not None))


def _doubt(surprise: float) -> int:
    """The doubt on a logarithmic scale, as sure answers differ by tiny numbers only."""
    if surprise <= _SUREST:
        return 0
    steps = math.ceil(_STEPS_PER_DECADE * math.log10(surprise / _SUREST))
    return min(steps, _IN_DISPUTE)


def _logprobs(given: Any) -> Iterator[float | None]:
    """The log probability of each token of an answer; None for what is not a number."""
    tokens = list_of(given) or list_of(object_of(given).get("content"))
    for token in tokens:
        value = object_of(token).get("logprob")
        if isinstance(value, int | float) and -math.inf < value < math.inf:
            yield float(min(max(value, _LEAST_LOGPROB), 0))
        else:
            yield None
