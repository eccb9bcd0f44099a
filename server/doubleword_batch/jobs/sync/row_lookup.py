"""Finds the row of a result line by its custom_id, even if the custom_ids are not ours.

A job that was built here has the row number in the custom_id. An adopted job looks it up. There are
two special cases, stored in its spec as `rows`:

- `twins`: several rows have the same custom_id. The first line with that custom_id is the first
  row's, and so on; this is exact in a batch's list of results, which is in request order.
- `open`: nobody has the requests any more. Each new custom_id is a new row.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from doubleword_batch.errors import ForbiddenError, NotFoundError, ProtocolError, RejectedError
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.records import Entry, Part
from doubleword_batch.requests import read_head, requests_of_rows, row_of

SHARED_IDS, NO_INPUT = "twins", "open"
NO_SUCH_LIST = (NotFoundError, RejectedError, ForbiddenError, ProtocolError)
"""The statuses with which a server answers if it has no list of a batch's results."""

_AT_ONCE = 500


def has_ambiguous_custom_ids(job: StoredJob) -> bool:
    """Whether a custom_id does not identify a row of the job."""
    return job.source is None and msgspec.json.decode(job.spec).get("rows") == SHARED_IDS


def requests_of(
    job: StoredJob, part: Part, entries: Iterator[Entry]
) -> Iterator[tuple[int, bytes]]:
    """(row, request line) of these rows of a part, in the order of its file.

    Args:
        job: the part's job.
        part: the part.
        entries: entries of rows in its file, in source order.

    Raises:
        StoreError: `request_file_gone`.
    """
    path = job.request_file(part)
    if job.source is not None:  # the custom_ids are ours and say the row
        yield from requests_of_rows(path, {entry.row for entry in entries})
        return
    # If rows share a custom_id, a line's position in the file says which row it is for.
    places = job.ledger.rows_of_file(part.number) if has_ambiguous_custom_ids(job) else None
    entry = next(entries, None)
    with path.open("rb") as lines:
        for line in filter(bytes.strip, lines):
            if entry is None:
                return
            is_of_row = places is None or next(places, None) == entry.row
            if is_of_row and read_head(line).custom_id == entry.custom_id:
                yield entry.row, line
                entry = next(entries, None)


class RowLookup:
    """Finds the rows of custom_ids in one batch of a job.

    Args:
        job: the job.
        part_number: number of the part that the batch runs.

    Attributes:
        kind: `by_shared_id`, `open`, or "" for a job whose custom_ids are as they should be.
    """

    def __init__(self, job: StoredJob, part_number: int) -> None:
        self._job = job
        self._part_number = part_number
        self._is_adopted = job.source is None
        self.kind: str = msgspec.json.decode(job.spec).get("rows", "") if self._is_adopted else ""
        self._rows_by_shared_id: dict[str, list[int]] | None = None
        self._turns: Counter[str] = Counter()

    def begin(self) -> None:
        """Start counting again, as the files are read from the first line."""
        self._turns.clear()

    def rows_of(self, custom_ids: Sequence[str]) -> list[int | None]:
        """The row of each line with these custom_ids, in order; None if there is no such row."""
        if not self._is_adopted:
            return list(map(row_of, custom_ids))
        if self._rows_by_shared_id is None:
            is_needed = self.kind == SHARED_IDS
            self._rows_by_shared_id = (
                self._job.ledger.rows_by_shared_custom_id(self._part_number) if is_needed else {}
            )
        known: dict[str, int] = {}
        for start in range(0, len(custom_ids), _AT_ONCE):
            known |= self._job.ledger.rows_of_adopted(custom_ids[start : start + _AT_ONCE])
        if self.kind == NO_INPUT:
            known |= self._add_rows(
                [custom_id for custom_id in custom_ids if custom_id not in known]
            )
        by_shared_id = self._rows_by_shared_id
        return [
            self._next_row_of(custom_id, by_shared_id) or known.get(custom_id)
            for custom_id in custom_ids
        ]

    def _next_row_of(self, custom_id: str, by_shared_id: dict[str, list[int]]) -> int | None:
        rows = by_shared_id.get(custom_id)
        if rows is None:
            return None
        turn = self._turns[custom_id]
        self._turns[custom_id] += 1
        return rows[min(turn, len(rows) - 1)]

    def _add_rows(self, custom_ids: Sequence[str]) -> dict[str, int]:
        """Add a new row for each of these custom_ids; the caller holds the store's write lock."""
        last = self._job.ledger.last_row()
        rows = {
            custom_id: last + n for n, custom_id in enumerate(dict.fromkeys(custom_ids), start=1)
        }
        if rows:
            added = [(row, custom_id, self._part_number) for custom_id, row in rows.items()]
            self._job.ledger.add_adopted_rows(added)
            self._job.store.set_job(self._job.id, rows=last + len(rows))
        return rows
