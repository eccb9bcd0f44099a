"""Batches and input files that the provider has and we did not make become jobs of ours.

Each becomes a job once, whoever asks. Request files of this machine are in `ready_files`.
"""

import io
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from doubleword_batch.atomic_files import atomic_file, rename, sync_folder
from doubleword_batch.errors import DoublewordBatchError, InputError, NotFoundError, ProtocolError
from doubleword_batch.jobs.adopted_rows import REQUEST_FILE, open_rows, request_lines, sha256_of
from doubleword_batch.jobs.extras import spec_of
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.store.records import Part
from doubleword_batch.jobs.store.staging import staging_folder
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.row_names import NO_SUCH_LIST, OPEN, TWINS
from doubleword_batch.jobs.unknown_job import unknown_job
from doubleword_batch.loose_json import decode_or_none
from doubleword_batch.models import Batch

_UNKNOWN_ID = frozenset({400, 404, 410})  # 400: "Invalid batch ID format"


async def adopt(ws: Workspace, handle: str) -> StoredJob:
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
        if getattr(error, "status", None) not in _UNKNOWN_ID:
            raise
        raise unknown_job(ws, handle) from None
    return _adopted(ws, f"file-{handle[:8]}", file.id, None)


async def _batch(ws: Workspace, handle: str) -> Batch | None:
    try:
        return await ws.client.batches.get(handle)
    except (NotFoundError, InputError):
        return None
    except DoublewordBatchError as error:
        if getattr(error, "status", None) not in _UNKNOWN_ID:
            raise
        return None


def _adopted(ws: Workspace, name: str, file_id: str | None, batch: Batch | None) -> StoredJob:
    remote_id = batch.id if batch else file_id or ""
    with ws.store.transaction():
        known = ws.store.job_of_remote_id(remote_id)
        if known is not None:  # another process was faster
            return StoredJob.of_record(ws, known)
        job = ws.store.begin_job(
            provider=ws.profile.name,
            base_url=ws.server,
            endpoint=batch.endpoint if batch else ws.profile.endpoints[0],
            model="",
            fingerprint=f"adopted:{remote_id}",
            spec="{}",
            completion_window=ws.profile.window_named(batch.completion_window) if batch else None,
        )
        part = ws.store.add_part(
            job=job,
            number=1,
            retry_round=0,
            requests=batch.request_counts.total if batch else 0,
            size_bytes=0,
            sha256=f"adopted:{file_id}",
            input_file_id=file_id,
        )
        if batch is not None:
            ws.store.record_batch(job, part, batch)
        name = name if ws.store.job_named(name) is None else f"{name}-{job}"
        ws.store.set_job(job, name=name)
    return StoredJob.named(ws, name)


# An input file at the provider


async def read_input(job: StoredJob) -> StoredJob:
    """Read the input file of an adopted job, so that its rows are known.

    Where the file is gone, the batch's list of results says what was asked; where there is none,
    the rows are those that have a result line.

    Raises:
        NotFoundError: the file is gone, and there is no batch of it.
    """
    part = job.parts()[0]
    job.folder.mkdir(mode=0o700, exist_ok=True)
    with staging_folder(job.store) as staging:
        path = staging.path / REQUEST_FILE
        if not await _write_input(job, part, path):
            return _leave_rows_open(job)
        return await in_thread(lambda _: _know_rows(job, part.id, path))


async def _write_input(job: StoredJob, part: Part, path: Path) -> bool:
    """Write the requests of an adopted job to this file; False where nobody has them any more."""
    with atomic_file(path, private=True) as copy:

        async def keep(lines: bytes) -> None:
            copy.write(lines)

        try:
            if part.input_file_id is not None:
                await job.client.files.content(part.input_file_id, keep)
                return True
        except NotFoundError:
            if not job.batch_runs():
                raise
        return await _write_input_of_results(job, copy)


async def _write_input_of_results(job: StoredJob, copy: BinaryIO) -> bool:
    """The same out of the batch's list of results, which repeats each request's body."""
    if not job.profile.results:
        return False

    async def keep(lines: bytes) -> None:
        copy.writelines(_request_in(line, job.endpoint) for line in io.BytesIO(lines))

    try:
        await job.client.batches.results(job.batch_runs()[0].batch_id, keep)
    except (_NoRequestError, *NO_SUCH_LIST):
        copy.seek(0)
        copy.truncate()
        return False
    return copy.tell() > 0


class _NoRequestError(Exception):
    """A line of a list of results does not say what was asked."""


def _request_in(line: bytes, endpoint: str) -> bytes:
    fields = decode_or_none(line)
    if not isinstance(fields, dict):
        raise _NoRequestError
    row = cast("dict[str, Any]", fields)
    if not isinstance(row.get("custom_id"), str) or not row.get("input_body"):
        raise _NoRequestError
    request = {"custom_id": row["custom_id"], "method": "POST", "url": endpoint}
    return msgspec.json.encode(request | {"body": row["input_body"]}) + b"\n"


def _leave_rows_open(job: StoredJob) -> StoredJob:
    """Let each result line with a new custom_id be a row: nothing else tells them."""
    with job.store.transaction():
        if job.reloaded().rows is None:
            spec = msgspec.json.encode({"rows": OPEN}).decode()
            job.store.set_job(job.id, rows=0, spec=spec)
    return job.reloaded()


def _know_rows(job: StoredJob, part: int, path: Path) -> StoredJob:
    from doubleword_batch.requests import estimate_file_tokens

    models = {line.body.model for line in request_lines(path)}
    first = next(request_lines(path), None)
    asked = spec_of(msgspec.structs.asdict(line.body) for line in request_lines(path))
    if first is None:
        raise ProtocolError(f"The input file of {job.name} came back empty.", hint="Check the id.")
    size_bytes, digest = path.stat().st_size, sha256_of(path)
    input_tokens, output_tokens = estimate_file_tokens(path)
    target = job.folder / REQUEST_FILE
    with job.store.transaction():
        if (known := job.reloaded()).rows is not None:  # another process was faster
            return known
        rows = open_rows(job.ledger, path)
        if job.ledger.has_twins():
            asked["rows"] = TWINS
        job.store.set_part(
            part, path=str(target), requests=rows, size_bytes=size_bytes, sha256=digest
        )
        job.store.set_job(
            job.id,
            rows=rows,
            spec=msgspec.json.encode(asked).decode(),
            model=first.body.model if len(models) == 1 else "",
            endpoint=first.url or job.endpoint,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )
        rename(path, target)  # replaces what a crash left
        sync_folder(target.parent)
    return job.reloaded()
