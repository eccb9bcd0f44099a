"""A prompt with `{{ columns }}`, rendered for each row.

Columns written as in other template languages (`{text}`, `$text`, `<text>`) are not inserted;
there are messages that say so.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.sources.values import as_text

if TYPE_CHECKING:
    from jinja2 import Template as JinjaTemplate

    from doubleword_batch.requests.sandbox import PatternTemplate, Sandbox

_CONDITION = re.compile(r"\{%|\{\{[^}]*(?:\||\bif\b|\bor\b)")
_NAME_CHARACTERS = 200
_COLUMNS_SHOWN = 30

MAX_CHARACTERS = 10_485_760
"""Characters of a rendered text by default; `build_request_files` takes the provider's limit."""
_NAMES_SHOWN = 10
_SHOWN_LENGTH = 60


_CORRECT = "Correct the template, or that row's value."
_CONVERT = "The cells of a CSV are text: convert them with |int or |float."


class Template:
    """A Jinja template over a row's columns, sandboxed and strict.

    `{{ any column name }}` works for every column, exactly as it is spelled; in larger expressions,
    names that are not identifiers are written `row["order id"]`. Text is inserted as it is, null as
    an empty text, everything else as JSON. The values are data and never compiled.

    A template without logic, which most are, is rendered by one string operation.

    Args:
        text: the template.
        columns: names that it may use.
        name: what messages call it.
        max_characters: the most that one rendering may have.

    Attributes:
        is_constant: no column is used, so every rendering is the same.
        columns: the columns that it uses; all of them if it uses the row as a whole.
        inserted: the columns that it inserts whatever they hold; empty if it uses the row as a
            whole, or has conditions, which may take care of blanks.

    Raises:
        InputError: code `invalid_template` (with the line) or `unknown_column`.
    """

    def __init__(
        self,
        text: str,
        columns: Sequence[str],
        *,
        name: str = "prompt",
        max_characters: int = MAX_CHARACTERS,
    ) -> None:
        if not text.strip():
            raise InputError(
                f"The {name} is empty.",
                hint="Write what to ask, with {{ column }} where a row's value belongs.",
                code="invalid_template",
            )
        self._name = name
        self._max_characters = max_characters
        self._columns = columns
        self.inserted: frozenset[str] = frozenset()
        self._plain, self._jinja, self._sandbox, self.is_constant, self.columns = self._compile(
            text
        )

    def render(self, row: Mapping[str, Any]) -> str:
        """The text for one row.

        Raises:
            InputError: code `missing_value` (this row lacks a column), `invalid_template`, or
                `request_too_large`.
        """
        if self._plain is None:
            return self._render_logic(row)
        pattern, columns = self._plain
        try:
            values = [as_text(row[column]) for column in columns]
        except KeyError as error:
            raise self._missing(str(error.args[0])) from None
        except (TypeError, ValueError) as error:
            raise self._failed(error) from None
        if sum(map(len, values)) + len(pattern) > self._max_characters:
            raise self._too_large()
        return pattern % tuple(values)

    def _render_logic(self, row: Mapping[str, Any]) -> str:
        from jinja2.exceptions import UndefinedError

        from doubleword_batch.requests.sandbox import variables

        self._sandbox.refill()
        try:
            return self._joined(self._jinja.generate(variables(row)))
        except InputError:
            raise
        except UndefinedError as error:
            raise self._missing(str(error)) from None
        except Exception as error:  # noqa: BLE001  # a template can raise what its expressions raise
            raise self._failed(error) from None

    def _joined(self, parts: Iterator[str]) -> str:
        kept: list[str] = []
        left = self._max_characters
        for part in parts:
            kept.append(part)
            left -= len(part)
            if left < 0:
                raise self._too_large()
        return "".join(kept)

    def _compile(
        self, text: str
    ) -> "tuple[PatternTemplate | None, JinjaTemplate, Sandbox, bool, frozenset[str]]":
        """The pattern (None if there is logic), the compiled template, and what it takes."""
        from jinja2.exceptions import TemplateError

        from doubleword_batch.requests import sandbox as syntax

        sandbox = syntax.Sandbox(self._max_characters)
        rewritten = syntax.with_columns_by_name(text, frozenset(self._columns))
        user = f"The {self._name}"
        try:
            tree = sandbox.bind(sandbox.parse(rewritten))
            used = syntax.names_used(tree, self._columns)
            compiled = sandbox.from_string(tree)
        except (TemplateError, SyntaxError, RecursionError, ValueError) as error:
            # To Jinja, a misspelled name of several words is a syntax error.
            for name in syntax.names_of_several_words(rewritten):
                check_column(name, self._columns, user)
            raise self._syntax(error) from None
        for column in sorted(used.columns):
            check_column(column, self._columns, user, _behind(column, text))
        columns = frozenset(self._columns) if used.takes_row else used.columns
        if not used.takes_row and not _CONDITION.search(text):
            self.inserted = columns
        return syntax.as_pattern(tree), compiled, sandbox, used.is_constant, columns

    def _syntax(self, error: Exception) -> InputError:
        reason = getattr(error, "message", None) or str(error)
        line = getattr(error, "lineno", None) or 1
        return InputError(
            f"The {self._name} is not a valid template: line {line}, {quote_untrusted(reason)}.",
            hint="Write {{ column }} for a value, and {% raw %}...{% endraw %} around text that "
            "contains such braces itself.",
            code="invalid_template",
            details={"line": line},
        )

    def _missing(self, reason: str) -> InputError:
        return InputError(
            f"The {self._name} uses a value that is missing: {quote_untrusted(reason)}.",
            hint='Add it to that row, or give a default: {{ row["column"]|default("none") }}.',
            code="missing_value",
        )

    def _failed(self, error: Exception) -> InputError:
        return InputError(
            f"The {self._name} cannot be rendered: {quote_untrusted(str(error))}.",
            hint=_CONVERT if "not supported between" in str(error) else _CORRECT,
            code="invalid_template",
        )

    def _too_large(self) -> InputError:
        return InputError(
            f"The {self._name} grows beyond {self._max_characters} characters.",
            hint="Shorten that row's text, for example {{ text[:20000] }}.",
            code="request_too_large",
        )


