"""Reads a request's body: what the caller asks for, whichever endpoint's words it used.

The executors that make their own answers (`simulate`, `builtin`) work from this one value;
`answered` puts their replies back into the endpoint's shape. A body that no server would take is
refused here with the 400 that an OpenAI-compatible server gives.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from doubleword_batch.local.conversations import from_messages, from_responses
from doubleword_batch.local.json_types import as_list, as_object, count, is_list, rejected

Endpoint = Literal["chat", "completions", "responses", "messages"]

ENDPOINTS: dict[str, Endpoint] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
}
EMBEDDINGS = "/v1/embeddings"
MOST_CHOICES = 64


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for text.

    Attributes:
        endpoint: whose shape the answer takes.
        model: the model's name as the caller wrote it.
        messages: the conversation in the form of chat/completions; for `completions` one user
            message a prompt.
        schema: the JSON Schema that the answer must conform to, or None.
        wants_json: any JSON object will do (`json_object` mode).
        tools: the functions offered.
        tool_choice: "none", "auto", "required", or the name of the one that must be called.
        max_tokens: most new tokens, or None where the caller set no bound.
        choices: how many answers (`n`).
    """

    endpoint: Endpoint
    model: str
    messages: tuple[dict[str, Any], ...]
    schema: dict[str, Any] | None = None
    wants_json: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "none"
    max_tokens: int | None = None
    choices: int = 1

    @property
    def must_call(self) -> tuple[Tool, ...]:
        """The tools one of which has to be called; empty where the model may answer in text."""
        if self.tool_choice in {"none", "auto"}:
            return ()
        return tuple(t for t in self.tools if self.tool_choice in {"required", t.name})


