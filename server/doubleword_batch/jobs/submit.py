"""Uploads files and creates batches, each only once: the tools `upload` and `create_batch`."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from doubleword_batch.errors import InputError, Next
from doubleword_batch.jobs.approvals import (
    check_approval,
    given_arguments,
    record_questions,
)
from doubleword_batch.jobs.billing import fetch_bills_of_today
from doubleword_batch.jobs.cascade.costs import with_cascade
from doubleword_batch.jobs.cascade.option import cascade_of
from doubleword_batch.jobs.cascade.rounds import resume_cascade
from doubleword_batch.jobs.costs import (
    Cost,
    check_caps,
    choose_cost_for_caps,
    estimate_cost,
    fetch_estimated_cost,
    reserve,
)
from doubleword_batch.jobs.external_files import job_of_file, read_input_file
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.later_parts import (
    first_wave_in_words,
    has_more_to_send,
    is_sent_now,
    keep_submit_options,
    send_next_batches,
    unsent_of_first_run,
)
from doubleword_batch.jobs.new_parts import intents_of, unsent_parts
from doubleword_batch.jobs.notifications import request_notification
from doubleword_batch.jobs.replies import Submitted, Uploaded, utc
from doubleword_batch.jobs.request_costs import (
    bound_cost,
    holds_cap,
)
from doubleword_batch.jobs.retry import finish_retry
from doubleword_batch.jobs.reuse.unfetched_answers import reuse_cost_note
from doubleword_batch.jobs.store.cascades import record_cascade
from doubleword_batch.jobs.store.records import Part
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.concurrency import (
    PartResults,
    after_submitting,
    waiting_for_capacity,
)
from doubleword_batch.jobs.sync.parts import (
    OWN_PAIRS,
    OWN_PREFIX,
    BatchOptions,
    create_parts,
    upload_parts,
)
from doubleword_batch.progress import Progress, no_progress
from doubleword_batch.providers import check_metadata


async def upload(
    ws: Workspace,
    *,
    job: str | None = None,
    path: str | None = None,
    progress: Progress = no_progress,
) -> Uploaded:
    """Upload a job's request files, or a request file that was made elsewhere.

    Args:
        ws: the workspace.
        job: a job's name.
        path: a JSONL request file; it is validated first and becomes a job.
        progress: called with the bytes sent.

    Raises:
        InputError: there is no such job or file, or the file has invalid lines
            (`invalid_request_file`).
        ApiError, TransportError: the provider refused or could not be reached.
    """
    if (job is None) == (path is None):
        raise InputError("Give either job or path, not both.")
    found, warnings = (
        (await find_job(ws, job or ""), []) if path is None else await job_of_file(ws, path)
    )
    reused = await upload_parts(found, found.parts(), progress)
    parts = found.parts()
    file_ids = [part.input_file_id for part in parts if part.input_file_id]
    cost = await fetch_estimated_cost(found, file_ids, found.window)
    return Uploaded(
        provider=ws.provider,
        next=Next("create_batch", {"job": found.name, "completion_window": found.window}),
        job=found.name,
        input_file_ids=file_ids[:10],
        requests=sum(part.requests for part in parts),
        size_bytes=sum(part.size_bytes for part in parts),
        reused=sum(reused),
        cost_usd=cost.usd,
        cost_note=cost.note,
        warnings=warnings,
    )


async def create_batch(
    ws: Workspace,
    job: str,
    *,
    completion_window: str | None = None,
    metadata: dict[str, str] | None = None,
    max_cost_usd: Decimal | None = None,
    progress: Progress = no_progress,
) -> Submitted:
    """Create the batches of a job, after uploading its files if that has not happened yet.

    A job that has its batches already is returned as it is: nothing runs twice.

    Args:
        ws: the workspace.
        job: a job's name or an input file's id.
        completion_window: one of the provider's; by default the job's own or the provider's first.
        metadata: texts by name, kept with each batch.
        max_cost_usd: refuse to spend more; caps set by a human hold in any case.
        progress: called with the bytes sent.

    Raises:
        InputError: an unknown window, bad metadata, or a cap that would be exceeded.
        ApprovalError: it costs more than may be submitted without a person's approval.
        ApiError, TransportError: the provider refused or could not be reached.
    """
    stored = await find_job(ws, job)
    again = given_arguments(
        job=stored.name,
        completion_window=completion_window,
        metadata=metadata,
        max_cost_usd=None if max_cost_usd is None else float(max_cost_usd),
    )
    with record_questions(ws, Next("create_batch", dict(again))):
        return await _create_batch(stored, completion_window, metadata, max_cost_usd, progress)


async def _create_batch(
    stored: StoredJob,
    completion_window: str | None,
    metadata: dict[str, str] | None,
    max_cost_usd: Decimal | None,
    progress: Progress,
) -> Submitted:
    ws = stored.workspace
    window = completion_window or stored.window
    stored.profile.check_window(window)
    check_metadata(metadata or {}, reserved_pairs=OWN_PAIRS, reserved_prefix=OWN_PREFIX)
    if not stored.parts():
        return _reply(stored, reused=True, cost=estimate_cost(stored, window))
    goes_on = resume_cascade(stored)
    if stored.is_submitted() and not has_more_to_send(stored):
        return await _submitted_before(stored, max_cost_usd, progress, goes_on=goes_on)
    if unsent_parts(stored):
        await fetch_bills_of_today(ws)
        retry = await finish_retry(stored, progress, max_cost_usd)
        return _reply(stored, reused=False, cost=retry.cost, results=retry.results)
    await ws.refresh_prices()
    # Before a person is asked: after that it is not an agent who submits it.
    request_notification(stored)
    if stored.rows is None:
        stored = await read_input_file(stored)
    cost = own = await _own_cost(stored, window, max_cost_usd)
    provider_estimates = stored.profile.cost_estimate and not stored.profile.free
    parts = stored.parts()
    if not provider_estimates or own.usd is not None:  # the provider's can only be higher
        whole = await _whole(stored, window, own, max_cost_usd)
        check_caps(ws, whole, max_cost_usd)
        check_approval(ws, intents_of(stored, unsent_of_first_run(stored), whole, parts), window)
    await upload_parts(stored, parts, progress)
    if provider_estimates:
        file_ids = [part.input_file_id for part in stored.parts() if part.input_file_id]
        cost = await fetch_estimated_cost(stored, file_ids, window)
    capped = choose_cost_for_caps(stored, own, cost)
    await fetch_bills_of_today(ws)
    results = await _create(
        stored, parts, BatchOptions(window, metadata or {}), capped, max_cost_usd
    )
    if not any(run for _, run in stored.newest_runs()):
        results.results_or_raise()
    cost = with_cascade(stored, window, cost)
    cost = replace(cost, note=cost.note + reuse_cost_note(stored))
    reply = _reply(stored, reused=not any(results.results), cost=cost, results=results)
    return reply.model_copy(update={"next": after_submitting(stored, results, metadata)})


async def _submitted_before(
    stored: StoredJob, max_cost_usd: Decimal | None, progress: Progress, *, goes_on: bool
) -> Submitted:
    """The reply for a job that is submitted already; its cascade may continue."""
    if max_cost_usd is not None and cascade_of(stored) is not None:  # for the rounds to come
        record_cascade(stored.store, stored.id, max_cost_usd=str(max_cost_usd))
    if goes_on:
        await send_next_batches(stored, progress)
    return _reply(stored, reused=True, cost=Cost(stored.cost_usd, "as estimated then"))


async def _own_cost(job: StoredJob, window: str, max_cost_usd: Decimal | None) -> Cost:
    """Our estimate, or if there is a cap, the most that the requests' lines can cost."""
    if not holds_cap(job.workspace, max_cost_usd):
        return estimate_cost(job, window)
    paths = [part.path for part in job.parts()]
    return await in_thread(lambda _: bound_cost(job, paths, window, asked_max_usd=max_cost_usd))


