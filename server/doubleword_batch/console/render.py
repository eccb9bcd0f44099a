"""Renders pages and fragments from templates. Every value put into them is treated as text.

Jinja escapes every value, in attributes as well; no template marks anything as safe. Invisible
characters, and those that change the direction of writing, are shown as U+FFFD (`plain_text`),
except in what a form sends back, which is `exact`.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from doubleword_batch.console.context import RefusedError, console_of, cookie_of
from doubleword_batch.errors import ApiError, ConfigError, DoublewordBatchError, InputError
from doubleword_batch.plain_text import readable

if TYPE_CHECKING:
    from jinja2 import Environment

    from doubleword_batch.library.approvals import Approval
    from doubleword_batch.library.views import JobSummary

_FOUR_DIGITS = Decimal("0.0001")
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_BAR = 1_000
_NUMBER = re.compile(r"[-+]?[0-9]+([.,][0-9]+)?")

OUTCOMES = (
    "ok",
    "truncated",
    "refused",
    "invalid",
    "failed",
    "expired",
    "cancelled",
    "missing",
    "skipped",
    "unread",
    "pending",
)
"""The segments of a bar, in order; `unread` rows are finished, but their lines not read yet."""


def page(request: Request, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
    """A whole page or a fragment, depending on the template.

    Args:
        request: the request to answer.
        template: its name.
        status: the response's status.
        values: the values for the template.
    """
    console = console_of(request)
    shared = {
        "page_token": console.access.page_token(cookie_of(request)) if cookie_of(request) else "",
        "read_only": console.read_only,
        "path": request.url.path,
        "is_fragment": is_fragment(request),
    }
    text = _environment().get_template(template).render(shared | values)
    return HTMLResponse(text, status)


def go_to(address: str) -> RedirectResponse:
    """The response to a form: go to another page."""
    return RedirectResponse(address, 303)


def is_fragment(request: Request) -> bool:
    """Whether our module requests only a part of a page."""
    return request.headers.get("x-fragment") == "1"


def error_page(request: Request, error: DoublewordBatchError, status: int) -> HTMLResponse:
    """What went wrong and what to do, as a page or as a fragment."""
    template = "error_part.html" if is_fragment(request) else "error.html"
    return page(request, template, status, error=error, link=link_of(error))


def status_of(error: DoublewordBatchError) -> int:
    """The HTTP status for an error."""
    if error.code == "unknown_job":
        return 404
    if isinstance(error, RefusedError):
        return 403
    if isinstance(error, InputError):
        return 400
    return 409 if isinstance(error, ConfigError) else 502 if isinstance(error, ApiError) else 503


def link_of(error: DoublewordBatchError) -> tuple[str, str] | None:
    """Where in the console to make the call that helps: its address and its name."""
    call = error.next
    if call is None:
        return None
    job = str(call.arguments.get("job", ""))
    of_job = {
        "get_status": ("", "Look at the job"),
        "create_batch": ("", "Look at the job"),
        "cancel": ("", "Look at the job"),
        "fetch_results": ("/answers", "Look at its answers"),
        "retry_failed": ("/failures", "Look at its failures"),
    }.get(call.tool)
    if job and of_job is not None:
        return job_url(job) + of_job[0], of_job[1]
    return ("/", "All jobs") if call.tool == "list" else None


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("doubleword_batch.console"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(_FILTERS)
    return made


class _Exact(str):
    __slots__ = ()


def exact(value: object) -> str:
    """A value unchanged, for forms that send it back."""
    return _Exact(value)


def _shown(value: object) -> object:
    """A value for a page; text is made safe to show."""
    if not isinstance(value, str) or isinstance(value, _Exact) or hasattr(value, "__html__"):
        return value
    return readable(value)


# How values are written


def usd(value: Decimal | None) -> str:
    """An amount: with cents from a dollar on; below that four digits, or two significant ones."""
    from doubleword_batch.library.views import usd_text

    if value is None:
        return "unknown"
    if value == 0:
        return "$0"
    if value >= 1:
        return f"${value.quantize(Decimal('0.01'), ROUND_UP):,}"
    return usd_text(value if value < _FOUR_DIGITS else value.quantize(_FOUR_DIGITS, ROUND_UP))


def whole(value: int | None) -> str:
    """A number with thousands separators."""
    return "?" if value is None else f"{value:,}"


def counted(number: int | None, noun: str) -> str:
    """A count with its noun."""
    return f"{whole(number)} {noun}{'' if number == 1 else 's'}"


def many(distinct: int) -> str:
    """How many values a column has, as far as they were counted."""
    from doubleword_batch.library.views import MOST_DISTINCT

    return whole(distinct) if distinct <= MOST_DISTINCT else f"more than {whole(MOST_DISTINCT)}"


def iso(epoch: float) -> str:
    """A time for programs."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(epoch: float) -> str:
    """A time for people; the browser converts it to their time zone."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M UTC")


def duration(seconds: float | None) -> str:
    """A duration, roughly."""
    if seconds is None:
        return ""
    if seconds < _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < 2 * _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.1f} h"
    return f"{seconds / _DAY:.1f} days"


def rate(per_second: float) -> str:
    """Requests per time, in the unit that gives a readable number."""
    if per_second >= 1:
        return f"{per_second:,.1f} requests/s"
    return f"{max(1, round(per_second * _MINUTE))} requests/min"


def without_good_answer(job: "JobSummary") -> int:
    """Rows that were sent and have no good answer."""
    good = {"ok", "skipped", "pending"}
    return sum(rows for outcome, rows in job.outcomes.items() if outcome not in good)


def percent(share: float) -> str:
    """A share from 0 to 1."""
    return f"{100 * share:.1f} %"


def asked(question: "Approval") -> str:
    """What a person is asked to pay for; the page says for which job."""
    from doubleword_batch.library.approvals import price_in_words

    window = f" ({question.window})" if question.window else ""
    return (
        f"{price_in_words(question.cost_usd)} for {counted(question.requests, 'request')}{window}"
    )


def cost_in_words(job: "JobSummary") -> str:
    """What a job costs, as far as it is known."""
    if job.cost is None:
        return f"estimate {usd(job.estimate.usd)}"
    if job.cost.usd is None and not job.has_ended:
        return "cost not known yet"
    return f"cost {usd(job.cost.usd)}{'' if job.has_ended else ' so far'}"


def size(size_bytes: int | None) -> str:
    """Bytes for people."""
    if size_bytes is None:
        return ""
    if size_bytes < 1 << 20:
        return f"{max(1, round(size_bytes / 1024)):,} KiB"
    return f"{size_bytes / (1 << 20):,.1f} MiB"


def cell(value: Any) -> str:
    """A cell of the table of answers."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def job_url(name: str) -> str:
    """The address of a job's page."""
    return f"/jobs/{quote(name, safe='')}"


