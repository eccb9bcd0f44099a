"""A prompt with `{{ column }}`, the plain part of the package's templates."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from batchkit.cli import Exit, ScriptError, quoted
from batchkit.strict_json import as_prompt_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COLUMNS_SHOWN = 30
_LOOKS_LIKE_A_NAME = re.compile(r"\w[\w .:/€$%#?-]*")
_TAG = re.compile(r"\{\{(?P<inner>.*?)\}\}|\{\{|\{%|\{#", re.DOTALL)
_PLAIN_ONLY = (
    "This script only fills in {{ column }}; the command `doubleword-batch` also has "
    "filters, conditions and loops."
)


class Template:
    """A template over the columns of a table.

    Args:
        text: text with `{{ column }}`, every column as it is spelt.
        columns: the names that it may use.
        name: its name in messages.

    Attributes:
        used: the columns that it uses.
        is_constant: no column is used, so every rendering is the same.
    """

    def __init__(self, text: str, columns: Sequence[str], name: str = "prompt") -> None:
        if not text.strip():
            raise ScriptError(Exit.INPUT, f"The {name} is empty.", "Write what to ask of each row.")
        self._name = name
        self._pattern, self.used = _compiled(re.sub("\r\n?", "\n", text), columns, name)
        self.is_constant = not self.used

    def render(self, row: Mapping[str, Any], number: int) -> str:
        """The text for one row: text unchanged, null as nothing, everything else as JSON."""
        try:
            return self._pattern % tuple(as_prompt_text(row[column]) for column in self.used)
        except KeyError as error:
            raise ScriptError(
                Exit.INPUT,
                f"Row {number} has no {quoted(str(error.args[0]), 60)}, which the {self._name} "
                "uses.",
                "Add it to that row; null stands for nothing.",
            ) from None


def check_column(name: str, columns: Sequence[str], user: str) -> None:
    """Refuse a column that does not exist, and name those that do."""
    if name in columns:
        return
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f"Did you mean {quoted(near[0], 60)}? " if near else ""
    shown = ", ".join(quoted(column, 60) for column in columns[:_COLUMNS_SHOWN])
    raise ScriptError(
        Exit.INPUT,
        f"{user} names the column {quoted(name, 60)}, which the table does not have.",
        f"{hint}The columns are {shown}.",
    )


def _compiled(text: str, columns: Sequence[str], name: str) -> tuple[str, tuple[str, ...]]:
    """The template as a pattern for the operator `%`, and the columns that fill it."""
    pattern: list[str] = []
    used: list[str] = []
    at = 0
    for tag in _TAG.finditer(text):
        pattern += (text[at : tag.start()].replace("%", "%%"), "%s")
        used.append(_column(tag, columns, name))
        at = tag.end()
    pattern.append(text[at:].replace("%", "%%"))
    return "".join(pattern), tuple(used)


def _column(tag: re.Match[str], columns: Sequence[str], name: str) -> str:
    inner = (tag["inner"] or "").strip()
    if inner in columns and inner[0] not in "-+" and inner[-1] not in "-+":
        return inner
    if _LOOKS_LIKE_A_NAME.fullmatch(inner):
        check_column(inner, columns, f"The {name}")
    raise ScriptError(
        Exit.INPUT, f"The {name} holds {quoted(tag[0], 60)}, which is not a column.", _PLAIN_ONLY
    )
