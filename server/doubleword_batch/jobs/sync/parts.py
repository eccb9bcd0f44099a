"""Uploads each part's file and creates each part's batch exactly once.

The file's name and the batch's metadata carry a fingerprint, by which they are found again if the
reply was lost or if another state directory made them. If the server does not take files as large
as the profile says, parts are divided.
"""

import hashlib
import re
from array import array
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from doubleword_batch.api.retry_policy import FindCreated, IncompleteListError
from doubleword_batch.atomic_files import rename
from doubleword_batch.errors import (
    DoublewordBatchError,
    ForbiddenError,
    Next,
    NotFoundError,
    RejectedError,
)
from doubleword_batch.jobs.costs import reserve
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.journal import Intent
from doubleword_batch.jobs.store.records import NEVER, Part, Write
from doubleword_batch.jobs.store.staging import staging_folder
from doubleword_batch.jobs.store.worker_threads import AbandonedError, in_thread
from doubleword_batch.jobs.sync.concurrency import CombinedProgress, PartResults, run_concurrently
from doubleword_batch.jobs.sync.idempotent_write import RemoteWrite, write_once
from doubleword_batch.jobs.sync.row_lookup import requests_of
from doubleword_batch.models import Batch, File
from doubleword_batch.progress import Progress
from doubleword_batch.requests import RequestFile, RequestFileWriter

OWN_PREFIX = "dwb_"
"""How our own keys in the batch's metadata begin."""

OWN_PAIRS = 4
"""How many of a batch's metadata pairs are reserved for ours."""

FINGERPRINT_KEY = f"{OWN_PREFIX}fingerprint"
"""The metadata key for the fingerprint of the batch's creation."""


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How batches are to run.

    Attributes:
        completion_window: one of the provider's.
        metadata: texts by name, kept with each batch beside our own.
    """

    completion_window: str
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


_MOST_PAGED, _MOST_LISTED = 300, 20_000
_CLOCKS_APART_SECONDS = 86_400.0
_USELESS = frozenset({"failed", "cancelled", "expired"})
_T = TypeVar("_T", File, Batch)


async def upload_parts(job: StoredJob, parts: Sequence[Part], progress: Progress) -> list[bool]:
    """Make sure that these parts are at the provider; return which of them were there already.

    Raises:
        StoreError: `request_file_gone`.
        RejectedError: `too_large`: the job's parts have been made smaller, so call again.
        ApiError, TransportError: the provider refused or could not be reached; the other parts
            were uploaded as far as possible.
    """
    sent = CombinedProgress(progress, sum(part.size_bytes for part in parts), "bytes uploaded")

    async def upload(part: Part) -> bool:
        return await _upload_part(job, part, sent.of(part.number))

    try:
        return (await run_concurrently(job.profile, parts, upload)).results_or_raise()
    except RejectedError as error:
        if error.status != TOO_LARGE:
            raise
        raise await split_too_large_parts(job, error) from error


async def create_parts(
    job: StoredJob,
    parts: Sequence[Part],
    costs: Sequence[Decimal | None],
    options: BatchOptions,
) -> PartResults[bool]:
    """Make sure that these parts have their batches; return which were created by this call.

    The caller has reserved what the batches may cost. A part that is refused for lack of capacity
    gives up its reservation, and makes it again when it is tried again.

    Args:
        job: the parts' job.
        parts: the parts; they are uploaded.
        costs: what each part may cost, US dollars.
        options: how they are to run.

    Raises:
        InputError: `over_cap`, for a part that is tried again.
        ApiError, TransportError: the provider refused or could not be reached.
    """

    async def create(part_and_cost: tuple[Part, Decimal | None]) -> bool:
        part, usd = part_and_cost
        with job.store.transaction():
            if _now(job, part).later == NEVER:  # cancelled since
                return False
            (write,) = reserve(
                job.workspace, [create_intent(job, part, usd)], options.completion_window
            )
        return await _create_part(job, part, write, options)

    try:
        results = await run_concurrently(job.profile, list(zip(parts, costs, strict=True)), create)
    except DoublewordBatchError:
        job.journal.release(job.id)
        raise
    if results.waiting:
        job.journal.release(job.id)
    return results


async def _upload_part(job: StoredJob, part: Part, tell: Callable[[float], None]) -> bool:
    if part.input_file_id is not None:
        return True
    path = job.request_file(part)
    same = job.store.file_with_content(part.sha256, job.provider, job.base_url)
    if same is not None and await _is_there(job, same):
        job.store.set_part(part.id, input_file_id=same)
        return True
    name = f"{job.name}-{part.number:04d}-{part.sha256[:16]}.jsonl"
    key = f"upload:{job.base_url}:{job.id}:{part.number}:{part.sha256}"
    remote = RemoteWrite(
        write=job.journal.record_intent(Intent("upload", key, job.id, part.id)),
        send=lambda find: job.client.files.upload(
            path, filename=name, on_progress=lambda done, _total: tell(done), find=find
        ),
        find_at_provider=lambda: _file_named(job, name, part.size_bytes),
        get_by_id=job.client.files.get,
        record_result=lambda file: job.store.set_part(part.id, input_file_id=file.id),
        accepts_existing=(lambda _: True) if _others_may_have_sent(job) else None,
        is_free=True,
    )
    _, sent = await write_once(job.workspace, remote)
    return not sent


def create_intent(job: StoredJob, part: Part, cost_usd: Decimal | None = None) -> Intent:
    """The intent to create a part's batch."""
    key = f"create:{job.base_url}:{job.id}:{_fingerprint(job, part)}"
    return Intent("create", key, job.id, part.id, cost_usd=cost_usd, requests=part.requests)


