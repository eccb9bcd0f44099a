"""`retry_failed`: run again only what failed, only for the chosen causes, into the same table.

Where the provider retries a batch in place and everything that failed is wanted unchanged, it is
asked to. Otherwise the chosen rows become a new request file and a new batch of the same job.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import InputError, StoreError, TransportError
from doubleword_batch.jobs.collect import collect
from doubleword_batch.jobs.ledger import OUTCOMES, UNANSWERED, Entry
from doubleword_batch.jobs.money import Cost, check_caps, cost_of_tokens
from doubleword_batch.jobs.reports import Next, Retried
from doubleword_batch.jobs.store import Job
from doubleword_batch.jobs.submit import create_part, upload_part
from doubleword_batch.jobs.threads import in_thread
from doubleword_batch.jobs.watch import refresh
from doubleword_batch.jobs.workspace import Progress, Workspace, silent

_FIXED = frozenset({"messages", "input", "model", "stream"})
_TRIED = tuple(o for o in OUTCOMES if o not in {"ok", "pending"})


@dataclass(slots=True)
class _Chosen:
    """The rows to run again."""

    entries: list[Entry]
    causes: dict[str, int]
    everything: bool


async def retry_failed(
    ws: Workspace,
    job: str,
    *,
    causes: Sequence[str] = (),
    params: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> Retried:
    """Run rows again.

    Args:
        ws: the workspace.
        job: a job's name or a provider's id.
        causes: outcomes (`failed`, `truncated`, ...) or causes (`http_429`, `timeout`, ...) as
            fetch_results names them; by default every row without an answer.
        params: changed in each body, such as a larger max_tokens; the prompt and model stay.
        progress: told the bytes sent.

    Raises:
        InputError: the job still runs (`still_running`), or no row fits (`nothing_to_retry`).
    """
    found = await ws.job(job)
    await refresh(ws, found, also_terminal=True)
    if any(a is None or not a.is_terminal for _, a in ws.current(found)):
        raise InputError(
            f"Job {found.name} still runs; its failed rows are not final.",
            hint=f'Wait with get_status(job="{found.name}", wait_seconds=45), then retry.',
            code="still_running",
        )
    await collect(ws, found)
    found = ws.job_now(found)
    fixed = _FIXED & set(params or {})
    if fixed:
        raise InputError(
            f"params cannot change {', '.join(sorted(fixed))} of a retry.",
            hint="Build a new job for another prompt or model.",
            code="bad_params",
        )
    chosen = _choose(ws, found, causes)
    in_place = ws.profile.retry and chosen.everything and not params
    if in_place:
        cost = await _in_place(ws, found, chosen)
    else:
        cost = await _anew(ws, found, chosen, params or {}, progress)
    return Retried(
        provider=ws.provider,
        next=Next(tool="get_status", arguments={"job": found.name, "wait_seconds": 45}),
        job=found.name,
        status=ws.status(found),
        rows=len(chosen.entries),
        causes=chosen.causes,
        in_place=in_place,
        batch_ids=[a.batch_id for _, a in ws.current(found) if a and not a.is_terminal][:10],
        cost_usd=cost.usd,
        cost_note=cost.note,
    )


def _choose(ws: Workspace, job: Job, causes: Sequence[str]) -> _Chosen:
    wanted = set(causes) or set(UNANSWERED)
    entries: list[Entry] = []
    counts: dict[str, int] = {}
    unanswered_left = 0
    for entry in ws.ledger(job).entries(outcomes=_TRIED):
        cause = entry.cause or entry.outcome
        if entry.part and (cause in wanted or entry.outcome in wanted):
            entries.append(entry)
            counts[cause] = counts.get(cause, 0) + 1
        elif entry.part and entry.outcome in UNANSWERED:
            unanswered_left += 1
    if not entries:
        there = {c for _, c, _, _ in ws.ledger(job).causes(20)}
        raise InputError(
            f"No row of job {job.name} fits {', '.join(sorted(wanted))}.",
            hint=f"Causes there are: {', '.join(sorted(there)) or 'none'}.",
            code="nothing_to_retry",
        )
    everything = unanswered_left == 0 and all(e.outcome in UNANSWERED for e in entries)
    return _Chosen(entries, counts, everything)


async def _in_place(ws: Workspace, job: Job, chosen: _Chosen) -> Cost:
    parts = {entry.part for entry in chosen.entries}
    cost = _estimate(ws, job, len(chosen.entries))
    check_caps(ws, cost, None)
    for part, attempt in ws.current(job):
        if part.number not in parts or attempt is None:
            continue
        try:
            batch = await ws.client.batches.retry(attempt.batch_id)
        except TransportError as error:
            if not error.may_have_happened:
                raise
            batch = await ws.client.batches.get(attempt.batch_id)
            if batch.is_terminal:
                raise
        rows = [(e.row, part.number) for e in chosen.entries if e.part == part.number]
        ws.ledger(job).reopen(rows)
        ws.store.see_batch(job.id, part.id, batch)
        ws.store.unsettle(attempt.id)
    return cost


async def _anew(
    ws: Workspace, job: Job, chosen: _Chosen, params: dict[str, Any], progress: Progress
) -> Cost:
    cost = _estimate(ws, job, len(chosen.entries))
    check_caps(ws, cost, None)
    number = await in_thread(lambda _: _build(ws, job, chosen, params))
    for part, attempt in ws.current(job):
        if part.number == number and attempt is None:
            await upload_part(ws, job, part, progress)
    for part, attempt in ws.current(job):
        if part.number == number and attempt is None:
            window = job.completion_window or ws.profile.windows[0]
            await create_part(ws, job, part, window, {})
    return cost


def _estimate(ws: Workspace, job: Job, rows: int) -> Cost:
    share = Decimal(rows) / Decimal(job.rows or rows)
    window = job.completion_window or ws.profile.windows[0]
    return cost_of_tokens(
        ws, job.model, window, int(job.input_tokens * share), int(job.output_tokens * share)
    )


def _build(ws: Workspace, job: Job, chosen: _Chosen, params: dict[str, Any]) -> int:
    """Write the chosen rows' requests to a new part; returns its number."""
    parts = ws.store.parts(job.id)
    number = max(part.number for part in parts) + 1
    path = ws.store.job_folder(job.name) / f"part-{number:04d}.jsonl"
    unfinished = path.with_suffix(".part")
    digest = hashlib.sha256()
    size = requests = 0
    with unfinished.open("wb") as output:
        os.chmod(unfinished, 0o600)  # noqa: PTH101  # before the first byte is in it
        for line in _requests(ws, job, chosen.entries, params):
            output.write(line)
            digest.update(line)
            size += len(line)
            requests += 1
        output.flush()
        os.fsync(output.fileno())
    unfinished.replace(path)
    ws.store.add_part(
        job=job.id,
        number=number,
        generation=max(part.generation for part in parts) + 1,
        path=str(path),
        requests=requests,
        size_bytes=size,
        sha256=digest.hexdigest(),
    )
    ws.ledger(job).reopen([(entry.row, number) for entry in chosen.entries])
    return number


def _requests(
    ws: Workspace, job: Job, entries: list[Entry], params: dict[str, Any]
) -> Iterator[bytes]:
    """The request lines of these rows, from the parts that hold them now."""
    wanted: dict[int, set[str]] = {}
    for entry in entries:
        wanted.setdefault(entry.part, set()).add(entry.custom_id)
    for part in ws.store.parts(job.id):
        ids = wanted.get(part.number)
        if not ids:
            continue
        path = _existing(part.path, job)
        with path.open("rb") as lines:
            for line in lines:
                request = msgspec.json.decode(line)
                if request["custom_id"] in ids:
                    request["body"] |= params
                    yield msgspec.json.encode(request) + b"\n"


def _existing(path: Path | None, job: Job) -> Path:
    if path is None or not path.exists():
        raise StoreError(
            f"A request file of job {job.name} is gone from the state directory.",
            hint="Build the rows anew with create_batch_file.",
            code="request_file_gone",
        )
    return path
