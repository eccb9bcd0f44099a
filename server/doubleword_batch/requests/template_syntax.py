"""What a template names: columns of any spelling, functions, and whether it needs Jinja at all."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import nodes
from jinja2.meta import find_undeclared_variables

from doubleword_batch.requests.sandbox import GLOBALS

_ROW = "row"  # the whole row inside a template
_COLUMNS = "columns__"  # where a rewritten `{{ any column name }}` looks its value up

_METHODS = frozenset({"get", "items", "keys", "values"})
_EXPRESSION = re.compile(
    r"\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}"
    r"|\{#.*?#\}"
    r"|\{\{(?P<open>[-+]?)(?P<inner>.*?)(?P<close>[-+]?)\}\}",
    re.DOTALL,
)
_SEVERAL_WORDS = re.compile(r"\s*\w[\w .:/€$%#?-]*\s*")
_KEYWORDS = frozenset({"if", "else", "and", "or", "not", "in", "is"})


class NamesUsed(NamedTuple):
    """What a template takes from a row.

    Attributes:
        columns: names that have to be columns of the source.
        is_constant: it takes nothing from the row.
        takes_row: it takes the row as a whole.
    """

    columns: frozenset[str]
    is_constant: bool
    takes_row: bool


class Plain(NamedTuple):
    """A template without logic: a pattern for the operator `%` and the columns that fill it."""

    pattern: str
    columns: tuple[str, ...]


def with_columns_by_name(text: str, columns: frozenset[str]) -> str:
    """Rewrite `{{ any column name }}` so that it works whatever the name is made of."""

    def rewrite(found: re.Match[str]) -> str:
        inner = found["inner"]
        if inner is None or inner.strip() not in columns:
            return found[0]
        literal = json.dumps(inner.strip(), ensure_ascii=False)
        return f"{{{{{found['open']} {_COLUMNS}[{literal}] {found['close']}}}}}"

    return _EXPRESSION.sub(rewrite, text)


def names_of_several_words(text: str) -> Iterator[str]:
    """Names such as `{{ order id }}` that are left in a rewritten template."""
    for found in _EXPRESSION.finditer(text):
        inner: str = found["inner"] or ""
        words = inner.split()
        if len(words) > 1 and _SEVERAL_WORDS.fullmatch(inner) and not _KEYWORDS & set(words):
            yield inner.strip()


def variables(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a rewritten template is rendered with."""
    return {_ROW: row, **row, _COLUMNS: row}


def names_used(tree: nodes.Template, columns: Sequence[str]) -> NamesUsed:
    """The names that a rewritten template takes from a row with these columns.

    Raises:
        TemplateSyntaxError: it uses a filter or a test that does not exist.
    """
    names = find_undeclared_variables(tree)
    looked_up = _columns_looked_up(tree)
    is_constant = not (looked_up | names) & {_ROW, *columns}
    if _ROW in columns:  # `row["x"]` then looks into that column's value
        looked_up &= set(columns)
    used = frozenset(looked_up | names - {_ROW, _COLUMNS, *GLOBALS})
    return NamesUsed(used, is_constant, _ROW not in columns and _takes_row(tree))


def plain(tree: nodes.Template) -> Plain | None:
    """The template as a pattern, or None if it needs Jinja."""
    pattern: list[str] = []
    columns: list[str] = []
    for statement in tree.body:
        if not isinstance(statement, nodes.Output):
            return None
        for node in statement.nodes:
            if isinstance(node, nodes.TemplateData):
                pattern.append(node.data.replace("%", "%%"))
            elif (column := _column(node)) is not None:
                pattern.append("%s")
                columns.append(column)
            else:
                return None
    return Plain("".join(pattern), tuple(columns))


def _takes_row(tree: nodes.Template) -> bool:
    """Whether `row` stands there for itself and not only for a column of it."""
    mentions = sum(node.name == _ROW for node in tree.find_all(nodes.Name))
    lookups = sum(
        _column(node) is not None and _is_name(node.node, _ROW)
        for node in tree.find_all(nodes.Getitem)
    )
    lookups += sum(
        _is_name(node.node, _ROW) and node.attr not in _METHODS
        for node in tree.find_all(nodes.Getattr)
    )
    return mentions > lookups


def _columns_looked_up(tree: nodes.Template) -> set[str]:
    """Columns looked up in the row: `row["order id"]`, `row.id`, and the rewritten names."""
    found = {_column(node) for node in tree.find_all(nodes.Getitem)}
    found |= {
        node.attr
        for node in tree.find_all(nodes.Getattr)
        if _is_name(node.node, _ROW) and node.attr not in _METHODS
    }
    return {column for column in found if column is not None}


def _column(node: nodes.Node) -> str | None:
    if (
        isinstance(node, nodes.Getitem)
        and (_is_name(node.node, _ROW) or _is_name(node.node, _COLUMNS))
        and isinstance(node.arg, nodes.Const)
        and isinstance(node.arg.value, str)
    ):
        return node.arg.value
    return None


def _is_name(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Name) and node.name == name
