"""Waiting for a job to end, as long as the person likes, through short losses of connection."""

from collections.abc import Callable
from time import monotonic

import anyio

from doubleword_batch.errors import DoublewordBatchError, InputError, Next
from doubleword_batch.jobs.job import Progress, Workspace
from doubleword_batch.jobs.replies import Status
from doubleword_batch.jobs.status import MAX_WAIT_SECONDS, get_status

_MOST_FAILURES = 10
_PAUSE_SECONDS = 30.0


async def until_ended(
    ws: Workspace,
    job: str,
    timeout_seconds: float | None,
    *,
    progress: Progress,
    note: Callable[[str], None],
) -> Status:
    """Ask until every batch of the job has ended, or the time is up.

    Args:
        ws: the workspace.
        job: a job's name or a provider's id.
        timeout_seconds: None to wait for the end.
        progress: told the finished requests.
        note: told of a lost connection; what may come back is asked again for some minutes.

    Raises:
        InputError: `not_submitted`: a part of the job has no batch, so that it cannot end.
        DoublewordBatchError: what the last of many failures was.
    """
    until = None if timeout_seconds is None else monotonic() + timeout_seconds
    failures = 0
    while True:
        left = float(MAX_WAIT_SECONDS) if until is None else max(0.0, until - monotonic())
        try:
            status = await get_status(
                ws, job, wait_seconds=min(left, MAX_WAIT_SECONDS), progress=progress
            )
        except DoublewordBatchError as error:
            failures += 1
            if not error.retryable or failures > _MOST_FAILURES or left <= 0:
                raise
            note(f"{error.message} Trying again in {_PAUSE_SECONDS:.0f} s.")
            await anyio.sleep(min(left, _PAUSE_SECONDS))
            continue
        failures = 0
        if status.status in {"built", "uploaded"}:
            raise InputError(
                f"Job {status.job} is not submitted{' as a whole' if status.batch_ids else ''}, so "
                "there is nothing to wait for.",
                hint="Submit it first.",
                next=Next("create_batch", {"job": status.job}),
                code="not_submitted",
            )
        if status.complete or (until is not None and monotonic() >= until):
            return status
