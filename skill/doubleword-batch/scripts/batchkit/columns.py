"""The columns of the answers, called as the package calls them, by what the requests ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchkit import strict_json
from batchkit.json_values import list_of, object_of
from batchkit.ledger import request_lines
from batchkit.limits import EMBEDDINGS
from batchkit.structured import structured

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from batchkit.answer_shapes import Answer

LEDGER = ("custom_id", "outcome", "error")
EXTRAS = ("answers", "logprobs", "audio")
ARGUMENT = "tool_arguments."

_MOST_ARGUMENTS = 100
_LOGPROBS_OF_RESPONSES = "message.output_text.logprobs"


@dataclass
class Asked:
    """What the requests ask for, as far as it makes columns.

    Attributes:
        kinds: the kinds of answer, such as `answer`, `embedding` or `tool_arguments.day`.
        schema: the JSON Schema of the answers, empty without one.
    """

    kinds: tuple[str, ...] = ("answer",)
    schema: dict[str, Any] = field(default_factory=dict)

    @property
    def properties(self) -> dict[str, Any]:
        """The properties of the schema."""
        return object_of(self.schema.get("properties"))


def asked_by(files: Iterable[Path]) -> Asked:
    """What the first request asks for: those of one table ask for the same."""
    lines = (line for path in files for _, line in islice(request_lines(path), 1))
    first = next(lines, None)
    if first is None:
        return Asked()
    request = strict_json.decode(first)
    body = object_of(request.get("body"))
    if request.get("url") == EMBEDDINGS:
        return Asked(("embedding",))
    described = object_of(object_of(body.get("response_format")).get("json_schema"))
    described = described or object_of(object_of(body.get("text")).get("format"))
    schema = object_of(described.get("schema"))
    return Asked((*_of_tools(body), "answer", *_extras(body)), schema)


def _of_tools(body: dict[str, Any]) -> tuple[str, ...]:
    if not body.get("tools"):
        return ()
    found: dict[str, None] = {}
    for tool in map(object_of, list_of(body["tools"])):
        function = object_of(tool.get("function")) or tool
        described = object_of(function.get("parameters")) or object_of(function.get("input_schema"))
        found.update(dict.fromkeys(object_of(described.get("properties"))))
    arguments = (ARGUMENT + name for name in list(found)[:_MOST_ARGUMENTS])
    return ("tool_name", "tool_arguments", *arguments, "tool_calls")


def _extras(body: dict[str, Any]) -> list[str]:
    choices = body.get("n") or body.get("candidateCount")
    logprobs = (body.get("logprobs"), body.get("top_logprobs"))
    wanted = {
        "answers": isinstance(choices, (int, float)) and choices > 1,
        "logprobs": any(value is not None and value is not False for value in logprobs)
        or _LOGPROBS_OF_RESPONSES in list_of(body.get("include")),
        "audio": bool(body.get("audio")) or "audio" in list_of(body.get("modalities")),
    }
    return [name for name in EXTRAS if wanted[name]]


class Columns:
    """The columns of one table.

    Args:
        given: those of the source.
        asked: what the requests ask for.

    Attributes:
        names: of the source's columns, what each is called in the table.
        all: the columns of the table, in order.
    """

    def __init__(self, given: tuple[str, ...], asked: Asked) -> None:
        self._asked = asked
        taken = {name.lower() for name in (*LEDGER, *asked.kinds)}
        self._properties = {
            name: name if name == "answer" else _free(name, taken, "answer_")
            for name in asked.properties
        }
        others = taken | {name.lower() for name in given}
        earlier = {"origin"} if set(LEDGER) <= set(given) and given[-1] == "error" else set()
        self.names = {
            name: _free(f"source_{name}", others, "source_")
            if name.lower() in taken or name in earlier
            else name
            for name in given
        }
        made = [column for name, column in self._properties.items() if name != "answer"]
        self.ours = ["custom_id", "outcome", *made, *asked.kinds, "error"]
        self.all = [*self.names.values(), *self.ours]

    def cells(self, answer: Answer | None, outcome: str) -> dict[str, Any]:
        """The answer's cells; columns that it has nothing for are not among them."""
        return {} if answer is None else dict(self._cells(answer, outcome))

    def _cells(self, answer: Answer, outcome: str) -> Iterator[tuple[str, Any]]:
        kinds = self._asked.kinds
        if "embedding" in kinds:
            yield "embedding", answer.embedding
            return
        for name in EXTRAS:
            if name in kinds:
                yield name, _extra(name, answer)
        text, calls = answer.text, answer.tool_calls
        if "tool_calls" not in kinds:
            text = (calls or answer.embedding) if text is None else text
        else:
            yield from self._of_calls(calls)
        found = structured(answer.text) if self._properties and outcome == "ok" else None
        if found is not None and isinstance(found.value, dict):
            for name, column in self._properties.items():
                yield column, found.value.get(name)
        else:
            yield "answer", text

    def _of_calls(self, calls: list[dict[str, Any]] | None) -> Iterator[tuple[str, Any]]:
        kinds = self._asked.kinds
        if calls is not None and len(calls) == 1:
            yield "tool_name", calls[0]["name"]
            yield "tool_arguments", calls[0]["arguments"]
            for name, value in object_of(calls[0]["arguments"]).items():
                if ARGUMENT + name in kinds:
                    yield ARGUMENT + name, value
        else:
            yield "tool_calls", calls


def _free(name: str, taken: set[str], prefix: str) -> str:
    """The name if it is free, else with the prefix, else also with a number; it is taken then."""
    column = name
    if name.lower() in taken and not name.startswith(prefix):
        column = prefix + name
    numbered, number = column, 2
    while numbered.lower() in taken:
        numbered, number = f"{column}_{number}", number + 1
    taken.add(numbered.lower())
    return numbered


def _extra(name: str, answer: Answer) -> Any:
    choices = [answer, *answer.others]
    if name == "answers":
        return [choice.tool_calls if choice.text is None else choice.text for choice in choices]
    values = [choice.logprobs if name == "logprobs" else choice.audio for choice in choices]
    return values[0] if len(values) == 1 else values
