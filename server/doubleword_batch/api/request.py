"""What is asked of the server, as a value: it can be sent again, and errors can name it."""

import re
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import Any, Literal

from doubleword_batch.errors import InputError, quote_untrusted

_ID = re.compile(r"[A-Za-z0-9._:-]{1,512}")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of the API.

    Attributes:
        method: the HTTP method.
        path: below the base URL; ids inside it have passed `checked_id`.
        params: the query; None values are left out.
        body: sent as JSON.
        content: a streamed body that can be iterated once per try; excludes `body`.
        headers: beyond those that every request has.
        idempotent: doing it twice is the same as doing it once.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    params: dict[str, str | int | None] = field(default_factory=dict[str, str | int | None])
    body: dict[str, Any] | None = None
    content: AsyncIterable[bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    idempotent: bool = True

    @property
    def writes(self) -> bool:
        """Whether it changes something on the server."""
        return self.method != "GET"

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def checked_id(what: str, value: str) -> str:
    """Return `value` if it can stand in a path as one segment.

    Args:
        what: names it in the error, such as "batch id".
        value: an id; often from a file or an agent, so it may be anything.

    Raises:
        InputError: code `malformed_id`; nothing was sent.
    """
    if _ID.fullmatch(value) and value not in {".", ".."}:
        return value
    raise InputError(
        f"{quote_untrusted(value, 80)} is not a {what}.",
        hint="Ids are 1 to 512 letters, digits and . _ : - as the server returned them; "
        "`list` shows them.",
        code="malformed_id",
    )
