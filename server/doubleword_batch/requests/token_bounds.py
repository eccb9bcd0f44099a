"""The most that requests can cost: the check that every request passes when there is a cap.

An estimate says what is likely. A cap has to hold whatever a request makes a server do, so the
lines that will be sent are themselves read here, and everything whose cost is not known is refused:
there is a list of the parameters that are taken, not of those that are forbidden. A request without
a token limit counts as the most that any model writes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.json import Decoder

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.loose_json import is_too_deep
from doubleword_batch.plain_text import one_line
from doubleword_batch.requests.spec import CHAT, EMBEDDINGS, RESPONSES
from doubleword_batch.requests.token_estimates import BYTES_PER_TOKEN, TOKENS_PER_IMAGE

UNLIMITED_OUTPUT_TOKENS = 262_144
"""Counted for a request without a limit: the context of the largest models of 2026."""

DEFAULT_TOKEN_LIMIT = 1_024
"""The token limit that a build under a cap writes into requests that have none."""

Count = Annotated[int, Meta(ge=1)] | None
Free = Raw | UnsetType  # costs nothing, whatever it holds
Off = Literal[False] | None


class _Tool(Struct, forbid_unknown_fields=True):
    """A tool that the caller runs. Hosted tools, which have other members, are billed by use."""

    type: Literal["function", "custom"] = "function"
    function: Free = UNSET
    custom: Free = UNSET
    name: Free = UNSET
    description: Free = UNSET
    parameters: Free = UNSET
    input_schema: Free = UNSET
    input_examples: Free = UNSET
    format: Free = UNSET
    strict: Free = UNSET
    defer_loading: Free = UNSET
    cache_control: Free = UNSET


class _Thinking(Struct, forbid_unknown_fields=True):
    type: str = ""
    budget_tokens: Count = None
    display: Free = UNSET


class _Reasoning(Struct, forbid_unknown_fields=True):
    effort: Free = UNSET
    summary: Free = UNSET
    generate_summary: Free = UNSET
    enabled: Free = UNSET
    exclude: Free = UNSET
    max_tokens: Count = None


_SAMPLING = (
    "temperature top_p top_k min_p seed stop stop_sequences stop_token_ids frequency_penalty "
    "presence_penalty repetition_penalty length_penalty logit_bias logprobs top_logprobs "
    "ignore_eos skip_special_tokens include_stop_str_in_output guided_json guided_regex "
    "guided_choice guided_grammar structured_outputs chat_template_kwargs metadata store user "
    "safety_identifier prompt_cache_key reasoning_effort verbosity tool_choice parallel_tool_calls"
)
"""Parameters of all text endpoints, and of the engines behind them, that cost nothing."""
_NESTED = {
    "reasoning": _Reasoning | None,
    "thinking": _Thinking | None,
    "tools": list[_Tool] | None,
}


def _decoder(free: str, counts: str = "", off: str = "", **others: Any) -> Decoder[Any]:
    """A decoder for bodies that have only these members.

    Those in `free` may hold anything, those in `counts` are whole numbers from 1, those in `off`
    are false; `others` gives the types of the rest.
    """
    members = [
        ("model", str, ""),
        *((name, Free, UNSET) for name in free.split()),
        *((name, Count, None) for name in counts.split()),
        *((name, Off, None) for name in off.split()),
        *((name, kind, None) for name, kind in others.items()),
    ]
    return Decoder(msgspec.defstruct("Body", members, forbid_unknown_fields=True))


_DECODERS = {
    CHAT: _decoder(
        f"messages response_format functions function_call {_SAMPLING}",
        counts="max_tokens max_completion_tokens min_tokens n",
        off="stream",
        modalities=list[Literal["text"]] | None,
        **_NESTED,
    ),
    "/v1/completions": _decoder(
        f"suffix {_SAMPLING}",
        counts="max_tokens min_tokens n best_of",
        off="stream echo",
        prompt=str,
        **_NESTED,
    ),
    "/v1/messages": _decoder(
        f"messages system {_SAMPLING}", counts="max_tokens min_tokens", off="stream", **_NESTED
    ),
    RESPONSES: _decoder(
        f"input instructions text truncation include {_SAMPLING}",
        counts="max_output_tokens min_tokens",
        off="stream background",
        **_NESTED,
    ),
    EMBEDDINGS: _decoder(
        "input dimensions encoding_format input_type truncate_prompt_tokens metadata user"
    ),
}
_LIMITS = {
    CHAT: ("max_tokens", "max_completion_tokens"),
    RESPONSES: ("max_output_tokens",),
}
_TEXT_LIMITS = ("max_tokens",)
_KNOWN_CONTENT = frozenset(
    {
        *("text", "input_text", "output_text", "refusal", "reasoning", "summary_text", "thinking"),
        *("message", "function_call", "function_call_output", "tool_use", "tool_result"),
        *("image_url", "input_image", "image"),
    }
)
_IMAGES = frozenset({"image_url", "input_image", "image"})
_MEMBERS = frozenset(
    {
        *("role", "type", "name", "id", "index", "status", "phase", "weight", "prefix", "partial"),
        *("content", "text", "refusal", "annotations", "citations", "logprobs", "cache_control"),
        *("reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks"),
        *("signature", "summary", "encrypted_content", "extra_content", "provider_specific_fields"),
        *("tool_calls", "tool_call_id", "tool_name", "tool_plan", "tool_use_id", "is_error"),
        *("function_call", "call_id", "caller", "namespace", "arguments", "input", "output"),
    }
)
"""Members of messages and of their parts that cost only the tokens of their text."""
_IMAGE_MEMBERS = frozenset({"image_url", "input_image", "image", "source", "file_id", "detail"})


@dataclass(frozen=True, slots=True)
class TokenBound:
    """The most that requests read and write.

    Attributes:
        input_tokens: estimate: bytes / 4, plus 1,000 for an image.
        output_tokens: the most there can be, for all choices together.
        without_limit: how many of the requests have no token limit.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    without_limit: int = 0

    def __add__(self, other: "TokenBound") -> "TokenBound":
        return TokenBound(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.without_limit + other.without_limit,
        )


