"""Failures of requests: an error status from the server, or no complete reply."""

from __future__ import annotations

from batchkit.cli import Exit, ScriptError, quoted
from batchkit.provider_errors import ProviderError, read_error_body

_TOO_EARLY, _TOO_MANY, _SERVER_ERROR, _NOT_OFFERED = 425, 429, 500, 501
_GONE = frozenset({404, 410})
_GIVEN_UP = frozenset({408, 499})  # after waiting: the request may have been carried out
_REPEATABLE = _GIVEN_UP | {_TOO_EARLY, _TOO_MANY}
_HINTS = {
    401: "Check DOUBLEWORD_API_KEY: it must be an inference key.",
    402: "The account needs credit, or its spend cap is reached; a person has to deal with that.",
    403: "The server does not have the model, or not for this key: choose another model.",
    404: "It does not exist, or belongs to another key.",
    413: "Split the file.",
    429: "Wait, then run the same command again.",
}
_QUOTA_CODES = frozenset({"insufficient_quota", "spend_cap_exceeded"})
_UNVERIFIED = (
    "Waiting does not help: a person has to add a payment method in the provider's console; or "
    "send fewer rows."
)


class ApiError(ScriptError):
    """The server answered with an error status."""

    def __init__(
        self,
        status: int,
        asked: str,
        reason: str,
        retry_after: float | None,
        *,
        outage: str | None = None,
        codes: frozenset[str] = frozenset(),
    ) -> None:
        passes = status in _REPEATABLE or status >= _SERVER_ERROR
        account = _account_fault(reason, codes) if status == _TOO_MANY else None
        hint = account or outage or _HINTS.get(status, "Run it again later." if passes else "")
        words = f": {quoted(reason)}" if reason else ""
        super().__init__(Exit.REFUSED, f"The server answers {asked} with {status}{words}.", hint)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self._is_outage = outage is not None
        self._is_for_a_person = account is not None

    @property
    def is_gone(self) -> bool:
        """Whether the requested object does not exist, or not any more."""
        return self.status in _GONE

    @property
    def is_repeatable(self) -> bool:
        """Whether the same request may succeed later."""
        passes = self.status in _REPEATABLE or self.status >= _SERVER_ERROR
        passes = self._is_outage or (passes and self.status != _NOT_OFFERED)
        return passes and not self._is_for_a_person

    @property
    def says_not_taken(self) -> bool:
        """Whether the status says that the server has done nothing."""
        return self.status in {_TOO_EARLY, _TOO_MANY}

    @property
    def may_have_happened(self) -> bool:
        """Whether a write with this answer may have been carried out all the same."""
        return self.status in _GIVEN_UP or self.status >= _SERVER_ERROR


class TransportError(ScriptError):
    """No complete reply arrived."""

    retry_after = None

    def __init__(self, asked: str, reason: str, *, may_have_happened: bool) -> None:
        super().__init__(
            Exit.NO_CONNECTION,
            f"No complete answer to {asked}: {quoted(reason)}.",
            "Check the connection and DOUBLEWORD_BASE_URL, then run the same command again.",
        )
        self.is_repeatable = True
        self.may_have_happened = may_have_happened


class TruncatedFileError(TransportError):
    """A file ended inside a line: the connection was cut, or the file itself is incomplete."""


class IncompleteListError(ScriptError):
    """A list that does not show all its entries: what is missing from it may still exist."""

    def __init__(self, why: str) -> None:
        super().__init__(Exit.NO_CONNECTION, why, "Look in the provider's console.")
        self.why = why


def read_error_reply(content: bytes) -> ProviderError:
    """The content of an error reply, whatever its form."""
    if content.lstrip().startswith(b"<"):
        return ProviderError("an HTML page, so perhaps a proxy answered")
    return read_error_body(content)


def _account_fault(reason: str, codes: frozenset[str]) -> str | None:
    """What a person has to do about a 429 that waiting does not fix; None for any other."""
    if codes & _QUOTA_CODES:
        return _HINTS[402]
    return _UNVERIFIED if "unverified" in reason.lower() else None
