"""Questions to a parsed template: which names it uses, and whether it needs Jinja at all."""

from typing import NamedTuple

from jinja2 import nodes
from jinja2.meta import find_undeclared_variables

from doubleword_batch.requests.columns import COLUMNS, ROW

_METHODS = frozenset({"get", "items", "keys", "values"})


class Plain(NamedTuple):
    """A template without logic: a pattern for the operator `%` and the columns that fill it."""

    pattern: str
    columns: tuple[str, ...]


def names_used(tree: nodes.Template) -> set[str]:
    """Names that the template expects from outside, `row` and functions included.

    Raises:
        TemplateSyntaxError: it uses a filter or a test that does not exist.
    """
    return find_undeclared_variables(tree)


def columns_looked_up(tree: nodes.Template) -> set[str]:
    """Columns looked up in the row: `row["order id"]`, `row.id`, and the rewritten names."""
    found = {_column(node) for node in tree.find_all(nodes.Getitem)}
    found |= {
        node.attr
        for node in tree.find_all(nodes.Getattr)
        if _is_name(node.node, ROW) and node.attr not in _METHODS
    }
    return {column for column in found if column is not None}


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


def _column(node: nodes.Node) -> str | None:
    if (
        isinstance(node, nodes.Getitem)
        and (_is_name(node.node, ROW) or _is_name(node.node, COLUMNS))
        and isinstance(node.arg, nodes.Const)
        and isinstance(node.arg.value, str)
    ):
        return node.arg.value
    return None


def _is_name(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Name) and node.name == name
