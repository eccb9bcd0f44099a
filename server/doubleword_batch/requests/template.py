"""A prompt with `{{ columns }}`, rendered for each row."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.requests.columns import (
    COLUMNS,
    ROW,
    check_column,
    refuse_misspelt_column,
    with_columns_by_name,
)
from doubleword_batch.sources.values import as_text

if TYPE_CHECKING:
    from jinja2 import Template as JinjaTemplate

    from doubleword_batch.requests.sandbox import Sandbox
    from doubleword_batch.requests.template_tree import Plain

MAX_CHARACTERS = 10_485_760
"""Characters of a rendered text by default; `build_request_files` takes the provider's limit."""


class Template:
    """A Jinja template over a row's columns, sandboxed and strict.

    `{{ any column name }}` works for every column as it is spelt; inside larger expressions, names
    that are no identifiers are written `row["order id"]`. Text is inserted as it is, null as
    nothing, everything else as JSON. The values are data and never compiled.

    A template without logic, which most are, is rendered by one string operation.

    Args:
        text: the template.
        columns: names that it may use.
        name: what messages call it.
        max_characters: of one rendering.

    Attributes:
        is_constant: no column is used, so every rendering is the same.

    Raises:
        InputError: code `empty_prompt`, `template_syntax` (with the line) or `unknown_column`.
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
                code="empty_prompt",
            )
        self._name = name
        self._max_characters = max_characters
        self._columns = columns
        self._plain, self._jinja, self._sandbox, used = self._compile(text)
        self.is_constant = not used & {ROW, *columns}

    def render(self, row: Mapping[str, Any]) -> str:
        """The text for one row.

        Raises:
            InputError: code `missing_value` (this row lacks a column), `template_failed`, or
                `prompt_too_large`.
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

        self._sandbox.refill()
        try:
            return self._joined(self._jinja.generate({ROW: row, **row, COLUMNS: row}))
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

    def _compile(self, text: str) -> "tuple[Plain | None, JinjaTemplate, Sandbox, set[str]]":
        from jinja2.exceptions import TemplateError

        from doubleword_batch.requests import template_tree
        from doubleword_batch.requests.sandbox import GLOBALS, Sandbox

        sandbox = Sandbox(self._max_characters)
        rewritten = with_columns_by_name(text, frozenset(self._columns))
        try:
            tree = sandbox.bind(sandbox.parse(rewritten))
            names = template_tree.names_used(tree)
            looked_up = template_tree.columns_looked_up(tree)
            compiled = sandbox.from_string(tree)
        except (TemplateError, SyntaxError, RecursionError, ValueError) as error:
            refuse_misspelt_column(rewritten, self._columns, f"The {self._name}")
            raise self._syntax(error) from None
        if ROW in self._columns:  # `row["x"]` then looks into that column's value
            looked_up = {column for column in looked_up if column in self._columns}
        used = looked_up | names - {ROW, COLUMNS, *GLOBALS}
        for column in sorted(used):
            check_column(column, self._columns, f"The {self._name}")
        return template_tree.plain(tree), compiled, sandbox, looked_up | names

    def _syntax(self, error: Exception) -> InputError:
        reason = getattr(error, "message", None) or str(error)
        line = getattr(error, "lineno", None) or 1
        return InputError(
            f"The {self._name} is not a template that can be used: line {line}, "
            f"{quote_untrusted(reason)}.",
            hint="Write {{ column }} for a value, and {% raw %}...{% endraw %} around text that "
            "holds such braces itself.",
            code="template_syntax",
            details={"line": line},
        )

    def _missing(self, reason: str) -> InputError:
        return InputError(
            f"The {self._name} uses a value that is not there: {quote_untrusted(reason)}.",
            hint="Add it to that row, or say what stands for it: "
            '{{ row["column"]|default("none") }}.',
            code="missing_value",
        )

    def _failed(self, error: Exception) -> InputError:
        return InputError(
            f"The {self._name} cannot be rendered: {quote_untrusted(str(error))}.",
            hint="Correct the template, or that row's value.",
            code="template_failed",
        )

    def _too_large(self) -> InputError:
        return InputError(
            f"The {self._name} grows beyond {self._max_characters} characters.",
            hint="Shorten that row's text, for example {{ text[:20000] }}.",
            code="prompt_too_large",
        )
