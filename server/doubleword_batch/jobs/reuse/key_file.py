"""A job's keys on disk, sorted, so that later jobs find out which of its rows asked the same.

`keys.bin` in the job's folder holds a mark; then for each possible first byte, how many records
begin with it or a smaller byte; then the records, each a key and a row, in order. An incomplete
file counts as no file: then the job's answers are not found, and that is all.

The file is written while the job is built, which also finds equal rows. Memory is bounded: records
are sorted into buckets as they come, and only part of the buckets is ever in memory.
"""

import errno
import mmap
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, pairwise
from operator import eq
from pathlib import Path
from typing import Self

from doubleword_batch.atomic_files import as_store_error, not_written
from doubleword_batch.open_files import is_plain_file
from doubleword_batch.requests import KEY_BYTES

BUCKETS = 256
"""One bucket for each byte that a record can begin with."""

_MOST_IN_MEMORY = 50_000


class Buckets:
    """Buckets of records, by their first byte; beyond some megabytes they go to a file.

    Args:
        path: the file, made when it is needed and used by nobody else.
        record_bytes: the length of a record.
    """

    def __init__(self, path: Path, record_bytes: int) -> None:
        self._path = path
        self._records_in = struct.Struct(f"{record_bytes}s").iter_unpack
        self._buckets: list[list[bytes]] = [[] for _ in range(BUCKETS)]
        self._written: list[list[tuple[int, int]]] = [[] for _ in range(BUCKETS)]
        self._size_bytes = 0
        self._in_memory = 0
        self.count = 0

    def add(self, records: Sequence[bytes]) -> None:
        """Put records into their buckets.

        Raises:
            StoreError: code `disk_full` or `not_written`.
        """
        buckets = self._buckets
        for record in records:
            buckets[record[0]].append(record)
        self.count += len(records)
        self._in_memory += len(records)
        if self._in_memory >= _MOST_IN_MEMORY:
            self._write()

    def sorted_bucket(self, bucket: int) -> list[bytes]:
        """The records of a bucket, in order; can be called once for each bucket.

        Raises:
            StoreError: code `not_written`: the file cannot be read back.
        """
        records = [record for (record,) in self._records_in(self._read(bucket))]
        records += self._buckets[bucket]
        self._in_memory -= len(self._buckets[bucket])
        self._buckets[bucket] = []
        records.sort()
        return records

    def remove(self) -> None:
        """Remove the file, if there is one; if that fails, it stays and does no harm."""
        with suppress(OSError):
            self._path.unlink()

    def _read(self, bucket: int) -> bytes:
        places = self._written[bucket]
        if not places:
            return b""
        blocks: list[bytes] = []
        with as_store_error(self._path), self._path.open("rb", buffering=0) as file:
            for offset, size_bytes in places:
                file.seek(offset)
                blocks.append(file.read(size_bytes))
                if len(blocks[-1]) < size_bytes:  # a forgotten row would be paid for again
                    raise OSError(errno.EIO, "it was cut short")
        return b"".join(blocks)

    def _write(self) -> None:
        blocks = [b"".join(records) for records in self._buckets]
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(blocks))
        except OSError as error:
            raise not_written(self._path, error) from None
        for bucket, block in enumerate(blocks):
            if block:
                self._written[bucket].append((self._size_bytes, len(block)))
                self._size_bytes += len(block)
            self._buckets[bucket].clear()
        self._in_memory = 0


ROW_BYTES = 6
RECORD_BYTES = KEY_BYTES + ROW_BYTES

_MARK = b"dwbkeys2"
_FORMER_MARK = b"dwbkeys1"
"""Marks files whose keys may tell 0 from 0.0 and null from a missing field; they are still read."""

_RECENT = 20_000
_KEYS_IN = struct.Struct(f"{KEY_BYTES}s{ROW_BYTES}x").iter_unpack
_COUNTS = struct.Struct("<256Q")
_BEGIN = len(_MARK) + _COUNTS.size


KEYS = "keys.bin"
STRONG_KEYS = "strong-keys.bin"
"""The file with the keys of what a cascade asks its strong model."""


def key_file_path(folder: Path, name: str = KEYS) -> Path:
    """The path of a job's key file."""
    return folder / name


def row_in(record: bytes) -> int:
    """The row in a record."""
    return int.from_bytes(record[KEY_BYTES:], "big")


