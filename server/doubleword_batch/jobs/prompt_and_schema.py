"""Reads a build request's prompt and response schema, in the forms in which people give them."""

import json
import re
from pathlib import Path
from typing import Any, cast

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.loose_json import (
    DEEPEST_HINT,
    decode_or_none,
    is_too_deep,
    is_value_too_deep,
)
from doubleword_batch.open_files import not_readable, open_regular
from doubleword_batch.paths import Roots
from doubleword_batch.saved_text import MARK, decode_saved

_LONGEST_PATH = 500
_LARGEST_PROMPT_BYTES = 10 << 20
_LARGEST_SCHEMA_BYTES = 1 << 20
_NO_PATH = re.compile(r"[(){}<>\[\]]|: ")
_TEMPLATE_FILE = re.compile(r"\.(txt|md|markdown|j2|jinja2?|prompt|tmpl|tpl)", re.IGNORECASE)


def read_prompt(given: str, roots: Roots) -> tuple[str, Path | None]:
    """The text of a prompt, and the file it was read from, if any.

    `@FILE` is read, and so is the bare path of a text file; `@@` stands for a leading `@`. A text
    with braces or several lines is the prompt itself.

    Raises:
        InputError: it names a file that is not there, may not be read, or is not UTF-8.
    """
    if isinstance(cast("object", given), str):
        given = given.removeprefix(MARK)  # as some shells pass on
    if messages_in(given) is not None:
        raise InputError(
            "The prompt is a list of messages, and would be sent as plain text.",
            hint="Give the user's message as the prompt, and the system message as system.",
            code="invalid_template",
        )
    if not isinstance(cast("object", given), str):
        raise InputError(
            "The prompt must be a text.",
            hint="Write {{ column }} where a row's value belongs. For a prompt in a file, give "
            "@FILE.",
            code="invalid_template",
        )
    if given.startswith("@@"):
        return given[1:], None
    if not _is_path(given.strip()):
        return given, None
    path = roots.readable_file(given.strip().removeprefix("@"))
    return _text_in(path, _LARGEST_PROMPT_BYTES, "prompt", "not_readable").removesuffix("\n"), path


def messages_in(given: Any) -> list[dict[str, Any]] | None:
    """The messages in a prompt that is a list of messages, a message, or their JSON; else None."""
    value = given
    if isinstance(given, str) and given.lstrip().startswith(("[", "{")) and '"role"' in given:
        value = decode_or_none(given)
    listed: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    messages = [cast("dict[str, Any]", item) for item in listed if isinstance(item, dict)]
    are_messages = all({"role", "content"} <= message.keys() for message in messages)
    return messages if messages and len(messages) == len(listed) and are_messages else None


def _is_path(text: str) -> bool:
    if len(text) > _LONGEST_PATH or not text.isprintable() or "{" in text:
        return False
    has_suffix = _TEMPLATE_FILE.fullmatch(Path(text).suffix) is not None
    is_one_word = " " not in text
    if text.startswith("@"):
        return len(text) > 1 and (is_one_word or has_suffix)
    return is_one_word and has_suffix


def _text_in(path: Path, most_bytes: int, what: str, code: str) -> str:
    """The text of a file, in whatever form an editor has saved it."""
    try:
        with open_regular(path) as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise not_readable(str(path), error, "Check the file and its permissions.") from None
    if len(content) > most_bytes:
        why, hint = "is too large", f"At most {most_bytes:,} bytes are read."
    else:
        try:
            return decode_saved(content)
        except UnicodeDecodeError as error:
            why, hint = f"is not UTF-8 text: {error}", "Save it as UTF-8."
    named = quote_untrusted(path.name)
    raise InputError(f"The {what}'s file {named} {why}.", hint=hint, code=code)


def read_schema(ws: Workspace, given: dict[str, Any] | str | None) -> dict[str, Any] | None:
    """The JSON Schema, given as an object, as JSON text, or as the path of a file.

    Raises:
        InputError: code `invalid_schema`, or `not_readable`.
    """
    if given is None:
        return None
    if isinstance(given, dict):
        if is_value_too_deep(given):
            raise _nested_too_deeply()
        return given
    text = given.removeprefix(MARK)
    if not text.lstrip().startswith("{"):
        path = _schema_path(ws, text)
        text = _text_in(path, _LARGEST_SCHEMA_BYTES, "schema", "invalid_schema")
    if is_too_deep(text.encode("utf-8", "surrogatepass")):
        raise _nested_too_deeply()
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


def _nested_too_deeply() -> InputError:
    return InputError(
        "response_schema is nested too deeply.", hint=DEEPEST_HINT, code="invalid_schema"
    )


def _schema_path(ws: Workspace, text: str) -> Path:
    try:
        if text.isprintable() and _NO_PATH.search(text) is None:
            return ws.roots.readable_file(text.removeprefix("@"))
    except InputError as error:
        if error.code != "file_not_found" or "." in text:
            raise
    raise InputError(
        f"response_schema is neither JSON nor the path of a file: {quote_untrusted(text)}.",
        hint="Give the JSON Schema of an object, such as "
        '{"type": "object", "properties": {"label": {"type": "string"}}}; in a program, '
        "pydantic's model_json_schema() makes one.",
        code="invalid_schema",
    )
