"""Embeddings in a response body: numbers, base64 of floats, or lists of them."""

import base64
import binascii
import math
import struct
from typing import Any, cast

from doubleword_batch.jobs.sync.json_values import in_order, object_of
from doubleword_batch.loose_json import decode_or_none

_FLOAT_BYTES = 4


def vectors_in(body: dict[str, Any]) -> tuple[Any, bool]:
    """The vector of a body, or its vectors; and whether one of them is none."""
    found = body.get("data", body.get("embeddings", body.get("embedding")))
    if "data" not in body and "embeddings" not in body:
        found = [found]
    if isinstance(found, dict):
        found = cast("dict[str, Any]", found).get("float", [found])
    vectors: list[Any] = []
    for element in in_order(found):
        vector = object_of(element).get("embedding", object_of(element).get("values", element))
        vectors.append(_vector(object_of(vector).get("float", vector)))
    is_broken = not all(_is_vector(vector) for vector in vectors)
    return vectors[0] if len(vectors) == 1 else vectors or None, is_broken


def _vector(value: Any) -> Any:
    """A vector as numbers; base64 is what `encoding_format` asks for, floats of 32 bits."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        return decode_or_none(value) or value
    try:
        data = base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        return value
    if not data or len(data) % _FLOAT_BYTES:
        return value
    numbers = struct.unpack(f"<{len(data) // _FLOAT_BYTES}f", data)
    return [number if math.isfinite(number) else None for number in numbers]


def _is_vector(value: Any) -> bool:
    """Numbers, those that JSON cannot hold as None; or a vector for each token."""
    if not isinstance(value, list):
        return value is None
    return all(
        element is None
        or (isinstance(element, int | float) and not isinstance(element, bool))
        or (isinstance(element, list) and _is_vector(cast("Any", element)))
        for element in cast("list[Any]", value)
    )


def is_something(embedding: Any) -> bool:
    """Whether there is a number in an embedding."""
    if isinstance(embedding, list):
        return any(is_something(element) for element in cast("list[Any]", embedding))
    return embedding is not None
