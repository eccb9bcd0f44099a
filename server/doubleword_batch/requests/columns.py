"""How a template names the columns of a source, whatever those names are made of."""

import difflib
import json
import re
from collections.abc import Sequence

from doubleword_batch.errors import InputError, quote_untrusted

ROW = "row"
"""Name of the whole row inside a template."""

COLUMNS = "columns__"
"""Name under which a rewritten `{{ any column name }}` looks its value up."""

_COLUMNS_SHOWN = 30

_EXPRESSION = re.compile(
    r"\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}"
    r"|\{#.*?#\}"
    r"|\{\{(?P<open>[-+]?)(?P<inner>.*?)(?P<close>[-+]?)\}\}",
    re.DOTALL,
)
_SEVERAL_WORDS = re.compile(r"\s*\w[\w .:/€$%#?-]*\s*")
_KEYWORDS = frozenset({"if", "else", "and", "or", "not", "in", "is"})


def check_column(name: str, columns: Sequence[str], user: str) -> None:
    """Refuse a column that is not there.

    Args:
        name: the column asked for.
        columns: those there are.
        user: what asks for it, to begin the message with.

    Raises:
        InputError: code `unknown_column`; the hint lists the columns and the nearest name.
    """
    if name in columns:
        return
    shown = ", ".join(quote_untrusted(column, 60) for column in columns[:_COLUMNS_SHOWN])
    more = len(columns) - _COLUMNS_SHOWN
    hint = f"The columns are {shown}" + (f" and {more} more." if more > 0 else ".")
    for near in difflib.get_close_matches(name, columns, n=1):
        hint = f"Did you mean {quote_untrusted(near, 60)}? " + hint
    raise InputError(
        f"{user} names the column {quote_untrusted(name, 60)}, which the source does not have.",
        hint=hint,
        code="unknown_column",
    )


def with_columns_by_name(text: str, columns: frozenset[str]) -> str:
    """Rewrite `{{ any column name }}` so that it works whatever the name is made of."""

    def rewrite(found: re.Match[str]) -> str:
        inner = found["inner"]
        if inner is None or inner.strip() not in columns:
            return found[0]
        literal = json.dumps(inner.strip(), ensure_ascii=False)
        return f"{{{{{found['open']} {COLUMNS}[{literal}] {found['close']}}}}}"

    return _EXPRESSION.sub(rewrite, text)


def refuse_misspelt_column(text: str, columns: Sequence[str], user: str) -> None:
    """Tell a misspelt name of several words, which Jinja calls a syntax error, from real ones.

    Raises:
        InputError: code `unknown_column`.
    """
    for found in _EXPRESSION.finditer(text):
        inner: str = found["inner"] or ""
        words = inner.split()
        if len(words) > 1 and _SEVERAL_WORDS.fullmatch(inner) and not _KEYWORDS & set(words):
            check_column(inner.strip(), columns, user)