async def _whole(job: StoredJob, window: str, own: Cost, max_cost_usd: Decimal | None) -> Cost:
    """The cost of the job's own model, plus the most that a cascade's later rounds can cost."""
    is_held = holds_cap(job.workspace, max_cost_usd)
    paths = [part.path for part in job.parts()] if is_held else None
    return await in_thread(lambda _: with_cascade(job, window, own, paths))


async def _create(
    job: StoredJob,
    parts: Sequence[Part],
    options: BatchOptions,
    cost: Cost,
    max_cost_usd: Decimal | None,
) -> PartResults[bool]:
    """Create the batches that do not exist yet; say which of them this call created.

    Only parts that were uploaded for this submission count, not parts that another process has
    built for a retry since.
    """
    uploaded = {part.id for part in parts}
    ws = job.workspace
    whole = await _whole(job, options.completion_window, cost, max_cost_usd)
    with job.store.transaction():
        missing = [p for p in unsent_of_first_run(job) if p.id in uploaded]
        check_caps(ws, whole, max_cost_usd)
        all_parts = job.parts()
        check_approval(ws, intents_of(job, missing, whole, all_parts), options.completion_window)
        intents = intents_of(job, missing, cost, all_parts)
        reserve(ws, intents, options.completion_window)
        usd = None if whole.usd is None else str(whole.usd)
        if cascade_of(job) is not None:
            asked = None if max_cost_usd is None else str(max_cost_usd)
            record_cascade(job.store, job.id, max_cost_usd=asked)
        job.store.set_job(job.id, completion_window=options.completion_window, cost_usd=usd)
        keep_submit_options(job, options.metadata, max_cost_usd)
    failpoint("create.reserved")
    pairs = zip(missing, intents, strict=True)
    now = {part: intent.cost_usd for part, intent in pairs if is_sent_now(job, part)}
    return await create_parts(job, list(now), list(now.values()), options)


def _reply(
    job: StoredJob, *, reused: bool, cost: Cost, results: PartResults[bool] | None = None
) -> Submitted:
    newest = job.newest_runs()
    runs = [run for _, run in newest if run]
    expiries = [run.expires_at for run in runs if run.expires_at]
    return Submitted(
        provider=job.workspace.provider,
        next=after_submitting(job, results),
        job=job.name,
        status=job.status(),
        batch_ids=[run.batch_id for run in runs][:10],
        input_file_ids=[part.input_file_id for part, _ in newest if part.input_file_id][:10],
        reused=reused,
        completion_window=job.reloaded().completion_window or "",
        expires_at=utc(max(expiries)) if expiries else None,
        cost_usd=cost.usd,
        cost_note=cost.note,
        waiting=waiting_for_capacity(results),
        first_wave=first_wave_in_words(job),
    )