def _behind(name: str, text: str) -> str | None:
    """The name looked up in another: for `data`, it is `text` in `data.text` and `data["text"]`."""
    found = re.search(rf"\b{re.escape(name)}\s*(?:\.\s*(\w+)|\[\s*[\"']([^\"']+))", text)
    return found and (found[1] or found[2])


def check_column(name: str, columns: Sequence[str], user: str, behind: str | None = None) -> None:
    """Reject the name of a column that does not exist.

    Args:
        name: the column's name.
        columns: the columns of the source.
        user: what uses the column, such as "The prompt"; the message begins with it.
        behind: the name looked up in it, such as `text` in `data.text`, which may be the column.

    Raises:
        InputError: code `unknown_column`; the hint lists the columns and the nearest name.
    """
    if name in columns:
        return
    hint = _listed(columns, _COLUMNS_SHOWN)
    same = [behind] if behind is not None and behind in columns else []
    same = same or [column for column in columns if column.casefold() == name.casefold()]
    for near in same[:1] or difflib.get_close_matches(name, columns, n=1):
        hint = f"Did you mean {quote_untrusted(near, 60)}? " + hint
    raise InputError(
        f"{user} names the column {quote_untrusted(name, 60)}, which the source does not have.",
        hint=hint,
        code="unknown_column",
        details={"column": name[:_NAME_CHARACTERS]},
    )


def _listed(columns: Sequence[str], most: int) -> str:
    shown = ", ".join(quote_untrusted(column, _SHOWN_LENGTH) for column in columns[:most])
    more = len(columns) - most
    return f"The columns are {shown}" + (f" and {more} more." if more > 0 else ".")


def constant_prompt_error(text: str, columns: Sequence[str]) -> InputError:
    """The error for a prompt that would ask the same of every row."""
    found = _marked(text, columns) or single_brace_columns(text, columns)
    if found:
        written, column = found[0]
        hint = f"Write {{{{ {column} }}}} for {written}; everything else is plain text."
    else:
        hint = "Write {{ column }} where a row's value belongs. " + _listed(columns, _NAMES_SHOWN)
    return InputError(
        "The prompt uses no column, so it would ask the same of every row.",
        hint=hint,
        code="invalid_template",
    )


def single_brace_columns(text: str, columns: Sequence[str]) -> list[tuple[str, str]]:
    """(as written, column) of each column in single braces, which do not insert it."""
    return _found(text, columns, r"(?<!\{{)\{{\s*{name}\s*\}}(?!\}})")


def _marked(text: str, columns: Sequence[str]) -> list[tuple[str, str]]:
    marks = (r"\$\{{?{name}\b\}}?", r"<{name}>", r"\[{name}\]", r"%\({name}\)s", r"%{name}%")
    return [pair for mark in marks for pair in _found(text, columns, mark)]


def _found(text: str, columns: Sequence[str], pattern: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for column in columns:
        if len(column) > _SHOWN_LENGTH:
            continue
        found = re.search(pattern.format(name=re.escape(column)), text)
        if found is not None:
            pairs.append((found[0], column))
    return pairs
