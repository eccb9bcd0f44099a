"""The list of jobs, and what the provider has that is not a job here."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from doubleword_batch.console.context import console_of, form_of
from doubleword_batch.console.render import job_url, page

_SEE_OTHER = 303


async def jobs(request: Request) -> Response:
    """All jobs of this machine, newest first."""
    return page(request, "jobs.html", **await _listed(request))


async def jobs_part(request: Request) -> Response:
    """The list alone, as it is now."""
    return page(request, "jobs_part.html", **await _listed(request))


async def _listed(request: Request) -> dict[str, Any]:
    views = console_of(request).views
    search = request.query_params.get("search", "")
    before = request.query_params.get("before")
    found, has_more = await views.summaries(search=search, before=before)
    return {
        "jobs": found,
        "has_more": has_more,
        "search": search,
        "before": before,
        "budget": await views.budget(),
        "provider": await views.provider(),
        "problems": console_of(request).watcher.problems,
        "waiting": await console_of(request).approvals.waiting(),
    }


async def provider(request: Request) -> Response:
    """Batches and files of the provider that are not jobs here."""
    views = console_of(request).views
    return page(
        request,
        "provider.html",
        found=await views.not_ours(),
        provider=await views.provider(),
    )


async def adopt(request: Request) -> Response:
    """Make a job of one of them."""
    fields = await form_of(request)
    name = await console_of(request).views.adopt(fields.get("id", ""))
    return RedirectResponse(job_url(name), _SEE_OTHER)


ROUTES = [
    Route("/", jobs),
    Route("/parts/jobs", jobs_part),
    Route("/provider", provider),
    Route("/provider/adopt", adopt, methods=["POST"]),
]
