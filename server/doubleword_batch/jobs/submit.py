"""`upload` and `create_batch`: files and batches at the provider, each of them once.

Every write is written down before it is sent and after it is answered. A write whose reply was
lost is looked for at the provider, by file name or by the fingerprint in the batch's metadata, and
only sent again once it has not appeared for `Workspace.settle_seconds`.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from doubleword_batch.errors import (
    DoublewordBatchError,
    InputError,
    NotFoundError,
    ServerError,
    StoreError,
    TransportError,
)
from doubleword_batch.jobs.foreign import job_of_file, read_input
from doubleword_batch.jobs.money import Cost, check_caps, cost_of_files, estimated
from doubleword_batch.jobs.reports import Next, Submitted, Uploaded, utc
from doubleword_batch.jobs.store import Attempt, Job, Part, Write
from doubleword_batch.jobs.workspace import Progress, Workspace, silent
from doubleword_batch.wire import Batch, File

FINGERPRINT_KEY = "dwb_fingerprint"
"""The key of the batch's metadata that carries the fingerprint of its creation."""

_LOOKS = (0.0, 1.0, 2.0, 4.0, 8.0)
_MOST_PAGED = 300
_T = TypeVar("_T", File, Batch)


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
    reused = [await upload_part(ws, found, part, progress) for part in ws.store.parts(found.id)]
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
    before = [attempt for _, attempt in ws.current(found)]
    if all(before):
        return _submitted(ws, found, reused=True, cost=Cost(found.cost_usd, "as estimated then"))
    if found.rows is None:
        found = await read_input(ws, found)
    cost = estimated(ws, found, window)
    server_knows = ws.profile.cost_estimate and not ws.profile.free
    if not server_knows:
        check_caps(ws, cost, max_cost_usd)
    for part in ws.store.parts(found.id):
        await upload_part(ws, found, part, progress)
    parts = ws.store.parts(found.id)
    if server_knows:
        file_ids = [part.input_file_id for part in parts if part.input_file_id]
        cost = await _cost(ws, found, file_ids, window)
        check_caps(ws, cost, max_cost_usd)
    ws.store.set_job(
        found.id,
        completion_window=window,
        cost_usd=None if cost.usd is None else str(cost.usd),
    )
    created = [
        await create_part(ws, found, part, window, metadata or {})
        for part, attempt in ws.current(found)
        if attempt is None
    ]
    return _submitted(ws, found, reused=not any(created), cost=cost)


async def upload_part(ws: Workspace, job: Job, part: Part, progress: Progress) -> bool:
    """Make sure that a part is at the provider; returns whether it was there already."""
    if part.input_file_id is not None:
        return True
    if part.path is None or not part.path.exists():
        raise StoreError(
            f"The request file of job {job.name} is gone from the state directory.",
            hint="Call create_batch_file again with the same arguments.",
            code="request_file_gone",
        )
    path = part.path
    same = ws.store.file_with_content(part.sha256, job.provider, job.base_url)
    if same is not None and await _is_there(ws, same):
        ws.store.set_part(part.id, input_file_id=same)
        return True
    name = f"{job.name}-{part.number:04d}-{part.sha256[:16]}.jsonl"
    key = f"upload:{job.base_url}:{job.id}:{part.number}:{part.sha256}"
    file, sent = await _write_once(
        ws,
        ws.store.intend(job.id, part.id, "upload", key),
        look=lambda: _file_named(ws, name, part.size_bytes),
        send=lambda: _send_file(ws, path, name, progress),
        may_repeat_at_once=True,
    )
    ws.store.set_part(part.id, input_file_id=file.id)
    return not sent


async def _send_file(ws: Workspace, path: Path, name: str, progress: Progress) -> File:
    return await ws.client.files.upload(
        path,
        filename=name,
        on_progress=lambda done, total: progress(done, total, "bytes uploaded"),
    )


async def create_part(
    ws: Workspace, job: Job, part: Part, window: str, metadata: dict[str, str]
) -> bool:
    """Make sure that a part has its batch; returns whether it was created just now."""
    fingerprint = hashlib.sha256(
        f"{job.fingerprint}/{part.number}/{part.sha256}".encode()
    ).hexdigest()[:32]
    marked = {
        **metadata,
        "dwb_job": job.name,
        "dwb_part": str(part.number),
        FINGERPRINT_KEY: fingerprint,
    }
    batch, sent = await _write_once(
        ws,
        ws.store.intend(job.id, part.id, "create", f"create:{job.base_url}:{job.id}:{fingerprint}"),
        look=lambda: _batch_marked(ws, fingerprint),
        send=lambda: _send_batch(ws, job, part, window, marked),
        may_repeat_at_once=False,
    )
    ws.store.see_batch(job.id, part.id, batch)
    return sent


