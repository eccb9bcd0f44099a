"""The columns for what requests may ask for, and pay for, besides the text of one answer."""

from collections.abc import Iterable, Mapping
from typing import Any

from doubleword_batch.jobs.sync.json_values import list_of, object_of

EXTRA_COLUMNS = ("answers", "logprobs", "audio")
"""The columns: all answers of `n` above 1, logprobs, speech."""

_MOST_ARGUMENTS = 100
_LOGPROBS_OF_RESPONSES = "message.output_text.logprobs"


def extra_columns(params: Mapping[str, Any]) -> dict[str, bool]:
    """Whether a request's parameters give the table each of these columns."""
    choices = params.get("n") or params.get("candidateCount")
    several = isinstance(choices, int | float) and choices > 1
    logprobs = params.get("logprobs"), params.get("top_logprobs")
    # The legacy completions take a number, and 0 asks for them, too.
    has_logprobs = any(value is not None and value is not False for value in logprobs)
    return {
        "answers": several,
        "logprobs": has_logprobs or _LOGPROBS_OF_RESPONSES in list_of(params.get("include")),
        "audio": bool(params.get("audio")) or "audio" in list_of(params.get("modalities")),
    }


def tool_argument_schemas(params: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the tools that a job offers, with the JSON Schema of each, in their order.

    An argument that several tools have is listed once, as the first tool describes it.
    """
    found: dict[str, Any] = {}
    for tool in map(object_of, list_of(params.get("tools"))):
        function = object_of(tool.get("function")) or tool  # responses have its fields at the top
        described = object_of(function.get("parameters")) or object_of(function.get("input_schema"))
        for name, schema in object_of(described.get("properties")).items():
            found.setdefault(name, schema)
    return dict(list(found.items())[:_MOST_ARGUMENTS])


def spec_from_bodies(bodies: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The spec of a job whose requests were made elsewhere: only what its table needs."""
    params: dict[str, Any] = {}
    for body in bodies:
        wanted = extra_columns(body)
        if wanted["answers"]:
            params["n"] = 2
        if wanted["logprobs"]:
            params["logprobs"] = True
        if wanted["audio"]:
            params["modalities"] = ["audio"]
    return {"params": params} if params else {}
