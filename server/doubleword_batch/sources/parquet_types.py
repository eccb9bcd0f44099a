"""How each type in a Parquet file becomes a row's value: first in SQL, then in Python."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from doubleword_batch.sources.arrow_metadata import Field
from doubleword_batch.sources.base import quoted_identifier
from doubleword_batch.sources.column_readers import (
    Read,
    extension_reader,
    list_reader,
    map_reader,
    struct_reader,
)
from doubleword_batch.sources.values import elapsed_number, shortest_decimal, without_nan

_INTEGERS = frozenset({"tinyint", "smallint", "integer", "bigint"})
_AS_THEY_ARE = (
    _INTEGERS | {f"u{name}" for name in _INTEGERS} | {"boolean", "varchar", "blob", "double"}
)
_SMALL = _INTEGERS | {f"u{name}" for name in _INTEGERS} | {"boolean", "float", "double", "date"}
_BYTES_OF_SMALL = 16  # what an element of a Python list takes, at least
_WITH_TIME_ZONE = frozenset(
    {"timestamp with time zone", "timestamptz_ns", "timestamp_tz", "time with time zone"}
)
_ENDS = {
    "infinity": "2262-04-11 23:47:16.854775807",
    "-infinity": "1677-09-21 00:12:43.145224193",
}


_NO_WHOLE_PART = re.compile(r"^(-?)\.")
_LONG_DECIMAL = re.compile(r"Decimal.*precision=(?:39|[4-9]\d|\d{3})")


class SchemaNode(NamedTuple):
    """An element of a file's own schema: its name, its logical type, and its children."""

    name: str
    logical: str
    children: "tuple[SchemaNode, ...]"

    @property
    def has_long_decimals(self) -> bool:
        """Whether it has decimals of more than 38 digits, for which DuckDB has no type."""
        inside = any(child.has_long_decimals for child in self.children)
        return inside or _LONG_DECIMAL.match(self.logical) is not None


class ColumnReader(NamedTuple):
    """How a column's values are read.

    Attributes:
        casts: the types to which SQL casts a value, one after the other; None: no cast.
        read: makes the row's value from it; None: it stays as it is.
    """

    casts: tuple[str, str] | None
    read: Read | None


def schema_tree(elements: Sequence[tuple[str, str | None, int | None]]) -> tuple[SchemaNode, ...]:
    """The columns of a file, from its flat schema: (name, logical type, children), depth first."""
    left = iter(elements)

    def node() -> SchemaNode:
        name, logical, count = next(left)
        return SchemaNode(name, logical or "", tuple(node() for _ in range(count or 0)))

    return node().children


def size_of(value: str, kind: Any) -> str | None:
    """SQL for about how many bytes a nested value takes in Python; None if it is not nested.

    Args:
        value: the SQL of the value.
        kind: its type in DuckDB.
    """
    if kind.id in {"list", "array"} and kind.children[0][1].id in _SMALL:
        return f"len({value}) * {_BYTES_OF_SMALL}"
    if kind.id in {"struct", "tuple"}:
        fields = (
            (f"struct_extract_at({value}, {place})", inner)
            for place, (_, inner) in enumerate(kind.children, 1)
        )
        sizes = [size for field, inner in fields if (size := size_of(field, inner))]
        return " + ".join(f"coalesce({size}, 0)" for size in sizes) or None
    if kind.id in {"list", "array", "map", "union", "variant"}:
        return f"strlen(CAST({value} AS VARCHAR))"
    return None


def list_depth(kind: Any) -> int:
    """How deeply lists and maps are nested in a DuckDB type."""
    if kind.id in {"list", "array"}:
        return 1 + list_depth(kind.children[0][1])
    if kind.id in {"struct", "tuple", "map", "union"}:
        inside = max((list_depth(inner) for _, inner in kind.children), default=0)
        return inside + (kind.id == "map")
    return 0


def column_reader(kind: Any, node: SchemaNode | None, field: Field | None) -> ColumnReader:
    """How to read a column.

    Args:
        kind: its type in DuckDB.
        node: its element in the file's schema; None if that is unknown.
        field: its Arrow field; None if there is none.
    """
    first, second, read = _of(kind, node, field)
    plain = str(kind)
    return ColumnReader(None if first == second == plain else (first, second), read)


_Type = tuple[str, str, Read | None]
"""(first cast, second cast, reader) of a type."""