async def _create_part(job: StoredJob, part: Part, write: Write, options: BatchOptions) -> bool:
    if (part := _now(job, part)).input_file_id is None:  # another process found it deleted
        await _upload_part(job, part, lambda _: None)
        part = _now(job, part)
    marked = {
        **options.metadata,
        f"{OWN_PREFIX}job": job.name,
        f"{OWN_PREFIX}part": str(part.number),
        FINGERPRINT_KEY: _fingerprint(job, part),
    }
    remote = RemoteWrite(
        write=write,
        send=lambda find: _send_batch(job, part, options.completion_window, marked, find),
        find_at_provider=lambda: batch_with_our_mark(job, part),
        get_by_id=job.client.batches.get,
        record_result=lambda batch: job.store.record_batch(job.id, part.id, batch),
        accepts_existing=(
            (lambda batch: batch.status not in _USELESS) if _others_may_have_sent(job) else None
        ),
    )
    _, sent = await write_once(job.workspace, remote)
    return sent


def created_here(job: StoredJob, part: Part) -> bool:
    """Whether we created a batch for the part, rather than adopting one."""
    return bool(job.journal.find(job.id, part.id, "create", answered=True))


def _now(job: StoredJob, part: Part) -> Part:
    return next(now for now in job.parts() if now.id == part.id)


def _others_may_have_sent(job: StoredJob) -> bool:
    """Whether to search before the first send, as others may have sent the same job."""
    return job.profile.search and not job.has_random_fingerprint


def _fingerprint(job: StoredJob, part: Part) -> str:
    text = f"{job.fingerprint}/{part.number}/{part.sha256}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


async def _send_batch(
    job: StoredJob, part: Part, window: str, metadata: dict[str, str], find: FindCreated[Batch]
) -> Batch:
    try:
        return await job.client.batches.create(
            input_file_id=part.input_file_id or "",
            endpoint=job.endpoint,
            completion_window=window,
            metadata=metadata,
            find=find,
        )
    except NotFoundError:
        # The file was deleted or has expired: forget it, so that the next call uploads it again.
        job.store.forget_upload(part.id)
        raise


async def _is_there(job: StoredJob, file_id: str) -> bool:
    try:
        await job.client.files.get(file_id)
    except NotFoundError:
        return False
    return True


async def _file_named(job: StoredJob, name: str, size_bytes: int) -> File | None:
    search = name if job.profile.search else None
    files = job.client.files.list(search=search, purpose="batch", complete=True)
    async for file in _of_the_time(job, files):
        if file.filename == name and file.size_bytes in {0, size_bytes}:
            return file
    return None


async def batch_with_our_mark(job: StoredJob, part: Part) -> Batch | None:
    """The batch that was created for a part, from the provider's list, whatever its id.

    The mark's name may come back spelled differently, but nobody else's batch has its value. If the
    server keeps no metadata, it is the batch with the part's input file.

    Raises:
        IncompleteListError: the list cannot tell.
        ApiError, TransportError, ProtocolError: the provider gave no list.
    """
    fingerprint = _fingerprint(job, part)
    search = fingerprint if job.profile.search else None
    batches = job.client.batches.list(search=search, complete=True)
    async for batch in _of_the_time(job, batches):
        if fingerprint in batch.metadata.values():
            return batch
        is_unmarked = not batch.metadata and batch.input_file_id == part.input_file_id
        if is_unmarked and not job.store.knows_batch(batch.id):
            return batch
    return None


