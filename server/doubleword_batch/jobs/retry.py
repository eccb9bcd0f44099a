"""Run again only what failed, only for the selected causes, into the same table: `retry_failed`.

Where the provider retries a batch in place and everything that failed is wanted unchanged, it is
asked to. Otherwise the selected rows' requests are copied from the files that hold them into new
request files and new batches of the same job.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from doubleword_batch.atomic_files import rename, sync_folder
from doubleword_batch.errors import (
    DoublewordBatchError,
    InputError,
    Next,
    StoreError,
)
from doubleword_batch.jobs.approvals import (
    arguments_of,
    check_approval,
    questions_written_down,
)
from doubleword_batch.jobs.billing import fetch_bills, fetch_bills_of_today
from doubleword_batch.jobs.costs import (
    Cost,
    Tariff,
    check_caps,
    check_caps_of_retry,
    estimate_cost_of_files,
    fetch_tariff,
    reserve,
    split_cost_by_part,
)
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.replies import Retried
from doubleword_batch.jobs.retry_advice import (
    TRUNCATED,
    curable_causes,
    cut_again,
    is_larger_limit,
    nothing_to_retry,
)
from doubleword_batch.jobs.retry_in_place import retry_in_place
from doubleword_batch.jobs.status import refresh
from doubleword_batch.jobs.store.journal import Intent
from doubleword_batch.jobs.store.ledger_reader import UNANSWERED, RetrySelection
from doubleword_batch.jobs.store.records import Part
from doubleword_batch.jobs.store.staging import staging_folder
from doubleword_batch.jobs.store.worker_threads import AbandonedError, in_thread
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.sync.concurrency import (
    PartResults,
    after_submitting,
    waiting_for_capacity,
)
from doubleword_batch.jobs.sync.parts import (
    BatchOptions,
    create_intent,
    create_parts,
    upload_parts,
)
from doubleword_batch.jobs.sync.row_names import rows_share_names
from doubleword_batch.progress import Progress, no_progress

if TYPE_CHECKING:
    from doubleword_batch.requests.request_files import RequestFile

_FIXED = frozenset({"messages", "input", "model", "stream"})
_ROWS_BETWEEN_CHECKS = 100


@dataclass(frozen=True, slots=True)
class StartedRetry:
    """A retry that has been submitted."""

    causes: dict[str, int]
    in_place: bool
    cost: Cost
    results: PartResults[bool] | None = None


async def retry_failed(
    ws: Workspace,
    job: str,
    *,
    causes: Sequence[str] = (),
    params: dict[str, Any] | None = None,
    progress: Progress = no_progress,
) -> Retried:
    """Run rows again. A retry that was interrupted before it was submitted is submitted first.

    Args:
        ws: the workspace.
        job: a job's name or a provider's id.
        causes: outcomes (`failed`, `truncated`, ...) or causes (`http_429`, `timeout`, ...) as
            the reply with the results names them; by default rows without an answer, and of
            these, where params change nothing, those that a repeat can cure.
        params: changed in each body, such as a larger max_tokens; the prompt and model stay.
        progress: told the bytes sent.

    Raises:
        InputError: the job still runs (`still_running`), no row fits (`nothing_to_retry`), or a
            cap forbids it (`over_cap`, `unknown_cost`).
        ApprovalError: it costs more than a person allows unasked; nothing was changed.
        ApiError, TransportError: the provider refused or could not be reached.
    """
    stored = await find_job(ws, job)
    again = arguments_of(job=stored.name, causes=list(causes), params=params)
    with questions_written_down(ws, Next("retry_failed", dict(again))):
        return await _retry_failed(stored, causes, params or {}, progress)


async def _retry_failed(
    stored: StoredJob, causes: Sequence[str], params: dict[str, Any], progress: Progress
) -> Retried:
    ws = stored.workspace
    fixed = _FIXED & set(params)
    if fixed:
        raise InputError(
            f"params cannot change {', '.join(sorted(fixed))} of a retry.",
            hint="Build a new job for another prompt or model.",
        )
    from doubleword_batch.requests import check_counts

    check_counts(params)
    await refresh(stored, also_terminal=True)
    await fetch_bills_of_today(ws)
    if unsent_retry(stored):
        retry = await finish_retry(stored, progress)
    else:
        _refuse_running(stored)
        await collect(stored)
        await fetch_bills(stored)
        retry = await _begin(stored.reloaded(), causes, params, progress)
    running = [run for _, run in stored.newest_runs() if run and not run.is_terminal]
    return Retried(
        provider=ws.provider,
        next=after_submitting(stored, retry.results),
        job=stored.name,
        status=stored.status(),
        rows=sum(retry.causes.values()),
        causes=retry.causes,
        in_place=retry.in_place,
        batch_ids=[run.batch_id for run in running][:10],
        cost_usd=retry.cost.usd,
        cost_note=retry.cost.note,
        waiting=waiting_for_capacity(retry.results),
    )


def unsent_retry(job: StoredJob) -> list[Part]:
    """The request files of a retry that have no batch yet."""
    return [part for part, run in job.newest_runs() if run is None and part.retry_round]


def _refuse_running(job: StoredJob) -> None:
    if job.has_ended():
        return
    if job.status() in {"built", "uploaded"}:
        raise InputError(
            f"Job {job.name} is not fully submitted, so its failed rows cannot be run again yet.",
            hint="Submit it first.",
            code="not_submitted",
            next=Next("create_batch", {"job": job.name}),
        )
    raise InputError(
        f"Job {job.name} still runs; its failed rows are not final.",
        hint="Wait for its end, then retry.",
        code="still_running",
        next=Next("get_status", {"job": job.name, "wait_seconds": 45}),
    )


async def _begin(
    job: StoredJob, causes: Sequence[str], params: dict[str, Any], progress: Progress
) -> StartedRetry:
    wanted = causes or (UNANSWERED if params else curable_causes(job))
    selection = job.ledger.select_for_retry(tuple(sorted(set(wanted))))
    if not selection.causes:
        raise nothing_to_retry(job, causes)
    if TRUNCATED & set(causes) and not is_larger_limit(job, params):
        raise cut_again(job)
    parts = [part for part in job.parts() if part.number in selection.parts]
    tariff = await fetch_tariff(job, parts)
    is_unchanged = selection.is_everything and not params and _are_whole(job, selection)
    # For a cap, or a person, the very lines that are sent are counted: they are sent anew.
    if job.profile.retry and is_unchanged and not job.workspace.is_bounded:
        cost = await retry_in_place(job, selection, tariff)
        if cost is not None:
            return StartedRetry(selection.causes, in_place=True, cost=cost)

    def admit(files: "Sequence[RequestFile]") -> None:
        cost = estimate_cost_of_files(job, [file.path for file in files], tariff)
        check_caps_of_retry(job, cost)
        check_approval(job.workspace, _intents(job, _parts_to_be(job, files), cost), job.window)

    await in_thread(lambda cancelled: _rebuild(job, selection, params, admit, cancelled))
    return await finish_retry(job, progress, tariff=tariff)


def _parts_to_be(job: StoredJob, files: "Sequence[RequestFile]") -> list[Part]:
    """What these files become once they are published; they have no id yet."""
    old = job.parts()
    last, retry_round = old[-1].number, max(part.retry_round for part in old) + 1
    return [
        Part(
            id=0,
            job=job.id,
            number=last + file.number,
            retry_round=retry_round,
            path=None,
            requests=file.requests,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            input_file_id=None,
        )
        for file in files
    ]


def _intents(job: StoredJob, parts: Sequence[Part], cost: Cost) -> list[Intent]:
    costs = split_cost_by_part(cost, parts, parts)
    return [create_intent(job, part, usd) for part, usd in zip(parts, costs, strict=True)]


def _are_whole(job: StoredJob, selection: RetrySelection) -> bool:
    """Whether no row has left these parts: its old request would run again with the others."""
    parts = (part for part in job.parts() if part.number in selection.parts)
    return all(job.ledger.rows_in(part.number) == part.requests for part in parts)


def _rebuild(
    job: StoredJob,
    selection: RetrySelection,
    params: dict[str, Any],
    admit: "Callable[[Sequence[RequestFile]], None]",
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Write the selected rows' requests to new parts and make the rows pending again, as one step.

    One pass over each part's file; of its rows only the numbers are held.

    Args:
        job: whose rows.
        selection: which rows.
        params: changed in each body.
        admit: given the new files before anything is changed; what it raises leaves no trace.
        cancelled: asked every 100 rows.

    Raises:
        InputError: `retried_already`: another process was faster.
        StoreError: a request file is gone, or the disk is full.
    """
    from doubleword_batch.requests import RequestFileWriter

    failpoint("rebuild.begin")
    profile = job.profile
    old = job.parts()
    rows_of: dict[int, array[int]] = {}  # by new file: eight bytes a row, and nothing else of it
    with staging_folder(job.store) as staging:
        with RequestFileWriter(staging.path, profile.max_requests, profile.max_file_bytes) as files:
            for count, (row, line) in enumerate(_requests(job, old, selection, params)):
                if count % _ROWS_BETWEEN_CHECKS == 0 and cancelled():
                    raise AbandonedError
                rows_of.setdefault(files.write(line), array("q")).append(row)
            if not rows_of:  # all of them left their parts since they were selected
                raise _retried_already(job)
            parts = files.publish()
        admit(parts)
        failpoint("rebuild.written")
        with job.store.transaction():
            if len(job.parts()) != len(old):
                raise _retried_already(job)
            for file, part in zip(parts, _parts_to_be(job, parts), strict=True):
                path = job.folder / f"part-{part.number:04d}.jsonl"
                rename(file.path, path)  # replaces what a crash left
                job.store.add_part(
                    job=job.id,
                    number=part.number,
                    retry_round=part.retry_round,
                    path=str(path),
                    requests=part.requests,
                    size_bytes=part.size_bytes,
                    sha256=part.sha256,
                )
                job.ledger.reopen(part.number, rows_of[file.number])
            sync_folder(job.folder)
            failpoint("rebuild.renamed")
    failpoint("rebuild.published")


