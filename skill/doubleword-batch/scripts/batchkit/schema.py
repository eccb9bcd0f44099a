"""Checks answers against JSON Schema (draft 2020-12), and says what it cannot check.

What needs a library (unevaluated properties, references outside the schema, all but simple
patterns) is reported, so that nobody takes such an answer for a checked one. Faults are named as
the package names them: by the keyword nearest to the answer's top.
"""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_LOOKED_AT = 20  # faults, of which the one nearest to the top is named
_DEEPEST = 60  # nested schemas: more than this means a circle
_UNCHECKED = (
    "unevaluatedProperties",
    "unevaluatedItems",
    "dependentSchemas",
    "$dynamicRef",
    "$recursiveRef",
)
# Without groups, and with one unbounded repetition, or two after ^: no text makes them slow.
_SIMPLE_PATTERN = re.compile(
    r"\^?(?:(?:\\[dDwW]|\\[-./+*?()\[\]{}^$|\\]|\[\^?(?:\\[dDwW\-\]\\^./]|[^\[\]\\&~|])+\]"
    r"|[A-Za-z0-9 _@#:/,;%!=<>\"'-])(?:\{\d{1,3}(?:,\d{0,3})?\}|[*+?])?)*\$?"
)
_ENDLESS = re.compile(r"(?<!\\)[*+]|,\}")


class _Fault(NamedTuple):
    place: tuple[Any, ...]
    keyword: str