async def _send_batch(
    ws: Workspace, job: Job, part: Part, window: str, metadata: dict[str, str]
) -> Batch:
    try:
        return await ws.client.batches.create(
            input_file_id=part.input_file_id or "",
            endpoint=job.endpoint,
            completion_window=window,
            metadata=metadata,
        )
    except NotFoundError:
        # The file was deleted or has expired: forget it, so that the next call uploads it anew.
        ws.store.forget_upload(part.id)
        raise


async def _write_once(
    ws: Workspace,
    write: Write,
    *,
    look: Callable[[], Awaitable[_T | None]],
    send: Callable[[], Awaitable[_T]],
    may_repeat_at_once: bool,
) -> tuple[_T, bool]:
    """Carry a write out exactly once; returns its object and whether this call sent it."""
    if write.sent_at is not None or ws.profile.search:
        found = await look()
        if found is not None and (write.sent_at is not None or _is_usable(found)):
            ws.store.answered(write, found.id)
            return found, False
    if write.sent_at is not None and not may_repeat_at_once:
        left = write.sent_at + ws.settle_seconds - ws.now()
        if left > 0:
            raise _unconfirmed(left)
    if not ws.store.claim_send(write):
        raise _unconfirmed(ws.settle_seconds)
    try:
        answer = await send()
    except DoublewordBatchError as error:
        if not _may_have_happened(error):
            ws.store.unsend(write)
            raise
        return await _recovered(ws, write, look, error)
    ws.store.answered(write, answer.id)
    return answer, True


def _may_have_happened(error: DoublewordBatchError) -> bool:
    """Whether a write that ended so may have reached the provider all the same."""
    if isinstance(error, TransportError):
        return error.may_have_happened
    return isinstance(error, ServerError) or bool(error.details.get("may_have_happened"))


def _is_usable(found: File | Batch) -> bool:
    """Whether something that another state directory made may stand for what is asked now."""
    return isinstance(found, File) or found.status not in {"failed", "cancelled", "expired"}


async def _recovered(
    ws: Workspace,
    write: Write,
    look: Callable[[], Awaitable[_T | None]],
    error: DoublewordBatchError,
) -> tuple[_T, bool]:
    """Look for a write whose reply was lost; what does not appear stays in doubt."""
    for seconds in _LOOKS:
        await ws.sleep(seconds)
        try:
            found = await look()
        except DoublewordBatchError:
            continue
        if found is not None:
            ws.store.answered(write, found.id)
            return found, True
    raise _unconfirmed(ws.settle_seconds) from error


def _unconfirmed(seconds: float) -> TransportError:
    return TransportError(
        "It is not known yet whether the last request reached the provider: its reply was lost.",
        may_have_happened=True,
        hint=f"Make the same call again in {max(1, round(seconds))} s: it looks for the lost "
        "request first and sends nothing twice.",
        code="unconfirmed",
        retryable=True,
        details={"retry_after_seconds": max(1, round(seconds))},
    )


async def _is_there(ws: Workspace, file_id: str) -> bool:
    try:
        await ws.client.files.get(file_id)
    except NotFoundError:
        return False
    return True


async def _file_named(ws: Workspace, name: str, size_bytes: int) -> File | None:
    search = name if ws.profile.search else None
    async for file in _first(ws.client.files.list(search=search, purpose="batch")):
        if file.filename == name and file.size_bytes in {0, size_bytes}:
            return file
    return None


async def _batch_marked(ws: Workspace, fingerprint: str) -> Batch | None:
    search = fingerprint if ws.profile.search else None
    async for batch in _first(ws.client.batches.list(search=search)):
        if batch.metadata.get(FINGERPRINT_KEY) == fingerprint:
            return batch
    return None


async def _first(found: AsyncIterator[_T]) -> AsyncIterator[_T]:
    """The newest objects of a list; a lost write is among them or was never made."""
    seen = 0
    async for one in found:
        yield one
        seen += 1
        if seen >= _MOST_PAGED:
            return


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


def _submitted(ws: Workspace, job: Job, *, reused: bool, cost: Cost) -> Submitted:
    current = ws.current(job)
    attempts: list[Attempt] = [attempt for _, attempt in current if attempt]
    arguments = {"job": job.name, "wait_seconds": 45}
    expiries = [a.expires_at for a in attempts if a.expires_at]
    return Submitted(
        provider=ws.provider,
        next=Next(tool="get_status", arguments=arguments),
        job=job.name,
        status=ws.status(job),
        batch_ids=[attempt.batch_id for attempt in attempts][:10],
        input_file_ids=[p.input_file_id for p, _ in current if p.input_file_id][:10],
        reused=reused,
        completion_window=ws.job_now(job).completion_window or "",
        expires_at=utc(max(expiries)) if expiries else None,
        cost_usd=cost.usd,
        cost_note=cost.note,
    )
