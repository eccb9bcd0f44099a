"""Request files as they are written: limited in lines and bytes, whole or not at all."""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from doubleword_batch.atomic_files import AtomicFile, not_written, publish_together
from doubleword_batch.errors import StoreError
from doubleword_batch.requests.prefix_order import PrefixOrder

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RequestFile:
    """One request file that a build wrote.

    Attributes:
        number: from 1.
        path: the file.
        requests: its lines.
        size_bytes: its size.
        sha256: of its content, hex.
    """

    number: int
    path: Path
    requests: int
    size_bytes: int
    sha256: str


class RequestFileWriter:
    """Writes `part-0001.jsonl`, `part-0002.jsonl`, ... into a folder.

    All of them get their names together, in `publish`. Leaving the context without it leaves
    nothing behind.

    Args:
        folder: exists already, and nobody else writes to it.
        max_requests: lines in one file.
        max_bytes: bytes in one file.
        by_prefix: whether the requests of a file that begin alike are put together.
        most_bytes: in all files together; None for no bound.
    """

    def __init__(
        self,
        folder: Path,
        max_requests: int,
        max_bytes: int,
        *,
        by_prefix: bool = False,
        most_bytes: int | None = None,
    ) -> None:
        for leftover in folder.glob(".part-*.part"):  # left by a process that was killed
            leftover.unlink(missing_ok=True)
        self._folder = folder
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._by_prefix = by_prefix
        self._bytes_left = most_bytes
        self._files: list[AtomicFile] = []
        self._done: list[RequestFile] = []
        self._open: _OpenFile | None = None
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

    def write(self, line: bytes) -> int:
        """Append a line; return the number of the file that holds it.

        Raises:
            StoreError: code `disk_full` (also for `most_bytes`) or `not_written`.
        """
        self._take(len(line))
        try:
            file = self._file_for(line)
            file.append(line)
        except OSError as error:
            raise not_written(self._folder, error) from None
        return file.number

    def _take(self, size_bytes: int) -> None:
        if self._bytes_left is None:
            return
        self._bytes_left -= size_bytes
        if self._bytes_left < 0:
            raise StoreError(
                "The request files of all jobs would be larger than the state directory may hold.",
                hint="Use fewer rows (limit) or a shorter prompt. A person can delete jobs "
                "(`doubleword-batch doctor` names the largest) or raise "
                "DOUBLEWORD_BATCH_MAX_STATE_GB.",
                code="disk_full",
            )

    def publish(self) -> tuple[RequestFile, ...]:
        """Finish the last file and give all of them their names.

        Raises:
            StoreError: code `disk_full` or `not_written`; none of them is there then.
        """
        try:
            if self._open is not None:
                self._finish(self._open)
                self._open = None
            publish_together(self._files)
        except OSError as error:
            raise not_written(self._folder, error) from None
        return tuple(self._done)

    def _file_for(self, line: bytes) -> "_OpenFile":
        file = self._open
        if file is not None and (
            file.requests == self._max_requests or file.size_bytes + len(line) > self._max_bytes
        ):
            self._finish(file)
            file = None
        if file is None:
            number = len(self._done) + 1
            target = AtomicFile(self._folder / f"part-{number:04}.jsonl", private=True)
            self._files.append(target)
            order = PrefixOrder() if self._by_prefix else None
            file = self._open = _OpenFile(number, target, self._hasher, order)
        return file

    def _finish(self, file: "_OpenFile") -> None:
        done = file.finish()
        places = None if file.order is None else file.order.places()
        if places is not None:
            done = self._ordered(done, places)
        self._done.append(done)

    def _ordered(self, file: RequestFile, places: list[tuple[int, int]]) -> RequestFile:
        """Write a finished file anew with its lines in another order."""
        before = self._files[-1]
        target = self._files[-1] = AtomicFile(file.path, private=True)
        ordered = _OpenFile(file.number, target, self._hasher)
        try:
            with before.temporary.open("rb") as lines:
                for offset, length in places:
                    lines.seek(offset)
                    ordered.append(lines.read(length))
        finally:
            before.discard()
        return ordered.finish()


class _OpenFile:
    def __init__(
        self,
        number: int,
        file: AtomicFile,
        hasher: ThreadPoolExecutor,
        order: PrefixOrder | None = None,
    ) -> None:
        self.number = number
        self.order = order
        self.requests = 0
        self.size_bytes = 0
        self._file = file
        self._lines: list[bytes] = []
        self._pending_bytes = 0
        self._sha256 = hashlib.sha256()
        self._hasher = hasher
        self._hashing: Future[None] | None = None

    def append(self, line: bytes) -> None:
        self._lines.append(line)
        if self.order is not None:
            self.order.add(line)
        self.requests += 1
        self.size_bytes += len(line)
        self._pending_bytes += len(line)
        if self._pending_bytes >= _BLOCK_BYTES:
            self._flush()

    def finish(self) -> RequestFile:
        self._flush()
        if self._hashing is not None:
            self._hashing.result()
        self._file.finish()
        return RequestFile(
            number=self.number,
            path=self._file.path,
            requests=self.requests,
            size_bytes=self.size_bytes,
            sha256=self._sha256.hexdigest(),
        )

    def _flush(self) -> None:
        block = b"".join(self._lines)
        self._lines.clear()
        self._pending_bytes = 0
        self._file.stream.write(block)
        # Hashing costs as much as all the rest and releases the interpreter: the next block is
        # built meanwhile. One block at a time, so that memory stays flat.
        if self._hashing is not None:
            self._hashing.result()
        self._hashing = self._hasher.submit(self._sha256.update, block)
