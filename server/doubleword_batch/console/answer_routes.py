"""The table of answers: pages, filters, histograms, one row, a query, downloads, and judging."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from doubleword_batch.atomic_files import as_store_error
from doubleword_batch.console.context import console_of, form_of, name_of, row_number, whole_number
from doubleword_batch.console.render import go_to, job_url, page
from doubleword_batch.errors import DoublewordBatchError, InputError

if TYPE_CHECKING:
    from doubleword_batch.library.views import AnswerFilter, Format, Snapshot

_TEXTS = ("outcome", "cause", "column", "value", "text", "mark")
_NUMBERS = ("low", "high")
_PAGE_ROWS = 50
_MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}


async def answers(request: Request) -> Response:
    """The table or, while it is being made, its progress."""
    from doubleword_batch.library.views import Preparing

    console = console_of(request)
    name = name_of(request)
    job = await console.views.summary(name)
    if job.is_here and not request.query_params:  # a first look; the watcher does the rest
        await console.views.update(name)
    snapshot, is_stale = await console.views.snapshot(name, fresh=_is(request, "fresh"))
    wanted, query = _wanted(request.query_params)
    shared = {"job": await console.views.summary(name), "query": query, "wanted": wanted}
    if isinstance(snapshot, Preparing):
        return page(request, "preparing.html", preparing=snapshot, **shared)
    sort = request.query_params.get("sort") or None
    if indexing := await console.views.begin_indexes(name, snapshot, wanted, sort):
        return page(request, "preparing.html", preparing=indexing, **shared)
    descending = _is(request, "descending")
    after = _whole(request.query_params.get("after"))
    found = await console.views.page(
        name, snapshot, wanted, sort=sort, descending=descending, after=after, size=_PAGE_ROWS
    )
    if isinstance(found, Preparing):
        return page(request, "preparing.html", preparing=found, **shared)
    following = found.rows[-1].number if found.rows and found.has_more else None
    return page(
        request,
        "answers.html",
        snapshot=snapshot,
        is_stale=is_stale,
        found=found,
        sort=sort,
        descending=descending,
        after=after,
        following=following,
        **shared,
    )


async def count(request: Request) -> Response:
    """How many rows match; counted separately, so that the first page need not wait for it."""
    views = console_of(request).views
    snapshot = await _snapshot(request)
    wanted, _ = _wanted(request.query_params)
    found = await views.count(name_of(request), snapshot, wanted)
    return page(request, "count.html", found=found, total=snapshot.rows)


async def histogram(request: Request) -> Response:
    """The distribution of one column's values; a click filters."""
    column = request.query_params.get("of", "")
    _, query = _wanted(request.query_params)
    found = await console_of(request).views.histogram(await _snapshot(request), column)
    most = max((bar.rows for bar in found.bars), default=1)
    return page(
        request, "histogram.html", found=found, most=most or 1, query=query, name=name_of(request)
    )


async def row(request: Request) -> Response:
    """One row in full."""
    console = console_of(request)
    found = await console.views.row(name_of(request), row_number(request.path_params["number"]))
    job = await console.views.summary(name_of(request))
    return page(request, "row.html", row=found, job=job)


async def query(request: Request) -> Response:
    """One SELECT over the table."""
    console = console_of(request)
    name = name_of(request)
    sql = request.query_params.get("sql", "").strip()
    job = await console.views.summary(name)
    found = error = None
    if sql:
        try:
            found = await console.views.query(name, sql)
        except DoublewordBatchError as refused:
            error = refused
    return page(request, "query.html", job=job, sql=sql, found=found, error=error)


