"""`upload` and `create_batch`: files and batches at the provider, each of them once."""

from collections.abc import Sequence
from decimal import Decimal

from doubleword_batch.errors import InputError, Next
from doubleword_batch.jobs.adopt import job_of_file, read_input
from doubleword_batch.jobs.costs import (
    Cost,
    check_caps,
    cost_of_files,
    estimated,
    for_caps,
    reserve,
    shares,
)
from doubleword_batch.jobs.job import Progress, Workspace, silent
from doubleword_batch.jobs.replies import Submitted, Uploaded, utc
from doubleword_batch.jobs.retry import finish_retry, unsent_retry
from doubleword_batch.jobs.store.failpoints import reached
from doubleword_batch.jobs.store.records import Attempt, Job, Part
from doubleword_batch.jobs.sync.concurrency import Done, after_submitting, waiting_for_capacity
from doubleword_batch.jobs.sync.parts import (
    BatchOrder,
    create_intent,
    create_parts,
    upload_parts,
)


async def upload(
    ws: Workspace, *, job: str | None = None, path: str | None = None, progress: Progress = silent
) -> Uploaded:
    """Upload a job's request files, or a request file that was made elsewhere.

    Args:
        ws: the workspace.
        job: a job's name.
        path: a JSONL request file; it is validated first and becomes a job.
        progress: told the bytes sent.

    Raises:
        InputError: no such job or file, or a file with invalid lines (`invalid_request_file`).
        ApiError, TransportError: the provider refused or could not be reached.
    """
    if (job is None) == (path is None):
        raise InputError("Give either job or path, and not both.")
    if path is not None:
        found = await job_of_file(ws, path)
    else:
        found = await ws.job(job or "")
    reused = await upload_parts(ws, found, ws.store.parts(found.id), progress)
    parts = ws.store.parts(found.id)
    file_ids = [part.input_file_id for part in parts if part.input_file_id]
    window = found.completion_window or ws.profile.windows[0]
    cost = await _cost(ws, found, file_ids, window)
    arguments = {"job": found.name, "completion_window": window}
    return Uploaded(
        provider=ws.provider,
        next=Next(tool="create_batch", arguments=arguments),
        job=found.name,
        input_file_ids=file_ids[:10],
        requests=sum(part.requests for part in parts),
        size_bytes=sum(part.size_bytes for part in parts),
        reused=sum(reused),
        cost_usd=cost.usd,
        cost_note=cost.note,
        warnings=[],
    )


async def create_batch(
    ws: Workspace,
    job: str,
    *,
    completion_window: str | None = None,
    metadata: dict[str, str] | None = None,
    max_cost_usd: Decimal | None = None,
    progress: Progress = silent,
) -> Submitted:
    """Create the batches of a job, uploading first if that has not happened.

    A job that has its batches already is given back as it is: nothing runs twice.

    Args:
        ws: the workspace.
        job: a job's name or an input file's id.
        completion_window: one of the profile's windows; the first by default.
        metadata: text by text, kept with each batch.
        max_cost_usd: refuse above this; the human's caps hold in any case.
        progress: told the bytes sent.

    Raises:
        InputError: an unknown window, bad metadata, or a cap that would be passed.
        ApiError, TransportError: the provider refused or could not be reached.
    """
    found = await ws.job(job)
    window = _window(ws, found, completion_window)
    _check_metadata(metadata or {})
    if all(attempt for _, attempt in ws.current(found)):
        return _submitted(ws, found, reused=True, cost=Cost(found.cost_usd, "as estimated then"))
    if unsent_retry(ws, found):
        begun = await finish_retry(ws, found, progress, max_cost_usd)
        return _submitted(ws, found, reused=False, cost=begun.cost, done=begun.done)
    if found.rows is None:
        found = await read_input(ws, found)
    cost = estimated(ws, found, window)
    server_knows = ws.profile.cost_estimate and not ws.profile.free
    if not server_knows:
        check_caps(ws, cost, max_cost_usd)
    parts = ws.store.parts(found.id)
    await upload_parts(ws, found, parts, progress)
    own = cost
    if server_knows:
        files = [part.input_file_id for part in ws.store.parts(found.id) if part.input_file_id]
        cost = await _cost(ws, found, files, window)
    capped = for_caps(found, own, cost)
    order = BatchOrder(window, metadata or {})
    done = await _create(ws, found, parts, order, capped, max_cost_usd)
    if not any(attempt for _, attempt in ws.current(found)):
        done.all_or_refusal()
    submitted = _submitted(ws, found, reused=not any(done.results), cost=cost, done=done)
    return submitted.model_copy(update={"next": after_submitting(found, done, metadata)})


async def _create(
    ws: Workspace,
    job: Job,
    parts: Sequence[Part],
    order: BatchOrder,
    cost: Cost,
    max_cost_usd: Decimal | None,
) -> Done[bool]:
    """Create the batches that are not there yet; tells which of them this call created.

    Only of the parts that were uploaded for it: what another process has built for a retry since
    is not of this submission.
    """
    ours = {part.id for part in parts}
    usd = None if cost.usd is None else str(cost.usd)
    with ws.store.transaction():
        missing = [p for p, attempt in ws.current(job) if attempt is None and p.id in ours]
        check_caps(ws, cost, max_cost_usd)
        costs = shares(cost, missing, ws.store.parts(job.id))
        reserve(ws, [create_intent(job, *one) for one in zip(missing, costs, strict=True)])
        ws.store.set_job(job.id, completion_window=order.completion_window, cost_usd=usd)
    reached("create.reserved")
    return await create_parts(ws, job, missing, costs, order)


def _window(ws: Workspace, job: Job, asked: str | None) -> str:
    window = asked or job.completion_window or ws.profile.windows[0]
    if ws.profile.name != "generic" and window not in ws.profile.windows:
        raise InputError(
            f"{ws.profile.title} has no completion window {window!r}.",
            hint=f"Use one of {', '.join(ws.profile.windows)}.",
            code="bad_window",
        )
    return window


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > 12 or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):  # noqa: PLR2004  # the API's 16/64/512 less ours
        raise InputError(
            "metadata is too large.",
            hint="Use at most 12 pairs, keys up to 64 and values up to 512 characters.",
            code="bad_metadata",
        )
    if any(key.startswith("dwb_") for key in metadata):
        raise InputError(
            "metadata keys that start with dwb_ are reserved.",
            hint="Use other keys.",
            code="bad_metadata",
        )


async def _cost(ws: Workspace, job: Job, file_ids: list[str], window: str) -> Cost:
    theirs = await cost_of_files(ws, file_ids, window)
    return theirs or estimated(ws, job, window)


def _submitted(
    ws: Workspace, job: Job, *, reused: bool, cost: Cost, done: Done[bool] | None = None
) -> Submitted:
    current = ws.current(job)
    attempts: list[Attempt] = [attempt for _, attempt in current if attempt]
    expiries = [a.expires_at for a in attempts if a.expires_at]
    return Submitted(
        provider=ws.provider,
        next=after_submitting(job, done),
        job=job.name,
        status=ws.status(job),
        batch_ids=[attempt.batch_id for attempt in attempts][:10],
        input_file_ids=[p.input_file_id for p, _ in current if p.input_file_id][:10],
        reused=reused,
        completion_window=ws.job_now(job).completion_window or "",
        expires_at=utc(max(expiries)) if expiries else None,
        cost_usd=cost.usd,
        cost_note=cost.note,
        waiting=waiting_for_capacity(done),
    )
