"""The tool `list`: jobs here, and batches, files and models at the provider, a short line each."""

import difflib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import msgspec

from doubleword_batch.errors import InputError, Next, quote_untrusted
from doubleword_batch.jobs.billing import bill_of
from doubleword_batch.jobs.costs import shown_cost, usd_text
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.replies import Listing, utc
from doubleword_batch.jobs.row_counts import counts_of
from doubleword_batch.jobs.status import MAX_WAIT_SECONDS
from doubleword_batch.models import TERMINAL, Batch, File, Model

Kind = Literal["jobs", "batches", "files", "models"]

STATUSES = ("validating", "in_progress", "finalizing", "cancelling", *sorted(TERMINAL))
"""Of batches, as OpenAI names them; servers have others besides."""

_JOB_STATUSES = ("built", "uploaded", *STATUSES)
_OTHER_WORDS = {
    "active": "in_progress",
    "canceled": "cancelled",
    "created": "built",
    "done": "completed",
    "ended": "completed",
    "error": "failed",
    "finished": "completed",
    "pending": "built",
    "processing": "in_progress",
    "queued": "validating",
    "running": "in_progress",
    "submitted": "in_progress",
    "success": "completed",
}
_MOST_LINES = 50
_MOST_BYTES = 760  # of the lines: a reply holds them twice
_PAGE = 100
_T = TypeVar("_T", File, Batch, Model)
_NOTE_CHARACTERS = 40
_FROM_CHARACTERS = 60


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
        search: substring of a name, an id, a source, a model, or of what a job was told to ask.
        limit: 1 to 50; fewer come back when the lines would grow too long.
        after: the `after` of the page before.

    Raises:
        InputError: a limit, a status or an `after` that there is not.
    """
    if not 1 <= limit <= _MOST_LINES:
        raise InputError(f"limit must be between 1 and {_MOST_LINES}.")
    page = _Page(limit)
    if kind == "jobs":
        return _jobs(ws, status, search or "", page, after)
    client, asked = ws.client, search if ws.profile.search else None
    wanted = _Wanted(kind, status, search, after, is_searched=ws.profile.search)
    if kind == "batches":
        bills = not ws.profile.free
        found = client.batches.list(search=asked, analytics=bills)
        return await _remote(ws, wanted, found, _batch_line, page)
    if status is not None:
        raise InputError(f"{kind.capitalize()} have no status here.", hint="Leave status out.")
    if kind == "files":
        return await _remote(ws, wanted, client.files.list(search=asked), _file_line, page)
    models = _each(await client.models.list())
    await ws.refresh_prices(asks_all=True)
    wanted = replace(wanted, is_searched=False)
    return await _remote(ws, wanted, models, lambda model: _model_line(ws, model), page)


@dataclass(slots=True)
class _Page:
    """The lines of one page, in so many and so few bytes as a reply has room for."""

    limit: int
    lines: list[str] = field(default_factory=list[str])
    has_more: bool = False
    _left: int = _MOST_BYTES

    def add(self, line: str) -> bool:
        """Take a line; False where there is no room for it, and so is more."""
        self._left -= len(msgspec.json.encode(line)) + 1
        if len(self.lines) == self.limit or (self.lines and self._left < 0):
            self.has_more = True
            return False
        self.lines.append(line)
        return True


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What of the provider's objects is wanted.

    Attributes:
        is_searched: the server has applied `search` already.
    """

    kind: Kind
    status: str | None
    search: str | None
    after: str | None
    is_searched: bool

    def fits(self, status: str, line: str) -> bool:
        """Whether an object is one of them."""
        is_found = self.is_searched or (self.search or "").lower() in line.lower()
        return is_found and self.status in {None, status}


def _jobs(
    ws: Workspace, status: str | None, search: str, page: _Page, after: str | None
) -> Listing:
    before = None
    if after is not None:
        last = ws.store.job_named(after)
        if last is None:
            raise _nothing_after("job", after)
        before = last.id
    shown: list[tuple[StoredJob, str]] = []
    seen: set[str] = set()
    for job in _newest_first(ws, search, before):
        job_status = job.status()
        seen.add(job_status)
        if status is not None and job_status != status:
            continue
        if not page.add(job_line(job, job_status)):
            break
        shown.append((job, job_status))
    if not shown:
        _check_status(status, _JOB_STATUSES, seen)
    return Listing(
        provider=ws.provider,
        next=_next(shown),
        kind="jobs",
        lines=page.lines,
        has_more=page.has_more,
        after=shown[-1][0].name if page.has_more else None,
        note=_nothing("jobs", status, search, after) if not shown else None,
    )


def _newest_first(ws: Workspace, search: str, before: int | None) -> Iterator[StoredJob]:
    while page := ws.store.jobs(search=search, before=before, limit=_PAGE):
        for record in page:
            yield StoredJob.of_record(ws, record)
        before = page[-1].id


def _next(shown: list[tuple[StoredJob, str]]) -> Next | None:
    """The newest job that runs, else the newest that has ended; never what costs money."""
    reachable = [(job, status) for job, status in shown if job.matches_provider()]
    for job, status in reachable:
        if status not in TERMINAL | {"built", "uploaded"}:
            return Next("get_status", {"job": job.name, "wait_seconds": MAX_WAIT_SECONDS})
    for job, status in reachable:
        if status in TERMINAL:
            return Next("fetch_results", {"job": job.name})
    return None


