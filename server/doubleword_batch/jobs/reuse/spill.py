"""Records sorted into buckets as they come, of which only a part is ever in memory."""

import struct
from collections.abc import Sequence
from pathlib import Path

from doubleword_batch.atomic_files import not_written

BUCKETS = 256
"""One for each byte that a record can begin with."""

_MOST_IN_MEMORY = 50_000


class Spill:
    """Buckets of records, by their first byte; beyond some megabytes they lie in a file.

    Args:
        path: the file; it is made when it is needed, and is nobody else's.
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
        """The records of a bucket in order; it can be asked for once.

        Raises:
            StoreError: code `not_written`: what was written cannot be read again.
        """
        records = [record for (record,) in self._records_in(self._read(bucket))]
        records += self._buckets[bucket]
        self._in_memory -= len(self._buckets[bucket])
        self._buckets[bucket] = []
        records.sort()
        return records

    def remove(self) -> None:
        """Remove the file, if there is one."""
        self._path.unlink(missing_ok=True)

    def _read(self, bucket: int) -> bytes:
        places = self._written[bucket]
        if not places:
            return b""
        blocks: list[bytes] = []
        with self._path.open("rb", buffering=0) as file:
            for offset, size_bytes in places:
                file.seek(offset)
                blocks.append(file.read(size_bytes))
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