async def _of_the_time(job: StoredJob, found: AsyncIterator[_T]) -> AsyncIterator[_T]:
    """The objects in a list that may be a lost write of the job.

    If the list shows the newest first, it is read up to objects older than the job; else to its
    end.

    Raises:
        IncompleteListError: it does not show everything, or is too long.
    """
    since = job.created_at - _CLOCKS_APART_SECONDS
    newest, seen = None, 0
    try:
        async for item in found:
            yield item
            seen += 1
            created = item.created_at
            newest = newest or created
            is_newest_first = newest is not None and created is not None and created < newest
            is_old = created is not None and created.timestamp() < since
            if seen >= _MOST_PAGED and is_old and is_newest_first:
                return
            if seen >= _MOST_LISTED:
                raise IncompleteListError(f"The provider's list has more than {seen:,}.")
    except (ForbiddenError, NotFoundError) as error:
        raise IncompleteListError(f"It is not shown to this key (HTTP {error.status}).") from error


# Dividing parts, if the server does not take files as large as the profile says

TOO_LARGE = 413
_NAMED_LIMIT = re.compile(r"\b(\d{4,15}) bytes")
_ROWS_BETWEEN_CHECKS = 100


async def split_too_large_parts(job: StoredJob, error: RejectedError) -> RejectedError:
    """Divide the parts that are larger than the server takes; return an error that says so.

    These parts are not at the provider. The rows stay as they are; only their file changes, in one
    transaction for each part. If the process dies, a part is either unchanged or divided.

    Args:
        job: the parts' job.
        error: the error with which the server refused a part.
    """
    too_large = [p for p in job.parts() if p.input_file_id is None and p.path is not None]
    largest = max((part.size_bytes for part in too_large), default=0)
    named = _NAMED_LIMIT.search(error.message)
    limit = int(named[1]) if named else 0
    most_bytes = limit if 0 < limit < largest else largest // 2
    too_large = [part for part in too_large if part.size_bytes > most_bytes and part.requests > 1]
    if job.has_random_fingerprint or job.rows is None or not too_large:
        return error
    for part in too_large:
        await in_thread(lambda cancelled, part=part: _divide(job, part, most_bytes, cancelled))
    profile = job.profile
    return RejectedError(
        f"The largest request file of job {job.name} has {largest:,} bytes, which "
        f"{profile.called} should take (up to {profile.max_file_bytes:,}) and this server does "
        f"not. {error.message}",
        status=error.status,
        request_id=error.request_id,
        hint=f"The job's request files are smaller now, up to {most_bytes:,} bytes each; nothing "
        "has to be built again. Make the same call again.",
        code="too_large",
        retryable=True,
        next=Next("upload", {"job": job.name}),
    )


def _divide(job: StoredJob, part: Part, most_bytes: int, cancelled: Callable[[], bool]) -> None:
    """Write the part's requests to files of at most `most_bytes` each, and replace it by them."""
    rows_of: dict[int, array[int]] = {}  # by new file: eight bytes a row
    path = part.path
    if path is None or not path.exists():
        return
    failpoint("divide.begin")
    entries = job.ledger.rows_of_part(part.number)
    with staging_folder(job.store) as staging:
        with RequestFileWriter(staging.path, job.profile.max_requests, most_bytes) as files:
            for count, (row, line) in enumerate(requests_of(job, part, entries)):
                if count % _ROWS_BETWEEN_CHECKS == 0 and cancelled():
                    raise AbandonedError
                rows_of.setdefault(files.write(line), array("q")).append(row)
            made = files.publish()
        failpoint("divide.written")
        if sum(file.requests for file in made) != part.requests:
            return  # the file does not hold the ledger's requests: it stays as it is
        with job.store.transaction():
            if part not in job.parts():
                return  # another process was faster
            _put_in_place(job, part, made, rows_of)
            failpoint("divide.renamed")
    failpoint("divide.published")
    with suppress(OSError):
        path.unlink()


def _put_in_place(
    job: StoredJob, part: Part, made: Sequence[RequestFile], rows_of: "dict[int, array[int]]"
) -> None:
    last = job.parts()[-1].number
    for file in made:
        number = last + file.number
        target = job.folder / f"part-{number:04d}.jsonl"
        rename(file.path, target)  # replaces a file left by a crash
        job.store.add_part(
            job=job.id,
            number=number,
            retry_round=part.retry_round,
            path=str(target),
            requests=file.requests,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            model=part.model,
            is_changed=part.is_changed,
            later=part.later,
        )
        job.ledger.move_rows(number, rows_of[file.number])
    job.store.delete_part(part.id)
