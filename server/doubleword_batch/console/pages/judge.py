"""Judging answers: a random sample, one row at a time, and what the marks say."""

from typing import Literal, cast

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from doubleword_batch.console.context import console_of, form_of, row_number, whole_number
from doubleword_batch.console.pages.job import name_of
from doubleword_batch.console.render import job_url, page
from doubleword_batch.errors import InputError

_SEE_OTHER = 303
_MARKS = {"right": "right", "wrong": "wrong", "none": None}


async def judge(request: Request) -> Response:
    """One row of the sample: the one that is asked for, or the first without a mark."""
    views = console_of(request).views
    name = name_of(request)
    found = await views.judging(name)
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
    return RedirectResponse(job_url(name_of(request)) + where, _SEE_OTHER)


ROUTES = [
    Route("/jobs/{name}/judge", judge),
    Route("/jobs/{name}/marks", mark, methods=["POST"]),
]
