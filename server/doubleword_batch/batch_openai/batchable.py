"""Which of the SDK's requests run in a batch, which go to the live API, and which do neither."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai._models import FinalRequestOptions

BATCHED = {
    "chat/completions": "/v1/chat/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
}
"""What is gathered: the SDK's path and the `url` of the request line."""

_LIVE_INFERENCE = ("audio/", "completions", "images/", "moderations", "realtime", "videos")

_CARRIED_NOWHERE = frozenset(
    {"accept", "content-type", "idempotency-key", "user-agent", "x-stainless-raw-response"}
)
"""Headers that change nothing in an answer."""


def endpoint_of(options: "FinalRequestOptions") -> str | None:
    """The endpoint whose batches a request belongs to; None for what goes to the live API."""
    if options.method.lower() != "post":
        return None
    return BATCHED.get(options.url.strip("/"))


def is_live_inference(options: "FinalRequestOptions") -> bool:
    """Whether a request would run a model live, at live prices."""
    path = options.url.strip("/")
    return options.method.lower() == "post" and path.startswith(_LIVE_INFERENCE)


def headers_of(options: "FinalRequestOptions") -> dict[str, str]:
    """The headers that the caller gave this one request."""
    given = options.headers
    if not isinstance(given, Mapping):
        return {}
    return {name: value for name, value in given.items() if isinstance(value, str)}


def reason_against(options: "FinalRequestOptions") -> str | None:
    """Why this request cannot stand in a batch, or None if it can."""
    if options.files or getattr(options, "content", None) is not None:
        return "it carries a file"
    if options.params:
        return "it has query parameters (extra_query)"
    others = [name for name in headers_of(options) if _matters(name)]
    if others:
        return f"it has headers of its own ({', '.join(sorted(others))})"
    body: Any = options.json_data
    if not isinstance(body, dict):
        return "its body is not a JSON object"
    if body.get("background"):  # pyright: ignore[reportUnknownMemberType]
        return "background=True asks for a live response to poll"
    return None


def _matters(name: str) -> bool:
    lowered = name.lower()
    return lowered not in _CARRIED_NOWHERE and not lowered.startswith(("x-stainless-", "____"))