def _requests(
    job: StoredJob, parts: list[Part], selection: RetrySelection, params: dict[str, Any]
) -> Iterator[tuple[int, bytes]]:
    """(row, request line) of the selected rows, part by part."""
    from doubleword_batch.requests import requests_of_rows

    for part in parts:
        if part.number not in selection.parts:
            continue
        entries = job.ledger.selected_rows(selection, part.number)
        if job.source is not None:  # the custom_ids are ours, and tell the row
            path = _existing(part.path, job)
            yield from _with(requests_of_rows(path, {entry.row for entry in entries}), params)
            continue
        entry = next(entries, None)
        if entry is None:
            continue
        # Where rows share a custom_id, the place of a line in the file tells whose it is.
        places = job.ledger.rows_of_file(part.number) if rows_share_names(job) else None
        with _existing(part.path, job).open("rb") as lines:
            for line in filter(bytes.strip, lines):
                if entry is None:
                    break
                request: dict[str, Any] = msgspec.json.decode(line)
                is_of_row = places is None or next(places, None) == entry.row
                if is_of_row and request.get("custom_id") == entry.custom_id:
                    request["body"] |= params
                    yield entry.row, msgspec.json.encode(request) + b"\n"
                    entry = next(entries, None)


def _with(
    requests: Iterator[tuple[int, bytes]], params: dict[str, Any]
) -> Iterator[tuple[int, bytes]]:
    for row, line in requests:
        request: dict[str, Any] = msgspec.json.decode(line)
        request["body"] |= params
        yield row, msgspec.json.encode(request) + b"\n"


