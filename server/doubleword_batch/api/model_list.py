"""The list of models, read leniently so that an odd entry does not hide the others.

Also the error for a model that this machine's own server does not have.
"""

from collections.abc import Sequence
from typing import Any, cast

from pydantic import model_validator

from doubleword_batch.api.error_mapping import ErrorReply
from doubleword_batch.api.request import ApiRequest
from doubleword_batch.errors import ApiError, ForbiddenError, Next, NotFoundError, quote_untrusted
from doubleword_batch.models import LISTS, LONGEST_ID, Model, Page

_FORBIDDEN = 403
_MODELS_SHOWN = 3


class ModelList(Page[Model]):
    """A page of models. A bare string is an id; entries without an id or name are left out."""

    @model_validator(mode="before")
    @classmethod
    def _of_models_only(cls, data: Any) -> Any:
        whole = cast("Any", {"data": data} if isinstance(data, list) else data)
        if not isinstance(whole, dict):
            return whole
        fields = cast("dict[str, Any]", whole)
        named = next((name for name in LISTS if isinstance(fields.get(name), list)), None)
        if named is None:
            return fields
        found = [_model(entry) for entry in cast("list[Any]", fields[named])]
        return {**fields, named: [model for model in found if model is not None]}


def _model(entry: Any) -> Model | None:
    """The model by its id or, failing that, its name; None if it has neither."""
    given: Any = {"id": entry} if isinstance(entry, str) else entry
    if not isinstance(given, dict):
        return None
    fields = cast("dict[str, Any]", given)
    for named in (fields, {**fields, "id": None}):
        try:
            model = Model.model_validate(named)
        except ValueError:
            continue
        if model.id.strip() and len(model.id) <= LONGEST_ID:
            return model
    return None


def is_missing_model(request: ApiRequest, reply: ErrorReply) -> bool:
    """Whether the server refused a write because it does not have the model."""
    is_unknown = "model_not_found" in reply.body.codes  # the code for a single request
    return request.method == "POST" and (reply.status == _FORBIDDEN or is_unknown)


def model_not_local_error(
    request: ApiRequest, reply: ErrorReply, models: Sequence[str]
) -> ApiError:
    """The error for a model that the server does not have; it names `models`, if known."""
    shown = ", ".join(quote_untrusted(name, 80) for name in models[:_MODELS_SHOWN])
    more = ", ..." if len(models) > _MODELS_SHOWN else ""
    kind = ForbiddenError if reply.status == _FORBIDDEN else NotFoundError
    return kind(
        "No key is in use, so the local batch server answers, and it does not have the model that "
        f"was requested{f'; it has {shown}{more}' if shown else ''} "
        f"(HTTP {reply.status} on {request}: {quote_untrusted(reply.body.message)}).",
        status=reply.status,
        request_id=reply.request_id,
        hint="Name a model that it has. For the hosted models, a person sets DOUBLEWORD_API_KEY, "
        "and unsets DOUBLEWORD_BATCH_PROVIDER if that is local.",
        next=Next("list", {"kind": "models"}),
    )