class _Line(Struct):
    url: str
    body: Raw


_decode_line = Decoder(_Line).decode
_decode_members = Decoder(dict[str, Raw]).decode


def bound_tokens(paths: Sequence[Path]) -> TokenBound:
    """The most that the lines of request files can make a server read and write.

    Raises:
        InputError: code `unknown_cost`: nobody can say what a line may cost; the message names the
            line and the parameter.
        OSError: a file cannot be read.
    """
    total = TokenBound()
    for path in paths:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    _refuse_duplicate_names_in_line(line)
                    request = _decode_line(line)
                    total += bound_body(bytes(request.body), request.url)
                except (ValueError, RecursionError) as error:
                    raise _unknown(f"line {number} of the request file", str(error)) from None
                except InputError as error:
                    raise _unknown(f"line {number} of the request file", error.message) from None
    return total


def bound_body(body: bytes, endpoint: str) -> TokenBound:
    """The most that one request can make a server read and write.

    Raises:
        InputError: code `unknown_cost`.
    """
    decoder = _DECODERS.get(endpoint)
    if decoder is None:
        raise _unknown("the request", f"the endpoint {quote_untrusted(endpoint, 60)} is not known")
    if is_too_deep(body):  # some Pythons read it, some do not
        raise _unknown("the request", "it is nested too deeply")
    try:
        fields = decoder.decode(body)
        values = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise _unknown("the request", str(error)) from None
    _refuse_duplicate_names(body, values)
    images = sum(_images_in(values.get(name), 0) for name in _CONTENT_OF_BODIES)
    read = len(body) // BYTES_PER_TOKEN + images * TOKENS_PER_IMAGE
    if endpoint == EMBEDDINGS:
        return TokenBound(read)
    limits = [
        limit
        for name in _LIMITS.get(endpoint, _TEXT_LIMITS)
        if (limit := cast("int | None", getattr(fields, name))) is not None
    ]
    limit = max(limits, default=UNLIMITED_OUTPUT_TOKENS)
    limit = max(limit, fields.min_tokens or 0)
    limit += (fields.thinking and fields.thinking.budget_tokens) or 0
    limit += (fields.reasoning and fields.reasoning.max_tokens) or 0
    choices = max(getattr(fields, "n", None) or 1, getattr(fields, "best_of", None) or 1)
    return TokenBound(read, limit * choices, 0 if limits else 1)


