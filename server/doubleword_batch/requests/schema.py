"""Is a response schema JSON Schema, and will a strict server take it?"""

from collections.abc import Iterator
from typing import Any, cast

from doubleword_batch.errors import InputError, quote_untrusted

_PLACES_SHOWN = 3


def check_schema(schema: Any) -> tuple[str, ...]:
    """Check a response schema; it goes into the requests as it is.

    Args:
        schema: JSON Schema (draft 2020-12) of an object.

    Returns:
        Warnings: the places where strict structured output, as OpenAI defines it, is stricter.

    Raises:
        InputError: code `bad_schema`; the message names the place.
    """
    if not isinstance(schema, dict):
        raise _bad("$", "it is no JSON object")
    schema = cast("dict[str, Any]", schema)
    if schema.get("type") != "object":
        raise _bad("$", "the top has to be an object schema")
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
        loose = list(_loose(schema, "$"))
    except SchemaError as error:
        raise _bad(error.json_path, error.message) from None
    except RecursionError:
        raise _bad("$", "it is nested too deeply") from None
    if not loose:
        return ()
    places = ", ".join(quote_untrusted(place, 100) for place in loose[:_PLACES_SHOWN])
    more = len(loose) - _PLACES_SHOWN
    warning = (
        "Strict structured output wants `additionalProperties: false` and every property in "
        f"`required`; missing at {places}{f' and {more} more places' if more > 0 else ''}. "
        "Some servers refuse such a schema, others ignore it."
    )
    return (warning,)


def _loose(schema: Any, place: str) -> Iterator[str]:
    if isinstance(schema, list):
        for position, part in enumerate(cast("list[Any]", schema)):
            yield from _loose(part, f"{place}[{position}]")
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
            yield from _loose(part, f"{place}.{keyword}.{name}")
    for keyword in ("items", "prefixItems", "anyOf", "oneOf", "allOf"):
        yield from _loose(node.get(keyword), f"{place}.{keyword}")


def _bad(place: str, reason: str) -> InputError:
    return InputError(
        f"response_schema is not a schema that can be used: at {quote_untrusted(place, 100)}, "
        f"{quote_untrusted(reason)}.",
        hint='Give JSON Schema of an object, such as {"type": "object", "properties": {"label": '
        '{"type": "string"}}, "required": ["label"], "additionalProperties": false}.',
        code="bad_schema",
        details={"at": place[:100]},
    )
