"""New job: a file of rows, a prompt beside it, a pilot on a few rows, then the whole."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from doubleword_batch.console.context import (
    amount_of,
    check_post,
    console_of,
    form_of,
    refuse_read_only,
)
from doubleword_batch.console.render import go_to, job_url, link_of, page, status_of
from doubleword_batch.errors import DoublewordBatchError, InputError

if TYPE_CHECKING:
    from doubleword_batch.library.drafts import Draft
    from doubleword_batch.library.job import Job
    from doubleword_batch.library.views import JobSummary, SourcePreview

_PILOT_ROWS = 5
_SHOWN_PILOTS = 2


async def new_job(request: Request) -> Response:
    """The page on which to drop a file or enter its path."""
    refuse_read_only(request)
    offered = console_of(request).drafts.offered
    return page(request, "new_source.html", error=None, given="", reading={}, options=offered)


async def take_file(request: Request) -> Response:
    """A dropped file: its bytes are the body, its name a header. Makes a draft for it."""
    check_post(request, "")
    console = console_of(request)
    name = unquote(request.headers.get("x-file-name", "")) or "rows"
    reading = console.drafts.read_options_in(request.query_params) or {}
    path = await console.views.keep_dropped(name, request.stream())
    try:
        await console.views.preview_source(str(path), reading)
    except DoublewordBatchError:
        path.unlink(missing_ok=True)
        raise
    draft = console.drafts.new(str(path), path.name, reading)
    return JSONResponse({"location": f"/new/{draft.id}"})


async def take_path(request: Request) -> Response:
    """A path, folder or glob within the roots; makes a draft for it."""
    fields = await form_of(request)
    console = console_of(request)
    given = fields.get("source", "").strip()
    reading = console.drafts.read_options_in(fields) or {}
    try:
        if not given:
            raise InputError("No path was given.", hint="Give a file's path, or drop the file.")
        await console.views.preview_source(given, reading)
    except DoublewordBatchError as error:
        shown = {"given": given, "reading": reading, "options": console.drafts.offered}
        return page(request, "new_source.html", 400, error=error, **shown)
    return go_to(f"/new/{console.drafts.new(given, given, reading).id}")


async def draft_page(request: Request) -> Response:
    """The rows, the prompt beside them, the pilots, and the whole."""
    refuse_read_only(request)
    return await _shown(request, console_of(request).drafts.get(request.path_params["draft"]))


async def _shown(
    request: Request,
    draft: "Draft",
    error: DoublewordBatchError | None = None,
    reading: Mapping[str, str] | None = None,
) -> Response:
    console = console_of(request)
    source = await console.views.preview_source(draft.source, draft.reading)
    return page(
        request,
        "new_job.html",
        200 if error is None else status_of(error),
        error=error,
        link=None if error is None else link_of(error),
        draft=draft,
        source=source,
        reading=draft.reading if reading is None else reading,
        options=console.drafts.offered,
        models=await console.views.models(),
        budget=await console.views.budget(),
        **await _rendered(request, draft, source),
        pilots=await _pilots(request, draft),
    )


async def preview(request: Request) -> Response:
    """The current prompt of the form, rendered for the first rows."""
    fields = await form_of(request)
    console = console_of(request)
    draft = console.drafts.change(console.drafts.get(request.path_params["draft"]), fields)
    source = await console.views.preview_source(draft.source, draft.reading)
    return page(
        request,
        "prompt_part.html",
        draft=draft,
        source=source,
        **await _rendered(request, draft, source),
    )


async def pilots_part(request: Request) -> Response:
    """Only the pilots, in their current state."""
    console = console_of(request)
    draft = console.drafts.get(request.path_params["draft"])
    return page(request, "pilots_part.html", draft=draft, pilots=await _pilots(request, draft))


async def pilot(request: Request) -> Response:
    """Run the prompt on the first rows."""
    console, draft, reading = await _changed(request)
    if reading != draft.reading:
        return await _read_as(request, draft, reading)
    try:
        job = await _created(request, draft, limit=_PILOT_ROWS)
        draft = console.drafts.add_pilot(draft, job.name)
        await job.submit(
            completion_window=draft.window or None, max_cost_usd=amount_of(draft.max_cost_usd)
        )
    except DoublewordBatchError as error:
        if error.code == "needs_approval":
            raise  # the job's page asks
        return await _shown(request, draft, error)
    console.tell(job.name)
    return go_to(f"/new/{draft.id}#pilots")


async def build(request: Request) -> Response:
    """Build the whole; nothing is sent. The job's page has the button with the price."""
    _, draft, reading = await _changed(request)
    if reading != draft.reading:
        return await _read_as(request, draft, reading)
    try:
        job = await _created(request, draft)
    except DoublewordBatchError as error:
        return await _shown(request, draft, error)
    return go_to(job_url(job.name))


