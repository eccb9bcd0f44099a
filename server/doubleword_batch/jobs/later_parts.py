"""The parts of a job that are sent later: those after its first wave, and the rounds of a cascade.

A first wave of a few requests lets the provider cache their common beginnings before the other
requests come. All parts are uploaded, and their cost reserved, when the job is submitted. Those
that wait get their batches from any process that looks at the job once the wave has ended. Each
batch is recorded before it is sent, like any other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import InputError, Next
from doubleword_batch.jobs.approvals import ApprovalError, record_questions
from doubleword_batch.jobs.build_plan import BuildPlan
from doubleword_batch.jobs.cascade.rounds import CAPS, NO_BATCHES, NextBatches, send_next_round
from doubleword_batch.jobs.costs import (
    Cost,
    check_caps,
    choose_cost_for_caps,
    fetch_estimated_cost,
    reserve,
    split_cost_by_part,
)
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.new_parts import intents_of
from doubleword_batch.jobs.request_costs import bound_cost, holds_cap
from doubleword_batch.jobs.store.ledger import Ledger
from doubleword_batch.jobs.store.records import NEVER, Part
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.concurrency import PartResults
from doubleword_batch.jobs.sync.parts import BatchOptions, create_parts
from doubleword_batch.progress import Progress, no_progress
from doubleword_batch.providers import Profile
from doubleword_batch.requests import BuildResult


def write_first_wave(
    ledger: Ledger, built: BuildResult, plan: BuildPlan, profile: Profile, folder: Path
) -> BuildResult:
    """If the plan has a first wave, put its requests into files of their own."""
    from doubleword_batch.requests.rewrite import split_first_wave

    if plan.options.first_wave is None or not built.files:
        return built
    waves = split_first_wave(built, plan.spec, profile, folder, plan.options.first_wave)
    ledger.assign_parts(waves.ranges)
    return waves.built


async def send_next_batches(job: StoredJob, progress: Progress = no_progress) -> NextBatches:
    """Send the batches that wait if what they wait for has ended.

    Raises:
        ApiError, TransportError: the provider refused or could not be reached; the same call
            continues where this one stopped.
    """
    waiting = job.waiting_parts()
    if not waiting:
        return await send_next_round(job, progress)
    if not _has_wave_ended(job):
        return NO_BATCHES
    reason = _reason_to_wait(job)
    if reason is not None:
        return NextBatches(waits_for=reason)
    failpoint("wave.ended")
    try:
        results = await _send(job, waiting)
    except InputError as error:
        if error.code in CAPS or isinstance(error, ApprovalError):
            return NextBatches(waits_for=error)
        raise
    if results.capacity_error is not None and not results.results:
        return NextBatches(waits_for=results.capacity_error)
    return NextBatches(has_begun=True)


async def _send(job: StoredJob, waiting: Sequence[Part]) -> PartResults[bool]:
    """Create the waiting parts' batches; if the price has risen, ask for approval again."""
    first = [part for part in job.parts() if not part.retry_round]
    dearer = await _dearer_than_approved(job, first)
    cost = Cost(job.cost_usd, "") if dearer is None else dearer
    costs = split_cost_by_part(cost, waiting, first)
    if dearer is None:
        job = replace(job, workspace=replace(job.workspace, ask_above_usd=None))
    else:
        check_caps(job.workspace, dearer, job.max_cost_usd)
        again = Next("create_batch", {"job": job.name})
        with record_questions(job.workspace, again), job.store.transaction():
            reserve(job.workspace, intents_of(job, waiting, cost, first), job.window)
    metadata: dict[str, str] = msgspec.json.decode(job.metadata or "{}")
    return await create_parts(job, waiting, costs, BatchOptions(job.window, metadata))


async def _dearer_than_approved(job: StoredJob, parts: Sequence[Part]) -> Cost | None:
    """What the job can cost at today's prices; None if that is no more than was approved.

    A cost that is no longer known counts as higher: a cap refuses it, and a person is asked.
    """
    cap = job.max_cost_usd
    if job.cost_usd is None or not holds_cap(job.workspace, cap):
        return None
    await job.workspace.refresh_prices()
    paths = [part.path for part in parts]
    now = await in_thread(lambda _: bound_cost(job, paths, job.window, asked_max_usd=cap))
    if now.usd is None:
        files = [part.input_file_id for part in parts if part.input_file_id]
        now = choose_cost_for_caps(job, now, await fetch_estimated_cost(job, files, job.window))
    return None if now.usd is not None and now.usd <= job.cost_usd else now