@dataclass(frozen=True, slots=True)
class EmbeddingsAsked:
    """A request for embeddings: texts or token lists, one vector each."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None
    as_base64: bool


def read_request(url: str, body: dict[str, Any]) -> Asked:
    """Read the body of a text request.

    Raises:
        RequestFailed: 404 for another endpoint, 400 for a body that does not fit it.
    """
    endpoint = ENDPOINTS.get(url)
    if endpoint is None:
        raise rejected(f"{url} is not answered here", status=404)
    asked = _READERS[endpoint](body)
    if asked.tool_choice not in {"none", "auto"} and not asked.must_call:
        raise rejected(
            f"tool_choice {asked.tool_choice!r} names no tool of this request", param="tool_choice"
        )
    return asked


def read_embeddings(body: dict[str, Any]) -> EmbeddingsAsked:
    """Read the body of an embeddings request.

    Raises:
        RequestFailed: 400 for a body that does not fit.
    """
    given = body.get("input")
    inputs: list[Any] = given if is_list(given) and not _are_tokens(given) else [given]
    if not inputs:
        raise rejected("input is empty", param="input")
    encoding = body.get("encoding_format") or "float"
    if encoding not in {"float", "base64"}:
        raise rejected("encoding_format must be float or base64", param="encoding_format")
    return EmbeddingsAsked(
        model=_model(body),
        inputs=tuple(_embedding_input(one) for one in inputs),
        dimensions=count(body, "dimensions"),
        as_base64=encoding == "base64",
    )


def _embedding_input(given: Any) -> str | tuple[int, ...]:
    if isinstance(given, str) and given:
        return given
    if is_list(given) and given and _are_tokens(given):
        return tuple(given)
    raise rejected("input must be a text or a list of texts, none of them empty", param="input")


def _read_chat(body: dict[str, Any]) -> Asked:
    schema, wants_json = _format(body.get("response_format"), "response_format", "json_schema")
    tools = tuple(
        _tool(as_object(t, "tools").get("function"), "parameters")
        for t in as_list(body.get("tools"), "tools")
    )
    return Asked(
        endpoint="chat",
        model=_model(body),
        messages=_messages(body.get("messages"), "messages"),
        schema=schema,
        wants_json=wants_json,
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        max_tokens=count(body, "max_completion_tokens") or count(body, "max_tokens"),
        choices=_choices(body),
    )


def _read_completions(body: dict[str, Any]) -> Asked:
    prompt: Any = body.get("prompt")
    prompts: list[Any] = prompt if is_list(prompt) else [prompt]
    if not prompts or not all(isinstance(p, str) for p in prompts):
        raise rejected("prompt must be a text or a list of texts", param="prompt")
    return Asked(
        endpoint="completions",
        model=_model(body),
        messages=tuple({"role": "user", "content": p} for p in prompts),
        max_tokens=count(body, "max_tokens"),
        choices=_choices(body),
    )


def _read_responses(body: dict[str, Any]) -> Asked:
    if body.get("previous_response_id"):
        raise rejected(
            "previous_response_id is not kept here; send the whole conversation as input",
            param="previous_response_id",
        )
    text = as_object(body.get("text") or {}, "text")
    schema, wants_json = _format(text.get("format"), "text.format", None)
    offered = (as_object(t, "tools") for t in as_list(body.get("tools"), "tools"))
    tools = tuple(_tool(t, "parameters") for t in offered if t.get("type") == "function")
    return Asked(
        endpoint="responses",
        model=_model(body),
        messages=from_responses(body.get("instructions"), body.get("input")),
        schema=schema,
        wants_json=wants_json,
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        max_tokens=count(body, "max_output_tokens"),
    )


def _read_messages(body: dict[str, Any]) -> Asked:
    output = as_object(body.get("output_config") or {}, "output_config")
    schema, wants_json = _format(
        output.get("format") or body.get("output_format"), "output_config.format", None
    )
    tools = tuple(_tool(t, "input_schema") for t in as_list(body.get("tools"), "tools"))
    return Asked(
        endpoint="messages",
        model=_model(body),
        messages=from_messages(body.get("system"), _messages(body.get("messages"), "messages")),
        schema=schema,
        wants_json=wants_json,
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        max_tokens=count(body, "max_tokens"),
    )


_READERS = {
    "chat": _read_chat,
    "completions": _read_completions,
    "responses": _read_responses,
    "messages": _read_messages,
}


def _model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise rejected("model must be a text", param="model")
    return model


def _messages(given: Any, param: str) -> tuple[dict[str, Any], ...]:
    if not is_list(given) or not given:
        raise rejected(f"{param} must be a list with at least one message", param=param)
    messages = tuple(as_object(m, param) for m in given)
    if not all(isinstance(m.get("role"), str) for m in messages):
        raise rejected("every message needs a role", param=param)
    return messages


def _format(given: Any, param: str, inside: str | None) -> tuple[dict[str, Any] | None, bool]:
    """The schema asked for, and whether any JSON object will do."""
    kind = as_object(given or {}, param).get("type")
    if kind == "json_object":
        return None, True
    if kind != "json_schema":
        return None, False
    holder = as_object(given.get(inside) if inside else given, f"{param}.{inside}")
    return as_object(holder.get("schema"), f"{param}: schema"), False


def _tool(given: Any, parameters: str) -> Tool:
    function = as_object(given, "tools")
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise rejected("every tool needs a name", param="tools")
    description = function.get("description")
    return Tool(
        name,
        description if isinstance(description, str) else "",
        as_object(function.get(parameters) or {"type": "object"}, "tools"),
    )


def _tool_choice(given: Any, tools: Sequence[Tool]) -> str:
    """Fold the three APIs' spellings into none, auto, required, or a tool's name."""
    if given is None:
        return "auto" if tools else "none"
    if isinstance(given, str):
        return given if given in {"none", "auto"} else "required"
    choice = as_object(given, "tool_choice")
    name = choice.get("name") or as_object(choice.get("function") or {}, "tool_choice").get("name")
    if isinstance(name, str):
        return name
    kind = choice.get("type")
    return kind if kind in {"none", "auto"} else "required"


def _choices(body: dict[str, Any]) -> int:
    choices = count(body, "n") or 1
    if choices > MOST_CHOICES:
        raise rejected(f"n is at most {MOST_CHOICES} here", param="n")
    return choices


def _are_tokens(values: Iterable[Any]) -> bool:
    return all(isinstance(v, int) and not isinstance(v, bool) for v in values)
