"""What a table is written of."""

from collections.abc import Iterator
from typing import Any, Protocol


class Rows(Protocol):
    """What can be written: a table of answers, or the result of a query over it."""

    @property
    def columns(self) -> list[str]:
        """Names in order, all of them in every row."""
        ...

    @property
    def schemas(self) -> dict[str, Any]:
        """The JSON Schema of columns that have one."""
        ...

    @property
    def embedding_column(self) -> str | None:
        """Name of the column of vectors, None where there is none."""
        ...

    @property
    def about(self) -> dict[str, Any]:
        """What it is and from what it was made, for the metadata of formats that have some."""
        ...

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows, in order."""
        ...
