"""Batches and input files that were made elsewhere become jobs of ours, each of them once."""

from typing import TYPE_CHECKING

from doubleword_batch.errors import DoublewordBatchError, InputError, NotFoundError
from doubleword_batch.jobs.store.records import Job
from doubleword_batch.models import Batch

if TYPE_CHECKING:
    from doubleword_batch.jobs.job import Workspace


async def adopt(ws: "Workspace", handle: str) -> Job:
    """The job over a batch or an input file of the provider.

    Raises:
        InputError: `unknown_job`: the provider has neither of that id.
        ApiError, TransportError: the provider refused or could not be reached.
    """
    batch = await _batch(ws, handle)
    if batch is not None:
        name = f"batch-{batch.id[-8:] if '_' in batch.id else batch.id[:8]}"
        return _adopted(ws, name, batch.input_file_id, batch)
    try:
        file = await ws.client.files.get(handle)
    except DoublewordBatchError as error:
        if getattr(error, "status", None) not in {400, 404, 410}:
            raise
        raise InputError(
            f"There is no job {handle} here, and no batch or file of that id at "
            f"{ws.profile.title}.",
            hint="list(kind=jobs) shows the jobs, list(kind=batches) the provider's batches.",
            code="unknown_job",
        ) from None
    return _adopted(ws, f"file-{handle[:8]}", file.id, None)


async def _batch(ws: "Workspace", handle: str) -> Batch | None:
    try:
        return await ws.client.batches.get(handle)
    except (NotFoundError, InputError):
        return None
    except DoublewordBatchError as error:
        if getattr(error, "status", None) != 400:  # noqa: PLR2004  # "Invalid batch ID format"
            raise
        return None


def _adopted(ws: "Workspace", name: str, file_id: str | None, batch: Batch | None) -> Job:
    remote_id = batch.id if batch else file_id or ""
    with ws.store.transaction():
        known = ws.store.job_of_remote_id(remote_id)
        if known is not None:  # another process was faster
            return known
        job = ws.store.begin_job(
            provider=ws.profile.name,
            base_url=ws.server,
            endpoint=batch.endpoint if batch else ws.profile.endpoints[0],
            model="",
            fingerprint=f"adopted:{remote_id}",
            spec="{}",
            completion_window=batch.completion_window if batch else None,
        )
        part = ws.store.add_part(
            job=job,
            number=1,
            generation=1,
            requests=batch.request_counts.total if batch else 0,
            size_bytes=0,
            sha256=f"adopted:{file_id}",
            input_file_id=file_id,
        )
        if batch is not None:
            ws.store.see_batch(job, part, batch)
        name = name if ws.store.job_named(name) is None else f"{name}-{job}"
        ws.store.set_job(job, name=name)
    return ws.store.job_known(name)
