"""Names of columns as a header line gives them."""

from collections.abc import Sequence
from pathlib import Path

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.sources.base import shown


def checked_header(header: Sequence[str], path: Path) -> tuple[str, ...]:
    """The names without the spaces around them.

    Raises:
        InputError: code `empty_header` or `duplicate_header`.
    """
    names = [name.strip() for name in header]
    seen: dict[str, int] = {}
    for position, name in enumerate(names, 1):
        if not name:
            raise InputError(
                f"Column {position} of {shown(path)} has no name in the header line.",
                hint="Name every column in the first line, or delete the empty column.",
                code="empty_header",
                details={"column": position},
            )
        if (first := seen.setdefault(name, position)) != position:
            raise InputError(
                f"Two columns of {shown(path)} are called {quote_untrusted(name, 60)}.",
                hint="Rename one of them in the first line.",
                code="duplicate_header",
                details={"columns": [first, position]},
            )
    return tuple(names)
