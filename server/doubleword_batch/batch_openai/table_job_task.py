"""Rows of a table's job for which calls wait: the job is followed and read, but never changed."""

import logging
from collections.abc import Callable, Iterable

from doubleword_batch.batch_openai.batch_task import BatchTask, outcome_of
from doubleword_batch.batch_openai.call import Call, Outcome, deliver
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.call_jobs import finished_rows
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.collect import collect

_ROWS_AT_ONCE = 500
_log = logging.getLogger(__name__)


class TableJobTask(BatchTask):
    """A table's job and the calls that wait for its rows; otherwise like `BatchTask`.

    The owner of the job may cancel it, or run its rows again with other parameters. So a call whose
    row ends without a good answer to the original request is sent by itself.

    Attributes:
        send: sends calls by themselves; set by the creator of this task.
    """

    send: Callable[[list[Call]], None]

    async def _submit_approved(self) -> None:
        """Does nothing: a row for which a call waits already has its batch."""

    async def _poll(self) -> bool:
        await self._poller.poll(self.job)
        runs = self.job.batch_runs()
        ended = sum(run.is_terminal for run in runs)
        news = ended + sum(run.completed + run.failed for run in runs)
        lacks_lines = False
        if news != self._ended_rows and (ended or self._ws.profile.skip):
            async with self._limits.collecting:
                lacks_lines = (await collect(self.job)).waiting > 0
            self._ended_rows = -1 if lacks_lines else news
        await self._deliver_answered()
        return ended == len(runs) and not lacks_lines

    async def _deliver_answered(self) -> None:
        """Deliver the answers that are there, and release callers who no longer wait."""
        waiting = self.waiting
        rows = list(waiting)
        answered, waits = await in_thread(lambda _: _answered_and_pending(self.job, rows))
        deliver((waiting.pop(row), outcome) for row, outcome in answered if row in waiting)
        self._send_alone([row for row in rows if row in waiting and row not in waits])

    async def _fail_rest(self, error: DoublewordBatchError) -> None:
        """Send the calls for which the job has nothing by themselves; some may have joined late.

        A row whose batch may still run is not sent again: its call fails, and the same call finds
        the row the next time.
        """
        self._forget_given_up()  # before anybody can join: a repeated call finds the row
        if not self.waiting:
            return
        _log.info("Calls no longer wait for job %s: %s", self.job.name, error.message)
        seen: dict[int, Call] = {}
        while any(seen.get(row) is not call for row, call in self.waiting.items()):
            seen |= self.waiting
            await self._deliver_answered()
        if all(run.is_terminal for run in self.job.batch_runs()):
            self._send_alone(list(self.waiting))
        else:
            self.fail(error)

    def _forget_given_up(self) -> None:
        for row, call in list(self.waiting.items()):
            if not call.is_wanted:
                call.has_outcome = True
                del self.waiting[row]

    def _send_alone(self, rows: Iterable[int]) -> None:
        calls = [self.waiting.pop(row) for row in rows]
        for call in calls:
            call.job_row = None
        if calls:
            self.send(calls)


def _answered_and_pending(
    job: StoredJob, rows: list[int]
) -> tuple[list[tuple[int, Outcome]], set[int]]:
    """The answers to the original requests, by row, and the rows that still wait for theirs."""
    answered: list[tuple[int, Outcome]] = []
    waits: set[int] = set()
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        group = rows[start : start + _ROWS_AT_ONCE]
        waits.update(job.ledger.pending_among(group))
        answered += [
            (finished.row, outcome_of(finished, ""))
            for finished in finished_rows(job, job.ledger.good_entries(group))
            if finished.line is not None
        ]
    return answered, waits
