"""The eight tools as plain functions: names, parameters and descriptions that an agent sees.

Each returns a small report; `server.py` turns expected failures into readable errors.
"""

from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import BeforeValidator, Field

from doubleword_batch.errors import InputError
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.mcp_server.replies import reply, with_progress

Ctx = Context[Jobs, Any]
JobArgument = Annotated[str, Field(description="job name or provider's id")]
Endpoint = Literal["/v1/chat/completions", "/v1/responses", "/v1/embeddings"]
Wait = Annotated[float, Field(description="wait inside the call, at most 45", ge=0)]


def _texts(given: object) -> object:
    """A text, or several separated by commas, as a list."""
    if not isinstance(given, str):
        return given
    return [word for part in given.split(",") if (word := part.strip())]


async def create_batch_file(
    ctx: Ctx,
    prompt: Annotated[str, Field(description="template, e.g. Classify: {{ text }}")],
    source: Annotated[
        str | None,
        Field(
            description="path, folder or glob: CSV, JSONL, Parquet, XLSX, SQLite, images, texts or "
            "PDF (columns name, text); job:NAME"
        ),
    ] = None,
    rows: Annotated[
        list[dict[str, Any]] | None, Field(description="inline instead of source, max 100")
    ] = None,
    system: Annotated[str | None, Field(description="system message template")] = None,
    model: Annotated[str | None, Field(description="see list(kind=models)")] = None,
    endpoint: Endpoint = "/v1/chat/completions",
    response_schema: Annotated[
        dict[str, Any] | str | None,
        Field(description="JSON Schema (object or path): answers become columns"),
    ] = None,
    params: Annotated[
        dict[str, Any] | None, Field(description="merged into each body: max_tokens, tools, ...")
    ] = None,
    id_column: str | None = None,
    image_column: Annotated[str | None, Field(description="image path or URL per row")] = None,
    limit: Annotated[int | None, Field(description="pilot: first N rows", ge=1)] = None,
    output_path: Annotated[str | None, Field(description="also copy the JSONL here")] = None,
    new_run: Annotated[bool, Field(description="run the same work again")] = False,  # noqa: FBT002  # arguments come by name
    options: Annotated[
        dict[str, Any] | None, Field(description="rare: name, group_by, encoding, ...")
    ] = None,
) -> CallToolResult:
    """Start a bulk LLM inference job: render a prompt template for every row of a table into batch JSONL request files. Nothing is sent or paid yet. Returns a job name for all other tools and a cost estimate. Use for 20+ independent prompts."""  # noqa: E501  # one line for the agent
    from doubleword_batch.jobs.build_request import BuildRequest

    request = BuildRequest(
        source=source,
        rows=rows,
        prompt=prompt,
        system=system,
        model=model,
        endpoint=endpoint,
        response_schema=response_schema,
        params=params or {},
        id_column=id_column,
        image_column=image_column,
        limit=limit,
        output_path=output_path,
        new_run=new_run,
        options=options or {},
    )
    jobs = _jobs(ctx)
    return reply(await with_progress(ctx, lambda tell: jobs.build(request, progress=tell)))


async def upload(
    ctx: Ctx,
    job: str | None = None,
    path: Annotated[str | None, Field(description="or a JSONL request file")] = None,
) -> CallToolResult:
    """Validate and upload request files without starting them. Optional: create_batch uploads too."""  # noqa: E501  # one line for the agent
    if (job is None) == (path is None):
        raise InputError("Give either job or path, not both.")
    jobs = _jobs(ctx)
    return reply(
        await with_progress(
            ctx,
            lambda tell: (
                jobs.upload(path, progress=tell)
                if path is not None
                else jobs.job(job or "").upload(progress=tell)
            ),
        )
    )