async def download(request: Request) -> Response:
    """The table as a file, or only its matching rows."""
    console = console_of(request)
    name = name_of(request)
    given = request.query_params.get("format", "csv")
    if given not in _formats():
        raise InputError(
            "Tables are not written in that format.", hint=f"Use {', '.join(_formats())}."
        )
    wanted_format = cast("Format", given)
    wanted, _ = _wanted(request.query_params)
    snapshot = await _snapshot(request)
    folder = console.jobs.settings.home / "console" / "downloads"
    with as_store_error(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f".{secrets.token_hex(8)}.part.{wanted_format}"  # a later build removes it
    await console.views.write(name, path, wanted_format, snapshot, wanted)
    part = "" if wanted.is_empty else "-filtered"
    return FileResponse(
        path,
        media_type=_MEDIA[wanted_format],
        filename=f"{name}{part}.{wanted_format}",
        background=BackgroundTask(_remove, path),
    )


def _formats() -> tuple[Any, ...]:
    from doubleword_batch.library.views import Format

    return get_args(Format)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _snapshot(request: Request) -> "Snapshot":
    """The table, which must exist by now.

    Raises:
        InputError: it is still being made.
    """
    from doubleword_batch.library.views import Preparing

    snapshot, _ = await console_of(request).views.snapshot(name_of(request))
    if isinstance(snapshot, Preparing):
        raise InputError(
            "The table of answers is still being prepared.", hint="Try again in a few seconds."
        )
    return snapshot


def _wanted(given: Mapping[str, str]) -> tuple["AnswerFilter", dict[str, Any]]:
    """The filter in an address, and the same as query parameters."""
    from doubleword_batch.library.views import AnswerFilter

    texts: dict[str, Any] = {name: given.get(name) or None for name in _TEXTS}
    if "value" in given and texts["column"]:
        texts["value"] = given["value"]
    numbers = {name: _number(given.get(name)) for name in _NUMBERS}
    if not texts["column"]:
        texts["value"] = None
        numbers = dict.fromkeys(_NUMBERS)
    wanted = AnswerFilter(**texts, **numbers)
    query = {name: value for name, value in asdict(wanted).items() if value is not None}
    for name in ("sort", "descending"):
        if given.get(name):
            query[name] = given[name]
    return wanted, query


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise InputError("That is not a number.", hint="Open the table again.") from None


def _whole(text: str | None) -> int:
    return whole_number(text or "") or 0


def _is(request: Request, name: str) -> bool:
    return request.query_params.get(name) == "1"


# Judging answers: a random sample, one row at a time, and what the marks say

_MARKS = {"right": "right", "wrong": "wrong", "none": None}


async def judge(request: Request) -> Response:
    """One row of the sample: the requested one, or the first without a mark."""
    views = console_of(request).views
    name = name_of(request)
    found = await views.review_accuracy(name)
    given = request.query_params.get("place", "")
    unmarked = (place for place, row in enumerate(found.sample) if row not in found.marks)
    place = whole_number(given)
    place = next(unmarked, 0) if place is None else place
    place = min(place, max(len(found.sample) - 1, 0))
    row = await views.row(name, found.sample[place]) if found.sample else None
    return page(
        request,
        "judge.html",
        job=await views.summary(name),
        judging=found,
        place=place,
        row=row,
        marked=sum(number in found.marks for number in found.sample),
    )


async def mark(request: Request) -> Response:
    """Mark a row, and go on to where the form says."""
    fields = await form_of(request)
    given = fields.get("mark", "")
    row = row_number(fields.get("row", ""))
    if given not in _MARKS:
        raise InputError(
            "A row can be marked right or wrong, or its mark cleared.", hint="Use the buttons."
        )
    marked = cast('Literal["right", "wrong"] | None', _MARKS[given])
    await console_of(request).views.mark(name_of(request), row, marked)
    place = fields.get("place", "")
    where = f"/judge?place={place}" if place.isdecimal() else f"/rows/{row}"
    return go_to(job_url(name_of(request)) + where)


ROUTES = [
    Route("/jobs/{name}/answers", answers),
    Route("/jobs/{name}/count", count),
    Route("/jobs/{name}/histogram", histogram),
    Route("/jobs/{name}/rows/{number}", row),
    Route("/jobs/{name}/query", query),
    Route("/jobs/{name}/download", download),
    Route("/jobs/{name}/judge", judge),
    Route("/jobs/{name}/marks", mark, methods=["POST"]),
]
