"""The verbs of a job as an async API: what the command line and the MCP server stand on, too.

Whatever a verb raises is a `DoublewordBatchError`: an `InputError` for the caller, a `ConfigError`
for whoever sets up the environment, an `ApiError`, `TransportError` or `ProtocolError` where the
provider or the network did not do it, a `StoreError` for the state directory.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from doubleword_batch.lazy_workspace import LazyWorkspace
from doubleword_batch.paths import Roots
from doubleword_batch.progress import Progress, no_progress
from doubleword_batch.settings import Settings

if TYPE_CHECKING:
    from doubleword_batch.jobs.build_request import BuildRequest
    from doubleword_batch.jobs.job import Workspace
    from doubleword_batch.jobs.replies import (
        Cancelled,
        Created,
        Listing,
        Retried,
        Status,
        Submitted,
        Uploaded,
    )
    from doubleword_batch.library.results import JobResults, TableFormat


class Jobs:
    """The jobs of a state directory and its provider; an async context manager.

    ```python
    async with Jobs() as jobs:
        job = await jobs.create("reviews.csv", prompt="Good or bad? {{ text }}", model=model)
        await job.submit(max_cost_usd=2)
        await job.wait()
        await job.results("answers.parquet")
    ```

    The store, the connections and, where no key is set, the local server are opened with the first
    call. An object belongs to one event loop; several of them, also in other processes, may use the
    same state directory at the same time.

    Args:
        settings: key, provider, state directory and caps; read from the environment by default.
        roots: where paths may lead; by default anywhere, unless `DOUBLEWORD_BATCH_ROOTS` lists
            folders.
        max_retry_seconds: how long one request to the provider may be repeated.

    Raises:
        ConfigError: a variable of the environment has a value that cannot be used.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        roots: Roots | None = None,
        max_retry_seconds: float = 120.0,
    ) -> None:
        self.settings = settings or Settings.from_environment()
        listed = self.settings.roots if self.settings.roots_are_explicit else None
        self._workspace = LazyWorkspace(
            self.settings,
            roots=roots or Roots(listed, state_directory=self.settings.home),
            max_retry_seconds=max_retry_seconds,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what was opened.

        Batches at the provider go on; a local server of this process stops, and its batches go on
        with the next one.
        """
        await self._workspace.close()

    async def workspace(self) -> "Workspace":
        """What the verbs work with, opened by the first call; for programs that need more of it."""
        return await self._workspace.get()

    async def resume_local_work(self) -> None:
        """Let batches go on that a local server on this state directory has left unfinished."""
        await self._workspace.resume_local_work()

    async def create(
        self,
        source: object = None,
        *,
        prompt: str,
        system: str | None = None,
        model: str | None = None,
        endpoint: str = "/v1/chat/completions",
        response_schema: Mapping[str, Any] | str | None = None,
        params: Mapping[str, Any] | None = None,
        id_column: str | None = None,
        image_column: str | None = None,
        limit: int | None = None,
        output_path: str | PathLike[str] | None = None,
        overwrite: bool = False,
        new_run: bool = False,
        options: Mapping[str, Any] | None = None,
        progress: Progress = no_progress,
    ) -> "Job":
        """Build the request files of a job: a prompt is rendered for every row. Nothing is sent.

        The same source, prompt, model and parameters give the same job back.

        Args:
            source: a path, folder or glob (CSV, JSON, Parquet, XLSX, SQLite, texts, images); or a
                pandas or polars data frame, anything with `__arrow_c_stream__`, or an iterable of
                dictionaries, which is read once, in a worker thread (rows of an open sqlite3
                cursor have to be made a list before).
            prompt: template of the user's message over the row's columns, `{{ column }}`.
            system: template of the system message.
            model: the provider's name of it; None for the local server's own model.
            endpoint: the `url` of the request lines, as in OpenAI's batches.
            response_schema: a JSON Schema (object, its text, or a path): answers become columns.
            params: merged into each request's body, such as `{"max_tokens": 200}`.
            id_column: column whose value becomes part of the custom_id.
            image_column: column with an image's path, URL or bytes in each row.
            limit: the first rows only (a pilot).
            output_path: where to copy the request file.
            overwrite: whether `output_path` may be replaced.
            new_run: build a new job although the same one exists.
            options: rare ones: `blanks` ("skip" or "send" rows that are blank where the prompt
                looks) and `on_bad_row` ("stop", or "skip" rows that cannot be requests).
            progress: told (rows built, None, words), from any thread.

        Returns:
            The job; `Job.created` says what was built and what it is estimated to cost.

        Raises:
            InputError: the source, the template, the schema or a parameter cannot be used.
        """
        from doubleword_batch.jobs.build_request import BuildRequest

        request = BuildRequest(
            **_source(source),
            prompt=prompt,
            system=system,
            model=model,
            endpoint=endpoint,
            response_schema=dict(response_schema)
            if isinstance(response_schema, Mapping)
            else response_schema,
            params=dict(params or {}),
            id_column=id_column,
            image_column=image_column,
            limit=limit,
            output_path=None if output_path is None else fspath(output_path),
            overwrite=overwrite,
            new_run=new_run,
            options=dict(options or {}),
        )
        created = await self.build(request, progress=progress)
        return Job(self, created.job, created=created)

    async def build(
        self, request: "BuildRequest", *, progress: Progress = no_progress
    ) -> "Created":
        """The same for a request as a value, as the command line and the MCP server make it."""
        from doubleword_batch.jobs.build import create_batch_file

        return await create_batch_file(await self.workspace(), request, progress=progress)

    async def upload(
        self, path: str | PathLike[str], *, progress: Progress = no_progress
    ) -> "Uploaded":
        """Upload a request file that was made elsewhere, as a job, without starting it.

        Args:
            path: a JSONL file of request lines; it is checked first, every line of it.
            progress: told (bytes sent, all bytes, words).

        Raises:
            InputError: code `invalid_request_file`, with the first fault of each kind.
        """
        from doubleword_batch.jobs import submit

        return await submit.upload(await self.workspace(), path=fspath(path), progress=progress)

    def job(self, name: str) -> "Job":
        """The job of that name, or over that batch or input file id of the provider.

        It is looked up with the first verb; an id that was made elsewhere is adopted then.
        """
        return Job(self, name)

    async def list(
        self,
        kind: Literal["jobs", "batches", "files", "models"] = "jobs",
        *,
        status: str | None = None,
        search: str | None = None,
        limit: int = 10,
        after: str | None = None,
    ) -> "Listing":
        """Jobs of this state directory, or what the provider has; newest first, a line each.

        Args:
            kind: jobs, batches, files or models.
            status: jobs and batches of that status only.
            search: substring of a name, an id or a source.
            limit: 1 to 50; fewer come back when the lines would grow too long.
            after: `Listing.after` of the page before.
        """
        from doubleword_batch.jobs.listing import list_objects

        return await list_objects(
            await self.workspace(), kind, status=status, search=search, limit=limit, after=after
        )


class Job:
    """One job, by its name; every verb looks up how it stands now.

    Attributes:
        name: the job's name, such as `reviews-7f3a`; or the provider's id by which it was asked
            for.
        created: what `Jobs.create` built; None for a job that was looked up.
    """

    def __init__(self, jobs: Jobs, name: str, *, created: "Created | None" = None) -> None:
        self._jobs = jobs
        self.name = name
        self.created = created

    def __repr__(self) -> str:
        return f"Job({self.name!r})"

    async def upload(self, *, progress: Progress = no_progress) -> "Uploaded":
        """Upload its request files without starting them; what is there is not sent again.

        Args:
            progress: told (bytes sent, all bytes, words).
        """
        from doubleword_batch.jobs import submit

        return await submit.upload(await self._jobs.workspace(), job=self.name, progress=progress)

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
            max_cost_usd: refuse above this, US dollars; the caps of the environment hold anyway.
            progress: told (bytes sent, all bytes, words).

        Raises:
            InputError: `over_cap`, `unknown_cost`, or an argument that cannot be used.
            ApiError, TransportError: the provider rejected it or could not be reached.
        """
        from doubleword_batch.jobs import submit

        return await submit.create_batch(
            await self._jobs.workspace(),
            self.name,
            completion_window=completion_window,
            metadata=dict(metadata) if metadata else None,
            max_cost_usd=None if max_cost_usd is None else Decimal(str(max_cost_usd)),
            progress=progress,
        )

    async def status(
        self, *, wait_seconds: float = 0, progress: Progress = no_progress
    ) -> "Status":
        """How far it is.

        Args:
            wait_seconds: 0 to 45: wait so long for its end.
            progress: told (requests finished, all requests, words).
        """
        from doubleword_batch.jobs.status import get_status

        return await get_status(
            await self._jobs.workspace(), self.name, wait_seconds=wait_seconds, progress=progress
        )

    async def wait(
        self,
        timeout_seconds: float | None = None,
        *,
        progress: Progress = no_progress,
        on_failure: Callable[[str], None] = lambda _: None,
    ) -> "Status":
        """Wait until it has ended, through losses of the connection of some minutes.

        Args:
            timeout_seconds: None for as long as it takes; `Status.complete` says which it was. A
                request that is being repeated is not cut short: it may take up to
                `max_retry_seconds` longer.
            progress: told (requests finished, all requests, words).
            on_failure: told, in words, of a failure that is waited out.

        Raises:
            InputError: `not_submitted`: it is not submitted as a whole, so it cannot end.
        """
        from doubleword_batch.jobs.status import wait_until_ended

        return await wait_until_ended(
            await self._jobs.workspace(),
            self.name,
            timeout_seconds,
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
        query: str | None = None,
        sample: int = 3,
        wait_seconds: float = 0,
        progress: Progress = no_progress,
    ) -> "JobResults":
        """Collect what has finished, account for every row, and write the table of answers.

        Works at any time: rows that have no outcome yet are `pending`.

        Args:
            output_path: the table, the source's rows with their answers, in source order; by
                default JSON Lines in the state directory. With `query` alone none is written.
            format: by default what the path's ending says.
            overwrite: whether `output_path` may be replaced.
            formulas: whether texts of a CSV may become formulas in a spreadsheet.
            query: one SELECT over the table `results`; its answer is `JobResults.reply.query`.
            sample: 0 to 20 answers to show in the reply, cut.
            wait_seconds: 0 to 45, to wait for the end first.
            progress: told (lines read, rows, words).

        Raises:
            InputError: it was never submitted, or a path or query that cannot be used.
        """
        from doubleword_batch.jobs.results import fetch_results
        from doubleword_batch.library.results import JobResults

        reply = await fetch_results(
            await self._jobs.workspace(),
            self.name,
            output_path=None if output_path is None else fspath(output_path),
            table_format=format,
            overwrite=overwrite,
            formulas=formulas,
            query=query,
            sample=sample,
            wait_seconds=wait_seconds,
            progress=progress,
        )
        return JobResults(reply, format)

    async def retry(
        self,
        causes: Sequence[str] = (),
        *,
        params: Mapping[str, Any] | None = None,
        progress: Progress = no_progress,
    ) -> "Retried":
        """Run rows again that have no good answer, into the same table. Costs money.

        Args:
            causes: outcomes or causes as the results name them, such as `truncated`, `http_429`;
                by default every row without an answer.
            params: changed in each body, such as a larger `max_tokens`.
            progress: told (bytes sent, all bytes, words).

        Raises:
            InputError: `still_running`, `nothing_to_retry`, `over_cap` or `unknown_cost`.
        """
        from doubleword_batch.jobs.retry import retry_failed

        return await retry_failed(
            await self._jobs.workspace(),
            self.name,
            causes=causes,
            params=dict(params) if params else None,
            progress=progress,
        )

    async def cancel(self) -> "Cancelled":
        """Stop its batches; what has finished stays downloadable.

        Raises:
            InputError: `already_ended`: nothing of it runs.
        """
        from doubleword_batch.jobs.cancel import cancel

        return await cancel(await self._jobs.workspace(), self.name)


def _source(source: object) -> dict[str, Any]:
    if source is None:
        return {}
    if isinstance(source, str | PathLike):
        return {"source": fspath(source)}
    return {"objects": source}
