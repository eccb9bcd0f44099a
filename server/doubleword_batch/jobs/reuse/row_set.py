"""A set of a job's rows, at a bit a row."""


class RowSet:
    """Rows, numbered from 1.

    Args:
        rows: the largest number.
    """

    def __init__(self, rows: int) -> None:
        self._bits = bytearray((rows >> 3) + 1)

    def __contains__(self, row: int) -> bool:
        return bool(self._bits[row >> 3] & 1 << (row & 7))

    def add(self, row: int) -> None:
        """Put a row in."""
        self._bits[row >> 3] |= 1 << (row & 7)
