"""The schema that readers built on Apache Arrow look for in a Parquet file.

Parquet itself has no lists of a fixed length. What knows them (pyarrow, polars, pandas, DataFusion)
finds the Arrow types of the columns in the file's metadata, under `KEY`: an IPC message with the
schema, in base64. Other readers ignore it and see plain lists.

The message is a FlatBuffer of the tables Message, Schema and Field in Arrow's `format/*.fbs`.
"""

import struct
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence

KEY = "ARROW:schema"

_CONTINUES = b"\xff\xff\xff\xff"  # before every IPC message
_VERSION_5, _IS_SCHEMA = 4, 1

_Write = Callable[[bytearray], int]
"""Appends a value to a buffer; returns where it begins."""
_Slot = tuple[str, int] | _Write | None
"""A field of a table: a number with its `struct` format, what to point at, or its default."""


def arrow_schema(columns: Iterable[tuple[str, str, int | None]]) -> str:
    """The value for `KEY`.

    Args:
        columns: name, DuckDB type, and the length of the lists of a column of FLOAT[]. All columns
            of the file, in order; every one may hold nulls.

    Raises:
        KeyError: a type that tables of answers do not have.
    """
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
"""DuckDB's types as numbers and tables of Arrow's union of types."""


def _field(name: str, kind: tuple[int, _Write], length: int | None) -> _Write:
    number, described = kind
    inner = [] if length is None else [_field("element", _TYPES["FLOAT"](None), None)]
    return _table(_text(name), ("<B", 1), ("<B", number), described, None, _vector(inner))


# FlatBuffers: little endian, every number at a multiple of its size, what is pointed at lies behind


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