def with_query(path: str, values: Mapping[str, Any], **changed: Any) -> str:
    """An address with a query of the values that are not empty, with some changed.

    An empty `value` counts: it stands for rows whose column is empty.
    """
    merged = {**values, **changed}
    given = {k: v for k, v in merged.items() if v is not None and (v != "" or k == "value")}
    return f"{path}?{urlencode(given)}" if given else path


def numeric_columns(rows: Sequence[Sequence[str]]) -> set[int]:
    """The positions of columns in which every text is a number or empty, and one is a number."""
    return {
        place
        for place, texts in enumerate(zip(*rows, strict=True))
        if any(texts) and all(_NUMBER.fullmatch(text) for text in texts if text)
    }


def segments(outcomes: Mapping[str, int], unread: int = 0) -> list[tuple[str, float, float, int]]:
    """A stacked bar of rows by outcome: (name, begin, width, rows), of 1,000 in all."""
    rows = dict(outcomes)
    if unread:
        rows["unread"] = unread
        rows["pending"] = rows.get("pending", 0) - unread
    total = sum(rows.values())
    found: list[tuple[str, float, float, int]] = []
    begin = 0.0
    for name in OUTCOMES:
        if number := rows.get(name, 0):
            width = _BAR * number / total
            found.append((name, round(begin, 2), round(width, 2), number))
            begin += width
    return found


_FILTERS: dict[str, Any] = {
    "usd": usd,
    "whole": whole,
    "many": many,
    "numeric_columns": numeric_columns,
    "moment": moment,
    "iso": iso,
    "duration": duration,
    "percent": percent,
    "rate": rate,
    "without_good_answer": without_good_answer,
    "size": size,
    "job_url": job_url,
    "query": with_query,
    "exact": exact,
    "segments": segments,
    "cell": cell,
    "asked": asked,
    "cost_in_words": cost_in_words,
    "counted": counted,
}
"""The functions that templates can call."""
