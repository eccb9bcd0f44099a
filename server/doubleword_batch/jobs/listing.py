"""The tool `list`: jobs here, or batches, files or models at the provider, one short line each."""

import difflib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

import msgspec

from doubleword_batch.errors import InputError, Next, quote_untrusted
from doubleword_batch.jobs.billing import bill_of
from doubleword_batch.jobs.costs import shown_cost
from doubleword_batch.jobs.job import StoredJob, Workspace, next_get_status
from doubleword_batch.jobs.replies import Listing, usd_text, utc
from doubleword_batch.jobs.row_counts import counts_of
from doubleword_batch.models import TERMINAL, Batch, File, Model

Kind = Literal["jobs", "batches", "files", "models"]
_KINDS = get_args(Kind)

STATUSES = ("validating", "in_progress", "finalizing", "cancelling", *sorted(TERMINAL))
"""The statuses of batches, as OpenAI names them; servers may have others."""

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
        status: only jobs or batches with that status.
        search: part of a name, an id, a source, a model, or a job's prompt.
        limit: 1 to 50; fewer are returned if the lines would be too long.
        after: the `after` of the page before.

    Raises:
        InputError: a kind, a limit, a status or an `after` that does not exist.
    """
    if kind not in _KINDS:
        raise InputError(
            f"There is no kind {quote_untrusted(str(kind), 60)}.",
            hint=f"The kinds are: {', '.join(_KINDS)}.",
        )
    if not 1 <= limit <= _MOST_LINES:
        raise InputError(f"limit must be between 1 and {_MOST_LINES}.")
    is_searched = kind == "jobs" or (ws.profile.search and kind != "models")
    page = _Page(ws, kind, status, search, limit, is_searched=is_searched)
    if kind == "jobs":
        return _jobs(page, after)
    if status is not None and kind != "batches":
        raise InputError(f"{kind.capitalize()} have no status here.", hint="Leave status out.")
    asked = search if is_searched else None
    if kind == "batches":
        batches = ws.client.batches.list(search=asked, analytics=not ws.profile.free)
        return await _remote(page, batches, _batch_line, after)
    if kind == "files":
        return await _remote(page, ws.client.files.list(search=asked), _file_line, after)
    models = _each(await ws.client.models.list())
    await ws.refresh_prices(asks_all=True)
    return await _remote(page, models, lambda model: _model_line(ws, model), after)


@dataclass(slots=True)
class _Page:
    """The lines of one page, as many as a reply has room for.

    Attributes:
        is_searched: whether the store or the server has applied `search` already.
        lines: the lines that were wanted and had room.
        last: the name or id in the last of them.
        seen: every status that was met.
    """

    ws: Workspace
    kind: Kind
    status: str | None
    search: str | None
    limit: int
    is_searched: bool
    lines: list[str] = field(default_factory=list[str])
    last: str | None = None
    seen: set[str] = field(default_factory=set[str])
    has_more: bool = False
    _left: int = _MOST_BYTES

    def takes(self, name: str, status: str, line_of: Callable[[], str]) -> bool:
        """Take a line if it is wanted; False if there is no room for it, so that there is more."""
        self.seen.add(status)
        if self.status not in {None, status}:
            return True
        line = line_of()
        if not self.is_searched and (self.search or "").lower() not in line.lower():
            return True
        self._left -= len(msgspec.json.encode(line)) + 1
        if len(self.lines) == self.limit or (self.lines and self._left < 0):
            self.has_more = True
            return False
        self.lines.append(line)
        self.last = name
        return True

    def listing(self, known: Sequence[str], after: str | None, call: Next | None = None) -> Listing:
        """The reply; an unknown status that nothing has is an error."""
        if not self.lines:
            _check_status(self.status, known, self.seen)
        return Listing(
            provider=self.ws.provider,
            next=call,
            kind=self.kind,
            lines=self.lines,
            has_more=self.has_more,
            after=self.last if self.has_more else None,
            note=None if self.lines else self._why_empty(after),
        )

    def _why_empty(self, after: str | None) -> str:
        if after is not None:
            return "That was the last page."
        is_all = self.status is None and not self.search
        return f"There are no {self.kind} yet." if is_all else f"No {self.kind} match."


def _jobs(page: _Page, after: str | None) -> Listing:
    ws, before = page.ws, None
    if after is not None:
        last = ws.store.job_named(after)
        if last is None:
            raise _nothing_after("job", after)
        before = last.id
    shown: list[tuple[StoredJob, str]] = []
    for job in _newest_first(ws, page.search or "", before):
        status = job.status()
        if not page.takes(job.name, status, lambda job=job, status=status: job_line(job, status)):
            break
        if page.last == job.name:
            shown.append((job, status))
    return page.listing(_JOB_STATUSES, after, _next(shown))


def _newest_first(ws: Workspace, search: str, before: int | None) -> Iterator[StoredJob]:
    while page := ws.store.jobs(search=search, before=before, limit=_PAGE):
        for record in page:
            yield StoredJob.of_record(ws, record)
        before = page[-1].id


def _next(shown: list[tuple[StoredJob, str]]) -> Next | None:
    """A call for the newest job that runs, or else that has ended; never one that costs money."""
    reachable = [(job, status) for job, status in shown if job.matches_provider()]
    for job, status in reachable:
        if status not in TERMINAL | {"built", "uploaded"}:
            return next_get_status(job.name)
    for job, status in reachable:
        if status in TERMINAL:
            return Next("fetch_results", {"job": job.name})
    return None


def _check_status(status: str | None, known: Sequence[str], seen: set[str]) -> None:
    values = [*known, *sorted(seen - set(known))]
    if status is None or status in values:
        return
    word = "_".join(status.lower().replace("-", " ").split())
    near = [_OTHER_WORDS.get(word, word)]
    near = near if near[0] in values else difflib.get_close_matches(word, values, n=1)
    question = f"Did you mean {near[0]}? " if near else ""
    raise InputError(
        f"There is no status {quote_untrusted(status, 40)}.",
        hint=f"{question}The statuses are: {', '.join(values)}.",
    )


def _nothing_after(what: str, after: str) -> InputError:
    return InputError(
        f"There is no {what} {quote_untrusted(after, 64)} to continue after.",
        hint="Leave after out.",
    )


async def _remote(
    page: _Page, found: AsyncIterator[_T], line_of: Callable[[_T], str], after: str | None
) -> Listing:
    """A page of the provider's objects."""
    is_reached = after is None
    async for remote in found:
        if not is_reached:
            is_reached = remote.id == after
            continue
        status = getattr(remote, "status", "")
        if not page.takes(remote.id, status, lambda remote=remote: line_of(remote)):
            break
    if not is_reached:
        raise _nothing_after("batch" if page.kind == "batches" else page.kind[:-1], after or "")
    return page.listing(STATUSES, after)


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
    """A model, with its price in the cheapest window if that is known."""
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
    """A job's name, status, rows and progress, model, date, cost, and what it is about.

    The numbers are the last known ones; the provider is not asked.
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


def _rows(count: int | str) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _progress(job: StoredJob, status: str) -> str:
    """`500 rows, 3 failed`, or `120 of 500 rows, 3 failed` while it runs."""
    if status in {"built", "uploaded"}:
        return _rows("?" if job.rows is None else job.rows)
    counts = counts_of(job)
    done = "" if status in TERMINAL else f"{counts.finished} of "
    reused = sum(origin.rows for origin in job.ledger.origins())
    facts = [f"{done}{_rows(counts.total)}"]
    facts += [f"{reused} reused"] if reused else []
    facts += [f"{counts.failed} failed"] if counts.failed else []
    return ", ".join(facts)
