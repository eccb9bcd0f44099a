"""A successful answer, as the typed object it should be."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from doubleword_batch.api.request import Ask
from doubleword_batch.errors import ProtocolError, quote_untrusted

_T = TypeVar("_T", bound=BaseModel)
_NOT_JSON_HINT = (
    "Check that DOUBLEWORD_BASE_URL is the API's address, with /v1; if it is, the server is newer "
    "or older than this client: report it."
)


def typed(ask: Ask, body: bytes, model: type[_T], redact: Callable[[str], str]) -> _T:
    """The object in `body`.

    Args:
        ask: what it answers.
        body: the whole answer.
        model: what it should be.
        redact: takes our key out of a text that the server wrote.

    Raises:
        ProtocolError: code `unexpected_reply`. After a write its `details["may_have_happened"]`
            is True: the server said yes, only what it made cannot be read.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where}: {first['msg']}" if where else first["msg"]
    except (ValueError, OverflowError, OSError) as error:  # times beyond what a datetime holds
        reason = str(error)
    raise unexpected(
        ask, f"does not fit what {ask} returns: {quote_untrusted(redact(reason), 160)}"
    )


def unexpected(ask: Ask, why: str) -> ProtocolError:
    """The error for a successful status with something else behind it."""
    return ProtocolError(
        f"The server's answer {why}.",
        hint=_NOT_JSON_HINT,
        code="unexpected_reply",
        details={"may_have_happened": True} if ask.writes else None,
    )


class _ErrorObject(msgspec.Struct):
    error: dict[str, object] | str
    custom_id: str | None = None


def error_instead_of_lines(line: bytes) -> str | None:
    """The words of an error object that stands where result lines should be, or None."""
    try:
        found = msgspec.json.decode(line, type=_ErrorObject)
    except (ValueError, RecursionError):
        return None
    if found.custom_id is not None:
        return None
    if isinstance(found.error, str):
        return found.error
    return str(found.error.get("message", ""))