async def read_again(request: Request) -> Response:
    """Read the source with other options, and return the draft with the rows read that way."""
    _, draft, reading = await _changed(request)
    return await _read_as(request, draft, reading)


async def _read_as(request: Request, draft: "Draft", reading: Mapping[str, str]) -> Response:
    """Keeps what is written, but not options with which the source cannot be read."""
    console = console_of(request)
    try:
        await console.views.preview_source(draft.source, reading)
    except DoublewordBatchError as error:
        return await _shown(request, draft, error, reading)
    return go_to(f"/new/{console.drafts.read_as(draft, reading).id}")


async def _changed(request: Request) -> tuple[Any, "Draft", Mapping[str, str]]:
    """The draft with the form's current values, and the form's options for reading the source."""
    fields = await form_of(request)
    console = console_of(request)
    draft = console.drafts.get(request.path_params["draft"])
    reading = console.drafts.read_options_in(fields)
    draft = console.drafts.change(draft, fields)
    return console, draft, draft.reading if reading is None else reading


async def _created(request: Request, draft: "Draft", limit: int | None = None) -> "Job":
    written = draft.written()
    return await console_of(request).jobs.create(
        draft.source,
        prompt=draft.prompt,
        system=draft.system.strip() or None,
        model=written.model or None,
        response_schema=written.schema(),
        params=written.params(),
        options=draft.options(),
        cascade=written.cascade() if limit is None else None,  # a pilot is too small for a cascade
        limit=limit,
        max_cost_usd=amount_of(draft.max_cost_usd),
    )


async def _rendered(request: Request, draft: "Draft", source: "SourcePreview") -> dict[str, Any]:
    if not draft.prompt.strip():
        return {"rendered": None}
    found = await console_of(request).views.preview_prompt(source, draft.written())
    return {"rendered": found}


async def _pilots(request: Request, draft: "Draft") -> list[dict[str, Any]]:
    """The last pilots, newest last, each with its rows."""
    views = console_of(request).views
    found: list[dict[str, Any]] = []
    for pilot in draft.pilots[-_SHOWN_PILOTS:]:
        try:
            await views.update(pilot.job)
            job = await views.summary(pilot.job)
            rows = [await views.row(pilot.job, number) for number in range(1, (job.rows or 0) + 1)]
        except DoublewordBatchError as error:
            found.append(
                {"pilot": pilot, "error": error, "job": None, "rows": [], "whole_usd": None}
            )
            continue
        found.append(
            {"pilot": pilot, "error": None, "job": job, "rows": rows, "whole_usd": _whole_usd(job)}
        )
    return found


def _whole_usd(job: "JobSummary") -> Decimal | None:
    """What the whole job costs at the rate of a pilot; None if the pilot does not tell."""
    usd = None if job.cost is None else job.cost.usd
    if not usd or not job.has_ended or not job.pilot_of or job.requests != job.rows:
        return None
    return usd * job.pilot_of / job.requests


ROUTES = [
    Route("/new", new_job),
    Route("/new/file", take_file, methods=["POST"]),
    Route("/new/path", take_path, methods=["POST"]),
    Route("/new/{draft}", draft_page),
    Route("/new/{draft}/read", read_again, methods=["POST"]),
    Route("/new/{draft}/preview", preview, methods=["POST"]),
    Route("/new/{draft}/pilots", pilots_part),
    Route("/new/{draft}/pilot", pilot, methods=["POST"]),
    Route("/new/{draft}/build", build, methods=["POST"]),
]