async def finish_retry(
    job: StoredJob,
    progress: Progress,
    max_cost_usd: Decimal | None = None,
    tariff: Tariff | None = None,
) -> StartedRetry:
    """Submit the request files of a retry that have no batch yet.

    Args:
        job: whose retry.
        progress: told the bytes sent.
        max_cost_usd: refuse above this.
        tariff: by which it was admitted; None to ask for one.

    Raises:
        InputError: `over_cap`, `unknown_cost`.
        ApprovalError: see `retry_failed`.
        ApiError, TransportError: the provider refused or could not be reached.
    """
    parts = unsent_retry(job)
    paths = [part.path for part in parts if part.path is not None]
    sent = [part for part, run in job.newest_runs() if run is not None]
    tariff = tariff or await fetch_tariff(job, sent)
    cost = await in_thread(
        lambda _: estimate_cost_of_files(job, paths, tariff, asked_max_usd=max_cost_usd)
    )
    with job.store.transaction():
        check_caps(job.workspace, cost, max_cost_usd)
        check_caps_of_retry(job, cost)
        intents = _intents(job, parts, cost)
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
    causes = job.ledger.causes_before([part.number for part in parts])
    return StartedRetry(causes, in_place=False, cost=cost, results=results)


def _existing(path: Path | None, job: StoredJob) -> Path:
    if path is None or not path.exists():
        raise StoreError(
            f"A request file of job {job.name} is gone from the state directory.",
            hint="Build the rows anew, as a new job.",
            code="request_file_gone",
        )
    return path


def _retried_already(job: StoredJob) -> InputError:
    return InputError(
        f"Another process has begun a retry of job {job.name}.",
        hint="Check its status.",
        code="retried_already",
        next=Next("get_status", {"job": job.name}),
    )
