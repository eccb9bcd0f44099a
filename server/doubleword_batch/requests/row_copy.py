"""A job's own copy of what its prompt takes from the rows, so that its table outlives the source.

`source-rows.jsonl` beside the request files: a first line that describes the source (`CopyHead`),
then a JSON list of values for each row, in source order. It holds the columns that the prompt uses,
the id column and the columns that name a row; no others, and no images. So it is at most about as
large as the request files. A bounded number of rows is kept in memory, and a thread writes them.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import msgspec

from doubleword_batch.atomic_files import AtomicFile, not_written
from doubleword_batch.sources.base import Row, Source

NAME = "source-rows.jsonl"

_GROUP_ROWS = 250
_encoder = msgspec.json.Encoder(enc_hook=lambda _: None)


class CopyHead(msgspec.Struct):
    """What a copy was made from.

    Attributes:
        columns: the columns it holds, in order.
        of_columns: all columns of the source.
        files: how many files the source has.
        size_bytes: size of all these files.
    """

    columns: tuple[str, ...]
    of_columns: tuple[str, ...]
    files: int
    size_bytes: int


class RowCopyWriter:
    """Writes the copy; if there is no column to copy, there is no file.

    Args:
        folder: where it goes; exists already.
        source: what is copied.
        columns: which columns are copied.
    """

    def __init__(self, folder: Path, source: Source, columns: Sequence[str]) -> None:
        self._folder = folder
        self._columns = tuple(columns)
        self._group: list[list[Any] | CopyHead] = []
        self._file: AtomicFile | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._writing: Future[Any] | None = None
        if columns:
            self._file = AtomicFile(folder / NAME, private=True)
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="row-copy")
            size_bytes = sum(path.stat().st_size for path in source.paths)
            head = CopyHead(self._columns, source.columns, len(source.paths), size_bytes)
            self._group.append(head)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.shutdown()
        if self._file is not None:
            self._file.discard()

    def add(self, row: Row) -> None:
        """Add a row.

        Raises:
            StoreError: code `disk_full` or `not_written`.
        """
        if self._file is None:
            return
        self._group.append([row.get(column) for column in self._columns])
        if len(self._group) >= _GROUP_ROWS:
            self._flush()

    def finish(self) -> None:
        """Take no more rows and start writing the rest to disk, while other files are written.

        Raises:
            StoreError: code `disk_full` or `not_written`.
        """
        self._flush()
        if self._file is not None and self._writer is not None:
            self._wait()
            self._writing = self._writer.submit(self._file.finish)

    def publish(self) -> None:
        """Give the finished file its name.

        Raises:
            StoreError: code `disk_full` or `not_written`.
        """
        if self._file is None:
            return
        self._wait()
        try:
            self._file.publish()
        except OSError as error:
            raise not_written(self._folder, error) from None

    def _flush(self) -> None:
        if self._file is None or self._writer is None:
            return
        data = _encoder.encode_lines(self._group)
        self._group = []
        self._wait()
        self._writing = self._writer.submit(self._file.stream.write, data)

    def _wait(self) -> None:
        if self._writing is None:
            return
        try:
            self._writing.result()
        except OSError as error:
            raise not_written(self._folder, error) from None
        self._writing = None


class RowCopy:
    """Reads a copy.

    Attributes:
        head: what the copy was made from.
        columns: the names, in order.
        has_byte_order_mark: always False, see `Source`.
    """

    has_byte_order_mark = False

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as lines:
            self.head = msgspec.json.decode(lines.readline(), type=CopyHead)
        self.columns = self.head.columns

    def rows(self) -> Generator[Row]:
        """The rows, in source order."""
        decode = msgspec.json.Decoder(list[Any]).decode
        with self._path.open("rb") as lines:
            lines.readline()
            for line in lines:
                yield dict(zip(self.columns, decode(line), strict=True))


def row_copy(folder: Path) -> RowCopy | None:
    """The copy in a job's folder; None if there is none or it is damaged."""
    try:
        return RowCopy(folder / NAME)
    except (OSError, ValueError, RecursionError):
        return None