class KeyFile:
    """Reads the keys of one job; a file that is missing or incomplete has none.

    Attributes:
        is_former: whether an earlier version wrote it, which made other keys of some bodies; see
            `RequestKeys.keys_of_fields`.
    """

    def __init__(self, folder: Path, name: str = KEYS) -> None:
        self.is_former = False
        self._map: mmap.mmap | None = None
        self._ends: tuple[int, ...] = (0,) * BUCKETS
        path = key_file_path(folder, name)
        if not is_plain_file(path):  # a pipe would be waited for
            return
        with suppress(OSError, ValueError), path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            ends = _COUNTS.unpack_from(content, len(_MARK)) if len(content) >= _BEGIN else None
            if (
                ends is None
                or content[: len(_MARK)] not in {_MARK, _FORMER_MARK}
                or len(content) != _BEGIN + RECORD_BYTES * ends[-1]
                or any(before > after for before, after in pairwise(ends))
            ):
                content.close()
                return
            self._map, self._ends = content, ends
            self.is_former = content[: len(_MARK)] == _FORMER_MARK

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._map is not None:
            self._map.close()
            self._map = None

    def __len__(self) -> int:
        """How many records there are."""
        return self._ends[-1] if self._map is not None else 0

    def size_of(self, bucket: int) -> int:
        """How many records are in a bucket."""
        begin, end = self._range(bucket)
        return end - begin

    def bucket(self, bucket: int) -> Iterator[bytes]:
        """The records of a bucket, in order."""
        content = self._records(*self._range(bucket))
        for start in range(0, len(content), RECORD_BYTES):
            yield content[start : start + RECORD_BYTES]

    def rows_of(self, keys: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
        """(key, row) of every record with one of these keys."""
        if self._map is None:
            return
        for key in keys:
            begin, end = self._range(key[0])
            place = begin + bisect_left(range(begin, end), key, key=self._key_at)
            while place < end:
                record = self._records(place, place + 1)
                if record[:KEY_BYTES] != key:
                    break
                yield key, row_in(record)
                place += 1

    def _key_at(self, place: int) -> bytes:
        start = _BEGIN + place * RECORD_BYTES
        return b"" if self._map is None else self._map[start : start + KEY_BYTES]

    def _range(self, bucket: int) -> tuple[int, int]:
        return self._ends[bucket - 1] if bucket else 0, self._ends[bucket]

    def _records(self, begin: int, end: int) -> bytes:
        if self._map is None:
            return b""
        return self._map[_BEGIN + begin * RECORD_BYTES : _BEGIN + end * RECORD_BYTES]


class EqualRows:
    """Collects the keys of a job's requests as they are made.

    A row that is equal to a recent row is found at once; the others are compared at the end.

    Args:
        folder: the folder in which the job is made.
        shares: whether equal rows become one request.
        name: the name of the key file.
    """

    def __init__(self, folder: Path, *, shares: bool, name: str = KEYS) -> None:
        self._folder = folder
        self._name = name
        self._shares = shares
        self._recent: dict[bytes, int] = {}
        self._all: list[tuple[bytes, int]] = []  # if equal rows stay separate
        self._keys = Buckets(folder / f".{name}", RECORD_BYTES)

    def first_row(self, row: int, key: bytes) -> int | None:
        """A recent row that asked the same; None if there is none, and then the row is recorded."""
        if not self._shares:
            self._all.append((key, row))
            if len(self._all) >= _RECENT:
                self._drain()
            return None
        recent = self._recent
        first = recent.setdefault(key, row)
        if first != row:
            return first
        if len(recent) >= _RECENT:  # frequent keys will soon be back
            self._drain()
        return None

    def _drain(self) -> None:
        for pairs in (self._all, self._recent.items()):
            self._keys.add([key + row.to_bytes(ROW_BYTES, "big") for key, row in pairs])
        self._all.clear()
        self._recent.clear()

    def write_keys(self, on_equal: Callable[[int, int], None]) -> None:
        """Write the job's key file.

        Args:
            on_equal: called with a row and the first row that asks the same.

        Raises:
            StoreError: code `disk_full` or `not_written`.
        """
        self._drain()
        path = key_file_path(self._folder, self._name)
        ends: list[int] = []
        try:
            path.touch(mode=0o600)
            with path.open("r+b") as file:
                file.write(bytes(_BEGIN))
                for bucket in range(BUCKETS):
                    records = self._keys.sorted_bucket(bucket)
                    if self._shares:
                        records = _first_of_each(records, on_equal)
                    file.write(b"".join(records))
                    ends.append(len(records) + (ends[-1] if ends else 0))
                file.seek(0)
                file.write(_MARK + _COUNTS.pack(*ends))
        except BaseException as error:
            with suppress(OSError):  # an incomplete file counts as no file
                path.unlink()
            if isinstance(error, OSError):
                raise not_written(path, error) from None
            raise
        finally:
            self._keys.remove()


def _first_of_each(records: list[bytes], on_equal: Callable[[int, int], None]) -> list[bytes]:
    keys = [key for (key,) in _KEYS_IN(b"".join(records))]
    if not any(map(eq, keys, islice(keys, 1, None))):  # sorted, so equal keys are neighbours
        return records
    firsts: list[bytes] = []
    for record in records:
        if firsts and firsts[-1][:KEY_BYTES] == record[:KEY_BYTES]:
            on_equal(row_in(record), row_in(firsts[-1]))
        else:
            firsts.append(record)
    return firsts
