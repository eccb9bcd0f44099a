"""A JSON Schema as one line of near-JSON, short enough for a very small model's system prompt.

`{"label": "good" or "bad", "score": number}` tells such a model what the grammar alone cannot: it
sees the choices before it starts to write, and it writes without spare blanks.
"""

from typing import Any

import msgspec

from doubleword_batch.local.json_types import is_list, is_object

_DEEPEST = 4
_MOST_CHARACTERS = 1_200
_WORDS = {"string": '"text"', "null": "null", "boolean": "true or false"}


def schema_sketch(schema: dict[str, Any]) -> str:
    """The sketch; "" for a schema too large to be sketched shortly."""
    sketch = _sketch(schema, _DEEPEST)
    return sketch if len(sketch) <= _MOST_CHARACTERS else ""


def _sketch(schema: Any, depth: int) -> str:
    if not is_object(schema) or not depth:
        return "..."
    branches = schema.get("anyOf") or schema.get("oneOf")
    if is_list(branches):
        return " or ".join(_sketch(branch, depth - 1) for branch in branches)
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if is_list(values):
        return " or ".join(_encoded(value) for value in values)
    if is_object(schema.get("properties")):
        return _object(schema["properties"], depth)
    return _typed(schema, depth)


def _typed(schema: dict[str, Any], depth: int) -> str:
    if is_object(schema.get("items")):
        return f"[{_sketch(schema['items'], depth - 1)}, ...]"
    kind = schema.get("type")
    kinds: list[Any] = kind if is_list(kind) else [kind]
    return " or ".join(_WORDS.get(str(one), str(one or "...")) for one in kinds)


def _object(properties: dict[str, Any], depth: int) -> str:
    pairs = (f"{_encoded(name)}: {_sketch(s, depth - 1)}" for name, s in properties.items())
    return "{" + ", ".join(pairs) + "}"


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()
