"""The tool `list`: jobs here, and batches, files and models at the provider, a short line each."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Literal, TypeVar

import msgspec

from doubleword_batch.errors import InputError, Next, quote_untrusted
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.replies import Listing, utc
from doubleword_batch.models import TERMINAL, Batch, File, Model

Kind = Literal["jobs", "batches", "files", "models"]

_MOST_LINES = 50
_MOST_BYTES = 1_400
_PAGE = 100
_FROM_CHARACTERS = 60
_T = TypeVar("_T", File, Batch, Model)


async def list_objects(
    ws: Workspace,
    kind: Kind = "jobs",
    *,
    status: str | None = None,
    search: str | None = None,
    limit: int = 10,
    after: str | None = None,
) -> Listing:
    """List objects, newest first.

    Args:
        ws: the workspace.
        kind: jobs (of this state directory), batches, files or models (of the provider).
        status: jobs and batches of that status only.
        search: substring of a name, an id or a source.
        limit: 1 to 50; fewer come back when the lines would grow too long.
        after: the `after` of the page before.
    """
    if not 1 <= limit <= _MOST_LINES:
        raise InputError(f"limit must be between 1 and {_MOST_LINES}.")
    if kind == "jobs":
        return _jobs(ws, status, search or "", limit, after)
    client = ws.client
    if kind == "batches":
        found = client.batches.list(search=search if ws.profile.search else None)
        return await _remote(ws, kind, found, _batch_line, status, search, limit, after)
    if kind == "files":
        found = client.files.list(search=search if ws.profile.search else None)
        return await _remote(ws, kind, found, _file_line, None, search, limit, after)
    models = _each(await client.models.list())
    return await _remote(ws, kind, models, lambda model: model.id, None, search, limit, after)


def _jobs(ws: Workspace, status: str | None, search: str, limit: int, after: str | None) -> Listing:
    before = None
    if after is not None:
        last = ws.store.job_named(after)
        if last is None:
            raise InputError(f"There is no job {after} to go on after.", hint="Leave after out.")
        before = last.id
    lines: list[str] = []
    shown: list[StoredJob] = []
    has_more = False
    for job in _newest_first(ws, search, before):
        job_status = job.status()
        if status is not None and job_status != status:
            continue
        if len(lines) == limit or sum(map(len, lines)) > _MOST_BYTES:
            has_more = True
            break
        lines.append(_job_line(job, job_status))
        shown.append(job)
    return Listing(
        provider=ws.provider,
        next=_next(shown[0]) if shown else None,
        kind="jobs",
        lines=lines,
        has_more=has_more,
        after=shown[-1].name if has_more else None,
    )


def _job_line(job: StoredJob, status: str) -> str:
    created = utc(job.created_at).strftime("%Y-%m-%d %H:%MZ")
    where = "" if job.matches_provider() else f", at {job.provider}"
    rows = job.rows if job.rows is not None else "?"
    made_from = msgspec.json.decode(job.spec or "{}").get("made_from")
    of = f", from {quote_untrusted(made_from, _FROM_CHARACTERS)}" if made_from else ""
    model = job.model or "model unknown"
    return f"{job.name}: {status}, {rows} rows, {model}, {created}{where}{of}"


def _newest_first(ws: Workspace, search: str, before: int | None) -> Iterator[StoredJob]:
    while page := ws.store.jobs(search=search, before=before, limit=_PAGE):
        for record in page:
            yield StoredJob.of_record(ws, record)
        before = page[-1].id


def _next(job: StoredJob) -> Next:
    """What to call for the newest job."""
    status = job.status()
    if status in {"built", "uploaded"}:
        return Next("create_batch", {"job": job.name})
    if status in TERMINAL:
        return Next("fetch_results", {"job": job.name})
    return Next("get_status", {"job": job.name, "wait_seconds": 45})


async def _remote(
    ws: Workspace,
    kind: Kind,
    found: AsyncIterator[_T],
    line_of: Callable[[_T], str],
    status: str | None,
    search: str | None,
    limit: int,
    after: str | None,
) -> Listing:
    lines: list[str] = []
    last = ""
    has_more = False
    skipping = after is not None
    wanted = (search or "").lower()
    async for remote in found:
        if skipping:
            skipping = remote.id != after
            continue
        line = line_of(remote)
        if status is not None and getattr(remote, "status", None) != status:
            continue
        if wanted and not ws.profile.search and wanted not in line.lower():
            continue
        if len(lines) == limit or sum(map(len, lines)) > _MOST_BYTES:
            has_more = True
            break
        lines.append(line)
        last = remote.id
    return Listing(
        provider=ws.provider,
        kind=kind,
        lines=lines,
        has_more=has_more,
        after=last if has_more else None,
    )


async def _each(models: list[Model]) -> AsyncIterator[Model]:
    for model in models:
        yield model


def _batch_line(batch: Batch) -> str:
    counts = batch.request_counts
    job = batch.metadata.get("dwb_job", "")
    return (
        f"{batch.id}: {batch.status}, {counts.completed + counts.failed}/{counts.total} done, "
        f"{counts.failed} failed{', job ' + job[:64] if job else ''}"
    )


def _file_line(file: File) -> str:
    return f"{file.id}: {file.filename[:80]}, {file.size_bytes} bytes, {file.purpose}"