async def create_batch(
    ctx: Ctx,
    job: JobArgument,
    completion_window: Annotated[
        str | None, Field(description="24h (cheapest) or 1h, as the provider offers")
    ] = None,
    metadata: dict[str, str] | None = None,
    max_cost_usd: Annotated[float | None, Field(description="refuse above this", ge=0)] = None,
) -> CallToolResult:
    """Submit a job: upload if needed and start its batches. This is the step that costs money. Safe to repeat: a submitted job is returned, never run twice."""  # noqa: E501  # one line for the agent
    found = _jobs(ctx).job(job)
    return reply(
        await with_progress(
            ctx,
            lambda tell: found.submit(
                completion_window=completion_window,
                metadata=metadata,
                max_cost_usd=max_cost_usd,
                progress=tell,
            ),
        )
    )


async def get_status(ctx: Ctx, job: JobArgument, wait_seconds: Wait = 0) -> CallToolResult:
    """Progress of a job: status, counts, rate, ETA, when to check next. Prefer wait_seconds=45 over polling."""  # noqa: E501  # one line for the agent
    found = _jobs(ctx).job(job)
    return reply(
        await with_progress(
            ctx, lambda tell: found.status(wait_seconds=wait_seconds, progress=tell)
        )
    )


async def fetch_results(
    ctx: Ctx,
    job: JobArgument,
    output_path: Annotated[
        str | None, Field(description="table to write: .csv, .jsonl, .parquet")
    ] = None,
    format: Literal["jsonl", "csv", "parquet"] | None = None,  # noqa: A002  # its published name
    query: Annotated[
        str | None,
        Field(
            description="SELECT over table results: source columns, outcome, answer or schema "
            "columns, error; other jobs by name; output_path gets its rows"
        ),
    ] = None,
    sample: Annotated[int | None, Field(description="answers to show", ge=0, le=20)] = None,
    wait_seconds: Wait = 0,
    overwrite: Annotated[bool, Field(description="replace output_path")] = False,  # noqa: FBT002  # arguments come by name
    formulas: Annotated[bool, Field(description="CSV: no apostrophes")] = False,  # noqa: FBT002
) -> CallToolResult:
    """Results of a job, also while it runs: writes the source table with answers to a file; returns outcomes per row (ledger), errors grouped by cause, cost, samples. Use query to count or look up answers."""  # noqa: E501  # one line for the agent
    jobs = _jobs(ctx)
    if jobs.settings.read_only and output_path is not None:
        raise InputError(
            "This server is read-only, so it writes no output_path.",
            hint="Leave output_path out, or use query.",
            code="read_only",
        )
    results = await with_progress(
        ctx,
        lambda tell: jobs.job(job).results(
            output_path,
            format=format,
            overwrite=overwrite,
            formulas=formulas,
            query=query,
            sample=sample,
            wait_seconds=wait_seconds,
            progress=tell,
        ),
    )
    return reply(results.reply)


async def cancel(ctx: Ctx, job: JobArgument) -> CallToolResult:
    """Stop a job's running batches. Finished rows stay downloadable."""
    return reply(await _jobs(ctx).job(job).cancel())


async def list_(
    ctx: Ctx,
    kind: Literal["jobs", "batches", "files", "models"] = "jobs",
    status: str | None = None,
    search: str | None = None,
    limit: Annotated[int, Field(ge=1, le=50)] = 10,
    after: str | None = None,
) -> CallToolResult:
    """List jobs (also of earlier sessions), or the provider's batches, files, models."""
    listing = await _jobs(ctx).list(kind, status=status, search=search, limit=limit, after=after)
    return reply(listing)


async def retry_failed(
    ctx: Ctx,
    job: JobArgument,
    causes: Annotated[
        list[str] | None,
        BeforeValidator(_texts),
        Field(description="of fetch_results; default: unanswered rows"),
    ] = None,
    params: Annotated[
        dict[str, Any] | None, Field(description="e.g. larger max_tokens for truncated")
    ] = None,
) -> CallToolResult:
    """Run only failed rows of an ended job again, merged into the same table. Costs money."""
    found = _jobs(ctx).job(job)
    return reply(
        await with_progress(
            ctx, lambda tell: found.retry(causes or (), params=params, progress=tell)
        )
    )


def _jobs(ctx: Ctx) -> Jobs:
    return ctx.request_context.lifespan_context
