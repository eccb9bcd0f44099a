"""One job: how far it is, what it asks, its failures; submit, cancel and retry."""

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from doubleword_batch.console.context import console_of, form_of
from doubleword_batch.console.render import job_url, page, usd
from doubleword_batch.errors import InputError
from doubleword_batch.variables import dollars

if TYPE_CHECKING:
    from doubleword_batch.library.views import FailureGroup, JobSummary

_SEE_OTHER = 303


def name_of(request: Request) -> str:
    """The job's name in the address."""
    return request.path_params["name"]


async def job(request: Request) -> Response:
    """The job's page."""
    return page(request, "job.html", **await _seen(request))


async def job_part(request: Request) -> Response:
    """How far it is, alone."""
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
    """The price that the button says, as it comes back with the form.

    Args:
        found: the job.
        window: another one than the job's own.
    """
    ways = found.ways.windows if found.ways is not None and window != found.window else []
    other = next((way for way in ways if way.completion_window == window), None)
    return usd(found.estimate.usd if other is None else other.cost_usd)


async def submit(request: Request) -> Response:
    """Create the job's batches: what costs money. A price that has changed is shown first."""
    fields = await form_of(request)
    console = console_of(request)
    found = await console.views.summary(name_of(request))
    window, _, told = fields.get("way", "").partition(" ")  # a button of another window
    window, told = (window, told) if told else (fields.get("window", ""), fields.get("quote", ""))
    quote = _quote(found, window)
    if told != quote:
        raise InputError(
            f"The price is {quote} now, and the button said {told}. Nothing was submitted.",
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
        # The button that was pressed said what it costs: that is the person's yes.
        await console.approvals.decide(error.approval.id, "approved", "console")
        await job.submit(**options)
    console.watcher.tell("jobs", f"job:{found.name}")
    return RedirectResponse(job_url(found.name), _SEE_OTHER)


async def approve(request: Request) -> Response:
    """A person's answer to the question that the page showed; with a yes the call is made."""
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
            "What is asked has changed since this page was shown. Nothing was submitted.",
            hint="Look at the job again, and answer that.",
        )
    answered = await console.approvals.decide(question.id, decision, "console")
    console.watcher.tell("jobs", f"job:{name}")
    if decision == "approved":
        await console.approvals.perform(answered)
        console.watcher.tell("jobs", f"job:{name}")
    return RedirectResponse(job_url(name), _SEE_OTHER)


async def cancel(request: Request) -> Response:
    """Stop the job's batches."""
    await form_of(request)
    console = console_of(request)
    await console.jobs.job(name_of(request)).cancel()
    console.watcher.tell("jobs", f"job:{name_of(request)}")
    return RedirectResponse(job_url(name_of(request)), _SEE_OTHER)


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
    """What a button for a retry has said, as it comes back with the form."""
    return f"{found.submissions} {group.rows} {usd(group.cost.usd)}"


async def retry(request: Request) -> Response:
    """Run the rows of a cause again, with a changed parameter where one was given.

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
    console.watcher.tell("jobs", f"job:{name_of(request)}")
    return RedirectResponse(job_url(name_of(request)), _SEE_OTHER)


def _params(fields: Any) -> dict[str, Any] | None:
    name = fields.get("param", "").strip()
    if not name:
        return None
    value = fields.get("value", "")
    try:
        return {name: json.loads(value)}
    except ValueError:
        return {name: value}


def amount_of(text: str) -> Decimal | None:
    """An amount of US dollars; None for nothing.

    Raises:
        InputError: it is not one.
    """
    if not text.strip():
        return None
    value = dollars(text)
    if value is None:
        raise InputError(
            "The cap is not an amount of US dollars.", hint="Write it like 2.50, or leave it empty."
        )
    return value


ROUTES = [
    Route("/jobs/{name}", job),
    Route("/jobs/{name}/progress", job_part),
    Route("/jobs/{name}/submit", submit, methods=["POST"]),
    Route("/jobs/{name}/approve", approve, methods=["POST"]),
    Route("/jobs/{name}/cancel", cancel, methods=["POST"]),
    Route("/jobs/{name}/failures", failures),
    Route("/jobs/{name}/retry", retry, methods=["POST"]),
]
