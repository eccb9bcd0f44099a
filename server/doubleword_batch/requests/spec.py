"""What to ask of every row, checked once before the first row is read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from doubleword_batch.errors import InputError
from doubleword_batch.models import ENDPOINTS
from doubleword_batch.providers import Profile
from doubleword_batch.requests.columns import check_column
from doubleword_batch.requests.schema import check_schema
from doubleword_batch.sources.values import as_json

CHAT, EMBEDDINGS, RESPONSES = ENDPOINTS

OUTPUT_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""The parameters by which the endpoints limit an answer's tokens."""


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """What to ask of every row.

    Attributes:
        endpoint: one of `wire.ENDPOINTS`.
        model: the model's id.
        prompt: template of the user message, the input, or the text to embed.
        system: template of the system message (chat) or the instructions (responses).
        response_schema: JSON Schema that answers follow (chat, responses); sent as it is, strict.
        params: merged into every body: temperature, max_tokens, tools, ...
        id_column: column whose value makes the custom_ids readable.
        image_column: column that holds an image for the user message (chat, responses): a path, an
            https URL, a data: URI or bytes. A source of images needs none.
        strict: a row that is too large for the provider ends the build.
    """

    endpoint: str
    model: str
    prompt: str
    system: str | None = None
    response_schema: dict[str, Any] | None = None
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    id_column: str | None = None
    image_column: str | None = None
    strict: bool = False


def check_spec(spec: RequestSpec, columns: Sequence[str], profile: Profile) -> tuple[str, ...]:
    """Refuse what no row could make right.

    Returns:
        Warnings about the response schema.

    Raises:
        InputError: code `unknown_endpoint`, `no_model`, `not_for_embeddings`, `bad_schema`,
            `reserved_param`, `bad_param`, `stream` or `unknown_column`.
    """
    endpoints = [endpoint for endpoint in ENDPOINTS if endpoint in profile.endpoints]
    if spec.endpoint not in endpoints:
        raise InputError(
            f"{profile.title} takes no batches for the endpoint {spec.endpoint!r} made from rows.",
            hint=f"Use one of {', '.join(endpoints)}.",
            code="unknown_endpoint",
        )
    if not spec.model.strip():
        raise InputError(
            "No model is named.", hint="Give a model's id; list shows them.", code="no_model"
        )
    if spec.endpoint == EMBEDDINGS and (spec.system is not None or spec.response_schema):
        raise InputError(
            "An embedding has neither a system prompt nor a response schema.",
            hint=f"Leave both out, or use {CHAT}.",
            code="not_for_embeddings",
        )
    if spec.id_column is not None:
        check_column(spec.id_column, columns, "id_column")
    if spec.image_column is not None:
        _check_image_column(spec, columns)
    _check_params(spec)
    return () if spec.response_schema is None else check_schema(spec.response_schema)


def _check_image_column(spec: RequestSpec, columns: Sequence[str]) -> None:
    check_column(spec.image_column or "", columns, "image_column")
    if spec.endpoint == EMBEDDINGS:
        raise InputError(
            "An embedding is made of text; it takes no image.",
            hint=f"Use {CHAT} with a model that sees.",
            code="not_for_embeddings",
        )


def _check_params(spec: RequestSpec) -> None:
    taken = {"model", "messages", "input"}
    if spec.system is not None:
        taken.add("instructions")
    if spec.response_schema is not None:
        taken.add("text" if spec.endpoint == RESPONSES else "response_format")
    if overwritten := sorted(taken & spec.params.keys()):
        raise InputError(
            f"params would overwrite {', '.join(overwritten)}.",
            hint="Take it out of params: model, prompt, system and response_schema say it already.",
            code="reserved_param",
        )
    if spec.params.get("stream"):
        raise InputError(
            "A batch cannot stream its answers.", hint="Take stream out of params.", code="stream"
        )
    for name in OUTPUT_LIMITS:
        limit = spec.params.get(name)
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
            raise InputError(
                f"The parameter {name} is not a whole number.",
                hint="Give the number of tokens, without quotes or a point.",
                code="bad_param",
            )
    for name, value in spec.params.items():
        try:
            as_json(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"The parameter {name!r} cannot be written as JSON: {error}.",
                hint="Use text, finite numbers, true, false, null, and lists or objects of them.",
                code="bad_param",
            ) from None
