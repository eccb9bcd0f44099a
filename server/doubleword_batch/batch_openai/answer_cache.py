"""Which rows of the store may stand for a new call, so that no answer is paid for twice.

A row answers one call of a run: two equal calls made in one run are two requests, unless they
share. A row whose caller went away before the answer is free for the next equal call.
"""

from collections.abc import Callable, Sequence

from doubleword_batch.batch_openai.call import Call
from doubleword_batch.jobs.call_jobs import CallRow, CallRows, key_of_call
from doubleword_batch.jobs.job import Workspace


class Memory:
    """The rows that were paid for, and which of them this run has used.

    Args:
        share: equal calls may have the same row.
    """

    def __init__(self, *, share: bool) -> None:
        self._share = share
        self._has_past: bool | None = None
        self._own_jobs: set[str] = set()
        self._used: set[tuple[str, int]] = set()
        self._given_up: set[tuple[str, int]] = set()

    def look_up(self, ws: Workspace, calls: Sequence[Call]) -> dict[bytes, list[CallRow]]:
        """The rows that may stand for these calls; gives each call its key. Blocks."""
        for call in calls:
            call.key = key_of_call(ws.profile.name, ws.server, call.endpoint, call.body)
        if self._has_past is None:
            self._has_past = not CallRows(ws.store).is_empty()
        if not (self._has_past or self._share or self._given_up):
            return {}  # a first run has nothing to find
        return CallRows(ws.store).find(call.key for call in calls if call.key is not None)

    def choose(
        self, found: Sequence[CallRow], is_taken: Callable[[CallRow], bool]
    ) -> CallRow | None:
        """The first of these rows that no other call of this run has, now used.

        Args:
            found: rows of one key.
            is_taken: whether somebody waits for the row at this moment.
        """
        for row in found:
            if not is_taken(row) and (self._share or self._is_free((row.job, row.row))):
                self._given_up.discard((row.job, row.row))
                if row.job not in self._own_jobs:
                    self._used.add((row.job, row.row))
                return row
        return None

    def note_job(self, job: str) -> None:
        """A job of this run: each of its rows has its call."""
        self._own_jobs.add(job)

    def give_up(self, job: str, row: int) -> None:
        """The caller of a row went away without its answer."""
        self._used.discard((job, row))
        if job in self._own_jobs:
            self._given_up.add((job, row))

    def _is_free(self, row: tuple[str, int]) -> bool:
        return row in self._given_up if row[0] in self._own_jobs else row not in self._used
