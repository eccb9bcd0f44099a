"""JSON Schema in the child process: is it valid, and which answers follow it."""

import json
import re
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import jsonschema_rs

_PATTERN_BYTES = 4 << 20  # of a compiled pattern
_ERRORS_LOOKED_AT = 20
_FRAME_SECONDS = 0.1

_validators: list[jsonschema_rs.Validator] = []


def handle(request: dict[str, Any]) -> Iterator[Any]:
    """Answer one request, see `schema.py`."""
    if request["do"] == "open":
        yield _open(request["schema"])
        return
    (validator,) = _validators
    found: list[str | None] = []
    sent = time.monotonic()
    for text in request["answers"]:
        found.append(_checked(validator, text))
        if time.monotonic() - sent > _FRAME_SECONDS:
            yield {"wrong": found}
            found, sent = [], time.monotonic()
    yield {"wrong": found}


def _checked(validator: jsonschema_rs.Validator, text: str) -> str | None:
    try:
        value = json.loads(text)
        wrong = None if validator.is_valid(value) else _wrong(validator, value)
    except RecursionError:
        wrong = "the answer is nested too deeply to be checked"
    except MemoryError:
        wrong = "the answer is too large to be checked"
    except Exception as error:  # noqa: BLE001  # any error of the checker is this answer's problem
        wrong = f"the answer cannot be checked: {error}"
    return wrong and wrong[:300]


def _open(text: str) -> dict[str, Any]:
    try:
        validator = jsonschema_rs.Draft202012Validator(
            json.loads(text),
            validate_formats=False,
            offline=True,  # never follows a reference to a host or a file
            pattern_options=jsonschema_rs.FancyRegexOptions(size_limit=_PATTERN_BYTES),
        )
    except jsonschema_rs.ValidationError as error:
        return {"invalid": [_place(error.instance_path), _reason(error.message)]}
    except (ValueError, RecursionError, MemoryError) as error:
        return {"invalid": ["$", str(error)[:500] or "it is too large"]}
    _validators[:] = [validator]
    return {"invalid": None}


def _wrong(validator: jsonschema_rs.Validator, value: Any) -> str:
    """What is wrong with an answer, at the place nearest to its top."""
    errors = islice(validator.iter_errors(value), _ERRORS_LOOKED_AT)
    error = min(errors, key=lambda error: len(error.instance_path))
    where = "/".join(map(str, error.instance_path)) or "the answer"
    return f"{where} breaks '{error.kind.name}' of the schema"


def _reason(words: str) -> str:
    """The checker's message, reworded if it is about following a reference."""
    if found := re.match(r"Resource '(.{1,200}?)' is not present", words):
        return f"its $ref leads to {found[1]}, and references outside the schema are not followed"
    if found := re.match(r"(?:Pointer|Anchor) '(.{1,200}?)' does not exist", words):
        return f"its $ref leads to {found[1]}, which is not in the schema"
    return words[:500]


def _place(path: list[str | int]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
