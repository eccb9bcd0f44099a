"""The table of answers as Parquet.

DuckDB writes it from a temporary JSON Lines file beside it: streaming, in source order. Types
follow the values; nothing is guessed from what a text looks like.

- text is VARCHAR, even if it looks like a number or a date;
- whole numbers are BIGINT, other numbers DOUBLE, true and false BOOLEAN, bytes BLOB;
- a column of a response_schema has the type that its schema names, even if it is empty;
- everything else, and columns of mixed types, are VARCHAR: lists and objects as JSON; also numbers
  if their type would lose digits. The texts are the same as in a prompt and in a CSV table, not
  DuckDB's own (1e-07, 10000000000000000.0);
- embeddings are lists of FLOAT. If all have the same length n, readers built on Apache Arrow see
  lists of the fixed length n. Parquet itself has no such type, so DuckDB shows FLOAT[], which can
  be cast to FLOAT[n]. We do not write FLOAT[n], because DuckDB 2.0 writes nulls of that type in a
  way that Arrow cannot read. Readers that know such lists (pyarrow, polars, pandas, DataFusion)
  find the Arrow types of all columns in the file's metadata: an IPC message in base64, a FlatBuffer
  of the tables Message, Schema and Field in Arrow's `format/*.fbs`.
"""

import glob
import struct
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from doubleword_batch.atomic_files import not_written
from doubleword_batch.jobs.export.columns import distinct_names
from doubleword_batch.jobs.export.table import FETCH_AGAIN, Rows
from doubleword_batch.jobs.store.worker_threads import AbandonedError
from doubleword_batch.sources.base import quoted_identifier
from doubleword_batch.sources.parquet import duckdb_connection

ABOUT = "doubleword_batch"
"""The key in the file's metadata for a JSON object that says what the file was made from."""

_GROUP_BYTES = 8 << 20  # DuckDB holds several groups: with larger ones memory grows with the rows
_FEWEST_ROWS, _MOST_ROWS = 2_048, 122_880  # of a row group; DuckDB's vector, and its default
_LONGEST_LINE_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 20
_BIGINT = 1 << 63
_EXACT = 1 << 53  # a DOUBLE holds every integer up to this

_OF_SCHEMA = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
_OF_VALUES: dict[frozenset[type[object]], str] = {
    frozenset({bool}): "BOOLEAN",
    frozenset({int}): "BIGINT",
    frozenset({float}): "DOUBLE",
    frozenset({int, float}): "DOUBLE",
    frozenset({bytes}): "BLOB",
}

_NESTED = frozenset({list, dict})

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def write_parquet(table: Rows, path: Path, cancelled: Callable[[], bool]) -> int:
    """Write the table; return the number of rows.

    Raises:
        ConfigError: code `no_extra`.
        OSError: the temporary file could not be written.
        StoreError: code `disk_full` or `not_written`: DuckDB could not write.
    """
    duck = duckdb_connection("A Parquet table")
    lines = path.with_name(path.name + ".jsonl")
    try:
        names = zip(table.columns, distinct_names(table.columns), strict=True)
        columns = [_Column(source, name, table.schemas.get(source)) for source, name in names]
        if table.embedding_column is not None:
            columns[table.columns.index(table.embedding_column)].is_vector = True
        rows, longest = _write_lines(table, columns, lines, cancelled)
        if late := [f"c{number}" for number, c in enumerate(columns) if c.is_text_after_all()]:
            longest = _write_texts(lines, late, cancelled)
        group = _GROUP_BYTES * rows // max(lines.stat().st_size, 1)
        group = min(max(group, _FEWEST_ROWS), _MOST_ROWS)
        import duckdb

        try:
            duck.execute(_copy(columns, lines, path, longest, group, table.about))
        except duckdb.IOException as error:
            raise not_written(path.parent, error, then=FETCH_AGAIN) from None
    finally:
        duck.close()
        for left in (lines, _copy_of(lines)):
            left.unlink(missing_ok=True)
    if cancelled():
        raise AbandonedError
    return rows