def _check_status(status: str | None, known: Sequence[str], seen: set[str]) -> None:
    """Refuse a status that nothing has and nothing could have."""
    values = [*known, *sorted(seen - set(known))]
    if status is None or status in values:
        return
    word = "_".join(status.lower().replace("-", " ").split())
    near = [_OTHER_WORDS.get(word, word)]
    near = near if near[0] in values else difflib.get_close_matches(word, values, n=1)
    question = f"Did you mean {near[0]}? " if near else ""
    raise InputError(
        f"There is no status {quote_untrusted(status, 40)}.",
        hint=f"{question}Statuses are: {', '.join(values)}.",
    )


def _nothing(kind: str, status: str | None, search: str | None, after: str | None) -> str:
    if after is not None:
        return "That was the last page."
    if status is None and not search:
        return f"There are no {kind} yet."
    return f"No {kind} match."


def _nothing_after(what: str, after: str) -> InputError:
    return InputError(
        f"There is no {what} {quote_untrusted(after, 64)} to go on after.", hint="Leave after out."
    )


async def _remote(
    ws: Workspace,
    wanted: _Wanted,
    found: AsyncIterator[_T],
    line_of: Callable[[_T], str],
    page: _Page,
) -> Listing:
    """A page of what the provider has."""
    kind = wanted.kind
    last = ""
    skipping = wanted.after is not None
    seen: set[str] = set()
    async for remote in found:
        if skipping:
            skipping = remote.id != wanted.after
            continue
        line = line_of(remote)
        status = getattr(remote, "status", "")
        seen.add(status)
        if not wanted.fits(status, line):
            continue
        if not page.add(line):
            break
        last = remote.id
    if skipping:
        raise _nothing_after("batch" if kind == "batches" else kind[:-1], wanted.after or "")
    if not page.lines:
        _check_status(wanted.status, STATUSES, seen)
    return Listing(
        provider=ws.provider,
        kind=kind,
        lines=page.lines,
        has_more=page.has_more,
        after=last if page.has_more else None,
        note=None if page.lines else _nothing(kind, wanted.status, wanted.search, wanted.after),
    )


async def _each(models: list[Model]) -> AsyncIterator[Model]:
    for model in models:
        yield model


def _batch_line(batch: Batch) -> str:
    counts = batch.request_counts
    job = batch.metadata.get("dwb_job", "")
    facts = [
        f"{batch.id}: {batch.status}",
        f"{counts.completed + counts.failed}/{counts.total} done",
        f"{counts.failed} failed",
    ]
    if bill := bill_of(batch.analytics):
        so_far = "" if batch.is_terminal else " so far"
        facts.append(f"{usd_text(bill.cost_usd)} billed{so_far}")
    facts += [f"job {job[:64]}"] if job else []
    return ", ".join(facts)


def _model_line(ws: Workspace, model: Model) -> str:
    """A model with its price in the cheapest window, where that is known."""
    window, prices = ws.profile.windows[0], ws.prices
    price = None if prices is None or ws.profile.free else prices.price(model.id, window)
    if prices is None or price is None:
        return model.id
    read, written = (amount.normalize() for amount in price)
    return (
        f"{model.id}: ${read:f} in, ${written:f} out a million tokens ({window}, "
        f"{prices.read_on(model.id, window).isoformat()})"
    )


def _file_line(file: File) -> str:
    return f"{file.id}: {file.filename[:80]}, {file.size_bytes} bytes, {file.purpose}"


def job_line(job: StoredJob, status: str) -> str:
    """Name, status, how many rows and how far, model, when, its cost, and what it is about.

    The numbers are those that were last known; the provider is not asked.
    """
    spec = msgspec.json.decode(job.spec or "{}")
    created = utc(job.created_at).strftime("%Y-%m-%d %H:%MZ")
    facts = [status, _progress(job, status)]
    if spec.get("limit") is not None and job.rows != job.source_rows:
        facts.append(f"pilot of {job.source_rows or 'more'} rows")
    facts += [job.model or "model unknown", created]
    if status not in {"built", "uploaded"} and (cost := shown_cost(job)):
        facts.append(cost)
    if not job.matches_provider():
        facts.append(f"at {job.provider}")
    if made_from := spec.get("made_from"):
        facts.append(f"from {quote_untrusted(made_from, _FROM_CHARACTERS)}")
    if about := spec.get("note") or spec.get("prompt"):
        facts.append(quote_untrusted(about, _NOTE_CHARACTERS))
    return f"{job.name}: {', '.join(facts)}"


def _progress(job: StoredJob, status: str) -> str:
    """`500 rows, 3 failed`, or `120 of 500 rows, 3 failed` while it runs."""
    if status in {"built", "uploaded"}:
        return f"{'?' if job.rows is None else job.rows} rows"
    counts = counts_of(job)
    done = "" if status in TERMINAL else f"{counts.finished} of "
    reused = sum(origin.rows for origin in job.ledger.origins())
    facts = [f"{done}{counts.total} rows"]
    facts += [f"{reused} reused"] if reused else []
    facts += [f"{counts.failed} failed"] if counts.failed else []
    return ", ".join(facts)
