"""Columns written in the way of another template language: `{text}`, `$text`, `<text>`."""

import re
from collections.abc import Sequence

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.requests.spec import RequestSpec

_SHOWN = 10
_NAME_CHARACTERS = 60


def no_column(spec: RequestSpec, columns: Sequence[str]) -> InputError:
    """The error for a prompt that would ask the same of every row."""
    found = _marked(spec, columns) or in_braces(spec, columns)
    if found:
        written, column = found[0]
        hint = f"Write {{{{ {column} }}}} for {written}; everything else is plain text."
    else:
        shown = ", ".join(quote_untrusted(name, _NAME_CHARACTERS) for name in columns[:_SHOWN])
        more = len(columns) - _SHOWN
        hint = f"Write {{{{ column }}}} where a row's value belongs. The columns are {shown}"
        hint += f" and {more} more." if more > 0 else "."
    return InputError(
        "The prompt uses no column, so it would ask the same of every row.",
        hint=hint,
        code="invalid_template",
    )


def in_braces(spec: RequestSpec, columns: Sequence[str]) -> list[tuple[str, str]]:
    """(As written, column) of the columns that stand in single braces, which insert nothing."""
    return _found(spec, columns, r"(?<!\{{)\{{\s*{name}\s*\}}(?!\}})")


def _marked(spec: RequestSpec, columns: Sequence[str]) -> list[tuple[str, str]]:
    marks = (r"\$\{{?{name}\b\}}?", r"<{name}>", r"\[{name}\]", r"%\({name}\)s", r"%{name}%")
    return [pair for mark in marks for pair in _found(spec, columns, mark)]


def _found(spec: RequestSpec, columns: Sequence[str], pattern: str) -> list[tuple[str, str]]:
    text = f"{spec.prompt}\n{spec.system or ''}"
    pairs: list[tuple[str, str]] = []
    for column in columns:
        if len(column) > _NAME_CHARACTERS:
            continue
        found = re.search(pattern.format(name=re.escape(column)), text)
        if found is not None:
            pairs.append((found[0], column))
    return pairs
