"""The name of a row on its way to the provider and back."""

import re
import unicodedata

MAX_BYTES = 64
"""Bytes of a custom_id that every known provider takes."""

ROW_PREFIX = "r"
"""What stands before the row's number; without a label, that is all of a custom_id."""

_NOT_IN_A_SLUG = re.compile(r"[^A-Za-z0-9._]+")
_OURS = re.compile(ROW_PREFIX + r"([1-9][0-9]{0,17})(?:-[A-Za-z0-9._-]+)?")


def custom_id_for(row: int, label: str | None, max_bytes: int = MAX_BYTES) -> str:
    """The custom_id of a row: `r17`, or `r17-order-4711` with the label's printable letters.

    Args:
        row: number from 1; it alone makes the id unique.
        label: value of the id column, to be recognised by people.
        max_bytes: length of the whole; the label is cut to fit.
    """
    number = f"{ROW_PREFIX}{row}"
    if not label:
        return number
    plain = label[: 4 * max_bytes]
    if not plain.isascii():
        plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    slug = _NOT_IN_A_SLUG.sub("-", plain).strip("-")
    slug = slug[: max(max_bytes - len(number) - 1, 0)].rstrip("-")
    return f"{number}-{slug}" if slug else number


def row_of(custom_id: str) -> int | None:
    """The row number in a custom_id that `custom_id_for` made, None in any other."""
    found = _OURS.fullmatch(custom_id)
    return int(found[1]) if found else None
