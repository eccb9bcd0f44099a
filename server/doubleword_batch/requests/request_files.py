"""Writes request files: limited in lines and bytes, all or nothing."""

import hashlib
from array import array
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Self

from doubleword_batch.atomic_files import AtomicFile, not_written, publish_together
from doubleword_batch.errors import StoreError

_BLOCK_BYTES = 1 << 20
_BODY = b'"body":'
_FIRST_BYTES = 4_096
"""About 1,000 tokens; providers do not cache shorter beginnings."""
_STEP_BYTES = 2_048
_MOST_BYTES = 18_432
_NUMBERS = 16
"""Numbers set aside for each line: more than it can have pieces."""


@dataclass(frozen=True, slots=True)
class DiskQuota:
    """How much disk space all request files of a build together may take.

    Attributes:
        left_bytes: what is left of the quota.
        error: raised when the files need more.
    """

    left_bytes: int
    error: StoreError


class PrefixOrder:
    """Finds an order for a file's requests in which those that begin alike are together.

    Providers cache the beginning of a prompt for a while and charge less for it. Where rows ask
    about several documents in turn, a document has left the cache by the time it comes again. So
    requests that begin alike are put together, at the place of the first of them; all others stay
    where they are.

    It sees the lines of one file as they are written and keeps eight bytes a line. For long lines
    it also keeps a number for each of the first pieces: equal numbers mean equal beginnings, and
    a beginning that first occurs later in the file has a higher number.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], int] = {}
        self._paths: dict[int, tuple[int, ...]] = {}
        self._lengths = array("q")
        self._is_shared = False

    def add(self, line: bytes, length: int) -> None:
        """Take in the file's next line."""
        self._lengths.append(length)
        if length > _FIRST_BYTES:
            self._add_long(line, len(self._lengths) - 1)

    def _add_long(self, line: bytes, place: int) -> None:
        begin = max(line.find(_BODY, 0, _FIRST_BYTES), 0)
        path: list[int] = []
        above = -1
        for number, piece in enumerate(_pieces(line, begin), place * _NUMBERS):
            key = (above, hash(piece))
            known = self._known.setdefault(key, number)
            if known != number:
                self._is_shared = True
            path.append(known)
            above = known
        # The last number is the line's own, so that no path is the beginning of another.
        self._paths[place] = (*path, place * _NUMBERS + _NUMBERS - 1)

    def places(self) -> list[tuple[int, int]] | None:
        """(offset, length) of the lines in their new order; None if the old order is as good."""
        if not self._is_shared:
            return None
        paths = self._paths
        order = sorted(
            range(len(self._lengths)),
            key=lambda place: paths.get(place) or (place * _NUMBERS,),
        )
        if all(place == number for number, place in enumerate(order)):
            return None
        offsets = list(accumulate(self._lengths, initial=0))
        return [(offsets[place], self._lengths[place]) for place in order]


def prefix_hashes(line: bytes) -> Iterator[int]:
    """A number for each cacheable beginning of a request's body, the shortest first.

    Within one process, equal beginnings have equal numbers.
    """
    if len(line) > _FIRST_BYTES:
        above = -1
        for piece in _pieces(line, max(line.find(_BODY, 0, _FIRST_BYTES), 0)):
            above = hash((above, piece))
            yield above


def _pieces(line: bytes, begin: int) -> Iterator[bytes]:
    """The first whole pieces of a request's body; a rest that is too short is dropped."""
    end = begin + _FIRST_BYTES
    while end <= len(line) and end - begin <= _MOST_BYTES:
        yield line[begin:end] if end - begin == _FIRST_BYTES else line[end - _STEP_BYTES : end]
        end += _STEP_BYTES


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

    All files get their names together, in `publish`. Leaving the context without calling it leaves
    nothing behind.

    Args:
        folder: exists already, and nobody else writes to it.
        max_requests: most lines in one file.
        max_bytes: most bytes in one file.
        by_prefix: whether the requests of a file that begin alike are put together.
        quota: for all files together; None for no limit.
    """

    def __init__(
        self,
        folder: Path,
        max_requests: int,
        max_bytes: int,
        *,
        by_prefix: bool = False,
        quota: DiskQuota | None = None,
    ) -> None:
        for leftover in folder.glob(".part-*.part"):  # left by a process that was killed
            leftover.unlink(missing_ok=True)
        self._folder = folder
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._by_prefix = by_prefix
        self._quota = quota
        self._bytes_left = 0 if quota is None else quota.left_bytes
        self._files: list[AtomicFile] = []
        self._done: list[RequestFile] = []
        self._open: _OpenFile | None = None
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="sha256")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hasher.shutdown()
        for file in self._files:
            file.discard()

    def write(self, line: bytes) -> int:
        """Append a line; return the number of the file that holds it.

        Raises:
            StoreError: code `disk_full` (also where there is no room) or `not_written`.
        """
        size_bytes = len(line)
        if self._quota is not None:
            self._bytes_left -= size_bytes
            if self._bytes_left < 0:
                raise self._quota.error
        try:
            file = self._open
            if (
                file is None
                or file.requests == self._max_requests
                or file.size_bytes + size_bytes > self._max_bytes
            ):
                file = self._next_file()
            file.append(line, size_bytes)
        except OSError as error:
            raise not_written(self._folder, error) from None
        return file.number

    def publish(self) -> tuple[RequestFile, ...]:
        """Finish the last file and give all files their names.

        Raises:
            StoreError: code `disk_full` or `not_written`; then no file is left.
        """
        try:
            if self._open is not None:
                self._finish(self._open)
                self._open = None
            publish_together(self._files)
        except OSError as error:
            raise not_written(self._folder, error) from None
        return tuple(self._done)

    def _next_file(self) -> "_OpenFile":
        if self._open is not None:
            self._finish(self._open)
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
        """Rewrite a finished file with its lines in a new order."""
        before = self._files[-1]
        target = self._files[-1] = AtomicFile(file.path, private=True)
        ordered = _OpenFile(file.number, target, self._hasher)
        try:
            with before.temporary.open("rb") as lines:
                for offset, length in places:
                    lines.seek(offset)
                    ordered.append(lines.read(length), length)
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

    def append(self, line: bytes, length: int) -> None:
        self._lines.append(line)
        if self.order is not None:
            self.order.add(line, length)
        self.requests += 1
        self.size_bytes += length
        self._pending_bytes += length
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
        # Hashing costs as much as everything else and releases the interpreter lock: meanwhile
        # the next block is built. Only one block is hashed at a time, so memory stays constant.
        if self._hashing is not None:
            self._hashing.result()
        self._hashing = self._hasher.submit(self._sha256.update, block)
