"""Cells of `.xlsb` sheets that do not say their column, with it.

Such a cell stands right of the one before it. SheetJS writes them, and calamine passes them over
without a word.
"""

_ROW_HEADER, _LAST_CELL = 0, 11
_FULL = {12: 1, 13: 2, 14: 3, 15: 4, 16: 5, 17: 6, 18: 7}  # kinds of cells: short, and with column
_COLUMN_BYTES = 4
_SEVEN_BITS = 0x7F


def with_columns(part: bytes) -> bytes:
    """The records of a sheet in which every cell says its column.

    Raises:
        ValueError: the part ends within a record.
    """
    written = bytearray()
    at = copied = column = 0
    try:
        while at < len(part):
            begin, kind, size = at, part[at], part[at + 1]
            at += 2
            if kind > _SEVEN_BITS or size > _SEVEN_BITS:
                kind, at = _number(part, begin)
                size, at = _number(part, at)
            if kind == _ROW_HEADER:
                column = -1
            elif kind <= _LAST_CELL:
                column = int.from_bytes(part[at : at + _COLUMN_BYTES], "little")
            elif kind in _FULL:
                column += 1
                written += part[copied:begin] + bytes([_FULL[kind]])
                written += _encoded(size + _COLUMN_BYTES)
                written += column.to_bytes(_COLUMN_BYTES, "little")
                copied = at
            at += size
    except IndexError:
        at = -1
    if at != len(part):
        raise ValueError("a sheet ends within a record")
    return bytes(written + part[copied:]) if copied else part


def _number(part: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    while part[at] > _SEVEN_BITS:  # the high bit says that more follow
        value |= (part[at] & _SEVEN_BITS) << shift
        at, shift = at + 1, shift + 7
    return value | part[at] << shift, at + 1


def _encoded(value: int) -> bytes:
    """A number as `_number` reads it."""
    written = bytearray()
    while value > _SEVEN_BITS:
        written.append(value & _SEVEN_BITS | 0x80)
        value >>= 7
    return bytes([*written, value])
