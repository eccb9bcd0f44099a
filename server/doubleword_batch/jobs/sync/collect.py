"""Collecting: bring the ledger of a job up to what the provider has, and account for every row.

Both files of a batch are read: while it runs, where the provider allows that (the error file once a
failure is counted), and at every terminal status. Once a batch has ended, the rows that have a line
are compared with the provider's counts; where they differ, everything is read again from the start.
What has no line then is closed.
"""

from typing import TYPE_CHECKING, Any, cast

from anyio import to_thread

from doubleword_batch.jobs.adopt import read_input
from doubleword_batch.jobs.job import Progress, Workspace, silent
from doubleword_batch.jobs.store.failpoints import reached
from doubleword_batch.jobs.store.records import Attempt, Job, Part
from doubleword_batch.jobs.sync.apply import answered_by_attempt, keep_better_answers
from doubleword_batch.jobs.sync.concurrency import side_by_side
from doubleword_batch.jobs.sync.parse import Check
from doubleword_batch.jobs.sync.reader import Collected, Reader

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Collected", "collect", "schema_check"]


async def collect(ws: Workspace, job: Job, *, progress: Progress = silent) -> Collected:
    """Read what is new.

    Raises:
        ApiError, TransportError, ProtocolError: the provider could not be read; what was read
            before is kept.
        StoreError: the disk is full; the same.
    """
    if job.rows is None:
        job = await read_input(ws, job)
    collected = Collected()
    check = schema_check(job)
    ended: list[Reader] = []

    async def read(attempts: list[Attempt]) -> None:
        for attempt in attempts:
            reader = Reader(ws, job, attempt, check, collected, progress)
            await reader.read_both()
            if attempt.is_terminal:
                ended.append(reader)

    parts = {part.id: part for part in ws.store.parts(job.id)}
    try:
        for generation in await _unread(ws, job, parts):
            (await side_by_side(ws, generation, read)).all_or_refusal()
    finally:
        if ended:
            await _settle(ws, job, ended, {part.id: part.number for part in parts.values()})
    return collected


async def _unread(ws: Workspace, job: Job, parts: dict[int, Part]) -> list[list[list[Attempt]]]:
    """What may have news: by generation, then by part, then the part's batches, oldest first.

    A later generation runs rows of the one before: its answers come after those.
    """
    incomplete = await to_thread.run_sync(ws.ledger(job).parts_with, "missing")
    found: dict[int, dict[int, list[Attempt]]] = {}
    for attempt in ws.store.attempts(job.id):
        part = parts[attempt.part]
        if not attempt.settled or part.number in incomplete:
            found.setdefault(part.generation, {}).setdefault(part.id, []).append(attempt)
    return [list(found[generation].values()) for generation in sorted(found)]


async def _settle(ws: Workspace, job: Job, ended: list[Reader], numbers: dict[int, int]) -> None:
    answered = await to_thread.run_sync(answered_by_attempt, ws.store, job.id)
    for reader in ended:
        attempt = reader.attempt
        if answered.get(attempt.id, 0) < attempt.completed + attempt.failed:
            reader.forget_cursors()
            await reader.read_both()
    reached("collect.settle")
    attempts = [reader.attempt for reader in ended]
    await to_thread.run_sync(_settle_now, ws, job, attempts, numbers)
    reached("collect.settled")


def _settle_now(ws: Workspace, job: Job, attempts: list[Attempt], numbers: dict[int, int]) -> None:
    newest = {attempt.part: attempt.id for attempt in ws.store.attempts(job.id)}
    with ws.store.transaction():
        ws.ledger(job).close_rows(
            (numbers[attempt.part], *_ending(attempt), attempt.id)
            for attempt in attempts
            if newest[attempt.part] == attempt.id
        )
        for attempt in attempts:
            keep_better_answers(ws.store, job.id, attempt.id)
            ws.store.settle(attempt)


def _ending(attempt: Attempt) -> tuple[str, str]:
    """Outcome and cause of the rows that have no line although their batch has ended."""
    if attempt.status in {"expired", "cancelled"}:
        return attempt.status, attempt.status
    if attempt.status == "failed" and attempt.completed + attempt.failed == 0:
        return "failed", "batch_failed"
    return "missing", "missing"


def schema_check(job: Job) -> Check | None:
    """The check of a job's response_schema, or None for jobs without one."""
    import msgspec

    schema = msgspec.json.decode(job.spec).get("response_schema")
    if schema is None:
        return None
    from jsonschema import Draft202012Validator, exceptions

    validator: Any = Draft202012Validator(schema)
    best = cast("Callable[[Any], Any]", exceptions.best_match)  # pyright: ignore[reportUnknownMemberType]

    def check(value: Any) -> str | None:
        if value is None:
            return "the answer is not JSON"
        wrong = best(validator.iter_errors(value))
        if wrong is None:
            return None
        where = "/".join(str(step) for step in wrong.absolute_path) or "the answer"
        return f"{where} breaks the schema's {wrong.validator!s}"

    return check
