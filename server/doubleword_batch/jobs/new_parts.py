"""New parts of a submitted job: rows that run again, or are sent to another model.

The requests are written to files. In one step the files become parts and their rows pending. Then
the parts without a batch are submitted, after a crash by the next process.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from doubleword_batch.atomic_files import rename, sync_folder
from doubleword_batch.errors import DoublewordBatchError, InputError, Next
from doubleword_batch.jobs.costs import (
    Cost,
    check_caps,
    check_caps_of_retry,
    reserve,
    split_cost_by_part,
)
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.request_costs import (
    ProviderEstimate,
    estimate_cost_of_parts,
    fetch_provider_estimate,
)
from doubleword_batch.jobs.store.journal import Intent
from doubleword_batch.jobs.store.records import Part
from doubleword_batch.jobs.store.staging import staging_folder
from doubleword_batch.jobs.store.worker_threads import AbandonedError, in_thread
from doubleword_batch.jobs.sync.concurrency import PartResults
from doubleword_batch.jobs.sync.parts import BatchOptions, create_intent, create_parts, upload_parts
from doubleword_batch.progress import Progress
from doubleword_batch.requests import RequestFile, RequestFileWriter

_ROWS_BETWEEN_CHECKS = 100


class NewRequest(NamedTuple):
    """A row's request line.

    Attributes:
        row: the row's number.
        line: the line, with its line break.
        model: the model it asks; None for the job's own.
        is_changed: whether its parameters differ from those of the request built for the row.
    """

    row: int
    line: bytes
    model: str | None
    is_changed: bool = False


def with_body(line: bytes, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    """A request line with another body."""
    request: dict[str, Any] = msgspec.json.decode(line)
    return msgspec.json.encode(request | {"body": change(request["body"])}) + b"\n"


@dataclass(slots=True)
class _NewFiles:
    """The request files of one model, and which rows each of them holds."""

    model: str | None
    is_changed: bool
    writer: RequestFileWriter
    rows: "dict[int, array[int]]"  # only eight bytes a row are kept
    files: tuple[RequestFile, ...] = ()

    def write(self, request: NewRequest) -> None:
        self.rows.setdefault(self.writer.write(request.line), array("q")).append(request.row)


def write_new_parts(
    job: StoredJob,
    requests: Iterable[NewRequest],
    admit: Callable[[Sequence[Part]], None],
    *,
    record: Callable[[], None] = lambda: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Write requests to new parts and make their rows pending again, in one step.

    Each file asks one model only. Apart from the rows' numbers, memory stays constant.

    Args:
        job: the job.
        requests: in the order of the files.
        admit: called with the parts as they will be, without ids, before anything is changed; if
            it raises, nothing is left behind.
        record: called in the transaction that makes the parts, to record why they were made.
        cancelled: called every 100 rows; True stops the work.

    Raises:
        InputError: `still_running`: another process has begun a retry.
        StoreError: a request file is gone, or the disk is full.
    """
    failpoint("rebuild.begin")
    old = job.parts()
    with staging_folder(job.store) as staging:
        written = _written(job, requests, staging.path, cancelled)
        begun_already = InputError(
            f"Another process has begun a retry of job {job.name}.",
            hint="Check its status.",
            code="still_running",
            next=Next("get_status", {"job": job.name}),
        )
        if not written:  # all rows left their parts since they were selected
            raise begun_already
        new = _to_be(job, old, written)
        admit([part for part, _ in new])
        failpoint("rebuild.written")
        with job.store.transaction():
            if len(job.parts()) != len(old):
                raise begun_already
            for part, rows in new:
                _publish(job, part, rows)
            record()
            sync_folder(job.folder)
            failpoint("rebuild.renamed")
    failpoint("rebuild.published")


