"""Reads the Arrow schema of a Parquet file for what its own types lack: durations, pandas' types.

Arrow's writers (pyarrow, pandas, polars) put the schema into the file's metadata: an IPC message in
base64, a FlatBuffer of the tables Message, Schema and Field in Arrow's `format/*.fbs`. Only names
of types are read from it. It may come from an attacker: a pointer that leads out of it is a
ValueError.
"""

import struct
from base64 import b64decode
from binascii import Error as Base64Error
from typing import NamedTuple

KEY = "ARROW:schema"

_INTEGER, _DURATION = 2, 18
_WIDE_BITS = 128
_UNITS = ("s", "ms", "us", "ns")
_MILLISECOND = 1
_MOST_FIELDS = 100_000


class Field(NamedTuple):
    """A field of a schema.

    Attributes:
        unit: the unit of a duration (`s`, `ms`, `us`, `ns`), else None.
        children: the fields inside it.
        is_wide: whether it is an integer of 128 bits, which polars writes as bytes.
        extension: (name, metadata) of its extension type, or None.
    """

    unit: str | None
    children: "tuple[Field, ...]"
    is_wide: bool = False
    extension: tuple[bytes, bytes] | None = None


def arrow_fields(value: bytes) -> tuple[Field, ...]:
    """The fields of a schema as found in the metadata; empty if it cannot be read."""
    try:
        data = b64decode(value, validate=True)
        start = 8 if data[:4] == b"\xff\xff\xff\xff" else 4
        reader = _Reader(data[start:])
        message = reader.at(0)
        header = reader.table(message, 2)
        return reader.fields(header, 1)
    except (Base64Error, ValueError, struct.error, RecursionError):
        return ()


class _Reader:
    """Follows the pointers of a FlatBuffer."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = _MOST_FIELDS

    def at(self, place: int) -> int:
        """The place that the pointer at a place leads to."""
        return place + self._number("<I", place)

    def table(self, table: int, slot: int) -> int:
        """Where the table that a table has in a field begins."""
        place = self._field(table, slot)
        if place is None:
            raise ValueError("a table is missing")
        return self.at(place)

    def fields(self, table: int, slot: int) -> tuple[Field, ...]:
        """The `Field` tables of the vector that a table has in a field."""
        return tuple(map(self._read, self._tables(table, slot)))

    def _tables(self, table: int, slot: int) -> list[int]:
        """Where the tables begin that are in the vector that a table has in a field."""
        place = self._field(table, slot)
        if place is None:
            return []
        vector = self.at(place)
        count = self._number("<I", vector)
        self._left -= count
        if self._left < 0:
            raise ValueError("too many fields")
        return [self.at(vector + 4 + 4 * n) for n in range(count)]

    def _read(self, table: int) -> Field:
        place = self._field(table, 2)
        kind = None if place is None else self._number("<B", place)
        unit, is_wide = None, False
        if kind == _DURATION:
            place = self._field(self.table(table, 3), 0)
            unit = _UNITS[_MILLISECOND if place is None else self._number("<h", place) & 3]
        elif kind == _INTEGER:
            place = self._field(self.table(table, 3), 0)
            is_wide = place is not None and self._number("<i", place) == _WIDE_BITS
        metadata = self._metadata(table)
        name = metadata.get(b"ARROW:extension:name")
        extension = None if name is None else (name, metadata.get(b"ARROW:extension:metadata", b""))
        return Field(unit, self.fields(table, 5), is_wide, extension)

    def _metadata(self, table: int) -> dict[bytes, bytes]:
        """The `KeyValue` tables of a `Field` table."""
        return {self._text(pair, 0): self._text(pair, 1) for pair in self._tables(table, 6)}

    def _text(self, table: int, slot: int) -> bytes:
        place = self._field(table, slot)
        if place is None:
            return b""
        start = self.at(place)
        return self._data[start + 4 : start + 4 + self._number("<I", start)]

    def _field(self, table: int, slot: int) -> int | None:
        directory = table - self._number("<i", table)
        if 4 + 2 * slot >= self._number("<H", directory):
            return None
        offset = self._number("<H", directory + 4 + 2 * slot)
        return table + offset if offset else None

    def _number(self, form: str, place: int) -> int:
        if place < 0:
            raise ValueError("a pointer leads out")
        return struct.unpack_from(form, self._data, place)[0]
