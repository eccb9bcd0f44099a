"""Flattens a JSON Schema for whoever makes values from it: references, allOf, one branch chosen."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from doubleword_batch.local.json_types import is_list, is_object

Chooser = Callable[[list[Any]], Any]

_ENDLESS = 1_000_000
_FLATTENED = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "then", "else"})
_LARGER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_SMALLER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_IMPLIED = {
    "object": ("properties", "required", "additionalProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "contains"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


class SchemaReader:
    """Reads the parts of one schema, following references inside it."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def flat(self, given: Any, choose: Chooser) -> dict[str, Any]:
        """The schema without references, `allOf`, `anyOf`, `oneOf` and `if`.

        Args:
            given: a schema: an object or a boolean.
            choose: picks one of several branches.

        Raises:
            ValueError: the schema is `false`, a reference leads outside, or its parts contradict.
        """
        if given is False:
            raise ValueError("the schema `false` admits no value")
        if not is_object(given):
            return {}
        schema = {k: v for k, v in given.items() if k not in _FLATTENED}
        if "$ref" in given:
            schema = merged(self.flat(self._target(given["$ref"]), choose), schema)
        for part in given.get("allOf", []):
            schema = merged(schema, self.flat(part, choose))
        for keyword in ("anyOf", "oneOf"):
            if given.get(keyword):
                schema = merged(schema, self.flat(choose(given[keyword]), choose))
        if "if" in given:
            met = {"allOf": [given["if"], given.get("then", True)]}
            schema = merged(schema, self.flat(choose([met, given.get("else", True)]), choose))
        return schema

    def implied(self, schema: dict[str, Any]) -> str:
        """The type of a schema that names none: what its keywords are about."""
        for kind, keywords in _IMPLIED.items():
            if any(keyword in schema for keyword in keywords):
                return kind
        return "string"

    def height(self, given: Any, seen: frozenset[str] = frozenset()) -> int:
        """How deep the shallowest value of a schema is; very large where it never ends."""
        if not is_object(given):
            return 0
        reference = given.get("$ref")
        if isinstance(reference, str):
            if reference in seen:
                return _ENDLESS
            return self.height(self._target(reference), seen | {reference})
        heights = [0, *(self.height(part, seen) for part in given.get("allOf", []))]
        heights += [
            min(self.height(branch, seen) for branch in given[keyword])
            for keyword in ("anyOf", "oneOf")
            if given.get(keyword)
        ]
        properties = given.get("properties", {})
        needed = [properties[name] for name in given.get("required", []) if name in properties]
        if given.get("minItems", 0) > 0:
            needed.append(given.get("items"))
        return max(heights) + max((1 + self.height(part, seen) for part in needed), default=0)

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not f"{reference}/".startswith("#/"):
            raise ValueError(f"the reference {reference!r} is no path inside the schema")
        target: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            target = target[int(name)] if is_list(target) else target[name]
        return target


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """One flat schema that is at least as strict as both.

    Raises:
        ValueError: no value can conform to both.
    """
    both = first | second
    for keyword in first.keys() & second.keys():
        one, other = first[keyword], second[keyword]
        if keyword in _LARGER:
            both[keyword] = max(one, other)
        elif keyword in _SMALLER:
            both[keyword] = min(one, other)
        elif keyword == "required":
            both[keyword] = [*one, *(name for name in other if name not in one)]
        elif keyword == "properties":
            shared = {name: {"allOf": [one[name], other[name]]} for name in one.keys() & other}
            both[keyword] = one | other | shared
        elif keyword in {"items", "additionalProperties"}:
            both[keyword] = _stricter(one, other)
        elif keyword == "enum":
            both[keyword] = _common(one, other)
        elif keyword == "type":
            both[keyword] = _common_types(one, other)
    return both


def _stricter(one: Any, other: Any) -> Any:
    if one is False or other is False:
        return False
    return {"allOf": [one, other]}


def _common(one: list[Any], other: list[Any]) -> list[Any]:
    common = [value for value in one if value in other]
    if not common:
        raise ValueError("its parts admit no common value")
    return common


def _common_types(one: Any, other: Any) -> list[Any]:
    ones: list[Any] = one if is_list(one) else [one]
    others: list[Any] = other if is_list(other) else [other]
    if "number" in others and "integer" in ones:
        others = [*others, "integer"]
    if "number" in ones and "integer" in others:
        ones = [*ones, "integer"]
    return _common(ones, others)
