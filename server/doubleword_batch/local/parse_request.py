"""Parses a request's body into what it asks for, whatever its endpoint.

The executors that make their own answers (`simulate`, `builtin`) work from this value, and
`response_bodies` puts the answer back into the endpoint's shape. They answer the endpoints that a
job or `BatchOpenAI` builds requests for; an upstream server answers whatever it knows. A body that
no server would accept is rejected here with the 400 of an OpenAI-compatible server.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from doubleword_batch.local.executors.base import is_list, is_object, rejected

EMBEDDINGS = "/v1/embeddings"

_MOST_CHOICES = 64
# Not a set: the value may be a list, which cannot be hashed.
_TEXT_PARTS = ("text", "input_text", "output_text")


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request for text.

    Attributes:
        endpoint: determines the shape of the answer.
        model: the model's name as the caller wrote it.
        messages: the conversation in the form of chat/completions.
        schema: the JSON Schema that the answer must conform to, or None.
        wants_json: any JSON object will do (`json_object` mode).
        tools: the functions offered.
        tool_choice: "none", "auto", "required", or the name of the tool that must be called.
        max_tokens: maximum number of new tokens, or None if the caller set no limit.
        n: how many choices the answer has.
    """

    endpoint: Literal["chat", "responses"]
    model: str
    messages: tuple[dict[str, Any], ...]
    schema: dict[str, Any] | None = None
    wants_json: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "none"
    max_tokens: int | None = None
    n: int = 1

    @property
    def must_call(self) -> tuple[Tool, ...]:
        """The tools of which one must be called; empty if the model may answer in text."""
        if self.tool_choice in {"none", "auto"}:
            return ()
        return tuple(t for t in self.tools if self.tool_choice in {"required", t.name})

    @property
    def text(self) -> str:
        """All the text of the conversation, for counting its tokens."""
        return "\n".join(_plain(message.get("content")) for message in self.messages)


