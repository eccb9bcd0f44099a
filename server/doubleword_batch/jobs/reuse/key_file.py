"""A job's keys on disk: which of its rows asked what, sorted, so that others find them.

`keys.bin` in the job's folder: a mark, then for each first byte how many records begin with it or
a smaller one, then the records: the key and the row, in order. A file that is not whole counts as
none: then its answers are not found, and nothing else happens.
"""

import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Self

from doubleword_batch.atomic_files import not_written
from doubleword_batch.jobs.reuse.spill import BUCKETS
from doubleword_batch.open_files import is_plain_file
from doubleword_batch.requests import KEY_BYTES

ROW_BYTES = 6
RECORD_BYTES = KEY_BYTES + ROW_BYTES

_MARK = b"dwbkeys2"
_FORMER_MARK = b"dwbkeys1"
"""Of files whose keys may tell 0 from 0.0, and a null from nothing; they are read as others are."""

_COUNTS = struct.Struct("<256Q")
_BEGIN = len(_MARK) + _COUNTS.size


KEYS = "keys.bin"
STRONG_KEYS = "strong-keys.bin"
"""The same of what a cascade asks its strong model."""


def key_file_path(folder: Path, name: str = KEYS) -> Path:
    """Where a job's keys lie."""
    return folder / name


def row_in(record: bytes) -> int:
    """The row of a record."""
    return int.from_bytes(record[KEY_BYTES:], "big")


class KeyFileWriter:
    """Writes a job's keys, by their first byte.

    Raises:
        StoreError: code `disk_full` or `not_written`.
    """

    def __init__(self, folder: Path, name: str = KEYS) -> None:
        self._path = key_file_path(folder, name)
        self._counts = [0] * BUCKETS
        try:
            self._path.touch(mode=0o600)
            self._file = self._path.open("r+b")
            self._file.write(bytes(_BEGIN))
        except OSError as error:
            raise not_written(self._path, error) from None

    def add(self, first_byte: int, records: Sequence[bytes]) -> None:
        """Append the records that begin with that byte, in order; the bytes in order, too."""
        self._counts[first_byte] = len(records)
        try:
            self._file.write(b"".join(records))
        except OSError as error:
            raise not_written(self._path, error) from None

    def close(self, *, is_whole: bool) -> None:
        """Finish the file; where not all records came, it is removed."""
        total = 0
        for first, count in enumerate(self._counts):
            total += count
            self._counts[first] = total
        try:
            with self._file:
                if is_whole:
                    self._file.seek(0)
                    self._file.write(_MARK + _COUNTS.pack(*self._counts))
        except OSError as error:
            raise not_written(self._path, error) from None
        if not is_whole:
            self._path.unlink(missing_ok=True)


class KeyFile:
    """The keys of one job, to look into; of a file that is gone or not whole there are none.

    Attributes:
        is_former: it is of a version that made other keys of some bodies; see
            `RequestKeys.both_of_fields`.
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
        """(key, row) of every record of these keys."""
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
