"""Request lines onto the disk, in as many files as the provider's limits ask for."""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from doubleword_batch.atomic_files import AtomicFile, not_written, publish_together

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One request file of a split job.

    Attributes:
        number: from 1.
        path: the file.
        requests: its lines.
        size_bytes: its size.
        sha256: of its content, hex.
        first_row: number of the row of its first line.
        last_row: number of the row of its last line.
    """

    number: int
    path: Path
    requests: int
    size_bytes: int
    sha256: str
    first_row: int
    last_row: int


class PartFiles:
    """Writes `part-0001.jsonl`, `part-0002.jsonl`, ... into a folder.

    All of them get their names together, in `publish`. Leaving the context without that leaves
    nothing behind.

    Args:
        folder: exists already, and nobody else writes to it.
        max_requests: lines in one file.
        max_bytes: bytes in one file.
    """

    def __init__(self, folder: Path, max_requests: int, max_bytes: int) -> None:
        for left in folder.glob(".part-*.part"):  # by a process that was killed
            left.unlink(missing_ok=True)
        self._folder = folder
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._files: list[AtomicFile] = []
        self._done: list[Part] = []
        self._open: _OpenPart | None = None
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="sha256")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hasher.shutdown()
        for file in self._files:
            file.discard()

    def write(self, line: bytes, row: int) -> int:
        """Append the line of a row; return the number of the part that holds it.

        Raises:
            StoreError: the disk does not take it.
        """
        try:
            part = self._part_for(line, row)
            part.append(line, row)
        except OSError as error:
            raise not_written(self._folder, error) from None
        return part.number

    def publish(self) -> tuple[Part, ...]:
        """Finish the last part and give all of them their names.

        Raises:
            StoreError: the disk does not take them; none is there then.
        """
        try:
            if self._open is not None:
                self._done.append(self._open.finish())
                self._open = None
            publish_together(self._files)
        except OSError as error:
            raise not_written(self._folder, error) from None
        return tuple(self._done)

    def _part_for(self, line: bytes, row: int) -> "_OpenPart":
        part = self._open
        if part is not None and not (
            part.requests < self._max_requests and part.size_bytes + len(line) <= self._max_bytes
        ):
            self._done.append(part.finish())
            part = None
        if part is None:
            number = len(self._done) + 1
            file = AtomicFile(self._folder / f"part-{number:04}.jsonl", private=True)
            self._files.append(file)
            part = self._open = _OpenPart(number, file, row, self._hasher)
        return part


class _OpenPart:
    def __init__(self, number: int, file: AtomicFile, row: int, hasher: ThreadPoolExecutor) -> None:
        self.number = number
        self.requests = 0
        self.size_bytes = 0
        self._file = file
        self._first_row = self._last_row = row
        self._lines: list[bytes] = []
        self._pending_bytes = 0
        self._sha256 = hashlib.sha256()
        self._hasher = hasher
        self._hashing: Future[None] | None = None

    def append(self, line: bytes, row: int) -> None:
        self._lines.append(line)
        self._last_row = row
        self.requests += 1
        self.size_bytes += len(line)
        self._pending_bytes += len(line)
        if self._pending_bytes >= _BLOCK_BYTES:
            self._flush()

    def finish(self) -> Part:
        self._flush()
        if self._hashing is not None:
            self._hashing.result()
        self._file.finish()
        return Part(
            number=self.number,
            path=self._file.path,
            requests=self.requests,
            size_bytes=self.size_bytes,
            sha256=self._sha256.hexdigest(),
            first_row=self._first_row,
            last_row=self._last_row,
        )

    def _flush(self) -> None:
        block = b"".join(self._lines)
        self._lines.clear()
        self._pending_bytes = 0
        self._file.stream.write(block)
        # Hashing costs as much as all the rest and lets go of the interpreter: the next block is
        # built meanwhile. One block at a time, so that memory stays flat.
        if self._hashing is not None:
            self._hashing.result()
        self._hashing = self._hasher.submit(self._sha256.update, block)
