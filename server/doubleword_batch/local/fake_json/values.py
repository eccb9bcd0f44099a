"""Generates a value that conforms to a JSON Schema; the same seed gives the same value.

Most keywords are obeyed while a value is made. What can only be judged on the finished value
(`not`, `oneOf`, `if`, an enum beside bounds, ...) is met by trying several seeds and keeping the
first value that validates.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from doubleword_batch.local.executors.base import is_list, is_object
from doubleword_batch.local.fake_json.scalars import integer, number, text, text_matching

if TYPE_CHECKING:
    from jsonschema_rs import Validator

_TRIES = 40
_DEEPEST = 6
_MOST_VALUES = 500
_MOST_ITEMS = 10_000
_MOST_STEPS = 100_000
_SPARE_ITEMS = 2
_ENDLESS = 1_000_000
_MOST_BACKTRACKS = 10_000
_PATTERN_BYTES = 1 << 20
_FLATTENED = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "then", "else"})
_LARGER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_SMALLER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_IMPLIED = {
    "object": ("properties", "required", "additionalProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "contains"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


class UnusableSchemaError(ValueError):
    """The schema is not a JSON Schema, or needs more than is generated here."""


def conforming_value(schema: dict[str, Any], seed: int) -> Any:
    """A value that conforms to a JSON Schema whose `$ref`s all point inside it.

    Raises:
        UnusableSchemaError: it is not a schema, nothing conforms to it, or only what is too large.
    """
    validator = _validator(msgspec.json.encode(schema))
    schemas = _FlatSchemas(schema)
    reason = "no value was found that conforms to the schema"
    for attempt in range(_TRIES):
        try:
            value = _Maker(schemas, Random(f"{seed}:{attempt}")).value(schema)  # noqa: S311
        except RecursionError:
            raise UnusableSchemaError(
                "the schema cannot be used: no value that conforms to it comes to an end"
            ) from None
        except (LookupError, TypeError, ValueError) as error:
            reason = f"the schema cannot be used: {error}"
        else:
            if validator.is_valid(value):
                return value
    raise UnusableSchemaError(reason)


@lru_cache(maxsize=64)
def _validator(encoded: bytes) -> "Validator":
    import jsonschema_rs

    try:
        # Offline: otherwise a `$ref` would be fetched from whatever host it names.
        return jsonschema_rs.Draft202012Validator(
            msgspec.json.decode(encoded),
            validate_formats=False,
            offline=True,
            pattern_options=jsonschema_rs.FancyRegexOptions(
                backtrack_limit=_MOST_BACKTRACKS, size_limit=_PATTERN_BYTES
            ),
        )
    except ValueError as error:  # a ValidationError is a ValueError
        reason = str(error).partition("\n")[0]
        is_schema = getattr(getattr(error, "kind", None), "name", "") == "$ref"
        what = "the schema cannot be used" if is_schema else "this is not a JSON Schema"
        raise UnusableSchemaError(f"{what}: {reason}") from None


def _matches(pattern: str, name: str) -> bool:
    """Whether a pattern matches in a name; `re` alone could take forever."""
    return _validator(msgspec.json.encode({"pattern": pattern})).is_valid(name)


class _Maker:
    """Makes one value; tracks its random choices, its depth and how much it has made."""

    def __init__(self, schemas: "_FlatSchemas", random: Random) -> None:
        self._schemas = schemas
        self._random = random
        self._depth = 0
        self._made = 0
        self._by_type: dict[str, Callable[[dict[str, Any]], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": lambda schema: text(schema, random),
            "integer": lambda schema: integer(schema, random),
            "number": lambda schema: number(schema, random),
            "boolean": lambda _: random.choice((True, False)),
            "null": lambda _: None,
        }

    def value(self, given: Any) -> Any:
        schema = self._schemas.flat(given, self._choose)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        self._made += 1
        self._depth += 1
        made = self._by_type[self._type(schema)](schema)
        self._depth -= 1
        return made

    @property
    def _is_enough(self) -> bool:
        """Whether only required parts are still made; this is what ends a recursive schema."""
        return self._depth >= _DEEPEST or self._made >= _MOST_VALUES

    def _choose(self, branches: list[Any]) -> Any:
        if self._is_enough:
            return min(branches, key=self._schemas.height)
        return self._random.choice(branches)

    def _type(self, schema: dict[str, Any]) -> str:
        named = schema.get("type") or self._schemas.implied(schema)
        types: list[str] = named if is_list(named) else [named]
        return "null" if self._is_enough and "null" in types else self._random.choice(types)

    def _object(self, schema: dict[str, Any]) -> dict[str, Any]:
        properties: dict[str, Any] = schema.get("properties", {})
        required: list[str] = schema.get("required", [])
        musts = frozenset(required)
        free = schema.get("maxProperties", _MOST_ITEMS) - len(musts)
        wanted = [name for name in properties if name not in musts and self._is_wanted()]
        chosen = musts.union(wanted[: max(0, free)])
        names = [name for name in properties if name in chosen]
        names += [name for name in required if name not in properties]
        made = {name: self.value(self._property(schema, name)) for name in names}
        is_map = not properties and is_object(schema.get("additionalProperties"))
        missing = max(schema.get("minProperties", 0), int(is_map)) - len(made)
        if missing > _MOST_ITEMS:
            raise ValueError(f"minProperties is more than the {_MOST_ITEMS} made here")
        spare = [name for name in properties if name not in made][: max(0, missing)]
        spare += [self._new_name(schema, n) for n in range(missing - len(spare))]
        return made | {name: self.value(self._property(schema, name)) for name in spare}

    def _is_wanted(self) -> bool:
        """Whether an optional property is included: three times in four."""
        return not self._is_enough and self._random.randrange(4) > 0

    def _property(self, schema: dict[str, Any], name: str) -> Any:
        if name in schema.get("properties", {}):
            return schema["properties"][name]
        for pattern, part in schema.get("patternProperties", {}).items():
            if _matches(pattern, name):
                return part
        extra = schema.get("additionalProperties", True)
        if extra is False:
            raise ValueError(f"the property {name!r} is both required and forbidden")
        return extra if is_object(extra) else {"type": "string"}

    def _new_name(self, schema: dict[str, Any], number: int) -> str:
        """A name that no property has; one that the schema's patterns admit, if it has patterns."""
        patterns = [*schema.get("patternProperties", {})]
        names = schema.get("propertyNames")
        if is_object(names) and "pattern" in names:
            patterns.insert(0, names["pattern"])
        return text_matching(patterns[0], self._random) if patterns else f"property_{number}"

    def _array(self, schema: dict[str, Any]) -> list[Any]:
        contained = schema.get("minContains", 1) if "contains" in schema else 0
        least = max(schema.get("minItems", 0), contained)
        if least > _MOST_ITEMS:
            raise ValueError(f"minItems {least} is more than the {_MOST_ITEMS} made here")
        prefix: list[Any] = schema.get("prefixItems", [])
        items = schema.get("items", {"type": "string"})
        spare = 0 if self._is_enough else _SPARE_ITEMS
        most = len(prefix) if items is False else max(least, len(prefix)) + spare
        length = self._random.randint(least, max(least, min(most, schema.get("maxItems", most))))
        made: list[Any] = []
        for index in range(length):
            item = prefix[index] if index < len(prefix) else items
            if index < contained:
                item = {"allOf": [item, schema["contains"]]}
            made.append(self._item(item, made if schema.get("uniqueItems") else ()))
        return made

    def _item(self, schema: Any, taken: Sequence[Any]) -> Any:
        value = self.value(schema)
        for _ in range(_TRIES):
            if value not in taken:
                break
            value = self.value(schema)
        return value


