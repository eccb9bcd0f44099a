"""The schema that answers have to follow: taken in any common form, checked before it is sent."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.isolated.schema import InvalidSchemaError, SchemaChecker

_PLACES_SHOWN = 3
_HOPS = 20
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WRAPPING = frozenset({"name", "schema", "strict", "description", "type"})


@dataclass(frozen=True, slots=True)
class SchemaFormat:
    """What goes with a schema in a request.

    Attributes:
        name: what the provider calls it.
        strict: whether the provider has to enforce it.
        description: what it is for, shown to the model by some providers.
    """

    name: str = "answer"
    strict: bool = True
    description: str | None = None

    def around(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The object that holds the schema in a request."""
        described = {} if self.description is None else {"description": self.description}
        return {"name": self.name, **described, "schema": schema, "strict": self.strict}


AS_ANSWER = SchemaFormat()
"""For a schema that comes without a name, strictness and description."""


def unwrapped(given: dict[str, Any]) -> tuple[dict[str, Any], SchemaFormat]:
    """The schema to send, and what goes with it, from any of the forms in which people have one.

    These are a plain schema; OpenAI's `{"name", "schema", "strict"}`; and that object under
    `json_schema` or beside `"type": "json_schema"`. If the top level is a reference to one of the
    schema's definitions, as for a recursive model, that definition replaces it: providers ask for
    an object there.
    """
    inner = given.get("json_schema")
    if given.get("type") == "json_schema" and isinstance(inner, dict):
        given = cast("dict[str, Any]", inner)
    schema, form = given.get("schema"), AS_ANSWER
    if isinstance(schema, dict) and not given.keys() - _WRAPPING:
        name, strict = given.get("name"), given.get("strict")
        description = given.get("description")
        form = SchemaFormat(
            name if isinstance(name, str) and _NAME.fullmatch(name) else form.name,
            strict if isinstance(strict, bool) else form.strict,
            description if isinstance(description, str) else None,
        )
        given = cast("dict[str, Any]", schema)
    return _with_its_top(given), form


def _with_its_top(schema: dict[str, Any]) -> dict[str, Any]:
    for _ in range(_HOPS):
        target = _target(schema, schema.get("$ref"))
        if target is None:
            break
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**target, **rest}
    return schema


def _target(schema: dict[str, Any], reference: Any) -> dict[str, Any] | None:
    """The definition that a reference within the schema names; None if there is none."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    node: Any = schema
    for step in reference[2:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        node = cast("dict[str, Any]", node).get(key) if isinstance(node, dict) else None
    return cast("dict[str, Any]", node) if isinstance(node, dict) else None


def check_schema(schema: Any) -> tuple[str, ...]:
    """Check a response schema; it goes into the requests as it is.

    Args:
        schema: JSON Schema (draft 2020-12) of an object.

    Returns:
        Warnings about places where OpenAI's strict structured output asks for more.

    Raises:
        InputError: code `invalid_schema`; the message names the place.
    """
    if not isinstance(schema, dict):
        raise _invalid_schema("$", "it is not a JSON object")
    schema = cast("dict[str, Any]", schema)
    if schema.get("type") != "object":
        raise _invalid_schema("$", "the top level must be an object schema")
    checker = SchemaChecker(schema)
    try:
        checker.open()
        loose = list(_not_strict(schema, "$"))
    except InvalidSchemaError as error:
        raise _invalid_schema(error.place, error.reason) from None
    except RecursionError:
        raise _invalid_schema("$", "it is nested too deeply") from None
    finally:
        checker.close()
    if not loose:
        return ()
    places = ", ".join(quote_untrusted(place, 100) for place in loose[:_PLACES_SHOWN])
    more = len(loose) - _PLACES_SHOWN
    warning = (
        "Strict structured output needs `additionalProperties: false` and every property in "
        f"`required`; missing at {places}{f' and {more} more places' if more > 0 else ''}. "
        "Some servers refuse such a schema, others ignore it."
    )
    return (warning,)


def _not_strict(schema: Any, place: str) -> Iterator[str]:
    if isinstance(schema, list):
        for position, part in enumerate(cast("list[Any]", schema)):
            yield from _not_strict(part, f"{place}[{position}]")
    if not isinstance(schema, dict):
        return
    node = cast("dict[str, Any]", schema)
    properties = cast("dict[str, Any]", node.get("properties") or {})
    if properties or node.get("type") == "object":
        required = cast("list[str]", node.get("required") or [])
        if node.get("additionalProperties") is not False or set(properties) - set(required):
            yield place
    for keyword in ("properties", "$defs"):
        for name, part in cast("dict[str, Any]", node.get(keyword) or {}).items():
            yield from _not_strict(part, f"{place}.{keyword}.{name}")
    for keyword in ("items", "prefixItems", "anyOf", "oneOf", "allOf"):
        yield from _not_strict(node.get(keyword), f"{place}.{keyword}")


def _invalid_schema(place: str, reason: str) -> InputError:
    return InputError(
        f"response_schema is not a usable schema: at {quote_untrusted(place, 100)}, "
        f"{quote_untrusted(reason)}.",
        hint="Give the JSON Schema of an object, such as "
        '{"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"], '
        '"additionalProperties": false}.',
        code="invalid_schema",
        details={"at": place[:100]},
    )
