"""Documents (PDF, DOCX) and workbooks other than `.xlsx`, read in a child process.

Such files can come from anywhere. Some have led document readers into endless loops, and calamine
allocates the whole rectangle between a sheet's first and last cell: two cells can need more memory
than there is. Either costs only the child.
"""

from base64 import b64encode
from collections.abc import Generator
from datetime import timedelta
from typing import Any, Literal, NamedTuple, Self, cast

from doubleword_batch.isolated.process import ChildEndedError, ChildProcess

MEMORY_BYTES = 1 << 30

_SECONDS = 60.0
_PACKAGES = {"pdf": ("pypdf",), "docx": ("mammoth", "cobble")}

DocumentKind = Literal["pdf", "docx"]
Fault = Literal["memory", "time", "password", "damaged"]


class UnreadableFileError(Exception):
    """A document or workbook cannot be read.

    Attributes:
        fault: the kind of fault.
        reason: a description that may quote the file; the reader's own words if it is damaged.
    """

    def __init__(self, fault: Fault, reason: str = "") -> None:
        super().__init__(reason or fault)
        self.fault: Fault = fault
        self.reason = reason


class DocumentText(NamedTuple):
    """The text of a document.

    Attributes:
        text: pages or paragraphs, separated by blank lines.
        pages: how many it has; 1 for a DOCX.
        without_text: how many of them have no text, such as scans.
    """

    text: str
    pages: int
    without_text: int


class DocumentReader:
    """Reads documents one after another; the first one starts the child. A context manager."""

    def __init__(self) -> None:
        self._children: dict[DocumentKind, ChildProcess] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.close()

    def text(self, kind: DocumentKind, content: bytes) -> DocumentText:
        """The text of a document.

        Raises:
            UnreadableFileError: it is damaged, has a password, or needs too much time or memory.
            StoreError: code `no_process`.
        """
        child = self._children.get(kind)
        if child is None:
            child = ChildProcess("document", memory_bytes=MEMORY_BYTES, packages=_PACKAGES[kind])
            self._children[kind] = child
        try:
            _ask(child, content, kind=kind)
            found = _frame(child)
        except UnreadableFileError as error:
            if error.fault in {"memory", "time"}:  # the next document gets a new child
                self._children.pop(kind).close()
            raise
        return DocumentText(found["text"], found["pages"], found["without_text"])


class WorkbookSheet(NamedTuple):
    """A worksheet's name, and whether it is shown."""

    name: str
    is_visible: bool


class Duration(NamedTuple):
    """A cell with an elapsed time."""

    time: timedelta


def sheets_of(content: bytes) -> list[WorkbookSheet]:
    """The worksheets of a workbook, in order; raises as `rows_of`."""
    with _workbook_child() as child:
        _ask(child, content, sheet=None)
        return [WorkbookSheet(name, shown) for name, shown in _frame(child)["sheets"]]


def merged_ranges_of(content: bytes, sheet: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The merged ranges of a sheet, as (row, column) of their first and last cells, from 0."""
    with _workbook_child() as child:
        _ask(child, content, sheet=sheet)
        return [((a, b), (c, d)) for (a, b), (c, d) in _frame(child)["merged"] or ()]


def rows_of(content: bytes, sheet: str) -> Generator[tuple[int, dict[int, Any]]]:
    """(line, values by column from 0) of each row of a sheet that is not empty.

    Dates are ISO 8601 text, elapsed times a `Duration`.

    Raises:
        UnreadableFileError: it cannot be read.
        StoreError: code `no_process`.
    """
    with _workbook_child() as child:
        _ask(child, content, sheet=sheet)
        _frame(child)  # the merged ranges come first
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


def _workbook_child() -> ChildProcess:
    return ChildProcess("workbook", memory_bytes=MEMORY_BYTES, packages=("python_calamine",))


def _ask(child: ChildProcess, content: bytes, **more: str | None) -> None:
    try:
        child.ask({"content": b64encode(content).decode("ascii")} | more, seconds=_SECONDS)
    except ChildEndedError as ended:
        raise _unreadable(ended) from None


def _frame(child: ChildProcess) -> dict[str, Any]:
    try:
        frame = child.frame(seconds=_SECONDS)
    except ChildEndedError as ended:
        raise _unreadable(ended) from None
    if "wrong" in frame:
        raise UnreadableFileError(frame["wrong"], frame.get("reason", ""))
    if "error" in frame:
        raise UnreadableFileError("damaged", ": ".join(frame["error"]))
    return frame


def _unreadable(ended: ChildEndedError) -> Exception:
    if ended.reason == "abandoned":
        return ended
    if ended.reason == "too_slow":
        return UnreadableFileError("time", f"reading it takes longer than {_SECONDS:.0f} s")
    return UnreadableFileError("memory", f"reading it takes more than {MEMORY_BYTES >> 30} GiB")