class _FlatSchemas:
    """Returns the parts of one schema without references and branches.

    Every value is looked up here first, so the lookups are counted here, over all tries: in a small
    schema, parts that each name others twice can ask for more than anybody would wait for.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._steps = 0

    def _count(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise ValueError(f"it takes more than the {_MOST_STEPS} steps spent on one here")

    def flat(self, given: Any, choose: Callable[[list[Any]], Any]) -> dict[str, Any]:
        """The schema without references, `allOf`, `anyOf`, `oneOf` and `if`.

        Raises:
            ValueError: the schema is `false`, a reference leads outside, or its parts contradict.
        """
        self._count()
        if given is False:
            raise ValueError("the schema `false` admits no value")
        if not is_object(given):
            return {}
        schema = {k: v for k, v in given.items() if k not in _FLATTENED}
        if "$ref" in given:
            schema = _merged(self.flat(self._target(given["$ref"]), choose), schema)
        for part in given.get("allOf", []):
            schema = _merged(schema, self.flat(part, choose))
        for keyword in ("anyOf", "oneOf"):
            if given.get(keyword):
                schema = _merged(schema, self.flat(choose(given[keyword]), choose))
        if "if" in given:
            met = {"allOf": [given["if"], given.get("then", True)]}
            schema = _merged(schema, self.flat(choose([met, given.get("else", True)]), choose))
        return schema

    def implied(self, schema: dict[str, Any]) -> str:
        """The type of a schema that names none, deduced from its keywords."""
        for kind, keywords in _IMPLIED.items():
            if any(keyword in schema for keyword in keywords):
                return kind
        return "string"

    def height(self, given: Any, seen: frozenset[str] = frozenset()) -> int:
        """The depth of a schema's shallowest value; very large if it never ends."""
        self._count()
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
        if not f"{reference}/".startswith("#/"):
            raise ValueError(f"the reference {reference!r} is not a path inside the schema")
        target: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            target = target[int(name)] if is_list(target) else target[name]
        return target


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """One flat schema that is at least as strict as both; `ValueError` if there cannot be one."""
    both = first | second
    for keyword in first.keys() & second.keys():
        left, right = first[keyword], second[keyword]
        if keyword in _LARGER:
            both[keyword] = max(left, right)
        elif keyword in _SMALLER:
            both[keyword] = min(left, right)
        elif keyword == "required":
            both[keyword] = [*left, *(name for name in right if name not in left)]
        elif keyword == "properties":
            shared = {name: {"allOf": [left[name], right[name]]} for name in left.keys() & right}
            both[keyword] = left | right | shared
        elif keyword in {"items", "additionalProperties"}:
            both[keyword] = _stricter(left, right)
        elif keyword == "enum":
            both[keyword] = _common(left, right)
        elif keyword == "type":
            both[keyword] = _common_types(left, right)
    return both


def _stricter(left: Any, right: Any) -> Any:
    if left is False or right is False:
        return False
    return {"allOf": [left, right]}


def _common(left: list[Any], right: list[Any]) -> list[Any]:
    common = [value for value in left if value in right]
    if not common:
        raise ValueError("its parts admit no common value")
    return common


def _common_types(left: Any, right: Any) -> list[Any]:
    lefts: list[Any] = left if is_list(left) else [left]
    rights: list[Any] = right if is_list(right) else [right]
    if "number" in rights and "integer" in lefts:
        rights = [*rights, "integer"]
    if "number" in lefts and "integer" in rights:
        lefts = [*lefts, "integer"]
    return _common(lefts, rights)