def _written(
    job: StoredJob,
    requests: Iterable[NewRequest],
    folder: Path,
    cancelled: Callable[[], bool],
) -> list[_NewFiles]:
    profile = job.profile
    by_kind: dict[tuple[str | None, bool], _NewFiles] = {}
    with ExitStack() as stack:
        for count, request in enumerate(requests):
            if count % _ROWS_BETWEEN_CHECKS == 0 and cancelled():
                raise AbandonedError
            kind = (request.model, request.is_changed)
            files = by_kind.get(kind)
            if files is None:
                own = folder / f"kind-{len(by_kind) + 1}"
                own.mkdir(mode=0o700)
                writer = RequestFileWriter(own, profile.max_requests, profile.max_file_bytes)
                files = _NewFiles(*kind, stack.enter_context(writer), {})
                by_kind[kind] = files
            files.write(request)
        for files in by_kind.values():
            files.files = files.writer.publish()
    return list(by_kind.values())


def _to_be(
    job: StoredJob, old: Sequence[Part], written: Sequence[_NewFiles]
) -> "list[tuple[Part, array[int]]]":
    """The parts that the files will become, still without ids, and their rows."""
    number = max((part.number for part in old), default=0)
    retry_round = max((part.retry_round for part in old), default=0) + 1
    found: list[tuple[Part, array[int]]] = []
    for files in written:
        for file in files.files:
            number += 1
            part = Part(
                id=0,
                job=job.id,
                number=number,
                retry_round=retry_round,
                path=file.path,
                requests=file.requests,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                input_file_id=None,
                model=files.model,
                is_changed=files.is_changed,
            )
            found.append((part, files.rows[file.number]))
    return found


def _publish(job: StoredJob, part: Part, rows: Iterable[int]) -> None:
    path = job.folder / f"part-{part.number:04d}.jsonl"
    if part.path is not None:
        rename(part.path, path)  # replaces a file left by a crash
    job.store.add_part(
        job=job.id,
        number=part.number,
        retry_round=part.retry_round,
        path=str(path),
        requests=part.requests,
        size_bytes=part.size_bytes,
        sha256=part.sha256,
        model=part.model,
        is_changed=part.is_changed,
    )
    job.ledger.reopen(part.number, rows)


def unsent_parts(job: StoredJob) -> list[Part]:
    """The new parts of a submitted job that have no batch yet."""
    return [part for part, run in job.newest_runs() if run is None and part.retry_round]


def intents_of(
    job: StoredJob, parts: Sequence[Part], cost: Cost, whole: Sequence[Part] | None = None
) -> list[Intent]:
    """The intents to create these parts' batches; `cost` is theirs, or that of all of `whole`."""
    costs = split_cost_by_part(cost, parts, parts if whole is None else whole)
    return [create_intent(job, part, usd) for part, usd in zip(parts, costs, strict=True)]


async def submit_new_parts(
    job: StoredJob,
    progress: Progress,
    max_cost_usd: Decimal | None = None,
    estimate: ProviderEstimate | None = None,
) -> tuple[list[Part], Cost, PartResults[bool]]:
    """Upload the new parts that have no batch yet, and create their batches.

    Args:
        job: the job.
        progress: called with the bytes sent.
        max_cost_usd: the caller's cap.
        estimate: the estimate by which they were admitted; None to ask for one.

    Returns:
        The parts, what they may cost, and which of the batches were created by this call.

    Raises:
        InputError: `over_cap`, `unknown_cost`.
        ApprovalError: they cost more than may be submitted without a person's approval.
        ApiError, TransportError: the provider refused or could not be reached.
    """
    parts = unsent_parts(job)
    sent = [part for part, run in job.newest_runs() if run is not None]
    estimate = estimate or await fetch_provider_estimate(job, sent)
    cost = await in_thread(
        lambda _: estimate_cost_of_parts(job, parts, estimate, asked_max_usd=max_cost_usd)
    )
    with job.store.transaction():
        check_caps(job.workspace, cost, max_cost_usd)
        check_caps_of_retry(job, cost)
        intents = intents_of(job, parts, cost)
        reserve(job.workspace, intents, job.window)
    try:
        await upload_parts(job, parts, progress)
    except DoublewordBatchError:
        job.journal.release(job.id)
        raise
    costs = [intent.cost_usd for intent in intents]
    results = await create_parts(job, parts, costs, BatchOptions(job.window))
    if not results.results:
        results.results_or_raise()
    return parts, cost, results