class Checker:
    """Checks values against one schema.

    Attributes:
        unchecked: the keywords met by the last value that are not checked here.
    """

    def __init__(self, schema: Any) -> None:
        self._root = schema
        self.unchecked: set[str] = set()

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value; None if it breaks nothing that is checked."""
        self.unchecked = set()
        try:
            faults = list(islice(self._faults(value, self._root, (), 0), _LOOKED_AT))
        except RecursionError:
            self.unchecked.add("nesting")
            return None
        except (TypeError, ValueError, AttributeError, ArithmeticError, re.error):
            self.unchecked.add("an invalid keyword")  # the schema is invalid
            return None
        if not faults:
            return None
        first = min(faults, key=lambda fault: len(fault.place))
        where = "/".join(map(str, first.place)) or "the answer"
        return f"{where} breaks '{first.keyword}' of the schema"[:300]

    def _faults(
        self, value: Any, schema: Any, place: tuple[Any, ...], depth: int
    ) -> Iterator[_Fault]:
        if schema is False:
            yield _Fault(place, "falseSchema")
        if not isinstance(schema, dict):
            return
        if depth > _DEEPEST:
            self.unchecked.add("$ref")
            return
        self.unchecked.update(name for name in _UNCHECKED if name in schema)
        for keyword in self._broken(value, schema):
            yield _Fault(place, keyword)
        if isinstance(value, dict):
            yield from self._in_object(value, schema, place, depth + 1)
        elif isinstance(value, list):
            yield from self._in_array(value, schema, place, depth + 1)
        yield from self._combined(value, schema, place, depth + 1)

    def _broken(self, value: Any, schema: dict[str, Any]) -> Iterator[str]:
        """The keywords that depend on the value alone."""
        if "type" in schema and not _has_type(value, schema["type"]):
            yield "type"
        if "const" in schema and not _same(value, schema["const"]):
            yield "const"
        if "enum" in schema and not any(_same(value, allowed) for allowed in schema["enum"]):
            yield "enum"
        if isinstance(value, str):
            yield from _beyond(len(value), schema, "minLength", "maxLength")
            if "pattern" in schema and self._is_like(value, schema["pattern"]) is False:
                yield "pattern"
        elif _is_number(value):
            yield from _out_of_range(value, schema)
        elif isinstance(value, list):
            yield from _beyond(len(value), schema, "minItems", "maxItems")
            if schema.get("uniqueItems") is True and _has_twins(value):
                yield "uniqueItems"
        elif isinstance(value, dict):
            yield from _beyond(len(value), schema, "minProperties", "maxProperties")

    def _in_object(
        self, value: dict[str, Any], schema: dict[str, Any], place: tuple[Any, ...], depth: int
    ) -> Iterator[_Fault]:
        missing = [_Fault(place, "required")] if _lacks(value, schema) else []
        is_closed = schema.get("additionalProperties") is False
        is_named = "properties" in schema or "patternProperties" in schema
        if not is_closed or "patternProperties" in schema or not is_named:
            yield from missing
            missing = []
        properties = schema.get("properties", {})
        for name, member in value.items():
            if name in properties:
                yield from self._faults(member, properties[name], (*place, name), depth)
        named = set(properties)
        for name, inner in self._by_pattern(value, schema, named):
            yield from self._faults(value[name], inner, (*place, name), depth)
        others = {name: member for name, member in value.items() if name not in named}
        if is_closed and others:
            yield _Fault(place, "additionalProperties" if is_named else "falseSchema")
        elif "additionalProperties" in schema:
            for name, member in others.items():
                inner = schema["additionalProperties"]
                yield from self._faults(member, inner, (*place, name), depth)
        yield from missing
        if "propertyNames" in schema:
            names = schema["propertyNames"]
            if any(self._breaks(name, names, depth) for name in value):
                yield _Fault(place, "propertyNames")

    def _by_pattern(
        self, value: dict[str, Any], schema: dict[str, Any], named: set[str]
    ) -> Iterator[tuple[str, Any]]:
        """Each property that a pattern matches, marked as checked; all of them, if nobody knows."""
        for pattern, inner in schema.get("patternProperties", {}).items():
            likes = {name: self._is_like(name, pattern) for name in value}
            named.update(name for name, is_like in likes.items() if is_like is not False)
            yield from ((name, inner) for name, is_like in likes.items() if is_like)

    def _in_array(
        self, value: list[Any], schema: dict[str, Any], place: tuple[Any, ...], depth: int
    ) -> Iterator[_Fault]:
        prefix = schema.get("prefixItems", ())
        if "items" in schema:
            for position in range(len(prefix), len(value)):
                element = value[position]
                yield from self._faults(element, schema["items"], (*place, position), depth)
        for position, (element, inner) in enumerate(zip(value, prefix)):
            yield from self._faults(element, inner, (*place, position), depth)
        if "contains" in schema:
            fits, is_sure = self._surely(
                lambda: [not self._breaks(element, schema["contains"], depth) for element in value]
            )
            most = schema.get("maxContains", len(value))
            if sum(fits) < schema.get("minContains", 1) or (is_sure and sum(fits) > most):
                yield _Fault(place, "contains")

    def _combined(
        self, value: Any, schema: dict[str, Any], place: tuple[Any, ...], depth: int
    ) -> Iterator[_Fault]:
        for inner in schema.get("allOf", ()):
            yield from self._faults(value, inner, place, depth)
        if "anyOf" in schema and all(
            self._breaks(value, inner, depth) for inner in schema["anyOf"]
        ):
            yield _Fault(place, "anyOf")
        if "oneOf" in schema:
            fits, is_sure = self._surely(
                lambda: [not self._breaks(value, inner, depth) for inner in schema["oneOf"]]
            )
            if sum(fits) == 0 or (is_sure and sum(fits) > 1):
                yield _Fault(place, "oneOf")
        if "not" in schema:
            breaks, is_sure = self._surely(lambda: self._breaks(value, schema["not"], depth))
            if is_sure and not breaks:
                yield _Fault(place, "not")
        yield from self._elsewhere(value, schema, place, depth)

    def _elsewhere(
        self, value: Any, schema: dict[str, Any], place: tuple[Any, ...], depth: int
    ) -> Iterator[_Fault]:
        """The faults from schemas that are chosen: by a condition, or by name."""
        if "if" in schema:
            breaks, is_sure = self._surely(lambda: self._breaks(value, schema["if"], depth))
            if breaks or is_sure:
                inner = schema.get("else" if breaks else "then", True)
                yield from self._faults(value, inner, place, depth)
        if "$ref" in schema:
            target = self._target(schema["$ref"])
            if target is None:
                self.unchecked.add("$ref")
            else:
                yield from self._faults(value, target, place, depth)

    def _breaks(self, value: Any, schema: Any, depth: int) -> bool:
        return next(self._faults(value, schema, (), depth), None) is not None

    def _surely(self, look: Callable[[], Any]) -> tuple[Any, bool]:
        """The result of a check, and whether everything in it could be checked."""
        known = self.unchecked
        self.unchecked = set()
        found = look()
        is_sure = not self.unchecked
        self.unchecked |= known
        return found, is_sure

    def _is_like(self, text: str, pattern: str) -> bool | None:
        """Whether a pattern matches in a text; None if it is not tried."""
        endless = len(_ENDLESS.findall(pattern))
        is_simple = _SIMPLE_PATTERN.fullmatch(pattern) is not None
        if not is_simple or endless > (2 if pattern.startswith("^") else 1):
            self.unchecked.add("pattern")
            return None
        has_end = pattern.endswith("$") and not pattern.endswith("\\$")
        whole = pattern[:-1] + r"\Z" if has_end else pattern
        return re.search(whole, text, re.ASCII) is not None

    def _target(self, reference: Any) -> Any:
        """The part of the schema that a reference names, None if it is not in this schema."""
        if not isinstance(reference, str) or not (reference + "/").startswith("#/"):
            return None
        node = self._root
        for step in reference[2:].split("/") if reference != "#" else ():
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            else:
                node = node.get(key) if isinstance(node, dict) else None
        return node


def _lacks(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    needed = set(schema.get("required", ()))
    for name, others in schema.get("dependentRequired", {}).items():
        needed.update(others if name in value else ())
    return not needed <= value.keys()


def _has_type(value: Any, named: Any) -> bool:
    names = named if isinstance(named, list) else [named]
    if isinstance(value, bool):
        return "boolean" in names
    if isinstance(value, float) and value.is_integer() and "integer" in names:
        return True
    return any(isinstance(value, _TYPES.get(str(name), ())) for name in names)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(value: Any, other: Any) -> bool:
    """Whether two values are equal in JSON, where 1 equals 1.0, but not true."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_same, value, other))
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_same(value[key], other[key]) for key in value)
    return value == other and (_is_number(value) or type(value) is type(other))


def _has_twins(values: list[Any]) -> bool:
    return any(_same(value, other) for n, value in enumerate(values) for other in values[:n])


def _beyond(size: int, schema: dict[str, Any], least: str, most: str) -> Iterator[str]:
    if least in schema and size < schema[least]:
        yield least
    if most in schema and size > schema[most]:
        yield most


def _out_of_range(value: float, schema: dict[str, Any]) -> Iterator[str]:
    if "minimum" in schema and value < schema["minimum"]:
        yield "minimum"
    if "maximum" in schema and value > schema["maximum"]:
        yield "maximum"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield "exclusiveMinimum"
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        yield "exclusiveMaximum"
    step = schema.get("multipleOf")
    if step and Decimal(repr(value)) % Decimal(repr(step)):
        yield "multipleOf"