class _Column:
    """A column of the table: its name in the file, and the types of the values seen so far."""

    def __init__(self, source: str, name: str, schema: Any) -> None:
        self.source = source
        self.name = name
        self.is_vector = False
        self._schema = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}
        self._kinds: set[type[object]] = set()
        self._lengths: set[int] = set()
        self._elements: set[type[object]] = set()
        self._is_long = self._is_too_large = False

    def see(self, value: Any) -> Any:
        """Take note of a value's type; return what to write for the value."""
        kind: type[object] = value.__class__
        self._kinds.add(kind)
        if kind in _NESTED and not self.is_vector:
            return _encode(value).decode()
        if kind is int and not -_EXACT <= value <= _EXACT:
            self._is_long = True
            self._is_too_large |= not -_BIGINT <= value < _BIGINT
        elif kind is list and self.is_vector:
            self._lengths.add(len(value))
            self._elements.update(map(type, cast("list[Any]", value)))
        return value

    def is_text_after_all(self) -> bool:
        """Whether floats or vectors were written as they are, though the column became text."""
        has_others = float in self._kinds or (self.is_vector and list in self._kinds)
        return has_others and self.type() == "VARCHAR"

    def type(self) -> str:
        """The SQL type that can hold all values."""
        kinds = frozenset(self._kinds - {type(None)})
        if self.is_vector:
            # None stands for a number that JSON cannot hold.
            are_vectors = kinds <= {list} and self._elements <= {int, float, type(None)}
            return "FLOAT[]" if are_vectors else "VARCHAR"
        named = self._type_of_schema()
        if not kinds:
            return named or "VARCHAR"
        if kinds == frozenset({int}) and named == "DOUBLE" and not self._is_long:
            return named
        if self._is_too_large or (self._is_long and float in kinds):
            return "VARCHAR"
        return _OF_VALUES.get(kinds, "VARCHAR")

    def selected(self, key: str) -> str:
        """The column in the SELECT, made from the temporary file's column `key`."""
        value = f"from_base64({key})" if self.type() == "BLOB" else key
        return f"{value} AS {quoted_identifier(self.name)}"

    def length(self) -> int | None:
        """The length of all vectors; None if they differ in length or are not vectors."""
        if self.type() != "FLOAT[]" or len(self._lengths) != 1:
            return None
        return max(self._lengths) or None

    def read_as(self) -> str:
        """The SQL type as which the temporary file's column is read."""
        return "VARCHAR" if self.type() == "BLOB" else self.type()

    def _type_of_schema(self) -> str | None:
        named: Any = self._schema.get("type")
        if isinstance(named, list):
            others = [kind for kind in cast("list[Any]", named) if kind != "null"]
            named = others[0] if len(others) == 1 else None
        return _OF_SCHEMA.get(named) if isinstance(named, str) else None


def _write_lines(
    table: Rows, columns: list[_Column], path: Path, cancelled: Callable[[], bool]
) -> tuple[int, int]:
    """Write the temporary file with keys `c0`, `c1`, ...; return (rows, longest line in bytes)."""
    keyed = [(f"c{number}", column.source, column.see) for number, column in enumerate(columns)]
    rows = longest = 0
    with path.open("wb", buffering=_BUFFER_BYTES) as output:
        for rows, row in enumerate(table.rows(), start=1):  # noqa: B007  # counted for the caller
            if cancelled():
                raise AbandonedError
            values: dict[str, Any] = {}
            for key, name, see in keyed:
                values[key] = see(row[name])
            line = _encode(values) + b"\n"
            longest = max(longest, len(line))
            output.write(line)
    return rows, longest


def _copy_of(lines: Path) -> Path:
    return lines.with_name(f"{lines.name}.texts")


def _write_texts(lines: Path, keys: Sequence[str], cancelled: Callable[[], bool]) -> int:
    """Rewrite the temporary file with these columns as texts; return its longest line in bytes."""
    longest = 0
    copy = _copy_of(lines)
    with lines.open("rb") as given, copy.open("wb", buffering=_BUFFER_BYTES) as output:
        for line in given:
            if cancelled():
                raise AbandonedError
            values = _decode(line)
            for key in keys:
                if not isinstance(values[key], str | None):
                    values[key] = _encode(values[key]).decode()
            text = _encode(values) + b"\n"
            longest = max(longest, len(text))
            output.write(text)
    copy.replace(lines)
    return longest


def _copy(
    columns: list[_Column],
    lines: Path,
    path: Path,
    longest: int,
    group: int,
    about: dict[str, Any],
) -> str:
    types = ", ".join(f"c{number}: '{c.read_as()}'" for number, c in enumerate(columns))
    chosen = ", ".join(c.selected(f"c{number}") for number, c in enumerate(columns))
    source = _literal(glob.escape(str(lines)))  # it is taken as a pattern
    return (
        f"COPY (SELECT {chosen} FROM read_json({source}, format = 'newline_delimited', "  # noqa: S608  # all quoted
        f"columns = {{{types}}}, maximum_object_size = {max(longest, _LONGEST_LINE_BYTES)})) "
        f"TO {_literal(str(path))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {group}, "
        f"USE_TMP_FILE false{_metadata(columns, about)})"
    )


