"""Answers in lists with other names than `choices`, in tensors, and bodies that are the answer."""

from __future__ import annotations

from typing import Any

from batchkit.json_values import first_value, list_of, object_of, string_of

_LISTS = ("results", "generations", "predictions", "outputs", "completions", "responses")
_TEXTS = ("text", "generated_text", "outputText", "content", "completion")
_RESULT_LISTS = ("results", "data", "pages", "predictions", "classifications")
_RESULTS = (
    "score", "relevance_score", "label", "probs", "flagged", "category_scores", "b64_json",
    "url", "markdown", "bytesBase64Encoded", "prediction",
)  # fmt: skip
_OF_TEXT = ("text_output", "generated_text", "output_text", "output", "text")


def listed_choices(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Texts as Titan, watsonx, Cohere or Mistral list them, each as a choice of chat.

    Such as `{"results": [{"generated_text": "..."}]}`; Jurassic has each inside a `data`.
    """
    if is_bare_answer(body):
        return []
    for name in _LISTS:
        whole = list_of(body.get(name))
        parts = [object_of(element) for element in whole]
        parts = [object_of(part.get("data")) | part for part in parts]
        texts = [first_value(part, _TEXTS) or value for part, value in zip(parts, whole)]
        if texts and all(isinstance(text, str) for text in texts):
            pairs = zip(parts, texts)
            return [part | {"message": text} for part, text in pairs]
    return []


def is_bare_answer(body: dict[str, Any]) -> bool:
    """Whether the body itself is the answer: scores, labels, images, pages, a moderation, a video.

    A video that is still being made is not an answer yet.
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
    """Whether outputs are typed pieces of a single answer."""
    pieces = list_of(outputs)
    return bool(pieces) and all(string_of(object_of(piece).get("type")) for piece in pieces)


def decode_tensors(body: dict[str, Any]) -> dict[str, Any]:
    """The body with Triton's tensors turned into texts or vectors; any other body unchanged.

    Such as `{"outputs": [{"name": "text_output", "datatype": "BYTES", "data": ["..."]}]}`.
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
    """The values in nested lists, at any depth."""
    while any(isinstance(value, list) for value in values):
        values = [it for value in values for it in (list_of(value) or [value])]
        values = [value for value in values if value != []]
    return values
