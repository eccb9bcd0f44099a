"""A value that conforms to a JSON Schema, made from a seed: the same seed, the same value.

Keywords that constrain a value by themselves are obeyed while it is made. Those that can only be
judged on the finished value (`not`, `oneOf`, `if`, ...) are met by trying several seeds and
keeping the first value that validates.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from doubleword_batch.local.fake_json.pattern_text import text_matching
from doubleword_batch.local.fake_json.schema_merge import SchemaReader
from doubleword_batch.local.fake_json.schema_scalars import integer, number, text
from doubleword_batch.local.json_types import is_list, is_object

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_TRIES = 40
_DEEPEST = 6
_MOST_VALUES = 500
_MOST_ITEMS = 10_000
_SPARE_ITEMS = 2
_JUDGED = (
    b'"allOf"', b'"contains"', b'"dependencies"', b'"dependentRequired"', b'"dependentSchemas"',
    b'"if"', b'"multipleOf"', b'"not"', b'"oneOf"', b'"pattern"', b'"patternProperties"',
    b'"propertyNames"', b'"unevaluatedProperties"', b'"uniqueItems"',
)  # fmt: skip


class UnusableSchemaError(ValueError):
    """The schema is not a JSON Schema, or asks for more than is made here."""


def conforming_value(schema: dict[str, Any], seed: int) -> Any:
    """Make a value.

    Args:
        schema: a JSON Schema; `$ref` may point inside it only.
        seed: whatever decides about the free choices.

    Raises:
        UnusableSchemaError: it is no schema, nothing conforms to it, or what does is too large.
    """
    encoded = msgspec.json.encode(schema)
    validator = _validator(encoded)
    judged = any(keyword in encoded for keyword in _JUDGED)
    try:
        for attempt in range(_TRIES if judged else 1):
            value = _Maker(schema, Random(f"{seed}:{attempt}")).value(schema)  # noqa: S311
            if not judged or validator.is_valid(value):
                return value
    except (RecursionError, LookupError, TypeError, ValueError) as error:
        raise UnusableSchemaError(f"the schema cannot be used: {error}") from None
    raise UnusableSchemaError("no value was found that conforms to the schema")


@lru_cache(maxsize=64)
def _validator(encoded: bytes) -> "Validator":
    import referencing
    from jsonschema import Draft202012Validator, SchemaError

    schema = msgspec.json.decode(encoded)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise UnusableSchemaError(f"this is not a JSON Schema: {error.message}") from None
    # Without a registry of its own, jsonschema would fetch a `$ref` from whatever host it names.
    return Draft202012Validator(schema, registry=referencing.Registry())


class _Maker:
    """Makes one value; holds the source of its choices, how deep it is and how much it made."""

    def __init__(self, root: dict[str, Any], random: Random) -> None:
        self._schemas = SchemaReader(root)
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
        """Whether only what must be there is still made; this is what ends a recursive schema."""
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
        names = [name for name in properties if name in required or self._is_wanted()]
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
        """Whether an optional property is there: three times in four."""
        return not self._is_enough and self._random.randrange(4) > 0

    def _property(self, schema: dict[str, Any], name: str) -> Any:
        if name in schema.get("properties", {}):
            return schema["properties"][name]
        for pattern, part in schema.get("patternProperties", {}).items():
            if re.search(pattern, name):
                return part
        extra = schema.get("additionalProperties", True)
        if extra is False:
            raise ValueError(f"the property {name!r} is both required and forbidden")
        return extra if is_object(extra) else {"type": "string"}

    def _new_name(self, schema: dict[str, Any], number: int) -> str:
        """A name that no property has, one that the schema's patterns admit if it has such."""
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
            one = prefix[index] if index < len(prefix) else items
            if index < contained:
                one = {"allOf": [one, schema["contains"]]}
            made.append(self._item(one, made if schema.get("uniqueItems") else ()))
        return made

    def _item(self, schema: Any, taken: Sequence[Any]) -> Any:
        value = self.value(schema)
        for _ in range(_TRIES):
            if value not in taken:
                break
            value = self.value(schema)
        return value
