"""The schemas that hosts see: small, because every agent pays for them in every session."""

from typing import Any, cast

_TYPES = {
    "job": "string",
    "status": "string",
    "complete": "boolean",
    "batch_ids": "array",
    "input_file_ids": "array",
    "ledger": "object",
    "output_path": "string",
    "lines": "array",
    "provider": "string",
    "next": "string",
}
_RELIED_ON = {
    "create_batch_file": "job",
    "upload": "job input_file_ids",
    "create_batch": "job status batch_ids input_file_ids",
    "get_status": "job status complete batch_ids",
    "fetch_results": "job status complete ledger output_path",
    "cancel": "job status batch_ids",
    "list": "lines",
    "retry_failed": "job status batch_ids",
}


def result_schema(tool: str) -> dict[str, Any]:
    """The output schema of a tool: the fields that programs rely on; others may come and go.

    None is required: hosts check errors against the same schema, and an error has none of them.
    """
    names = [*_RELIED_ON[tool].split(), "provider", "next"]
    return {
        "type": "object",
        "properties": {name: {"type": _TYPES[name]} for name in names},
    }


def argument_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A tool's input schema, made strict and without what costs tokens and says nothing.

    Titles, `anyOf [X, null]` and defaults that are null, false or 0 are dropped: an optional
    argument is simply not required.
    """
    return {**cast("dict[str, Any]", _lean(schema)), "additionalProperties": False}


def _lean(node: Any, *, names: bool = False) -> Any:
    if isinstance(node, list):
        return [_lean(element) for element in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    fields = cast("dict[str, Any]", node)
    if names:
        return {name: _lean(value) for name, value in fields.items()}
    options = fields.get("anyOf")
    if isinstance(options, list):
        real = [o for o in cast("list[Any]", options) if o != {"type": "null"}]
        rest = {name: value for name, value in fields.items() if name != "anyOf"}
        if len(real) == 1:
            return _lean({**real[0], **rest})
        fields = {**rest, "anyOf": real}
    dropped = (
        {"title", "additionalProperties"}
        if fields.get("additionalProperties") is True
        else {"title"}
    )
    return {
        name: _lean(value, names=name in {"properties", "$defs"})
        for name, value in fields.items()
        if name not in dropped and not (name == "default" and not value)
    }