def with_token_limit(
    params: Mapping[str, Any], endpoint: str, name: str | None = None
) -> dict[str, Any]:
    """The parameters with a token limit: the caller's, or else `DEFAULT_TOKEN_LIMIT`.

    Args:
        params: as given.
        endpoint: where the requests go; it decides the limit's name.
        name: the provider's name for the limit, if it has one of its own.
    """
    names = _LIMITS.get(endpoint, _TEXT_LIMITS)
    if endpoint == EMBEDDINGS or any(params.get(limit) is not None for limit in names):
        return dict(params)
    ours = name if name is not None and name in names else names[0]
    return {**params, ours: DEFAULT_TOKEN_LIMIT}


def _images_in(node: Any, depth: int) -> int:
    """Count the images among messages, in their content and in what tools returned.

    Content of a kind whose cost is not known is refused. Some servers recognise content without a
    type by its other members, so these have to be known, too.
    """
    if isinstance(node, dict) or (isinstance(node, list) and depth > _DEEPEST):
        raise _unknown("the request", _MISPLACED)
    if not isinstance(node, list):
        return 0
    count = 0
    for part in cast("list[Any]", node):
        if isinstance(part, list) and not all(isinstance(n, int) for n in cast("list[Any]", part)):
            raise _unknown("the request", _MISPLACED)  # a list that is not of tokens
        if not isinstance(part, dict):
            continue
        fields = cast("dict[str, Any]", part)
        kind = fields.get("type", "text")
        if not isinstance(kind, str) or kind not in _KNOWN_CONTENT:
            raise _unknown("the request", f"content of the type {quote_untrusted(str(kind), 40)}")
        others = {name for name, value in fields.items() if value is not None} - _MEMBERS
        if kind in _IMAGES:
            count += _images_of(fields, others)
        elif others:
            raise _unknown("the request", f"{quote_untrusted(min(others), 40)} in content")
        count += _images_in(fields.get("content"), depth + 1)
        count += _images_in(fields.get("output"), depth + 1)
    return count


def _images_of(fields: dict[str, Any], others: set[str]) -> int:
    """How many images a part holds, by its members; a list of images in one member is refused."""
    for name in others:
        value = fields[name]
        given = list(cast("dict[str, Any]", value).values()) if isinstance(value, dict) else [value]
        if name not in _IMAGE_MEMBERS or any(map(_is_no_image, given)):
            raise _unknown("the request", f"{quote_untrusted(name, 40)} in an image")
    return max(len(others - {"detail"}), 1)


def _is_no_image(value: Any) -> bool:
    start = value[:_DATA_BEGINNING].lower() if isinstance(value, str) else ""
    is_other = start.startswith("data:") and not start.startswith("data:image/")
    return is_other or isinstance(value, list | dict)


_CONTENT_OF_BODIES = ("messages", "input", "system", "instructions")
_MISPLACED = "content in a place where none is expected"
_DATA_BEGINNING = len("data:image/")
_DEEPEST = 4
_REASON_CHARACTERS = 300


def _refuse_duplicate_names_in_line(line: bytes) -> None:
    """Refuse a line that has a member twice, in any case: some servers ignore the case."""
    members = _decode_members(line)
    if len({name.casefold() for name in members}) != len(members):
        raise _unknown("the request", _TWICE)
    if msgspec.json.encode(members) != line.strip():
        _find_duplicate_names(line)


def _refuse_duplicate_names(body: bytes, values: Any) -> None:
    """Refuse a name that occurs twice in one object: the server might read the other one.

    A body that is the same when encoded again has no such name, which is quick to check.
    """
    try:
        if msgspec.json.encode(values) == body:
            return
    except (ValueError, OverflowError, RecursionError):
        pass
    _find_duplicate_names(body)


def _find_duplicate_names(text: bytes) -> None:
    def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise _unknown("the request", _TWICE)
        return fields

    try:
        json.loads(text, object_pairs_hook=checked)
    except (ValueError, RecursionError):
        raise _unknown("the request", "it is not readable JSON") from None


_TWICE = "a name occurs twice in one object"


def _shown(reason: str) -> str:
    """The reason on one line, cut short: it may quote a body that anybody may have written."""
    words = one_line(reason)
    cut = len(words) > _REASON_CHARACTERS
    return words[:_REASON_CHARACTERS] + "…" if cut else words.rstrip(".")


def _unknown(where: str, reason: str) -> InputError:
    return InputError(
        f"What {where} may cost is unknown: {_shown(reason)}. There is a cap, so nothing was "
        "submitted.",
        hint="Under a cap, only parameters whose cost can be bounded are taken: leave that one "
        "out, or ask the person who set the cap to lift it.",
        code="unknown_cost",
    )
