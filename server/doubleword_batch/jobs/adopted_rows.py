"""Rows under custom_ids that are not ours: the lines of a request file made elsewhere.

No row number can be read from such an id, so the ledger keeps a table of them.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from doubleword_batch.jobs.store.ledger import Ledger
from doubleword_batch.open_files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator

    from doubleword_batch.requests import RequestHead

REQUEST_FILE = "part-0001.jsonl"

_ROWS_AT_ONCE = 1_000


def open_rows(ledger: Ledger, path: Path) -> int:
    """Open a row for each line of a request file; returns how many there are."""
    group: list[tuple[int, str, int]] = []
    row = 0
    for row, line in enumerate(request_lines(path), start=1):
        group.append((row, line.custom_id, 1))
        if len(group) == _ROWS_AT_ONCE:
            ledger.add_adopted_rows(group)
            group = []
    ledger.add_adopted_rows(group)
    return row


def request_lines(path: Path) -> "Iterator[RequestHead]":
    """The heads of the lines of a request file that are not blank."""
    from doubleword_batch.requests import read_head

    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                yield read_head(line)


def sha256_of(path: Path) -> str:
    """The digest of a file, in hex."""
    with open_regular(path) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
