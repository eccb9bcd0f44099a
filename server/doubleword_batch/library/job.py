"""A job's verbs as an async API; each looks up the job's current state."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from os import PathLike
from typing import TYPE_CHECKING, Any

from doubleword_batch.lazy_workspace import LazyWorkspace
from doubleword_batch.library import arguments
from doubleword_batch.progress import Progress, no_progress

if TYPE_CHECKING:
    from doubleword_batch.jobs.replies import (
        Cancelled,
        Created,
        Deleted,
        Retried,
        Status,
        Submitted,
        Uploaded,
    )
    from doubleword_batch.library.job_results import JobResults, TableFormat


class Job:
    """One job, by its name; every verb looks up its current state.

    Attributes:
        name: the job's name, such as `reviews-7f3a`, or the provider's id under which it was
            requested.
        created: what `Jobs.create` built; None for a job that was looked up.
    """

    def __init__(
        self, workspace: LazyWorkspace, name: str, *, created: "Created | None" = None
    ) -> None:
        self._workspace = workspace
        self.name = name
        self.created = created

    def __repr__(self) -> str:
        """The name and, for a job that was built here, its rows and estimated cost."""
        made = self.created
        if made is None:
            return f"Job({self.name!r})"
        from doubleword_batch.jobs.replies import usd_text

        rows = f"{made.rows:,} {'row' if made.rows == 1 else 'rows'}"
        cost = f"about {usd_text(made.cost_usd)}" if made.cost_usd else made.cost_note
        return f"Job({self.name!r}: {rows}, {'cost unknown' if made.cost_usd is None else cost})"

    async def upload(self, *, progress: Progress = no_progress) -> "Uploaded":
        """Upload its request files without starting them; files already there are not sent again.

        Args:
            progress: called with (bytes sent, all bytes, words).
        """
        from doubleword_batch.jobs import submit

        return await submit.upload(await self._workspace.get(), job=self.name, progress=progress)

    async def submit(
        self,
        *,
        completion_window: str | None = None,
        metadata: Mapping[str, str] | None = None,
        max_cost_usd: Decimal | float | None = None,
        progress: Progress = no_progress,
    ) -> "Submitted":
        """Create its batches, uploading first: the step that costs money. Safe to repeat.

        Args:
            completion_window: one of the provider's, such as `24h`; by default its first.
            metadata: at most 12 pairs, kept with each batch.
            max_cost_usd: refuse above this, US dollars; the caps of the environment apply anyway.
            progress: called with (bytes sent, all bytes, words).

        Raises:
            InputError: `over_cap`, `unknown_cost`, or an argument that cannot be used.
            ApiError, TransportError: the provider rejected it or could not be reached.
        """
        from doubleword_batch.jobs import submit

        return await submit.create_batch(
            await self._workspace.get(),
            self.name,
            completion_window=arguments.text("completion_window", completion_window),
            metadata=arguments.texts("metadata", metadata) or None,
            max_cost_usd=arguments.cap(max_cost_usd),
            progress=progress,
        )

    async def status(
        self, *, wait_seconds: float = 0, progress: Progress = no_progress
    ) -> "Status":
        """The job's progress.

        Args:
            wait_seconds: how long to wait for its end; at most 45.
            progress: called with (requests finished, all requests, words).
        """
        from doubleword_batch.jobs.status import get_status

        seconds = arguments.seconds("wait_seconds", wait_seconds) or 0
        return await get_status(
            await self._workspace.get(), self.name, wait_seconds=seconds, progress=progress
        )

    async def wait(
        self,
        timeout_seconds: float | None = None,
        *,
        progress: Progress = no_progress,
        on_failure: Callable[[str], None] = lambda _: None,
    ) -> "Status":
        """Wait until it has ended, tolerating lost connections for some minutes.

        Args:
            timeout_seconds: None for as long as it takes; `Status.complete` says whether it ended.
                A hanging request is given up two seconds after the timeout.
            progress: called with (requests finished, all requests, words).
            on_failure: called with a description of each failure that is waited out.

        Raises:
            InputError: `not_submitted`: it is not fully submitted, so it cannot end.
        """
        from doubleword_batch.jobs.status import wait_until_ended

        return await wait_until_ended(
            await self._workspace.get(),
            self.name,
            arguments.seconds("timeout_seconds", timeout_seconds),
            progress=progress,
            note=on_failure,
        )

    async def results(
        self,
        output_path: str | PathLike[str] | None = None,
        *,
        format: "TableFormat | None" = None,  # noqa: A002  # as the tool calls it
        overwrite: bool = False,
        formulas: bool = False,
        bom: bool | None = None,
        query: str | None = None,
        all_rows: bool = False,
        sample: int | None = None,
        wait_seconds: float = 0,
        lock: bool = True,
        progress: Progress = no_progress,
    ) -> "JobResults":
        """Collect what has finished, account for every row, and write the table of answers.

        Works at any time: rows without an outcome yet are `pending`.

        Args:
            output_path: the table to write: the source's rows with their answers, in source order;
                by default JSON Lines in the state directory. With `query`, all rows of its result
                are written there instead, and without an output_path nothing is.
            format: by default given by the path's extension.
            overwrite: whether `output_path` may be replaced.
            formulas: whether text in a CSV may become formulas in a spreadsheet.
            bom: whether a CSV begins with a byte order mark, by which Excel recognises UTF-8; by
                default as in the source.
            query: one SELECT over the table `results` and over other jobs' tables by name; the
                first rows of its result are in `JobResults.reply.query`.
            all_rows: the query's reply has every row in full, not only what fits into a short
                reply.
            sample: how many answers to show in the reply, shortened: 0 to 20; by default 3, or none
                with a query.
            wait_seconds: how long to wait for the end first; at most 45.
            lock: whether to write a lock file beside `output_path` (`answers.lock.json`), which
                says what made the table; the settings can forbid it.
            progress: called with (lines read, rows, words).

        Raises:
            InputError: it was never submitted, or a path or query cannot be used.
        """
        from doubleword_batch.jobs.results import fetch_results
        from doubleword_batch.library.job_results import JobResults

        reply = await fetch_results(
            await self._workspace.get(),
            self.name,
            output_path=arguments.path("output_path", output_path),
            table_format=format,
            overwrite=overwrite,
            formulas=formulas,
            bom=bom,
            query=arguments.text("query", query),
            all_rows=all_rows,
            sample=arguments.whole_number("sample", sample),
            wait_seconds=arguments.seconds("wait_seconds", wait_seconds) or 0,
            lock=lock,
            progress=progress,
        )
        return JobResults(reply, format)

    async def retry(
        self,
        causes: Sequence[str] | str = (),
        *,
        params: Mapping[str, Any] | None = None,
        progress: Progress = no_progress,
    ) -> "Retried":
        """Run the rows without a good answer again, into the same table. Costs money.

        Args:
            causes: outcomes or causes as the results name them, such as `truncated`, `http_429`; by
                default every row without an answer.
            params: parameters to change in each body, such as a larger `max_tokens`.
            progress: called with (bytes sent, all bytes, words).

        Raises:
            InputError: `still_running`, `nothing_to_retry`, `over_cap` or `unknown_cost`.
        """
        from doubleword_batch.jobs.retry import retry_failed

        return await retry_failed(
            await self._workspace.get(),
            self.name,
            causes=(causes,) if isinstance(causes, str) else causes,
            params=arguments.params(params) or None,
            progress=progress,
        )

    async def delete(self, *, force: bool = False) -> "Deleted":
        """Delete its record and its files on this machine, including those of the local server.

        The provider is not involved: it keeps its files and batches.

        Args:
            force: delete even if something would be lost: work that runs or may be on its way,
                answers that were not fetched, or answers that exist only here.

        Raises:
            InputError: `not_confirmed`: something would be lost, and `force` was not given.
        """
        from doubleword_batch.jobs.delete import delete_job

        return await delete_job(await self._workspace.get(), self.name, force=force)

    async def cancel(self) -> "Cancelled":
        """Stop its batches; what has finished stays downloadable.

        If nothing runs, nothing is done: `Cancelled.stopped` is 0 and `note` says why.
        """
        from doubleword_batch.jobs.cancel import cancel

        return await cancel(await self._workspace.get(), self.name)
