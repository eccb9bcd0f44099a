"""What this machine's own server refuses where it answers because no key is in use."""

from collections.abc import Sequence

from doubleword_batch.api.error_mapping import ErrorReply
from doubleword_batch.api.model_list import ModelList
from doubleword_batch.api.request import ApiRequest
from doubleword_batch.errors import ApiError, ForbiddenError, Next, NotFoundError, quote_untrusted

_FORBIDDEN = 403
_MODELS_SHOWN = 3


def is_of_a_model(request: ApiRequest, reply: ErrorReply) -> bool:
    """Whether the server refused a write because it does not have the model."""
    is_unknown = "model_not_found" in reply.body.codes  # of a single request
    return request.method == "POST" and (reply.status == _FORBIDDEN or is_unknown)


def model_ids(body: bytes) -> list[str]:
    """The ids in its list of models; none where it does not give one."""
    try:
        return [model.id for model in ModelList.model_validate_json(body).data]
    except ValueError:
        return []


def model_not_here(request: ApiRequest, reply: ErrorReply, models: Sequence[str]) -> ApiError:
    """The error for a model that the server does not have.

    Args:
        request: what was refused.
        reply: how.
        models: what it answers for; none where it cannot say.
    """
    shown = ", ".join(quote_untrusted(name, 80) for name in models[:_MODELS_SHOWN])
    more = ", ..." if len(models) > _MODELS_SHOWN else ""
    kind = ForbiddenError if reply.status == _FORBIDDEN else NotFoundError
    return kind(
        "No key is in use, so the local batch server answers, and it does not have the model that "
        f"was asked for{f'; it has {shown}{more}' if shown else ''} "
        f"(HTTP {reply.status} on {request}). It says {quote_untrusted(reply.body.message)}.",
        status=reply.status,
        request_id=reply.request_id,
        hint="Leave the model out or name one that it has. For the hosted models, a person sets "
        "DOUBLEWORD_API_KEY, and unsets DOUBLEWORD_BATCH_PROVIDER where that says local.",
        next=Next("list", {"kind": "models"}),
    )
