"""Which of the SDK's requests can run in a batch, and which calls are within the provider's limits.

A request that cannot is refused or sent live, depending on the client's options; a call beyond the
provider's limits fails only for its own caller.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from doubleword_batch.batch_openai.call import Call, deliver
from doubleword_batch.errors import InputError
from doubleword_batch.models import ENDPOINTS
from doubleword_batch.providers import Profile
from doubleword_batch.requests import inputs_of
from doubleword_batch.requests.spec import EMBEDDINGS
from doubleword_batch.settings import environment

if TYPE_CHECKING:
    from doubleword_batch.batch_openai.sdk_internals import FinalRequestOptions
    from doubleword_batch.settings import Settings

_LIVE_INFERENCE = ("audio/", "completions", "images/", "moderations", "realtime", "videos")

_CAPS = tuple(f"DOUBLEWORD_BATCH_{name}_USD" for name in ("MAX_COST", "MAX_DAILY", "ASK_ABOVE"))

_WITHOUT_EFFECT = frozenset(
    {"accept", "content-type", "idempotency-key", "user-agent", "x-stainless-raw-response"}
)
"""Headers that do not change the response to a request."""


def batch_endpoint_of(options: "FinalRequestOptions") -> str | None:
    """The endpoint whose batches can run a request; None for one that goes to the live API."""
    endpoint = "/v1/" + options.url.strip("/")
    return endpoint if options.method.lower() == "post" and endpoint in ENDPOINTS else None


def is_live_inference(options: "FinalRequestOptions") -> bool:
    """Whether a request would run a model live, at live prices."""
    path = options.url.strip("/")
    return options.method.lower() == "post" and path.startswith(_LIVE_INFERENCE)


def live_cap_error(settings: "Settings | None") -> InputError | None:
    """Why a model call must not be sent live: a human has set a cap; None if nobody has.

    Args:
        settings: the client's; None for a client that only makes live calls.
    """
    if settings is not None and not settings.base_url:
        return None  # it goes to this machine
    variables = environment()
    named = next((name for name in _CAPS if variables.get(name)), None)
    if named is None:
        return None
    return InputError(
        f"There is a cap ({named}), and what a live call may cost is counted nowhere; nothing was "
        "sent.",
        hint="Make a call that a batch can answer, or ask the person who set the cap to lift it.",
        code="unknown_cost",
    )


def headers_of(options: "FinalRequestOptions") -> dict[str, str]:
    """The headers that the caller gave for this request."""
    given = options.headers
    if not isinstance(given, Mapping):
        return {}
    return {name: value for name, value in given.items() if isinstance(value, str)}


def why_not_batchable(options: "FinalRequestOptions") -> str | None:
    """Why this request cannot run in a batch, or None if it can."""
    if options.files or getattr(options, "content", None) is not None:
        return "it carries a file"
    if options.params:
        return "it has query parameters (extra_query)"
    others = [name for name in headers_of(options) if _has_effect(name)]
    if others:
        return f"it has headers of its own ({', '.join(sorted(others))})"
    body: Any = options.json_data
    if not isinstance(body, dict):
        return "its body is not a JSON object"
    if body.get("background"):  # pyright: ignore[reportUnknownMemberType]
        return "background=True asks for a live response to poll"
    return None


def within_limits(calls: Sequence[Call], profile: Profile) -> list[Call]:
    """The calls within the provider's limits; the other callers get the error that says why."""
    within_limits: list[Call] = []
    for call in calls:
        if call.endpoint == EMBEDDINGS and profile.max_embedding_inputs is not None:
            call.inputs = inputs_of(call.body)
        error = _beyond_limits(call, profile)
        if error is None:
            within_limits.append(call)
        else:
            deliver([(call, error)])
    return within_limits


def _beyond_limits(call: Call, profile: Profile) -> InputError | None:
    if len(call.body) > profile.max_request_bytes:
        return InputError(
            f"The call's body has {len(call.body)} bytes; {profile.called} takes at most "
            f"{profile.max_request_bytes} in a request.",
            hint="Shorten the messages, or send images by URL.",
            code="request_too_large",
        )
    if not call.model:
        return InputError("The call names no model.", hint="Give model=.")
    max_inputs = profile.max_embedding_inputs
    if max_inputs is not None and call.inputs > max_inputs:
        return InputError(
            f"The call embeds {call.inputs} inputs; {profile.called} takes at most {max_inputs} in "
            "a batch.",
            hint="Split it into several calls.",
            code="request_too_large",
        )
    return None


def _has_effect(name: str) -> bool:
    lowered = name.lower()
    return lowered not in _WITHOUT_EFFECT and not lowered.startswith(("x-stainless-", "____"))
