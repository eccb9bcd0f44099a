"""Smaller parts of the same job, where the server takes no file as large as the profile says."""

import re
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress

from doubleword_batch.atomic_files import rename
from doubleword_batch.errors import Next, RejectedError
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.records import Part
from doubleword_batch.jobs.store.staging import staging_folder
from doubleword_batch.jobs.store.worker_threads import AbandonedError, in_thread
from doubleword_batch.jobs.sync.row_lookup import requests_of
from doubleword_batch.requests import RequestFile, RequestFileWriter

TOO_LARGE = 413
_NAMED_LIMIT = re.compile(r"\b(\d{4,15}) bytes")
_ROWS_BETWEEN_CHECKS = 100


async def split_too_large_parts(job: StoredJob, error: RejectedError) -> RejectedError:
    """Divide the parts that are larger than the server takes; returns the error that says so.

    Nothing of those parts is at the provider. The rows stay as they are; only which file holds them
    changes, in one transaction for each part: a process that dies leaves it as it was, or divided.

    Args:
        job: whose parts they are.
        error: how the server refused one of them.
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
        "has to be built anew. Make the same call again.",
        code="too_large",
        retryable=True,
        next=Next("upload", {"job": job.name}),
    )


def _divide(job: StoredJob, part: Part, most_bytes: int, cancelled: Callable[[], bool]) -> None:
    """Write the part's requests to files of at most `most_bytes`, and put them in its place."""
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
            return  # the file holds other requests than the ledger knows: it stays as it is
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
        rename(file.path, target)  # replaces what a crash left
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