def _metadata(columns: list[_Column], about: dict[str, Any]) -> str:
    values = {ABOUT: _encode(about).decode()} if about else {}
    if any(column.length() is not None for column in columns):
        values["ARROW:schema"] = _arrow_schema((c.name, c.type(), c.length()) for c in columns)
    pairs = ", ".join(f"{_literal(name)}: {_literal(value)}" for name, value in values.items())
    return f", KV_METADATA {{{pairs}}}" if pairs else ""


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# The schema that readers built on Apache Arrow look for; every column is nullable

_CONTINUES = b"\xff\xff\xff\xff"  # before every IPC message
_VERSION_5, _IS_SCHEMA = 4, 1

_Write = Callable[[bytearray], int]
"""Appends a value to a buffer and returns where it begins."""
_Slot = tuple[str, int] | _Write | None
"""A field of a table: a number with its `struct` format, a value to point at, or the default."""


def _arrow_schema(columns: Iterable[tuple[str, str, int | None]]) -> str:
    """The schema of these columns: name, DuckDB type, and the length of the lists of FLOAT[]."""
    fields = [_field(name, _TYPES[kind](length), length) for name, kind, length in columns]
    schema = _table(None, _vector(fields))
    out = bytearray(4)
    message = _table(("<h", _VERSION_5), ("<B", _IS_SCHEMA), schema)(out)
    struct.pack_into("<I", out, 0, message)
    out += bytes(-len(out) % 8)
    return b64encode(_CONTINUES + struct.pack("<I", len(out)) + out).decode()


_TYPES: dict[str, Callable[[int | None], tuple[int, _Write]]] = {
    "BIGINT": lambda _: (2, _table(("<i", 64), ("<B", 1))),
    "FLOAT": lambda _: (3, _table(("<h", 1))),
    "DOUBLE": lambda _: (3, _table(("<h", 2))),
    "BLOB": lambda _: (4, _table()),
    "VARCHAR": lambda _: (5, _table()),
    "BOOLEAN": lambda _: (6, _table()),
    "FLOAT[]": lambda length: (16, _table(("<i", length or 0))),
}
"""DuckDB's types as (number, table) of Arrow's union of types."""


def _field(name: str, kind: tuple[int, _Write], length: int | None) -> _Write:
    number, described = kind
    inner = [] if length is None else [_field("element", _TYPES["FLOAT"](None), None)]
    return _table(_text(name), ("<B", 1), ("<B", number), described, None, _vector(inner))


# FlatBuffers: little endian, numbers aligned to their size, pointers lead forward


def _table(*slots: _Slot) -> _Write:
    def write(out: bytearray) -> int:
        _align(out, 4, ahead=4 + 2 * len(slots))
        directory = len(out)
        out += bytes(4 + 2 * len(slots))
        begin = len(out)
        out += struct.pack("<i", begin - directory)
        pointers: list[tuple[int, _Write]] = []
        for number, slot in enumerate(slots):
            if slot is None:
                continue
            form, value = ("<I", 0) if callable(slot) else slot
            _align(out, struct.calcsize(form))
            if callable(slot):
                pointers.append((len(out), slot))
            struct.pack_into("<H", out, directory + 4 + 2 * number, len(out) - begin)
            out += struct.pack(form, value)
        struct.pack_into("<HH", out, directory, begin - directory, len(out) - begin)
        _point(out, pointers)
        return begin

    return write


def _vector(values: Sequence[_Write]) -> _Write:
    def write(out: bytearray) -> int:
        _align(out, 4)
        begin = len(out)
        out += struct.pack("<I", len(values)) + bytes(4 * len(values))
        _point(out, [(begin + 4 + 4 * number, value) for number, value in enumerate(values)])
        return begin

    return write


def _text(text: str) -> _Write:
    def write(out: bytearray) -> int:
        _align(out, 4)
        begin = len(out)
        data = text.encode()
        out += struct.pack("<I", len(data)) + data + b"\0"
        return begin

    return write


def _point(out: bytearray, pointers: list[tuple[int, _Write]]) -> None:
    for place, write in pointers:
        struct.pack_into("<I", out, place, write(out) - place)


def _align(out: bytearray, size: int, *, ahead: int = 0) -> None:
    out += bytes(-(len(out) + ahead) % size)
