"""Answers that are not choices: lists with other names, tensors, vectors, whole bodies."""

import base64
import binascii
import math
import struct
from typing import Any, cast

from doubleword_batch.jobs.sync.json_values import (
    by_index,
    first_value,
    list_of,
    object_of,
    string_of,
)
from doubleword_batch.loose_json import decode_or_none

_LISTS = ("results", "generations", "predictions", "outputs", "completions", "responses")
_TEXTS = ("text", "generated_text", "outputText", "content", "completion")
_RESULT_LISTS = ("results", "data", "pages", "predictions", "classifications")
_RESULTS = (
    "score", "relevance_score", "label", "probs", "flagged", "category_scores", "b64_json",
    "url", "markdown", "bytesBase64Encoded", "prediction",
)  # fmt: skip
_OF_TEXT = ("text_output", "generated_text", "output_text", "output", "text")

_FLOAT_BYTES = 4
_PLACES_OF_VECTORS = ("data", "embeddings", "embedding", "embeddingsByType", "predictions")
_TYPES = ("float", "values", "base64", "int8", "uint8", "binary", "ubinary")
_PLACES = ("embedding", "embeddings", "data", *_TYPES)
_USUAL = str.maketrans("-_", "+/")
"""The characters of URL-safe base64 in place of the usual ones."""


def listed_choices(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Texts in a list of Titan, watsonx, Cohere or Mistral, each as a choice of a chat completion.

    For example `{"results": [{"generated_text": "..."}]}`; Jurassic puts each inside `data`.
    """
    if is_bare_answer(body):
        return []
    for name in _LISTS:
        whole = list_of(body.get(name))
        parts = [object_of(element) for element in whole]
        parts = [object_of(part.get("data")) | part for part in parts]
        texts = [
            first_value(part, _TEXTS) or value for part, value in zip(parts, whole, strict=True)
        ]
        if texts and all(isinstance(text, str) for text in texts):
            pairs = zip(parts, texts, strict=True)
            return [part | {"message": text} for part, text in pairs]
    return []


def is_bare_answer(body: dict[str, Any]) -> bool:
    """Whether the body itself is the answer: scores, labels, images, pages, a moderation, a video.

    A video that is still being made is not an answer.
    """
    for name in _RESULT_LISTS:
        results = [object_of(element) for element in list_of(body.get(name))]
        if results and all(first_value(result, _RESULTS) is not None for result in results):
            return True
    if body.get("score") is not None or (list_of(body.get("labels")) and "scores" in body):
        return True
    images = list_of(body.get("images"))
    if images and all(isinstance(image, str) and image for image in images):
        return True
    return body.get("object") == "video" and body.get("status") in (None, "completed")


def is_typed(outputs: Any) -> bool:
    """Whether outputs are pieces of one answer, each of which names its type."""
    pieces = list_of(outputs)
    return bool(pieces) and all(string_of(object_of(piece).get("type")) for piece in pieces)


def decode_tensors(body: dict[str, Any]) -> dict[str, Any]:
    """The body with Triton's tensors as texts or vectors; any other body as it is.

    For example `{"outputs": [{"name": "text_output", "datatype": "BYTES", "data": ["..."]}]}`.
    """
    tensors = [object_of(output) for output in list_of(body.get("outputs"))]
    if not tensors or not all(
        "datatype" in it and isinstance(it.get("data"), list) for it in tensors
    ):
        return body
    named = {string_of(tensor.get("name")): tensor for tensor in reversed(tensors)}
    texts = [tensor for tensor in named.values() if tensor["datatype"] == "BYTES"]
    found = next((named[name] for name in _OF_TEXT if named.get(name) in texts), None)
    found = found or (texts[-1] if texts else None)
    if found is not None:
        return {"predictions": _flat(found["data"])}
    if len(tensors) > 1:
        return body
    numbers = _flat(tensors[0]["data"])
    shape = list_of(tensors[0].get("shape"))
    width = shape[-1] if shape and isinstance(shape[-1], int) and shape[-1] > 0 else len(numbers)
    return {"embeddings": [numbers[at : at + width] for at in range(0, len(numbers), width or 1)]}


def _flat(values: list[Any]) -> list[Any]:
    """The values of nested lists, in one list."""
    while any(isinstance(value, list) for value in values):
        values = [it for value in values for it in (list_of(value) or [value])]
        values = [value for value in values if value != []]
    return values


# Embeddings: numbers, base64 of floats, or lists of them


def has_vectors(body: dict[str, Any]) -> bool:
    """Whether a body has vectors, or an empty list for them; scores and images are not vectors."""
    name = _list_in(body)
    if name is None:
        return False
    elements = _elements(body)
    if name == "predictions":  # which may be texts
        return bool(elements) and all(isinstance(it, list) or _has_place(it) for it in elements)
    return not elements or any(not isinstance(it, dict) or _has_place(it) for it in elements)


def _list_in(body: dict[str, Any]) -> str | None:
    return next((name for name in _PLACES_OF_VECTORS if name in body), None)


def _has_place(element: Any) -> bool:
    return not object_of(element).keys().isdisjoint(_PLACES)


def vectors_in(body: dict[str, Any]) -> tuple[Any, bool]:
    """The vector of a body, or its vectors; and whether any of them is not a vector."""
    vectors: list[Any] = []
    for element in _elements(body):
        fields = object_of(element)
        vector = next((fields[name] for name in _PLACES if name in fields), element)
        inner = list_of(vector)  # a text's pieces, each with its own
        if inner and all("embedding" in object_of(it) for it in inner):
            vectors.append([_vector(it["embedding"]) for it in by_index(inner)])
        else:
            vectors.append(_vector(_of_a_type(vector)))
    is_broken = not all(_is_vector(vector) for vector in vectors)
    return vectors[0] if len(vectors) == 1 else vectors or None, is_broken


def _elements(body: dict[str, Any]) -> list[Any]:
    name = _list_in(body)
    found: Any = None if name is None else body[name]
    if name in ("embedding", "embeddingsByType"):
        found = [found]
    if isinstance(found, dict):
        vectors = _of_a_type(found)
        is_several = isinstance(next(iter(list_of(vectors)), None), list | str)
        found = vectors if is_several else [cast("Any", found)]
    return by_index(found)


def _of_a_type(value: Any) -> Any:
    """The vector in an object whose field is named after the numbers' type; else the value."""
    fields = object_of(value)
    told = (fields[name] for name in _TYPES if fields.get(name) is not None)
    return next(told, value)


def _vector(value: Any) -> Any:
    """A vector as numbers, decoded if it is base64 of 32-bit floats, see `encoding_format`."""
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
    """Whether a value is a list of numbers (None for those JSON cannot hold), or of such lists."""
    if not isinstance(value, list):
        return value is None
    return all(
        element is None
        or (isinstance(element, int | float) and not isinstance(element, bool))
        or (isinstance(element, list) and _is_vector(cast("Any", element)))
        for element in cast("list[Any]", value)
    )


def has_numbers(embedding: Any) -> bool:
    """Whether there is a number in an embedding."""
    if isinstance(embedding, list):
        return any(has_numbers(element) for element in cast("list[Any]", embedding))
    return embedding is not None