def _has_wave_ended(job: StoredJob) -> bool:
    return all(run is not None and run.is_terminal for run in job.first_wave())


def _reason_to_wait(job: StoredJob) -> InputError | None:
    """Why the other parts should not follow a wave that has ended; None if they should."""
    requests = sum(part.requests for part in job.waiting_parts())
    waiting = "1 request waits" if requests == 1 else f"{requests:,} requests wait"
    if job.workspace.read_only:
        return InputError(
            f"{waiting}: this server is read-only.",
            next=Next("get_status", {"job": job.name}),
        )
    runs = [run for run in job.first_wave() if run is not None]
    ended = ", ".join(sorted({run.status for run in runs} - {"completed"}))
    if not ended and any(run.completed for run in runs):
        return None
    why = f"the first wave ended as {ended}" if ended else "no request of the first wave succeeded"
    return InputError(
        f"{waiting}: {why}.",
        hint="Submit the job again to send the waiting requests all the same, or cancel it.",
        next=Next("create_batch", {"job": job.name}),
    )


# When the job is submitted, and when it is cancelled


def keep_submit_options(
    job: StoredJob, metadata: Mapping[str, str], max_cost_usd: Decimal | None
) -> None:
    """Keep the caller's metadata and cap for parts that are sent later."""
    if job.waiting_parts():
        encoded = msgspec.json.encode(metadata).decode() if metadata else job.metadata
        cap = None if max_cost_usd is None else str(max_cost_usd)
        job.store.set_job(job.id, metadata=encoded, max_cost_usd=cap)


def unsent_of_first_run(job: StoredJob) -> list[Part]:
    """The first run's parts that should have a batch and do not."""
    return [part for part, run in job.newest_runs() if run is None and part.later != NEVER]


def is_sent_now(job: StoredJob, part: Part) -> bool:
    """Whether a part does not have to wait for the first wave."""
    return not part.later or _has_wave_ended(job)


def has_more_to_send(job: StoredJob) -> bool:
    """Whether parts wait for a first wave that has ended, so that submitting sends them."""
    return bool(job.waiting_parts()) and _has_wave_ended(job)


def stop_waiting(job: StoredJob) -> int:
    """Never send the waiting parts; their rows count as cancelled. Unsent jobs are left alone.

    This is recorded before the batches are stopped, so that no other process sends them in between.

    Returns:
        How many requests will not be sent.
    """
    with job.store.transaction():
        waiting = job.waiting_parts() if job.batch_runs() else []
        for part in waiting:
            job.store.set_part(part.id, later=NEVER)
        job.ledger.close_rows((part.number, "cancelled", "cancelled", None) for part in waiting)
        if waiting:
            job.journal.release(job.id)
    return sum(part.requests for part in waiting)


# In words, for replies


def first_wave_in_words(job: StoredJob, next_batches: NextBatches = NO_BATCHES) -> str | None:
    """What waits for the first wave, in words; None if nothing does."""
    waiting = sum(part.requests for part in job.waiting_parts())
    if not waiting:
        return None
    reason = next_batches.waits_for
    if reason is None and _has_wave_ended(job):
        reason = _reason_to_wait(job)
    if reason is not None:
        return f"{reason.message} {reason.hint}".strip()
    first = sum(part.requests for part in job.parts() if not part.later and not part.retry_round)
    return _in_words(first, waiting)


def waves_in_words(job: StoredJob) -> list[str]:
    """What the reply of a build says about the first wave that was asked for."""
    parts = [part for part in job.parts() if not part.retry_round]
    spec: dict[str, Any] = msgspec.json.decode(job.spec)
    first = spec.get("options", {}).get("first_wave")
    if not parts or not first:
        return []
    later = sum(part.requests for part in parts if part.later)
    if not later:
        alike = "no two of them begin" if first == 1 else f"at most {first:,} of them begin"
        return [f"All requests go at once: {alike} with the same 1,000 tokens or so."]
    return [_in_words(sum(part.requests for part in parts) - later, later)]


def _in_words(first: int, waiting: int) -> str:
    begin = "1 request goes" if first == 1 else f"{first:,} requests go"
    others = "the other one waits" if waiting == 1 else f"the other {waiting:,} wait"
    ended = "it has" if first == 1 else "the first have"
    return f"{begin} first; {others} until {ended} ended."
