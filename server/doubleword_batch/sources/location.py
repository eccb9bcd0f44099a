"""What a caller names as a source: a path, and behind it perhaps a table, a sheet or a query."""

from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots

_SCHEME = "sqlite:"


class Location(NamedTuple):
    """Where to look, and what of it: a table's or sheet's name, a SELECT, or None for all."""

    path: str
    selection: str | None


def parse_location(text: str, roots: Roots) -> Location:
    """Take `shop.db::orders`, `shop.db::SELECT ...`, `book.xlsx::Sheet1`, `sqlite:shop.db?table=t`.

    Raises:
        InputError: code `bad_location`.
    """
    if text.startswith(_SCHEME):
        path, _, query = text.removeprefix(_SCHEME).partition("?")
        asked = parse_qs(query, keep_blank_values=True)
        if set(asked) - {"table"} or len(asked.get("table", [])) > 1:
            raise InputError(
                "A location that begins with sqlite: takes one option, table.",
                hint="Write sqlite:shop.db?table=orders, or shop.db::SELECT ... for a query.",
                code="bad_location",
            )
        return Location(unquote(path), asked["table"][0] if asked else None)
    path, mark, selection = text.partition("::")
    if not mark or _exists(text, roots):
        return Location(text, None)
    return Location(path, selection)


def _exists(text: str, roots: Roots) -> bool:
    try:
        roots.readable(text)
    except InputError as error:
        return error.code not in {"file_not_found", "outside_roots"}
    return True
