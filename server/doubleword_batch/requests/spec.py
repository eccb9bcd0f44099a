"""What to ask of every row, checked once before the first row is read."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from doubleword_batch.errors import InputError, Next, quote_untrusted
from doubleword_batch.loose_json import DEEPEST_HINT, is_value_too_deep
from doubleword_batch.models import ENDPOINTS
from doubleword_batch.plain_text import is_plain
from doubleword_batch.providers import Profile
from doubleword_batch.requests.response_schema import AS_ANSWER, SchemaFormat, check_schema
from doubleword_batch.requests.template import check_column
from doubleword_batch.sources.values import as_json, plain_number

CHAT, EMBEDDINGS, RESPONSES = ENDPOINTS

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
OUTPUT_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""The parameters by which the endpoints limit an answer's tokens."""

_MOST = 10_000_000  # for any count: sums over all rows have to fit into the store
COUNTS = ("n", "best_of", "min_tokens", "max_tokens", "max_completion_tokens", "max_output_tokens")
"""Parameters that are whole numbers, at least 1, and multiply or limit what is paid for."""

# fmt: off
_OTHERS = (
    "stop", "logprobs", "logit_bias", "response_format", "tools", "tool_choice", "modalities",
    "parallel_tool_calls", "reasoning_effort", "verbosity",
)
_NUMBERS = (
    "temperature", "top_p", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "top_logprobs", "dimensions",
)
# fmt: on
_KNOWN = frozenset((*COUNTS, *_NUMBERS, *_OTHERS))
_ALIKE = 0.9  # finds `max_token` and `temprature`, but no parameter that a server really has


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """What to ask of every row.

    Attributes:
        endpoint: one of `models.ENDPOINTS`.
        model: the model's id.
        prompt: template of the user message, the input, or the text to embed.
        system: template of the system message (chat) or the instructions (responses).
        response_schema: JSON Schema that answers follow (chat, responses); sent as it is.
        schema_format: the name, strictness and description sent with it.
        params: merged into every body: temperature, max_tokens, tools, ...
        id_column: column whose value makes the custom_ids readable.
        image_column: column that holds an image for the user message (chat, responses): a path, an
            https URL, a data: URI or bytes. Not needed for a source of images.
        blanks: `skip` or `send` rows in which every column that the prompts use is blank.
        on_bad_row: `stop` at rows that cannot become requests, or `skip` them; None skips rows
            that are too large for the provider and stops at others.
    """

    endpoint: str
    model: str
    prompt: str
    system: str | None = None
    response_schema: dict[str, Any] | None = None
    schema_format: SchemaFormat = AS_ANSWER
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
        InputError: code `invalid_schema`, `unknown_column`, or `invalid_argument` for the endpoint,
            the model, params, or a field that an embedding does not take.
    """
    profile.check_endpoint(spec.endpoint)
    model_id(spec.model)
    if spec.endpoint == EMBEDDINGS and (spec.system is not None or spec.response_schema):
        raise InputError(
            "An embedding has neither a system prompt nor a response schema.",
            hint=f"Leave both out, or use {CHAT}.",
        )
    if spec.id_column is not None:
        check_column(spec.id_column, columns, "id_column")
    if spec.image_column is not None:
        _check_image_column(spec, columns, profile)
    _check_params(spec)
    return () if spec.response_schema is None else check_schema(spec.response_schema)


def model_id(given: str) -> str:
    """The id of a model, without spaces and line breaks around it.

    Raises:
        InputError: code `invalid_argument`: the id is empty or has a line break inside.
    """
    name = given.strip()
    if not name:
        raise InputError(
            "No model is named.",
            hint="Give the id of one of the provider's models.",
            next=Next("list", {"kind": "models"}),
        )
    if not is_plain(name):
        raise InputError(
            f"{quote_untrusted(name, 80)} is not a model's id: it holds a line break or an "
            "invisible character.",
            hint="Give the id of one of the provider's models, and nothing else.",
            next=Next("list", {"kind": "models"}),
        )
    return name


def with_numbers(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, with numbers that were written as text, such as `"0.2"`, made numbers.

    Counts written as text stay as they are, and `check_params` refuses them: they multiply the
    cost.
    """
    return {
        name: plain_number(value) if name in _NUMBERS else value for name, value in params.items()
    }


