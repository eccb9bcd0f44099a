"""What to ask of every row, checked once before the first row is read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from doubleword_batch.errors import InputError, Next, quote_untrusted
from doubleword_batch.models import ENDPOINTS
from doubleword_batch.providers import Profile
from doubleword_batch.requests.template import check_column
from doubleword_batch.sources.values import as_json

CHAT, EMBEDDINGS, RESPONSES = ENDPOINTS

OUTPUT_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""The parameters by which the endpoints limit an answer's tokens."""

_PLACES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """What to ask of every row.

    Attributes:
        endpoint: one of `models.ENDPOINTS`.
        model: the model's id.
        prompt: template of the user message, the input, or the text to embed.
        system: template of the system message (chat) or the instructions (responses).
        response_schema: JSON Schema that answers follow (chat, responses); sent as it is, strict.
        params: merged into every body: temperature, max_tokens, tools, ...
        id_column: column whose value makes the custom_ids readable.
        image_column: column that holds an image for the user message (chat, responses): a path, an
            https URL, a data: URI or bytes. A source of images needs none.
        blanks: `skip` or `send` rows in which every column that the prompts use is blank.
        on_bad_row: `stop` at rows that cannot be requests, or `skip` them; None skips those that
            are too large for the provider and stops at others.
    """

    endpoint: str
    model: str
    prompt: str
    system: str | None = None
    response_schema: dict[str, Any] | None = None
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    id_column: str | None = None
    image_column: str | None = None
    blanks: str = "skip"
    on_bad_row: str | None = None


def check_spec(spec: RequestSpec, columns: Sequence[str], profile: Profile) -> tuple[str, ...]:
    """Reject a spec that would be wrong for every row.

    Returns:
        Warnings about the response schema.

    Raises:
        InputError: code `unknown_endpoint`, `no_model_given`, `invalid_schema`, `unknown_column`,
            or `invalid_argument` for params and for what an embedding does not take.
    """
    profile.check_endpoint(spec.endpoint)
    if not spec.model.strip():
        raise InputError(
            "No model is named.",
            hint="Give the id of one of the provider's models.",
            code="no_model_given",
            next=Next("list", {"kind": "models"}),
        )
    if spec.endpoint == EMBEDDINGS and (spec.system is not None or spec.response_schema):
        raise InputError(
            "An embedding has neither a system prompt nor a response schema.",
            hint=f"Leave both out, or use {CHAT}.",
        )
    if spec.id_column is not None:
        check_column(spec.id_column, columns, "id_column")
    if spec.image_column is not None:
        _check_image_column(spec, columns)
    _check_params(spec)
    return () if spec.response_schema is None else _check_schema(spec.response_schema)


def check_limit(limit: int | None) -> None:
    """Reject a number of rows below 1; None stands for all rows.

    Raises:
        InputError: code `invalid_argument`.
    """
    if limit is not None and limit < 1:
        raise InputError(
            f"limit is {limit}, but must be at least 1.",
            hint="Leave it out for all rows.",
        )


def _check_image_column(spec: RequestSpec, columns: Sequence[str]) -> None:
    check_column(spec.image_column or "", columns, "image_column")
    if spec.endpoint == EMBEDDINGS:
        raise InputError(
            "Embeddings are made from text, not from images.",
            hint=f"Use {CHAT} with a vision model.",
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
            hint="Take it out of params; model, prompt, system and response_schema set it.",
        )
    if spec.params.get("stream"):
        raise InputError(
            "A batch cannot stream its answers.",
            hint="Take stream out of params.",
        )
    for name in OUTPUT_LIMITS:
        limit = spec.params.get(name)
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
            raise InputError(
                f"The parameter {name} is not a whole number.",
                hint="Give the number of tokens, without quotes or a decimal point.",
            )
    for name, value in spec.params.items():
        try:
            as_json(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"The parameter {name!r} cannot be written as JSON: {error}.",
                hint="Use text, finite numbers, true, false, null, and lists or objects of them.",
            ) from None


def _check_schema(schema: Any) -> tuple[str, ...]:
    """Check a response schema; it goes into the requests as it is.

    Args:
        schema: JSON Schema (draft 2020-12) of an object.

    Returns:
        Warnings: the places where OpenAI's strict structured output asks for more.

    Raises:
        InputError: code `invalid_schema`; the message names the place.
    """
    if not isinstance(schema, dict):
        raise _invalid_schema("$", "it is not a JSON object")
    schema = cast("dict[str, Any]", schema)
    if schema.get("type") != "object":
        raise _invalid_schema("$", "the top level must be an object schema")
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
        loose = list(_not_strict(schema, "$"))
    except SchemaError as error:
        raise _invalid_schema(error.json_path, error.message) from None
    except RecursionError:
        raise _invalid_schema("$", "it is nested too deeply") from None
    if not loose:
        return ()
    places = ", ".join(quote_untrusted(place, 100) for place in loose[:_PLACES_SHOWN])
    more = len(loose) - _PLACES_SHOWN
    warning = (
        "Strict structured output needs `additionalProperties: false` and every property in "
        f"`required`; missing at {places}{f' and {more} more places' if more > 0 else ''}. "
        "Some servers refuse such a schema, others ignore it."
    )
    return (warning,)


def _not_strict(schema: Any, place: str) -> Iterator[str]:
    if isinstance(schema, list):
        for position, part in enumerate(cast("list[Any]", schema)):
            yield from _not_strict(part, f"{place}[{position}]")
    if not isinstance(schema, dict):
        return
    node = cast("dict[str, Any]", schema)
    properties = cast("dict[str, Any]", node.get("properties") or {})
    if properties or node.get("type") == "object":
        required = cast("list[str]", node.get("required") or [])
        if node.get("additionalProperties") is not False or set(properties) - set(required):
            yield place
    for keyword in ("properties", "$defs"):
        for name, part in cast("dict[str, Any]", node.get(keyword) or {}).items():
            yield from _not_strict(part, f"{place}.{keyword}.{name}")
    for keyword in ("items", "prefixItems", "anyOf", "oneOf", "allOf"):
        yield from _not_strict(node.get(keyword), f"{place}.{keyword}")


def _invalid_schema(place: str, reason: str) -> InputError:
    return InputError(
        f"response_schema is not a usable schema: at {quote_untrusted(place, 100)}, "
        f"{quote_untrusted(reason)}.",
        hint="Give the JSON Schema of an object, such as "
        '{"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"], '
        '"additionalProperties": false}.',
        code="invalid_schema",
        details={"at": place[:100]},
    )
