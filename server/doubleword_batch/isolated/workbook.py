"""Workbooks other than `.xlsx`, read in a child process that may take neither long nor much.

Calamine makes room for the whole rectangle between a sheet's first cell and its last: two cells can
ask for more memory than there is, which ends the process that reads them.
"""

from base64 import b64encode
from collections.abc import Generator
from datetime import timedelta
from typing import Any, Literal, NamedTuple, cast

from doubleword_batch.isolated.process import ChildEndedError, ChildProcess

MEMORY_BYTES = 1 << 30

_SECONDS = 60.0

Fault = Literal["memory", "time", "password", "damaged"]
Rows = list[tuple[int, dict[int, Any]]]


class UnreadableWorkbookError(Exception):
    """A workbook cannot be read.

    Attributes:
        fault: what it is.
        reason: in the words of its reader, which may quote the workbook.
    """

    def __init__(self, fault: Fault, reason: str = "") -> None:
        super().__init__(fault)
        self.fault: Fault = fault
        self.reason = reason


class WorkbookSheet(NamedTuple):
    """A worksheet's name, and whether it is shown."""

    name: str
    is_visible: bool


class Duration(NamedTuple):
    """A cell that shows an elapsed time."""

    time: timedelta


def sheets_of(content: bytes) -> list[WorkbookSheet]:
    """The worksheets of a workbook, in order.

    Raises:
        UnreadableWorkbookError: it cannot be read.
        StoreError: code `no_process`.
    """
    with _child() as child:
        _ask(child, content, None)
        return [WorkbookSheet(name, shown) for name, shown in _frame(child)["sheets"]]


def merged_ranges_of(content: bytes, sheet: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The merged ranges of a sheet, as (row, column) of their first and last cells, from 0.

    Raises:
        UnreadableWorkbookError: it cannot be read.
        StoreError: code `no_process`.
    """
    with _child() as child:
        _ask(child, content, sheet)
        return [((a, b), (c, d)) for (a, b), (c, d) in _frame(child)["merged"] or ()]


def rows_of(content: bytes, sheet: str) -> Generator[tuple[int, dict[int, Any]]]:
    """(line, values by column from 0) of each row of a sheet that is not empty.

    Dates are ISO 8601 texts, elapsed times a `Duration`.

    Raises:
        UnreadableWorkbookError: it cannot be read.
        StoreError: code `no_process`.
    """
    with _child() as child:
        _ask(child, content, sheet)
        _frame(child)  # the merged ranges
        while True:
            frame = _frame(child)
            for line, cells in frame["rows"]:
                yield line, {int(column): _value(value) for column, value in cells.items()}
            if "end" in frame:
                return


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        parts = cast("dict[str, int]", value)
        return Duration(timedelta(microseconds=parts["microseconds"]))
    return value


def _child() -> ChildProcess:
    return ChildProcess("workbook", memory_bytes=MEMORY_BYTES, packages=("python_calamine",))


def _ask(child: ChildProcess, content: bytes, sheet: str | None) -> None:
    request = {"content": b64encode(content).decode("ascii"), "sheet": sheet}
    try:
        child.ask(request, seconds=_SECONDS)
    except ChildEndedError as ended:
        raise _unreadable(ended) from None


def _frame(child: ChildProcess) -> dict[str, Any]:
    try:
        frame = child.frame(seconds=_SECONDS)
    except ChildEndedError as ended:
        raise _unreadable(ended) from None
    if "wrong" in frame:
        raise UnreadableWorkbookError(frame["wrong"], frame.get("reason", ""))
    if "error" in frame:
        raise UnreadableWorkbookError("damaged", ": ".join(frame["error"]))
    return frame


def _unreadable(ended: ChildEndedError) -> Exception:
    if ended.reason == "abandoned":
        return ended
    return UnreadableWorkbookError("time" if ended.reason == "too_slow" else "memory")