def _of(  # noqa: PLR0911  # one kind of type after the other
    kind: Any, node: SchemaNode | None, field: Field | None
) -> _Type:
    """How to read a type, by its three descriptions: DuckDB's, the file's and Arrow's."""
    name = str(kind.id)
    if name in {"list", "array"}:
        child = kind.children[0][1]
        first, second, read = _of(child, _element(node, child), _child(field, 0))
        return f"{first}[]", f"{second}[]", list_reader(read)
    if name in {"struct", "tuple"}:
        return _struct(kind, node, field)
    if name == "map":
        return _map(kind, node, field)
    plain = str(kind)
    if name == "float":
        is_half = node is not None and node.logical.startswith("Float16")
        return "VARCHAR", "DOUBLE", _half if is_half else without_nan
    if name == "double":
        return plain, plain, without_nan
    if field is not None and (read := _told_by_arrow(name, field)):
        return plain, plain, read
    if name in _AS_THEY_ARE:
        return plain, plain, None
    if name == "timestamp_ns":
        return "VARCHAR", "VARCHAR", _with_ends
    if name == "decimal":
        return "VARCHAR", "VARCHAR", _with_zero
    return "VARCHAR", "VARCHAR", _zoned if plain.lower() in _WITH_TIME_ZONE else None


def _map(kind: Any, node: SchemaNode | None, field: Field | None) -> _Type:
    pair = node.children[0] if node and node.children else None
    own = pair.children if pair and len(pair.children) > 1 else (None, None)
    (_, key), (_, item) = kind.children
    entry = _child(field, 0)
    first_key, second_key, read_key = _of(key, own[0], _child(entry, 0))
    first, second, read = _of(item, own[1], _child(entry, 1))
    held = map_reader(read_key, read)
    if list_depth(key) or str(key.id) in {"struct", "tuple"}:  # keys and values come separately
        held = _side_by_side(held)
    return f"MAP({first_key}, {first})", f"MAP({second_key}, {second})", held


def _side_by_side(read: Read) -> Read:
    return lambda value: value and read(list(zip(value["key"], value["value"], strict=True)))


def _struct(kind: Any, node: SchemaNode | None, field: Field | None) -> _Type:
    known = node.children if node and len(node.children) == len(kind.children) else ()
    types: list[tuple[str, str]] = []
    named: list[tuple[str, Read | None]] = []
    for number, (name, child) in enumerate(kind.children):
        own = known[number] if known else None
        first, second, read = _of(child, own, _child(field, number))
        types.append((first, second))
        first_of_name = own is not None and own.name not in {taken for taken, _ in named}
        named.append((own.name if own and first_of_name else name, read))
    names = [name for name, _ in kind.children]
    if not all(names):  # SQL has no empty name, and casts by place where there are no names
        firsts, seconds = (", ".join(casts) for casts in zip(*types, strict=True))
        return f"TUPLE({firsts})", f"TUPLE({seconds})", struct_reader(named, renames=True)
    firsts, seconds = (
        ", ".join(
            f"{quoted_identifier(name)} {cast}" for name, cast in zip(names, casts, strict=True)
        )
        for casts in zip(*types, strict=True)
    )
    held = struct_reader(named, renames=names != [own for own, _ in named])
    return f"STRUCT({firsts})", f"STRUCT({seconds})", _as_pandas(field, held)


def _told_by_arrow(name: str, field: Field) -> Read | None:
    """The reader of a number about which Arrow's schema says more; None if it does not."""
    if name == "blob" and field.is_wide:
        return _wide
    if name not in {"bigint", "tinyint"}:
        return None
    if field.unit is not None:
        return _duration(field.unit)
    return _as_pandas(field, None)


def _as_pandas(field: Field | None, held: Read | None) -> Read | None:
    return extension_reader(*field.extension, held) if field and field.extension else held


def _child(field: Field | None, number: int) -> Field | None:
    if field is None or number >= len(field.children):
        return None
    return field.children[number]


def _element(node: SchemaNode | None, kind: Any) -> SchemaNode | None:
    """The element of a list, which is usually in another group inside the list's group."""
    if node is None or len(node.children) != 1:
        return None
    (inner,) = node.children
    is_struct = str(kind.id) == "struct"
    if len(inner.children) == 1 and not (
        is_struct and inner.name in {"array", f"{node.name}_tuple"}
    ):
        return inner.children[0]
    return inner


def _zoned(text: str | None) -> str | None:
    """`2024-07-01 00:00:00+00` with the minutes of its offset, as other tools write times."""
    return f"{text}:00" if text and text.endswith("+00") else text


def _with_ends(text: str | None) -> str | None:
    """A time; infinity is the first or last nanosecond in pandas, as DuckDB reads them so."""
    return text and _ENDS.get(text, text)


def _with_zero(text: str | None) -> str | None:
    """A decimal with a zero before the point, as other tools write it: `-0.50` for `-.50`."""
    return text and _NO_WHOLE_PART.sub(r"\g<1>0.", text)


def _wide(content: bytes | None) -> int | None:
    return None if content is None else int.from_bytes(content, "little", signed=True)


def _duration(unit: str) -> Read:
    return lambda number: None if number is None else elapsed_number(number, unit)


def _half(number: float | None) -> float | None:
    number = without_nan(number)
    return None if number is None else shortest_decimal(number, 16)
