"""An API request as a value that can be sent again, and its reply as a typed object."""

import re
from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from doubleword_batch.api.upload import FormWithFile
from doubleword_batch.errors import InputError, Next, ProtocolError, quote_untrusted
from doubleword_batch.settings import BASE_URL_VARIABLES

LOOK_FIRST = "The request may have been carried out: look for its result before repeating it."
"""The hint for a write that got no reply."""

_T = TypeVar("_T", bound=BaseModel)
_ID = re.compile(r"[A-Za-z0-9._:-]{1,512}")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request of the API.

    Attributes:
        method: the HTTP method.
        path: relative to the base URL; ids in it have passed `checked_id`.
        params: the query; None values are left out.
        body: sent as JSON.
        content: a form that is streamed anew for each try; excludes `body`.
        headers: sent besides those of every request.
        idempotent: doing it twice has the same effect as doing it once.
        address: where a redirect has sent it; replaces the path.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    params: dict[str, str | int | None] = field(default_factory=dict[str, str | int | None])
    body: dict[str, Any] | None = None
    content: FormWithFile | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    idempotent: bool = True
    address: str | None = None

    @property
    def writes(self) -> bool:
        """Whether it changes something on the server."""
        return self.method != "GET"

    @property
    def listing(self) -> Next | None:
        """The call that lists the kind of object this is about, named in errors."""
        kind = self.path.split("/")[1]
        return None if kind == "responses" else Next("list", {"kind": kind})

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def checked_id(what: str, value: str) -> str:
    """Return `value` if it can be a single path segment.

    It often comes from a file or an agent, so it can be anything.

    Raises:
        InputError: code `invalid_argument`; nothing was sent.
    """
    if _ID.fullmatch(value) and value not in {".", ".."}:
        return value
    raise InputError(
        f"{quote_untrusted(value, 80)} is not a {what}.",
        hint="Ids are 1 to 512 letters, digits and . _ : - as the server returned them.",
    )


def typed_reply(
    request: ApiRequest, body: bytes, model: type[_T], redact: Callable[[str], str]
) -> _T:
    """The object in the body of a successful reply.

    Raises:
        ProtocolError: code `unexpected_reply`. After a write its `details["may_have_happened"]` is
            True: the server accepted the request, but the reply cannot be read. A reply that is cut
            off may be tried again: its length was wrong or missing.
    """
    is_cut = False
    try:
        return model.model_validate_json(body.removeprefix(BOM_UTF8))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        is_cut = first["type"] == "json_invalid" and "EOF while parsing" in reason
    except (ValueError, OverflowError, OSError) as error:  # times beyond what a datetime holds
        reason = str(error)
    raise unexpected_reply(
        request,
        f"does not fit what {request} returns: {quote_untrusted(redact(reason), 160)}",
        retryable=is_cut and bool(body),
    )


def unexpected_reply(request: ApiRequest, why: str, *, retryable: bool = False) -> ProtocolError:
    """The error for a reply with a successful status and an unusable body."""
    return ProtocolError(
        f"The server's reply {why}.",
        hint=f"Check that {BASE_URL_VARIABLES} is the API's address, with /v1; if it is, the "
        "server is newer or older than this client: report it.",
        retryable=retryable,
        details={"may_have_happened": True} if request.writes else None,
    )