def check_limit(limit: object) -> None:
    """Reject a limit that is not a whole number, at least 1; None stands for all rows.

    Raises:
        InputError: code `invalid_argument`.
    """
    if limit is None:
        return
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise InputError(
            "limit must be a whole number, at least 1.", hint="Leave it out for all rows."
        )
    if limit < 1:
        raise InputError(
            f"limit is {limit}, but must be at least 1.",
            hint="Leave it out for all rows.",
        )


def _check_image_column(spec: RequestSpec, columns: Sequence[str], profile: Profile) -> None:
    check_column(spec.image_column or "", columns, "image_column")
    if spec.endpoint == EMBEDDINGS:
        raise InputError(
            "Embeddings are made from text, not from images.",
            hint=f"Use {CHAT} with a vision model.",
        )
    if spec.model in profile.text_only:
        raise InputError(
            f"The model {spec.model} does not take images.",
            hint="Name a vision model.",
            next=Next("list", {"kind": "models"}),
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
    check_params(spec.params)
    for name, value in spec.params.items():
        try:
            as_json(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"The parameter {name!r} cannot be written as JSON: {error}.",
                hint="Use text, finite numbers, true, false, null, and lists or objects of them.",
            ) from None


def check_params(params: Mapping[str, Any]) -> None:
    """Refuse parameters that servers silently ignore, and values that they read differently.

    Ignored are misspelled names such as `maxTokens` and `max_token`, and params inside params. Read
    differently are counts that are not whole numbers from 1, and other values in place of a number.

    Raises:
        InputError: code `invalid_argument`.
    """
    for name, value in params.items():
        if meant := _meant(name):
            raise InputError(
                f"There is no parameter {quote_untrusted(name, 60).strip('«»')}.",
                hint=f"Did you mean {meant}?",
            )
        if is_value_too_deep(value):
            raise InputError(
                f"The parameter {quote_untrusted(name, 60).strip('«»')} is nested too deeply.",
                hint=DEEPEST_HINT,
            )
        if name == "params" and isinstance(value, Mapping):
            raise InputError(
                "params holds params.", hint="Give what is inside as params, without another one."
            )
    if not isinstance(params.get("tools"), list | None):
        raise InputError(
            "The parameter tools must be a list.",
            hint='Give [{"type": "function", "function": {...}}].',
        )
    _check_numbers(params)


def snake_case(name: str) -> str:
    """A name in snake case: `Max-Tokens` and `maxTokens` become `max_tokens`."""
    return _HUMP.sub("_", name.strip()).replace("-", "_").replace(" ", "_").lower()


def _meant(name: str) -> str | None:
    """The parameter that a misspelled name means; None if it is right, or like no known one."""
    if name in _KNOWN:
        return None
    near = difflib.get_close_matches(snake_case(name), _KNOWN, n=1, cutoff=_ALIKE)
    return near[0] if near else None


def _check_numbers(params: Mapping[str, Any]) -> None:
    for name in _NUMBERS:
        value = params.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise InputError(
                f"The parameter {name} must be a number.",
                hint="Give the number without quotes, or leave it out.",
            )
    nested = {
        f"{outer}.{inner}": value
        for outer, inner in (("thinking", "budget_tokens"), ("reasoning", "max_tokens"))
        if isinstance(fields := params.get(outer), Mapping)
        for name, value in cast("Mapping[str, Any]", fields).items()
        if name == inner
    }
    named = {name: params[name] for name in COUNTS if name in params}
    for name, value in (named | nested).items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(
                f"The parameter {name} must be a whole number, at least 1.",
                hint="Give the number without quotes or a decimal point, or leave it out.",
            )
        if value > _MOST:
            raise InputError(
                f"The parameter {name} must be at most {_MOST:,}.",
                hint="No model writes that much: give a smaller number, or leave it out.",
            )
