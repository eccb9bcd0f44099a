"""`get_status` and `cancel`: how far a job is, and stopping it."""

from collections.abc import Sequence
from dataclasses import dataclass

from doubleword_batch.errors import InputError, Next, quote_untrusted
from doubleword_batch.jobs.job import Progress, Workspace, silent
from doubleword_batch.jobs.replies import Cancelled, Counts, Status, utc
from doubleword_batch.jobs.store.journal import Intent
from doubleword_batch.jobs.store.records import Attempt, Job, Part
from doubleword_batch.jobs.sync.concurrency import side_by_side
from doubleword_batch.jobs.sync.idempotent_write import RemoteWrite, write_once
from doubleword_batch.models import Batch

MAX_WAIT_SECONDS = 45
"""The longest wait inside one call: hosts end calls at about a minute."""

_FIRST_LOOK, _SLOWEST_LOOK = 0.25, 5.0
_WORTH_A_LIST = 3  # batches: from here on the list is asked first
_LISTED_FOR_EACH = 10  # how far it is followed for one of them: others may have come after it
_MOST_LISTED_AT_ONCE = 100


async def get_status(
    ws: Workspace, job: str, *, wait_seconds: float = 0, progress: Progress = silent
) -> Status:
    """How far a job is, waiting inside the call until it ends or the time is up.

    Args:
        ws: the workspace.
        job: a job's name or a provider's id.
        wait_seconds: 0 to 45.
        progress: told the finished requests whenever the provider was asked.
    """
    found = await ws.job(job)
    await wait(ws, found, wait_seconds, progress)
    return _status(ws, ws.job_now(found))


async def wait(ws: Workspace, job: Job, seconds: float, progress: Progress) -> None:
    """Ask the provider until every batch is terminal or the time is up; asks at least once."""
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise InputError(
            f"wait_seconds must be between 0 and {MAX_WAIT_SECONDS}.",
            hint="Wait again with another call.",
        )
    until = ws.steady() + seconds
    pause = _FIRST_LOOK
    while True:
        await refresh(ws, job)
        counts = _counts(ws, job)
        progress(counts.completed + counts.failed, counts.total or None, "requests finished")
        left = until - ws.steady()
        if left <= 0 or ws.has_ended(job) or not ws.store.attempts(job.id):
            return
        await ws.sleep(min(pause, left))
        pause = min(pause * 1.5, _SLOWEST_LOOK)


async def refresh(ws: Workspace, job: Job, *, also_terminal: bool = False) -> None:
    """Ask the provider for every batch that may have changed, and record what it says."""

    async def see(one: tuple[Part, Attempt]) -> None:
        part, attempt = one
        batch = await ws.client.batches.get(attempt.batch_id)
        ws.store.see_batch(job.id, part.id, batch, asked_with=attempt)

    asked = [(p, a) for p, a in ws.current(job) if a and (also_terminal or not a.is_terminal)]
    (await side_by_side(ws, asked, see)).all_or_refusal()


async def refresh_from_list(ws: Workspace, jobs: Sequence[Job]) -> set[int]:
    """The same for several jobs with one list, which costs less than many single requests.

    Returns:
        The jobs that are up to date now, by id. The others' batches are too few to be worth a
        list, or not among the newest: `refresh` those.

    Raises:
        ApiError, TransportError, ProtocolError: the provider gave no list.
    """
    running = {
        job.id: [(part, a) for part, a in ws.current(job) if a and not a.is_terminal]
        for job in jobs
    }
    wanted = {attempt.batch_id for those in running.values() for _, attempt in those}
    listed = await _listed(ws, wanted) if len(wanted) >= _WORTH_A_LIST else {}
    with ws.store.transaction():
        for job, those in running.items():
            for part, attempt in those:
                if attempt.batch_id in listed:
                    batch = listed[attempt.batch_id]
                    ws.store.see_batch(job, part.id, batch, asked_with=attempt)
    return {job for job, those in running.items() if all(a.batch_id in listed for _, a in those)}


async def _listed(ws: Workspace, wanted: set[str]) -> dict[str, Batch]:
    """Those of the wanted batches that are among the newest."""
    found: dict[str, Batch] = {}
    left = len(wanted) * _LISTED_FOR_EACH
    page_size = min(len(wanted) * 2 + _LISTED_FOR_EACH, _MOST_LISTED_AT_ONCE)
    async for batch in ws.client.batches.list(page_size=page_size):
        if batch.id in wanted:
            found[batch.id] = batch
        left -= 1
        if len(found) == len(wanted) or not left:
            break
    return found


