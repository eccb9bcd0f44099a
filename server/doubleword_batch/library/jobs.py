"""The verbs of a job as an async API, on which the command line and the MCP server are built.

Every error a verb raises is a `DoublewordBatchError`: an `InputError` for the caller, a
`ConfigError` for the person who sets up the environment, an `ApiError`, `TransportError` or
`ProtocolError` if the provider or the network failed, a `StoreError` for the state directory.
"""

from collections.abc import Mapping
from decimal import Decimal
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from doubleword_batch.errors import InputError
from doubleword_batch.lazy_workspace import LazyWorkspace
from doubleword_batch.library import arguments
from doubleword_batch.library.job import Job
from doubleword_batch.library.job_results import JobResults
from doubleword_batch.paths import Roots
from doubleword_batch.progress import Progress, no_progress
from doubleword_batch.settings import Settings

if TYPE_CHECKING:
    from doubleword_batch.jobs.build_request import BuildRequest
    from doubleword_batch.jobs.job import Workspace
    from doubleword_batch.jobs.replies import (
        Created,
        Listing,
        Uploaded,
    )


class Jobs:
    """The jobs of a state directory and its provider; an async context manager.

    ```python
    async with Jobs() as jobs:
        job = await jobs.create("reviews.csv", prompt="Good or bad? {{ text }}", model=model)
        await job.submit(max_cost_usd=2)
        await job.wait()
        await job.results("answers.parquet")
    ```

    The store, the connections and, without a key, the local server are opened by the first call. An
    object belongs to one event loop; several objects, even in different processes, may use the same
    state directory at the same time.

    Args:
        settings: key, provider, state directory and caps; read from the environment by default.
        roots: the folders that paths may lead to; by default anywhere, unless
            `DOUBLEWORD_BATCH_ROOTS` lists folders.
        max_retry_seconds: how long one request to the provider is retried.

    Raises:
        ConfigError: an environment variable has an unusable value.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        roots: Roots | None = None,
        max_retry_seconds: float = 120.0,
    ) -> None:
        if settings is not None and not isinstance(cast("object", settings), Settings):
            raise InputError(
                "settings must be made by Settings.",
                hint="Leave them out, or give Settings.from_environment(variables).",
            )
        self.settings: Settings = settings or Settings.from_environment()
        listed = self.settings.roots if self.settings.roots_are_explicit else None
        self._workspace = LazyWorkspace(
            self.settings,
            roots=roots or Roots(listed, state_directory=self.settings.home),
            max_retry_seconds=max_retry_seconds,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what was opened.

        Batches at the provider go on; a local server in this process stops, and its batches
        continue with the next one.
        """
        await self._workspace.close()

    async def workspace(self) -> "Workspace":
        """The workspace behind the verbs, opened by the first call; for programs that need more."""
        return await self._workspace.get()

    async def resume_local_work(self) -> None:
        """Continue batches that a local server on this state directory has left unfinished."""
        await self._workspace.resume_local_work()

    async def watch_ends(self) -> None:
        """Watch the jobs whose end a person wants to hear of, until it is cancelled."""
        from doubleword_batch.jobs.status import watch_ends

        await watch_ends(await self._workspace.get())

    async def look_at_batch(self, *batch_ids: str) -> bool:
        """Refresh a job by its batch's id; False if no job here has that batch.

        Args:
            batch_ids: spellings of the id, any of which may be known.
        """
        from doubleword_batch.jobs.job import StoredJob
        from doubleword_batch.jobs.refresh import refresh

        ws = await self._workspace.get()
        found = next(filter(None, map(ws.store.job_of_remote_id, batch_ids)), None)
        if found is None:
            return False
        await refresh(StoredJob.of_record(ws, found))
        return True

    async def create(
        self,
        source: object = None,
        *,
        prompt: str,
        system: str | None = None,
        model: str | None = None,
        endpoint: str = "/v1/chat/completions",
        response_schema: Mapping[str, Any] | str | PathLike[str] | type[Any] | None = None,
        params: Mapping[str, Any] | None = None,
        id_column: str | None = None,
        image_column: str | None = None,
        limit: int | None = None,
        output_path: str | PathLike[str] | None = None,
        overwrite: bool = False,
        new_run: bool = False,
        options: Mapping[str, Any] | None = None,
        cascade: Mapping[str, Any] | None = None,
        max_cost_usd: Decimal | float | None = None,
        progress: Progress = no_progress,
    ) -> Job:
        """Build the request files of a job: a prompt is rendered for every row. Nothing is sent.

        The same source, prompt, model and parameters return the same job. Rows that an earlier job
        has answered are not sent, and equal rows are sent once (docs/paying-once.md).

        Args:
            source: a path, folder or glob (CSV, JSON, Parquet, XLSX, SQLite, texts, images); a job
                or its results, whose answers are the rows; or a pandas or polars data frame,
                anything with `__arrow_c_stream__`, or an iterable of rows (dictionaries, data
                classes, named tuples, models of pydantic), which is read once, in a worker thread
                (rows of an open sqlite3 cursor have to be made a list before).
            prompt: template of the user's message over the row's columns, `{{ column }}`.
            system: template of the system message.
            model: the provider's name for it; None for the local server's own model.
            endpoint: the `url` of the request lines, as in OpenAI's batches.
            response_schema: a JSON Schema (object, its text, or a path), or a model of pydantic;
                answers become columns.
            params: merged into each request's body, such as `{"max_tokens": 200}`.
            id_column: column whose value becomes part of the custom_id.
            image_column: column with an image's path, URL or bytes in each row.
            limit: the first rows only (a pilot); no more are read of a generator.
            output_path: where to copy the request file.
            overwrite: whether `output_path` may be replaced.
            new_run: build a new job even if the same one exists, and reuse no earlier answers.
            options: rarely needed ones, such as `name` and `note` (the job's own), `blanks` ("skip"
                or "send" rows in which the columns of the prompt are blank), `equal_rows` ("share"
                or "separate" requests), `reuse_days` and `reuse_from` (which answers of earlier
                jobs may be reused), `on_bad_row` ("stop", or "skip" rows that cannot be requests);
                docs/tables.md lists all.
            cascade: `{"model": a strong model, "target": 0.95}`: the strong model answers only the
                rows of which `model` is not sure enough, so that the other answers agree with it in
                that share of rows; for answers that are labels. See docs/paying-once.md. The same
                as the option.
            max_cost_usd: the cap under which the job will be submitted: each request then gets a
                token limit, a default one if `params` has none, and the warnings say so. Caps from
                the environment do the same.
            progress: called with (rows built, None, words), from any thread.

        Returns:
            The job; `Job.created` says what was built and what it is estimated to cost.

        Raises:
            InputError: the source, the template, the schema or a parameter cannot be used.
        """
        from doubleword_batch.jobs.build_request import BuildRequest

        cascaded = {} if cascade is None else {"cascade": arguments.mapping("cascade", cascade)}
        request = BuildRequest(
            **_source(source),
            prompt=prompt,
            system=system,
            model=arguments.text("model", model),
            endpoint=arguments.text("endpoint", endpoint) or "",
            response_schema=arguments.schema(response_schema),
            params=arguments.params(params),
            id_column=arguments.text("id_column", id_column),
            image_column=arguments.text("image_column", image_column),
            limit=arguments.whole_number("limit", limit),
            output_path=arguments.path("output_path", output_path),
            overwrite=overwrite,
            new_run=new_run,
            options=arguments.mapping("options", options) | cascaded,
            is_capped=arguments.cap(max_cost_usd) is not None,
        )
        created = await self.build(request, progress=progress)
        return Job(self._workspace, created.job, created=created)

    async def build(
        self, request: "BuildRequest", *, progress: Progress = no_progress
    ) -> "Created":
        """The same for a ready-made request, as the command line and the MCP server create it."""
        from doubleword_batch.jobs.build import create_batch_file

        return await create_batch_file(await self.workspace(), request, progress=progress)

    async def upload(
        self, path: str | PathLike[str], *, progress: Progress = no_progress
    ) -> "Uploaded":
        """Upload a request file that was made elsewhere, as a job, without starting it.

        Args:
            path: a JSONL file of request lines; every line is checked first.
            progress: called with (bytes sent, all bytes, words).

        Raises:
            InputError: code `invalid_request_file`, with the first fault of each kind.
        """
        from doubleword_batch.jobs import submit

        given = arguments.path("path", path)
        return await submit.upload(await self.workspace(), path=given, progress=progress)

    def job(self, name: str) -> Job:
        """The job with that name, or with that batch or input file id of the provider.

        It is looked up by the first verb; an id from elsewhere is then adopted.
        """
        return Job(self._workspace, arguments.text("name", name) or "")

    async def list(
        self,
        kind: Literal["jobs", "batches", "files", "models"] = "jobs",
        *,
        status: str | None = None,
        search: str | None = None,
        limit: int = 10,
        after: str | None = None,
    ) -> "Listing":
        """Jobs of this state directory, or the provider's objects; newest first, one line each.

        Args:
            kind: jobs, batches, files or models.
            status: only jobs and batches with that status.
            search: part of a name, an id or a source.
            limit: 1 to 50; fewer are returned if the lines would grow too long.
            after: `Listing.after` of the previous page.
        """
        from doubleword_batch.jobs.listing import list_objects

        return await list_objects(
            await self.workspace(),
            kind,
            status=arguments.text("status", status),
            search=arguments.text("search", search),
            limit=arguments.whole_number("limit", limit) or 0,
            after=arguments.text("after", after),
        )


def _source(source: object) -> dict[str, Any]:
    if source is None:
        return {}
    if isinstance(source, str | PathLike):
        return {"source": arguments.path("source", cast("object", source))}
    if isinstance(source, Job):
        return {"source": f"job:{source.name}"}
    if isinstance(source, JobResults):
        return {"source": source.as_source()}
    return {"objects": source}
