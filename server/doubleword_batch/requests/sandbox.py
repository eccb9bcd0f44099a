"""What a template may do (choose, loop and format, within limits), and which columns it names.

The template comes from an agent, and an agent may have been talked into writing it. Jinja's own
sandbox keeps a template away from Python; this one also limits what it costs: everything that makes
much out of little (loops, joins, repetition, padding) is counted or not allowed. Values are data:
they are inserted and never compiled.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from jinja2 import StrictUndefined, Undefined, nodes, pass_environment
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.filters import FILTERS, make_attrgetter
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from doubleword_batch.sources.values import as_text

_GLOBALS = ("range",)

_LOOP_STEP_COST = 100  # characters that one step of a loop counts as
_LARGEST_INT_BITS = 1024

_FILTERS = (
    "abs capitalize count d default dictsort first float groupby int items last length list lower "
    "max min reject rejectattr reverse select selectattr sort striptags sum title trim truncate "
    "unique upper urlencode wordcount"
)
_TEXT_METHODS = (
    "capitalize casefold count endswith find index isalnum isalpha isdigit islower isnumeric "
    "isspace isupper lower lstrip partition removeprefix removesuffix rfind rpartition rsplit "
    "rstrip split splitlines startswith strip swapcase title upper"
)
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS.split()),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
}
_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.Macro: "macro",
    nodes.AssignBlock: "set ... endset",
    nodes.CallBlock: "call",
    nodes.ScopedEvalContextModifier: "autoescape",
    nodes.Pow: "**",
}

_ROW = "row"  # the whole row inside a template
_COLUMNS = "columns__"  # where a rewritten `{{ any column name }}` looks its value up

_EXPRESSION = re.compile(
    r"\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}"
    r"|\{#.*?#\}"
    r"|\{\{(?P<open>[-+]?)(?P<inner>.*?)(?P<close>[-+]?)\}\}",
    re.DOTALL,
)
_SEVERAL_WORDS = re.compile(r"\s*\w[\w .:/€$%#?-]*\s*")
_KEYWORDS = frozenset({"if", "else", "and", "or", "not", "in", "is"})


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one template; it renders one row at a time.

    Args:
        budget: characters that one rendering may produce, including those of its loops.
    """

    intercepted_binops = frozenset({"+", "*", "%"})

    def __init__(self, budget: int) -> None:
        super().__init__(
            undefined=StrictUndefined, keep_trailing_newline=True, finalize=_text, cache_size=0
        )
        self._budget = budget
        self._left = budget
        self.globals = {name: self.globals[name] for name in _GLOBALS}
        self.filters: dict[str, Any] = {name: FILTERS[name] for name in _FILTERS.split()}
        self.filters |= {
            "bounded": self._bounded,
            "join": self._join,
            "replace": self._replace,
            "round": _round,
            "string": _text,
            "tojson": as_text_of_json,
        }

    def refill(self) -> None:
        """Start a new rendering with the whole budget."""
        self._left = self._budget

    def spend(self, cost: int) -> None:
        """Take the cost of some work, in characters, off the budget.

        Raises:
            SecurityError: the rendering has used up its budget.
        """
        self._left -= cost
        if self._left < 0:
            raise SecurityError("the template produces too much text from this row")

    def bind(self, tree: nodes.Template) -> nodes.Template:
        """Check what a parsed template uses, and put its loops and joins under the budget.

        Raises:
            TemplateSyntaxError: it uses what templates may not use.
        """
        for node in tree.find_all(tuple(_REFUSED)):
            name = _REFUSED[type(node)]
            raise TemplateSyntaxError(f"{name!r} is not allowed in a prompt", node.lineno)
        for loop in tree.find_all(nodes.For):
            if loop.recursive:
                raise TemplateSyntaxError("'recursive' is not allowed in a prompt", loop.lineno)
        for literal in tree.find_all((nodes.List, nodes.Tuple, nodes.Dict)):
            # [x, x] in [y, y] in ... doubles at each step and is only spelt out at the end
            if any(name.ctx == "load" for name in literal.find_all(nodes.Name)):
                raise TemplateSyntaxError("a list literal may hold constants only", literal.lineno)
        bound: nodes.Template = _Bounds().visit(tree)
        bound.set_environment(self)
        return bound

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Allow a short list of methods, none of which makes a text much larger."""
        if isinstance(obj, LoopContext):
            return super().is_safe_attribute(obj, attr, value)
        return any(isinstance(obj, kind) and attr in names for kind, names in _METHODS.items())

    def wrap_str_format(self, value: Any) -> None:
        """Leave `str.format` to `is_safe_attribute`, which refuses it: a width can fill memory."""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Let operators work on numbers only, but let `+` join texts or lists within the budget."""
        if isinstance(left, int | float) and isinstance(right, int | float):
            if any(
                isinstance(n, int) and n.bit_length() > _LARGEST_INT_BITS for n in (left, right)
            ):
                raise SecurityError("the template calculates with too large a number")
        elif operator == "+" and isinstance(left, str | list) and isinstance(right, str | list):
            self.spend(len(cast("str", left)) + len(cast("str", right)))
        else:
            raise TypeError(f"{operator!r} works on numbers; convert text with |int or |float")
        return super().call_binop(context, operator, left, right)

    def _bounded(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self.spend(_LOOP_STEP_COST)
            yield value

    @staticmethod
    @pass_environment
    def _join(
        environment: "Sandbox", values: Iterable[Any], d: str = "", attribute: str | None = None
    ) -> str:
        if attribute is not None:
            values = map(make_attrgetter(environment, attribute), values)
        texts: list[str] = []
        for value in values:
            text = _text(value)
            environment.spend(len(text) + len(d))
            texts.append(text)
        return d.join(texts)

    def _replace(self, value: Any, old: str, new: str) -> str:
        text = _text(value)
        if not old:
            raise ValueError("replace needs text to look for")
        self.spend(len(text) + text.count(old) * len(new))
        return text.replace(old, new)


def as_text_of_json(value: Any) -> str:
    """The filter `tojson`: unlike an inserted value, a text has its quotes and null is `null`."""
    return as_text([value])[1:-1]


def _round(value: float, precision: int = 0) -> float:
    return round(value, precision)  # Jinja's own raises ten to the precision for 'ceil'


def _text(value: Any) -> str:
    if isinstance(value, Undefined):
        return str(value)  # raises UndefinedError, which names what is missing
    return as_text(value)


class _Bounds(NodeTransformer):
    """Wraps what loops go over in the filter `bounded`, and turns `~` into `join`."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  # the visitor's naming
        self.generic_visit(node)
        node.iter = _filter(cast("nodes.Expr", node.iter), "bounded")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802  # the same
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "join")


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class NamesUsed(NamedTuple):
    """What a template takes from a row.

    Attributes:
        columns: names that have to be columns of the source.
        is_constant: whether it takes nothing from the row.
        takes_row: whether it takes the row as a whole.
    """

    columns: frozenset[str]
    is_constant: bool
    takes_row: bool


class PatternTemplate(NamedTuple):
    """A template without logic: a pattern for the operator `%` and the columns that fill it."""

    pattern: str
    columns: tuple[str, ...]


def with_columns_by_name(text: str, columns: frozenset[str]) -> str:
    """Rewrite `{{ any column name }}` so that it works whatever characters the name has."""

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
    used = frozenset(looked_up | names - {_ROW, _COLUMNS, *_GLOBALS})
    return NamesUsed(used, is_constant, _ROW not in columns and _takes_row(tree))


def as_pattern(tree: nodes.Template) -> PatternTemplate | None:
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
    return PatternTemplate("".join(pattern), tuple(columns))


def _takes_row(tree: nodes.Template) -> bool:
    """Whether `row` is used as a whole, not only to look up a column in it."""
    mentions = sum(node.name == _ROW for node in tree.find_all(nodes.Name))
    lookups = sum(
        _column(node) is not None and _is_name(node.node, _ROW)
        for node in tree.find_all(nodes.Getitem)
    )
    lookups += sum(
        _is_name(node.node, _ROW) and node.attr not in _METHODS[dict]
        for node in tree.find_all(nodes.Getattr)
    )
    return mentions > lookups


def _columns_looked_up(tree: nodes.Template) -> set[str]:
    """Columns looked up in the row: `row["order id"]`, `row.id`, and the rewritten names."""
    found = {_column(node) for node in tree.find_all(nodes.Getitem)}
    found |= {
        node.attr
        for node in tree.find_all(nodes.Getattr)
        if _is_name(node.node, _ROW) and node.attr not in _METHODS[dict]
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