@dataclass(frozen=True, slots=True)
class ParsedEmbeddings:
    """A request for embeddings: texts or token lists, one vector each."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None
    as_base64: bool


def parse_request(url: str, body: dict[str, Any]) -> ParsedRequest:
    """Parse the body of a text request; `RequestFailed` if it does not fit its endpoint."""
    if url == "/v1/chat/completions":
        parsed = _parse_chat(body)
    elif url == "/v1/responses":
        parsed = _parse_responses(body)
    else:
        raise rejected(f"{url} is not answered here", status=404)
    if parsed.tool_choice not in {"none", "auto"} and not parsed.must_call:
        raise rejected(
            f"tool_choice {parsed.tool_choice!r} names no tool of this request",
            param="tool_choice",
        )
    return parsed


def parse_embeddings(body: dict[str, Any]) -> ParsedEmbeddings:
    """Parse the body of an embeddings request; `RequestFailed` if it does not fit."""
    value = body.get("input")
    inputs: list[Any] = value if is_list(value) and not _are_tokens(value) else [value]
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise rejected("encoding_format must be float or base64", param="encoding_format")
    return ParsedEmbeddings(
        model=_model(body),
        inputs=tuple(_embedding_input(given) for given in inputs),
        dimensions=_positive_integer(body, "dimensions"),
        as_base64=encoding == "base64",
    )


def _embedding_input(given: Any) -> str | tuple[int, ...]:
    if isinstance(given, str) and given:
        return given
    if is_list(given) and given and _are_tokens(given):
        return tuple(given)
    raise rejected("input must be a string or a list of strings, none of them empty", param="input")


def _parse_chat(body: dict[str, Any]) -> ParsedRequest:
    schema, wants_json = _response_format(
        body.get("response_format"), "response_format", inside="json_schema"
    )
    tools = tuple(
        _tool(_as_object(tool, "tools").get("function"))
        for tool in _as_list(body.get("tools"), "tools")
    )
    return ParsedRequest(
        endpoint="chat",
        model=_model(body),
        messages=_messages(body.get("messages")),
        schema=schema,
        wants_json=wants_json,
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        max_tokens=_positive_integer(body, "max_completion_tokens")
        or _positive_integer(body, "max_tokens"),
        n=_number_of_choices(body),
    )


def _parse_responses(body: dict[str, Any]) -> ParsedRequest:
    if body.get("previous_response_id"):
        raise rejected(
            "previous_response_id is not kept here; send the whole conversation as input",
            param="previous_response_id",
        )
    text = _as_object(body.get("text") or {}, "text")
    schema, wants_json = _response_format(text.get("format"), "text.format", inside=None)
    offered = (_as_object(tool, "tools") for tool in _as_list(body.get("tools"), "tools"))
    tools = tuple(_tool(tool) for tool in offered if tool.get("type") == "function")
    return ParsedRequest(
        endpoint="responses",
        model=_model(body),
        messages=_conversation(body.get("instructions"), body.get("input")),
        schema=schema,
        wants_json=wants_json,
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        max_tokens=_positive_integer(body, "max_output_tokens"),
    )


def _model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise rejected("model must be a string", param="model")
    return model


def _messages(given: Any) -> tuple[dict[str, Any], ...]:
    if not is_list(given) or not given:
        raise rejected("messages must be a list with at least one message", param="messages")
    messages = tuple(_as_object(message, "messages") for message in given)
    if not all(isinstance(message.get("role"), str) for message in messages):
        raise rejected("every message needs a role", param="messages")
    return messages


def _response_format(
    given: Any, param: str, *, inside: str | None
) -> tuple[dict[str, Any] | None, bool]:
    """The requested schema, and whether any JSON object will do."""
    kind = _as_object(given or {}, param).get("type")
    if kind == "json_object":
        return None, True
    if kind != "json_schema":
        return None, False
    holder = _as_object(given.get(inside) if inside else given, f"{param}.{inside}")
    return _as_object(holder.get("schema"), f"{param}: schema"), False


def _tool(given: Any) -> Tool:
    function = _as_object(given, "tools")
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise rejected("every tool needs a name", param="tools")
    description = function.get("description")
    return Tool(
        name,
        description if isinstance(description, str) else "",
        _as_object(function.get("parameters") or {"type": "object"}, "tools"),
    )


def _tool_choice(given: Any, tools: Sequence[Tool]) -> str:
    """Translate both APIs' spellings to none, auto, required, or a tool's name."""
    if given is None:
        return "auto" if tools else "none"
    if isinstance(given, str):
        return given if given in {"none", "auto"} else "required"
    choice = _as_object(given, "tool_choice")
    name = choice.get("name") or _as_object(choice.get("function") or {}, "tool_choice").get("name")
    if isinstance(name, str):
        return name
    kind = choice.get("type")  # other APIs put the word into an object
    return kind if kind in ("none", "auto") else "required"


def _number_of_choices(body: dict[str, Any]) -> int:
    n = _positive_integer(body, "n") or 1
    if n > _MOST_CHOICES:
        raise rejected(f"n is at most {_MOST_CHOICES} here", param="n")
    return n


def _conversation(instructions: Any, given: Any) -> tuple[dict[str, Any], ...]:
    """Turn `instructions` and `input` of /v1/responses into messages of chat/completions."""
    messages: list[dict[str, Any]] = []
    if isinstance(instructions, str) and instructions:
        messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        return (*messages, {"role": "user", "content": given})
    if not is_list(given) or not given:
        raise rejected("input must be a string or a list of items", param="input")
    messages.extend(message for item in given for message in _from_item(item))
    return tuple(messages)


def _from_item(item: Any) -> Iterator[dict[str, Any]]:
    if not is_object(item):
        raise rejected("every item of input must be an object", param="input")
    kind = item.get("type", "message")
    if kind == "message":
        role = item.get("role", "user")
        role = "system" if role == "developer" else role
        yield {"role": role, "content": _content(item.get("content"))}
    elif kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        yield {"role": "assistant", "content": None, "tool_calls": [call]}
    elif kind == "function_call_output":
        output = _plain(item.get("output"))
        yield {"role": "tool", "tool_call_id": item.get("call_id"), "content": output}
    # Other items (reasoning and the like) are not part of what the model reads again.


def _content(given: Any) -> Any:
    """Content in chat's form: a text, or text and image parts."""
    if not is_list(given):
        return given if isinstance(given, str) else ""
    parts = [_part(part) for part in given]
    if all(part.get("type") == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _part(part: Any) -> dict[str, Any]:
    if not is_object(part):
        return {"type": "text", "text": _plain(part)}
    if part.get("type") in _TEXT_PARTS:
        return {"type": "text", "text": _plain(part.get("text"))}
    if part.get("type") == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url")}}
    return part


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    if is_list(content):
        return "\n".join(_plain(p.get("text") if is_object(p) else p) for p in content)
    return ""


def _are_tokens(values: Iterable[Any]) -> bool:
    return all(isinstance(v, int) and not isinstance(v, bool) for v in values)


def _as_object(value: Any, param: str) -> dict[str, Any]:
    if not is_object(value):
        raise rejected(f"{param} must be an object", param=param)
    return value


def _as_list(value: Any, param: str) -> list[Any]:
    if value is None:
        return []
    if not is_list(value):
        raise rejected(f"{param} must be a list", param=param)
    return value


def _positive_integer(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise rejected(f"{name} must be a whole number, at least 1", param=name)
    return value
