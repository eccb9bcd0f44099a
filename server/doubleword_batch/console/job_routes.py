"""The list of jobs, the provider's objects that are not jobs here, and the page of each job."""

import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from doubleword_batch.console.context import amount_of, console_of, form_of, name_of
from doubleword_batch.console.render import go_to, job_url, page, usd
from doubleword_batch.errors import InputError

if TYPE_CHECKING:
    from doubleword_batch.library.views import FailureGroup, JobSummary


async def jobs(request: Request) -> Response:
    """All jobs of this machine, newest first."""
    return page(request, "jobs.html", **await _listed(request))


async def jobs_part(request: Request) -> Response:
    """Only the list, in its current state."""
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
        found=await views.unadopted_objects(),
        provider=await views.provider(),
    )


async def adopt(request: Request) -> Response:
    """Make a job of one of them."""
    fields = await form_of(request)
    name = await console_of(request).views.adopt(fields.get("id", ""))
    return go_to(job_url(name))


# One job: its progress, its prompt, its failures; submit, cancel and retry


async def job(request: Request) -> Response:
    """The job's page."""
    return page(request, "job.html", **await _seen(request))


async def job_part(request: Request) -> Response:
    """Only the job's progress."""
    return page(request, "job_part.html", **await _seen(request))


async def _seen(request: Request) -> dict[str, Any]:
    console = console_of(request)
    found = await console.views.summary(name_of(request))
    schema = found.spec.get("response_schema")
    params = found.spec.get("params")
    return {
        "job": found,
        "budget": await console.views.budget(),
        "problem": console.watcher.problems.get(found.name),
        "schema": json.dumps(schema, indent=2, ensure_ascii=False) if schema else "",
        "params": json.dumps(params, ensure_ascii=False) if params else "",
        "quote": _quote(found),
        "waits": console.watcher.waits.get(found.name),
        "question": await console.approvals.about(found.name) if found.is_here else None,
    }


def _quote(found: "JobSummary", window: str = "") -> str:
    """The price on the button, as it comes back with the form.

    Args:
        found: the job.
        window: a window other than the job's own.
    """
    costs = found.window_costs
    others = costs.windows if costs is not None and window != found.window else []
    other = next((cost for cost in others if cost.completion_window == window), None)
    return usd(found.estimate.usd if other is None else other.cost_usd)


async def submit(request: Request) -> Response:
    """Create the job's batches: what costs money. A changed price is shown first."""
    fields = await form_of(request)
    console = console_of(request)
    found = await console.views.summary(name_of(request))
    window, _, told = fields.get("way", "").partition(" ")  # the button of another window
    window, told = (window, told) if told else (fields.get("window", ""), fields.get("quote", ""))
    quote = _quote(found, window)
    if told != quote:
        raise InputError(
            f"The price is now {quote}, but the button said {told}. Nothing was submitted.",
            hint="Look at the job again, and submit it if that is right.",
        )
    job = console.jobs.job(found.name)
    options: dict[str, Any] = {
        "completion_window": window or None,
        "max_cost_usd": amount_of(fields.get("max_cost_usd", "")),
    }
    from doubleword_batch.library.approvals import ApprovalError

    try:
        await job.submit(**options)
    except ApprovalError as error:
        if usd(error.approval.cost_usd) != quote:
            raise  # the job's page asks
        # The button said what it costs: pressing it is the person's approval.
        await console.approvals.decide(error.approval.id, "approved", "console")
        await job.submit(**options)
    console.tell(found.name)
    return go_to(job_url(found.name))


async def approve(request: Request) -> Response:
    """A person's answer to the question on the page; if they approve, the call is made."""
    fields = await form_of(request)
    console = console_of(request)
    name = name_of(request)
    decision = fields.get("decision")
    question = await console.approvals.about(name)
    if decision not in ("approved", "declined") or question is None:
        raise InputError(
            "Nothing in this job is waiting for an answer.", hint="Look at the job again."
        )
    if question.id != fields.get("question"):
        raise InputError(
            "The question has changed since this page was shown. Nothing was submitted.",
            hint="Look at the job again, and answer it there.",
        )
    answered = await console.approvals.decide(question.id, decision, "console")
    console.tell(name)
    if decision == "approved":
        await console.approvals.perform(answered)
        console.tell(name)
    return go_to(job_url(name))


async def cancel(request: Request) -> Response:
    """Stop the job's batches."""
    await form_of(request)
    console, name = console_of(request), name_of(request)
    await console.jobs.job(name).cancel()
    console.tell(name)
    return go_to(job_url(name))


async def failures(request: Request) -> Response:
    """Rows without a good answer by cause, with what to do."""
    console = console_of(request)
    if (await console.views.summary(name_of(request))).is_here:
        await console.views.update(name_of(request))
    found = await console.views.summary(name_of(request))
    groups = await console.views.failures(name_of(request))
    told = {(group.outcome, group.cause): _told(found, group) for group in groups}
    return page(request, "failures.html", job=found, groups=groups, told=told)


def _told(found: "JobSummary", group: "FailureGroup") -> str:
    """What a retry button said, as it comes back with the form."""
    return f"{found.submissions} {group.rows} {usd(group.cost.usd)}"


async def retry(request: Request) -> Response:
    """Run the rows with a cause again, with a changed parameter if one was given.

    A page that was shown before an earlier retry, or with another price, runs nothing.
    """
    fields = await form_of(request)
    console = console_of(request)
    name, cause = name_of(request), fields.get("cause", "")
    found = await console.views.summary(name)
    groups = [group for group in await console.views.failures(name) if group.cause == cause]
    if fields.get("told") not in {_told(found, group) for group in groups}:
        raise InputError(
            "What has failed, or what it costs to run it again, has changed since this page was "
            "shown. Nothing was submitted.",
            hint="Look at the failures again, and retry them if that is right.",
        )
    await console.jobs.job(name).retry([cause], params=_params(fields))
    console.tell(name)
    return go_to(job_url(name))


def _params(fields: Any) -> dict[str, Any] | None:
    from doubleword_batch.loose_json import value_or_text

    name = fields.get("param", "").strip()
    return {name: value_or_text(fields.get("value", ""))} if name else None


ROUTES = [
    Route("/", jobs),
    Route("/parts/jobs", jobs_part),
    Route("/provider", provider),
    Route("/provider/adopt", adopt, methods=["POST"]),
    Route("/jobs/{name}", job),
    Route("/jobs/{name}/progress", job_part),
    Route("/jobs/{name}/submit", submit, methods=["POST"]),
    Route("/jobs/{name}/approve", approve, methods=["POST"]),
    Route("/jobs/{name}/cancel", cancel, methods=["POST"]),
    Route("/jobs/{name}/failures", failures),
    Route("/jobs/{name}/retry", retry, methods=["POST"]),
]
