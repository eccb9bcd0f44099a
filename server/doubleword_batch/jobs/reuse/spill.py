"""Records sorted into buckets as they come, of which only a part is ever in memory."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from doubleword_batch.atomic_files import not_written

BUCKETS = 64
_MOST_IN_MEMORY = 50_000


class Spill:
    """Buckets of records of one length; beyond some megabytes they lie in files.

    Args:
        folder: where the files go; it is made when it is needed, and is nobody else's.
        record_bytes: the length of a record.
    """

    def __init__(self, folder: Path, record_bytes: int) -> None:
        self._folder = folder
        self._record_bytes = record_bytes
        self._buckets: list[list[bytes]] = [[] for _ in range(BUCKETS)]
        self._in_memory = 0
        self.count = 0

    def add(self, bucket_of: Callable[[bytes], int], records: Sequence[bytes]) -> None:
        """Put records into their buckets.

        Raises:
            StoreError: code `disk_full` or `not_written`.
        """
        buckets = self._buckets
        for record in records:
            buckets[bucket_of(record)].append(record)
        self.count += len(records)
        self._in_memory += len(records)
        if self._in_memory >= _MOST_IN_MEMORY:
            self._write()

    def sorted_bucket(self, bucket: int) -> list[bytes]:
        """The records of a bucket in order; it can be asked for once."""
        records = [*self._written(bucket), *self._buckets[bucket]]
        self._in_memory -= len(self._buckets[bucket])
        self._buckets[bucket] = []
        records.sort()
        return records

    def remove(self) -> None:
        """Remove the files that are left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _written(self, bucket: int) -> Iterator[bytes]:
        path = self._path(bucket)
        if not path.exists():
            return
        content = path.read_bytes()
        path.unlink()
        for start in range(0, len(content), self._record_bytes):
            yield content[start : start + self._record_bytes]

    def _write(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            for bucket, records in enumerate(self._buckets):
                with self._path(bucket).open("ab") as file:
                    file.write(b"".join(records))
                records.clear()
        except OSError as error:
            raise not_written(self._folder, error) from None
        self._in_memory = 0

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket:02}"
