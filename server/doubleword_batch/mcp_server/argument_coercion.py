"""Accepts arguments in another form than the tool's, if only one thing can be meant by them."""

from collections.abc import Collection, Mapping
from typing import Any, cast

from doubleword_batch.jobs.prompt_and_schema import messages_in
from doubleword_batch.loose_json import decode_or_none

_OF_A_FILE = ("path", "file", "source", "filename", "file_path", "filepath")
_BESIDE_A_FILE = frozenset({"type", "kind", "format"})


def coerce_arguments(
    given: Mapping[str, Any],
    properties: Mapping[str, Mapping[str, Any]],
    required: Collection[str] = (),
) -> dict[str, Any]:
    """The arguments of a call in the form that its tool takes.

    A list of one text becomes the text, a choice in other case or in the singular becomes that
    choice, an object with a path becomes the path, and messages become prompt and system prompt.
    Null and blank text for optional arguments are dropped; $5 becomes the number 5.

    Args:
        given: the arguments; not changed.
        properties: the schema of each of the tool's arguments.
        required: the arguments that must be given.
    """
    call = dict(given)
    if "source" in call:
        call["source"] = _path_in(call["source"])
    for name, value in given.items():
        if _is_blank(value) and name not in required:
            del call[name]
            continue
        kinds = properties.get(name, {})
        kinds = [kinds, *cast("list[Mapping[str, Any]]", kinds.get("anyOf", []))]
        types = {kind.get("type") for kind in kinds}
        if "string" in types and not {"array", "object"} & types:
            call[name] = _only_text(call[name])
        choices = [choice for kind in kinds for choice in kind.get("enum", ())]
        if choices and value not in choices:
            call[name] = _choice(call[name], choices)
        if "number" in types and isinstance(value, str):
            call[name] = value.strip().removeprefix("$")
    if "prompt" in properties and (messages := messages_in(call.get("prompt"))) is not None:
        call |= _prompts(messages, call)
    return call


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _only_text(value: Any) -> Any:
    listed: list[Any] = cast("list[Any]", value) if isinstance(value, list) else []
    return listed[0] if len(listed) == 1 and isinstance(listed[0], str) else cast("Any", value)


def _choice(value: Any, choices: list[Any]) -> Any:
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    meant = [choice for choice in choices if str(choice).lower() in _forms(word)]
    return meant[0] if len(meant) == 1 else value


def _forms(word: str) -> set[str]:
    return {word, f"{word}s", f"{word}es"}


def _path_in(source: Any) -> Any:
    """The path inside `{"path": "a.csv"}` or `["a.csv"]`, also if these are JSON text."""
    value = source
    if isinstance(source, str) and source.lstrip().startswith(('{"', '["')):
        value = decode_or_none(source)
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        rest = fields.keys() - _BESIDE_A_FILE
        is_path = len(rest) == 1 and not rest.isdisjoint(_OF_A_FILE)
        value = fields[next(iter(rest))] if is_path else None
        return value if isinstance(value, str) and "." in value else source
    path = _only_text(value)
    return path if isinstance(path, str) else source


def _prompts(messages: list[dict[str, Any]], call: Mapping[str, Any]) -> dict[str, Any]:
    """The prompt and the system prompt, if there is at most one message of each."""
    contents = {str(message["role"]): message["content"] for message in messages}
    are_texts = all(isinstance(content, str) for content in contents.values())
    is_plain = len(contents) == len(messages) and {"user"} <= contents.keys() <= {"user", "system"}
    if not (are_texts and is_plain) or ("system" in contents and call.get("system") is not None):
        return {}
    prompts = {"prompt": contents["user"]}
    return prompts | ({"system": contents["system"]} if "system" in contents else {})
