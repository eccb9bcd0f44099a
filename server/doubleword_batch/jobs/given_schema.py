"""The schema of a job's answers, in the forms in which people and agents give it."""

import json
from pathlib import Path
from typing import Any, cast

from doubleword_batch.errors import InputError
from doubleword_batch.held_files import not_readable
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.open_files import open_regular
from doubleword_batch.saved_text import MARK, decode_saved

_LARGEST_SCHEMA_BYTES = 1 << 20


def given_schema(ws: Workspace, given: dict[str, Any] | str | None) -> dict[str, Any] | None:
    """The JSON Schema that was given as an object, as its text, or as the path of a file.

    Raises:
        InputError: code `invalid_schema`, or `not_readable`.
    """
    if given is None or isinstance(given, dict):
        return given
    text = given.removeprefix(MARK)
    if not text.lstrip().startswith("{"):
        text = _schema_file(ws.roots.readable_file(given))
    try:
        schema = json.loads(text)
    except ValueError as error:
        is_python = text.lstrip()[1:].lstrip().startswith("'")
        raise InputError(
            f"response_schema is not JSON: {error}.",
            hint="JSON has double quotes, and true, false and null."
            if is_python
            else "Give a JSON Schema object, its text, or the path of a file that holds one.",
            code="invalid_schema",
        ) from None
    if not isinstance(schema, dict):
        raise InputError(
            "response_schema is not an object.", hint="Give a JSON Schema.", code="invalid_schema"
        )
    return cast("dict[str, Any]", schema)


def _schema_file(path: Path) -> str:
    try:
        with open_regular(path) as file:
            content = file.read(_LARGEST_SCHEMA_BYTES + 1)
    except OSError as error:
        raise not_readable(str(path), error, "Check the file and its permissions.") from None
    if len(content) > _LARGEST_SCHEMA_BYTES:
        raise InputError(f"{path} is too large for a JSON Schema.", code="invalid_schema")
    try:
        return decode_saved(content)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text: {error}.", hint="Save it as UTF-8.", code="invalid_schema"
        ) from None
