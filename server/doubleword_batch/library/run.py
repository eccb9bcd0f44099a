"""`run`: a whole job in one blocking call, for scripts and notebooks."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from os import PathLike
from typing import TYPE_CHECKING, Any

import anyio
from anyio.from_thread import start_blocking_portal

from doubleword_batch.library import arguments
from doubleword_batch.library.job import Job
from doubleword_batch.library.job_results import JobResults
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.progress import no_progress

if TYPE_CHECKING:
    from doubleword_batch.jobs.replies import Waiting
    from doubleword_batch.progress import Progress
    from doubleword_batch.settings import Settings


def run(
    source: object,
    *,
    prompt: str,
    output_path: str | PathLike[str] | None = None,
    system: str | None = None,
    model: str | None = None,
    endpoint: str = "/v1/chat/completions",
    response_schema: Mapping[str, Any] | str | PathLike[str] | type[Any] | None = None,
    params: Mapping[str, Any] | None = None,
    id_column: str | None = None,
    image_column: str | None = None,
    limit: int | None = None,
    new_run: bool = False,
    options: Mapping[str, Any] | None = None,
    cascade: Mapping[str, Any] | None = None,
    completion_window: str | None = None,
    max_cost_usd: Decimal | float | None = None,
    overwrite: bool = False,
    bom: bool | None = None,
    timeout_seconds: float | None = None,
    lock: bool = True,
    settings: "Settings | None" = None,
    progress: "Progress" = no_progress,
) -> JobResults:
    """From a table and a prompt to the same table with answers: build, submit, wait, fetch.

    For scripts and notebooks: it blocks until the job has ended, even if an event loop is running.
    It costs money if the provider does; the same call made again continues the same job and pays
    nothing twice.

    Args:
        source: as in `Jobs.create`.
        prompt: as in `Jobs.create`.
        output_path: the table to write; by default JSON Lines in the state directory.
        system: as in `Jobs.create`, as are the arguments up to `cascade`.
        model: its name.
        endpoint: the `url` of the request lines.
        response_schema: of the answers, which become columns.
        params: of each request, such as `{"max_tokens": 200}`.
        id_column: becomes part of the custom_id.
        image_column: column with an image in each row.
        limit: the first rows only (a pilot).
        new_run: build a new job even if the same one exists.
        options: rarely needed ones.
        cascade: a strong model for the rows that need it.
        completion_window: as in `Job.submit`.
        max_cost_usd: do not submit above this, US dollars.
        overwrite: whether `output_path` may be replaced.
        bom: as in `Job.results`.
        timeout_seconds: how long to wait for capacity and for the end; None for as long as it
            takes. After that, unfinished rows are `pending`.
        lock: as in `Job.results`.
        settings: as in `Jobs`.
        progress: called with (done, total or None, words), from any thread.

    Raises:
        DoublewordBatchError: as the verbs of `Job`; nothing that was paid for is lost.
    """
    from doubleword_batch.jobs.export.output_file import output_file
    from doubleword_batch.jobs.export.output_file import output_path as checked_path
    from doubleword_batch.jobs.export.write_table import format_of
    from doubleword_batch.jobs.find import find_job
    from doubleword_batch.jobs.store.worker_threads import in_thread

    async def work() -> JobResults:
        async with Jobs(settings) as jobs:
            ws = await jobs.workspace()
            seconds = arguments.seconds("timeout_seconds", timeout_seconds)
            deadline = math.inf if seconds is None else ws.monotonic() + seconds
            path = arguments.path("output_path", output_path)
            if path is not None:  # before anything is spent
                target = await in_thread(
                    lambda _: checked_path(ws, path, overwrite=overwrite, source=source)
                )
                format_of(target, None)
            job = await jobs.create(
                source,
                prompt=prompt,
                system=system,
                model=model,
                endpoint=endpoint,
                response_schema=response_schema,
                params=params,
                id_column=id_column,
                image_column=image_column,
                limit=limit,
                new_run=new_run,
                options=options,
                cascade=cascade,
                max_cost_usd=max_cost_usd,
                progress=progress,
            )
            if path is not None:  # an existing file may be another job's
                stored = await find_job(ws, job.name)
                await in_thread(lambda _: output_file(stored, path, overwrite=overwrite))
            while waiting := await submit(job):
                next_try = ws.monotonic() + waiting.retry_after_seconds
                if next_try > deadline:  # rows without a batch are pending
                    return await write(job)
                await ws.sleep(waiting.retry_after_seconds)
            left = None if seconds is None else max(0.0, deadline - ws.monotonic())
            await job.wait(left, progress=progress)
            return await write(job)

    async def write(job: Job) -> JobResults:
        return await job.results(
            output_path, overwrite=overwrite, bom=bom, lock=lock, progress=progress
        )

    async def submit(job: Job) -> "Waiting | None":
        submitted = await job.submit(
            completion_window=completion_window, max_cost_usd=max_cost_usd, progress=progress
        )
        return submitted.waiting

    return _blocking(work)


def _blocking(work: Callable[[], Awaitable[JobResults]]) -> JobResults:
    """Run in a new event loop; in another thread if the caller's thread already runs one."""
    if not _is_in_a_loop():
        return anyio.run(work)
    with start_blocking_portal() as portal:  # Ctrl-C cancels the work here and waits for its end
        return portal.call(work)


def _is_in_a_loop() -> bool:
    """Whether an event loop runs here, of asyncio or of trio."""
    for ask in (asyncio.get_running_loop, anyio.get_current_task):
        with suppress(RuntimeError):
            ask()
            return True
    return False
