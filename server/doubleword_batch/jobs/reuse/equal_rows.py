"""Equal rows of a job, found while it is built and once more at the end, in bounded memory."""

import struct
from collections.abc import Callable
from itertools import islice
from operator import eq
from pathlib import Path

from doubleword_batch.jobs.reuse.key_file import (
    KEYS,
    RECORD_BYTES,
    ROW_BYTES,
    KeyFileWriter,
    row_in,
)
from doubleword_batch.jobs.reuse.spill import BUCKETS, Spill
from doubleword_batch.requests import KEY_BYTES

_RECENT = 20_000
_KEYS_IN = struct.Struct(f"{KEY_BYTES}s{ROW_BYTES}x").iter_unpack


class EqualRows:
    """The keys of a job's requests as they are made.

    Rows that are equal to a recent one are known at once. The others are compared at the end.

    Args:
        folder: in which the job is made.
        shares: whether equal rows become one request.
        name: of the key file.
    """

    def __init__(self, folder: Path, *, shares: bool, name: str = KEYS) -> None:
        self._folder = folder
        self._name = name
        self._shares = shares
        self._recent: dict[bytes, int] = {}
        self._all: list[tuple[bytes, int]] = []  # where equal rows stay apart
        self._keys = Spill(folder / f".{name}", RECORD_BYTES)

    def first_row(self, row: int, key: bytes) -> int | None:
        """The row that has asked the same lately; None for the first, which is noted."""
        if not self._shares:
            self._all.append((key, row))
            if len(self._all) >= _RECENT:
                self._drain()
            return None
        recent = self._recent
        first = recent.setdefault(key, row)
        if first != row:
            return first
        if len(recent) >= _RECENT:  # what is frequent is soon there again
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
        writer = KeyFileWriter(self._folder, self._name)
        is_whole = False
        try:
            for bucket in range(BUCKETS):
                records = self._keys.sorted_bucket(bucket)
                if self._shares:
                    records = _first_of_each(records, on_equal)
                writer.add(bucket, records)
            is_whole = True
        finally:
            writer.close(is_whole=is_whole)
            self._keys.remove()


def _first_of_each(records: list[bytes], on_equal: Callable[[int, int], None]) -> list[bytes]:
    keys = [key for (key,) in _KEYS_IN(b"".join(records))]
    if not any(map(eq, keys, islice(keys, 1, None))):  # they are in order
        return records
    firsts: list[bytes] = []
    for record in records:
        if firsts and firsts[-1][:KEY_BYTES] == record[:KEY_BYTES]:
            on_equal(row_in(record), row_in(firsts[-1]))
        else:
            firsts.append(record)
    return firsts
