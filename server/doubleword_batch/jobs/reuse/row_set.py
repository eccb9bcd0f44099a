"""A set of a job's rows, at a bit a row."""


class RowSet:
    """Rows, numbered from 1.

    Args:
        rows: the largest number.

    Attributes:
        first: the row that was put in before all others; None before that.
    """

    def __init__(self, rows: int) -> None:
        self._bits = bytearray((rows >> 3) + 1)
        self._count = 0
        self.first: int | None = None

    def __len__(self) -> int:
        return self._count

    def __contains__(self, row: int) -> bool:
        return bool(self._bits[row >> 3] & 1 << (row & 7))

    def add(self, row: int) -> None:
        """Put a row in."""
        if row not in self:
            self._bits[row >> 3] |= 1 << (row & 7)
            self._count += 1
            self.first = row if self.first is None else self.first

    def remove(self, row: int) -> None:
        """Take a row out that is in it."""
        self._bits[row >> 3] &= ~(1 << (row & 7))
        self._count -= 1