async def cancel(ws: Workspace, job: str) -> Cancelled:
    """Stop a job's batches; what has finished stays downloadable.

    Raises:
        InputError: `already_ended`: nothing of it runs any more.
        ApiError, TransportError: the provider refused or could not be reached; calling again goes
            on with the batches that are left.
    """
    found = await ws.job(job)
    begun = {a.id for p, a in ws.current(found) if a and _open_cancel(ws, found, p)}
    await refresh(ws, found, also_terminal=True)
    current = [(p, a) for p, a in ws.current(found) if a is not None]
    stopping = [(p, a) for p, a in current if not a.is_terminal or a.id in begun]
    if not stopping:
        raise _nothing_runs(found, ws.status(found))
    stopped = await side_by_side(ws, stopping, lambda one: _cancel_batch(ws, found, *one))
    stopped.all_or_refusal()
    counts = _counts(ws, found)
    return Cancelled(
        provider=ws.provider,
        next=Next(tool="fetch_results", arguments={"job": found.name}),
        job=found.name,
        status=ws.status(found),
        batch_ids=[attempt.batch_id for _, attempt in stopping][:10],
        stopped=counts.total - counts.completed - counts.failed,
        finished=counts.completed + counts.failed,
        note="Finished rows stay downloadable; retry_failed can run the others later.",
    )


async def _cancel_batch(ws: Workspace, job: Job, part: Part, attempt: Attempt) -> None:
    turn = len(ws.journal.find(job.id, part.id, "cancel", answered=True))
    key = f"cancel:{attempt.id}:{turn}"

    async def look() -> Batch | None:
        batch = await ws.client.batches.get(attempt.batch_id)
        return batch if batch.is_terminal or batch.status == "cancelling" else None

    remote = RemoteWrite(
        write=ws.journal.intend(Intent("cancel", key, job.id, part.id)),
        send=lambda: ws.client.batches.cancel(attempt.batch_id),
        look=look,
        get=ws.client.batches.get,
        record=lambda batch: ws.store.see_batch(job.id, part.id, batch),
        stands=lambda _: True,  # it has ended by itself: "cancelled" would not be true
    )
    await write_once(ws, remote)


def _open_cancel(ws: Workspace, job: Job, part: Part) -> bool:
    """Whether a cancel of this part's batch was begun and its end is not known."""
    return bool(ws.journal.find(job.id, part.id, "cancel", answered=False))


def _nothing_runs(job: Job, status: str) -> InputError:
    never = status in {"built", "uploaded"}
    return InputError(
        f"Job {job.name} has no running batch: it is {status}.",
        hint="It was never submitted, so there is nothing to stop."
        if never
        else f'Use fetch_results(job="{job.name}") for what is there.',
        code="already_ended",
    )


@dataclass(frozen=True, slots=True)
class _Pace:
    per_second: float | None
    eta_seconds: int | None
    next_check_seconds: int | None


def _status(ws: Workspace, job: Job) -> Status:
    attempts = [attempt for _, attempt in ws.current(job) if attempt]
    counts = _counts(ws, job)
    status = ws.status(job)
    ended = ws.has_ended(job)
    pace = _pace(ws, counts, attempts, ended=ended)
    if len(attempts) < len(ws.current(job)):
        following = Next(tool="create_batch", arguments={"job": job.name})
    elif ended:
        following = Next(tool="fetch_results", arguments={"job": job.name})
    else:
        arguments = {"job": job.name, "wait_seconds": MAX_WAIT_SECONDS}
        following = Next(tool="get_status", arguments=arguments)
    finished = counts.completed + counts.failed
    expiries = [a.expires_at for a in attempts if a.expires_at]
    return Status(
        provider=ws.provider,
        next=following,
        job=job.name,
        status=status,
        complete=ended,
        batch_ids=[attempt.batch_id for attempt in attempts][:10],
        counts=counts,
        percent=round(100 * finished / counts.total, 1) if counts.total else 0.0,
        requests_per_second=pace.per_second,
        eta_seconds=pace.eta_seconds,
        next_check_seconds=pace.next_check_seconds,
        expires_at=utc(max(expiries)) if expiries else None,
        problems=_problems(attempts),
    )


def _counts(ws: Workspace, job: Job) -> Counts:
    total = completed = failed = 0
    for part, attempt in ws.current(job):
        total += (attempt.total if attempt else 0) or part.requests
        completed += attempt.completed if attempt else 0
        failed += attempt.failed if attempt else 0
    return Counts(total=total, completed=completed, failed=failed)


def _pace(ws: Workspace, counts: Counts, attempts: list[Attempt], *, ended: bool) -> _Pace:
    if ended or not attempts:
        return _Pace(None, None, None)
    finished = counts.completed + counts.failed
    starts = [at for a in attempts if (at := a.started_at or a.created_at)]
    elapsed = ws.now() - min(starts) if starts else 0.0
    if finished == 0 or elapsed <= 0:
        return _Pace(None, None, 60)
    per_second = finished / elapsed
    eta = (counts.total - finished) / per_second
    return _Pace(round(per_second, 3), round(eta), max(5, min(300, round(eta / 4))))


def _problems(attempts: list[Attempt]) -> list[str]:
    """What the provider says of batches as a whole."""
    problems = [
        f"batch {a.batch_id}: {quote_untrusted(a.errors, 200)}" for a in attempts if a.errors
    ]
    problems += [
        f"batch {a.batch_id} was refused as a whole: no request ran"
        for a in attempts
        if a.status == "failed" and not a.total and not a.errors
    ]
    return problems[:3]
