"""What every page works with, and the forms that pages send."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.requests import Request

from doubleword_batch.console.access import Access
from doubleword_batch.errors import InputError
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.variables import dollars

if TYPE_CHECKING:
    from doubleword_batch.console.live import Watcher
    from doubleword_batch.library.approvals import JobApprovals
    from doubleword_batch.library.drafts import Drafts
    from doubleword_batch.library.views import JobViews

_MOST_FORM_BYTES = 4 << 20
_MOST_FIELDS = 200
_MOST_DIGITS = 15


@dataclass(slots=True)
class Console:
    """One running console.

    Attributes:
        jobs: the verbs.
        read_only: nothing can be spent, changed or deleted, and no button is shown.
    """

    jobs: Jobs
    access: Access
    read_only: bool
    _views: "JobViews | None" = None
    _watcher: "Watcher | None" = None

    @property
    def views(self) -> "JobViews":
        """The views over the jobs; imported with the first page."""
        if self._views is None:
            from doubleword_batch.library.views import JobViews

            self._views = JobViews(self.jobs)
        return self._views

    @property
    def approvals(self) -> "JobApprovals":
        """What waits for a person's approval."""
        from doubleword_batch.library.approvals import JobApprovals

        return JobApprovals(self.jobs)

    @property
    def drafts(self) -> "Drafts":
        """The drafts of New job."""
        from doubleword_batch.library.drafts import Drafts

        return Drafts(self.jobs.settings.home)

    @property
    def watcher(self) -> "Watcher":
        """Follows running jobs while a page is open."""
        if self._watcher is None:
            from doubleword_batch.console.live import Watcher

            self._watcher = Watcher(self.views, self.approvals, is_read_only=self.read_only)
        return self._watcher

    def tell(self, job: str) -> None:
        """Tell the open pages that a job has changed."""
        self.watcher.tell("jobs", f"job:{job}")

    async def close(self) -> None:
        """Close what was opened."""
        if self._watcher is not None:
            await self._watcher.close()
        if self._views is not None:
            self._views.close()
        await self.jobs.close()


def console_of(request: Request) -> Console:
    """The console that answers the request."""
    return request.app.state.console


def cookie_of(request: Request) -> str:
    """The cookie that the guard has checked."""
    return request.state.cookie


class RefusedError(InputError):
    """A request that our pages would not have sent."""


async def form_of(request: Request) -> Mapping[str, str]:
    """The fields of a POST of one of our pages.

    Raises:
        RefusedError: the console is read-only, or the page's token is not this browser's.
        InputError: the form is too large, or has too many fields.
    """
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > _MOST_FORM_BYTES:
            raise InputError(
                "The form is larger than 4 MiB.", hint="Put long texts into the source file."
            )
    try:
        fields = dict(
            parse_qsl(
                body.decode(errors="replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
            )
        )
    except ValueError:
        raise InputError(
            f"The form has more than {_MOST_FIELDS} fields.", hint="Load the page again."
        ) from None
    check_post(request, fields.pop("page_token", ""))
    return fields


def check_post(request: Request, token: str) -> None:
    """Refuse a POST in read-only mode, or without the page's token (a field, or a header).

    Raises:
        RefusedError: in these cases.
    """
    refuse_read_only(request)
    given = request.headers.get("x-page-token") or token
    if not console_of(request).access.is_page_token(given, cookie_of(request)):
        raise RefusedError(
            "This page is from another session of the console, so nothing was changed.",
            hint="Load the page again, and repeat what you did.",
        )


def refuse_read_only(request: Request) -> None:
    """Refuse requests that create or change something in read-only mode.

    Raises:
        RefusedError: in that case.
    """
    if console_of(request).read_only:
        raise RefusedError(
            "The console is read-only, so nothing can be created or changed here.",
            hint="Start it without --read-only, and without DOUBLEWORD_BATCH_READ_ONLY.",
        )


def name_of(request: Request) -> str:
    """The job's name in the address."""
    return request.path_params["name"]


def amount_of(text: str) -> Decimal | None:
    """An amount of US dollars; None if it is empty.

    Raises:
        InputError: it is not an amount.
    """
    if not text.strip():
        return None
    value = dollars(text)
    if value is None:
        raise InputError(
            "The cap is not an amount of US dollars.", hint="Write it like 2.50, or leave it empty."
        )
    return value


def whole_number(text: str) -> int | None:
    """The number in an address or a form; None if it is not a number, or too long for one."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


def row_number(text: str) -> int:
    """The number of a row, likewise.

    Raises:
        InputError: it is not a number.
    """
    number = whole_number(text)
    if number is None:
        raise InputError("That is not the number of a row.", hint="Open the table again.")
    return number
