"""Finds embeddings in a response body: numbers, base64 of floats, or lists of them."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from typing import Any

from batchkit.json_values import by_index, list_of, object_of
from batchkit.loose_json import decode_or_none

_FLOAT_BYTES = 4
_LISTS = ("data", "embeddings", "embedding", "embeddingsByType", "predictions")
_TYPES = ("float", "values", "base64", "int8", "uint8", "binary", "ubinary")
_PLACES = ("embedding", "embeddings", "data", *_TYPES)
_USUAL = str.maketrans("-_", "+/")
"""Base64 in the variant for URLs."""


def has_vectors(body: dict[str, Any]) -> bool:
    """Whether a body has vectors where they belong, or nothing; scores and images do not count."""
    name = _list_in(body)
    if name is None:
        return False
    elements = _elements(body)
    if name == "predictions":  # may also be texts
        return bool(elements) and all(isinstance(it, list) or _has_place(it) for it in elements)
    return not elements or any(not isinstance(it, dict) or _has_place(it) for it in elements)


def _list_in(body: dict[str, Any]) -> str | None:
    return next((name for name in _LISTS if name in body), None)


def _has_place(element: Any) -> bool:
    return not object_of(element).keys().isdisjoint(_PLACES)


def vectors_in(body: dict[str, Any]) -> tuple[Any, bool]:
    """The vector or vectors of a body, and whether one of them is not a vector."""
    vectors: list[Any] = []
    for element in _elements(body):
        fields = object_of(element)
        vector = next((fields[name] for name in _PLACES if name in fields), element)
        inner = list_of(vector)  # a text's pieces, each with its own vector
        if inner and all("embedding" in object_of(it) for it in inner):
            vectors.append([_vector(it["embedding"]) for it in by_index(inner)])
        else:
            vectors.append(_vector(_of_a_type(vector)))
    is_broken = not all(_is_vector(vector) for vector in vectors)
    return vectors[0] if len(vectors) == 1 else vectors or None, is_broken


def _elements(body: dict[str, Any]) -> list[Any]:
    name = _list_in(body)
    found = None if name is None else body[name]
    if name in ("embedding", "embeddingsByType"):
        found = [found]
    if isinstance(found, dict):
        vectors = _of_a_type(found)
        is_several = isinstance(next(iter(list_of(vectors)), None), (list, str))
        found = vectors if is_several else [found]
    return by_index(found)


def _of_a_type(value: Any) -> Any:
    """The value in an object for its type of numbers; any other value unchanged."""
    fields = object_of(value)
    told = (fields[name] for name in _TYPES if fields.get(name) is not None)
    return next(told, value)


def _vector(value: Any) -> Any:
    """A vector as numbers; base64, which `encoding_format` can request, holds 32-bit floats."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        return decode_or_none(value) or value
    try:
        text = "".join(value.split()).translate(_USUAL).rstrip("=")
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return value
    if not data or len(data) % _FLOAT_BYTES:
        return value
    numbers = struct.unpack(f"<{len(data) // _FLOAT_BYTES}f", data)
    return [number if math.isfinite(number) else None for number in numbers]


def _is_vector(value: Any) -> bool:
    """Whether these are numbers (None for those that JSON lacks), or one vector per token."""
    if not isinstance(value, list):
        return value is None
    return all(
        element is None
        or (isinstance(element, (int, float)) and not isinstance(element, bool))
        or (isinstance(element, list) and _is_vector(element))
        for element in value
    )


def has_numbers(embedding: Any) -> bool:
    """Whether there is a number in an embedding."""
    if isinstance(embedding, list):
        return any(has_numbers(element) for element in embedding)
    return embedding is not None
