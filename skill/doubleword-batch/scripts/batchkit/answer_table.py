"""The answers as a table, beside their source rows, with the package's cells byte for byte."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchkit import strict_json
from batchkit.cli import Exit, ScriptError, quoted
from batchkit.json_values import list_of, object_of
from batchkit.ledger import request_lines
from batchkit.limits import EMBEDDINGS
from batchkit.schema_check import structured

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from batchkit.answer_shapes import Answer
    from batchkit.answers import Reading
    from batchkit.tables import Row, Table

_ROW_OF = re.compile(r"r([1-9][0-9]*)(?:-.*)?")


def answer_table(
    path: Path, readings: Iterable[Reading], source: Table | None, asked: Asked
) -> Iterator[bytes]:
    """The lines of a table of answers: CSV or, depending on the suffix, JSON Lines.

    Args:
        path: the table's future path.
        readings: the outcome of each request; with a source, in its order.
        source: the table that the requests were made from: its columns come first. A column with
            the name of one of ours becomes `source_` plus its name.
        asked: what the requests ask for.
    """
    columns = Columns(() if source is None else source.columns, asked)
    rows = ((row, _cells(reading, columns)) for row, reading in _joined(readings, source))
    if path.suffix.lower() != ".csv":
        for row, cells in rows:
            shown = {columns.names.get(name, name): value for name, value in row.items()}
            shown = {**dict.fromkeys(columns.names.values()), **shown, **cells}
            yield strict_json.as_prompt_text(shown).encode("utf-8", "replace") + b"\n"
        return
    yield (b"" if source is None else source.mark) + _csv_line(columns.all)
    for row, cells in rows:
        yield _csv_line((*(row.get(name) for name in columns.names), *cells.values()))


def in_source_order(custom_ids: Iterable[str]) -> list[str]:
    """Requests in the order of their rows, whatever the order of the files they come from."""
    return sorted(custom_ids, key=_row_of)


def _row_of(custom_id: str) -> int:
    named = _ROW_OF.fullmatch(custom_id)
    if not named:
        raise ScriptError(
            Exit.INPUT,
            f"The request {quoted(custom_id, 64)} does not name a row of a source.",
            "Leave --source out.",
        )
    return int(named[1])


def _joined(readings: Iterable[Reading], source: Table | None) -> Iterator[tuple[Row, Reading]]:
    if source is None:
        yield from (({}, reading) for reading in readings)
        return
    rows = enumerate(source.rows(), 1)
    number, row = 0, {}
    for reading in readings:
        wanted = _row_of(reading.custom_id)
        while number < wanted:
            number, row = next(rows, (wanted + 1, {}))
        if number != wanted:
            raise ScriptError(
                Exit.INPUT,
                f"The source has no row {wanted}, but there is a request for that row.",
                "Give the table that the requests were made from, or leave --source out.",
            )
        yield row, reading


def _cells(reading: Reading, columns: Columns) -> dict[str, Any]:
    """All of our cells of a row, in order."""
    error = None
    if reading.outcome not in ("ok", "pending"):
        error = f"{reading.cause}: {reading.message}" if reading.message else reading.cause
    cells = dict.fromkeys(columns.ours)
    cells.update(columns.cells(reading.parts, reading.outcome))
    cells.update(custom_id=reading.custom_id, outcome=reading.outcome, error=error)
    return cells


def _csv_line(cells: Iterable[Any]) -> bytes:
    text = io.StringIO()
    # Told to end records with \n, the writer would leave a lone \r unquoted.
    csv.writer(text).writerow(map(_harmless, cells))
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "replace") + b"\n"


def _harmless(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(cell, (dict, list, bool)):
        return harmless(strict_json.as_prompt_text(cell))
    return harmless(cell) if isinstance(cell, str) else cell


# Cells that no spreadsheet takes for a formula, wherever it cuts the line. A spreadsheet runs a
# cell that begins with a sign, even a full-width one, after any blanks and invisible characters. If
# it expects semicolons, it ignores our commas and quotes and cuts at every semicolon, tab and line
# break, so each piece of a text may become a cell.

_SIGN = "[=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b]"
_BLANK = (
    '[\\s"\0-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f'
    "\u2028-\u202f\u205f-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000e0000-\U000e0fff]"
)
_BEGINS = re.compile(f"(?:[\t\r]|(?:;|{_BLANK})*{_SIGN})")
_AFTER = {
    separator: re.compile(f"{separator}(?P<piece>(?:(?![;\t\r\n]){_BLANK})*{_SIGN}[^;\t\r\n]*)")
    for separator in ";\t\r\n"
}
_NUMBER = re.compile(r"\s*[-+]?[0-9][0-9.,]*(?:[eE][-+]?[0-9]+)?%?\s*")
_ITEM = re.compile(r"\s*[-+]\s")
_RULE = re.compile(r"\s*[-=+]{2,}\s*")
_CALL = re.compile(r"\w\s{0,9}\(")


def harmless(text: str) -> str:
    """The text with an apostrophe before everything that could be run."""
    shown = text
    for separator, pattern in _AFTER.items():
        if separator in shown:
            shown = pattern.sub(_marked, shown)
    if _BEGINS.match(text) and not _NUMBER.fullmatch(text):
        shown = "'" + shown
    return shown


def _marked(found: re.Match[str]) -> str:
    separator, piece = found[0][0], found["piece"]
    is_text = separator in "\r\n" and _is_line_of_text(piece)
    return found[0] if is_text or _NUMBER.fullmatch(piece) else f"{separator}'{piece}"


def _is_line_of_text(piece: str) -> bool:
    """Whether it is a list item that calls nothing, or a line of signs."""
    calls = bool(_CALL.search(piece)) or ("|" in piece and "!" in piece)
    return bool(_RULE.fullmatch(piece)) or (bool(_ITEM.match(piece)) and not calls)


# The columns, named as the package names them

LEDGER = ("custom_id", "outcome", "error")
EXTRAS = ("answers", "logprobs", "audio")
ARGUMENT = "tool_arguments."

_MOST_ARGUMENTS = 100
_LOGPROBS_OF_RESPONSES = "message.output_text.logprobs"


@dataclass
class Asked:
    """What the requests ask for, as far as it determines columns.

    Attributes:
        kinds: the kinds of answer, such as `answer`, `embedding` or `tool_arguments.day`.
        schema: the JSON Schema of the answers; empty if there is none.
    """

    kinds: tuple[str, ...] = ("answer",)
    schema: dict[str, Any] = field(default_factory=dict)

    @property
    def properties(self) -> dict[str, Any]:
        """The properties of the schema."""
        return object_of(self.schema.get("properties"))


def asked_by(files: Iterable[Path]) -> Asked:
    """What the first request asks for: all requests of one table ask for the same."""
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
        given: the source's columns.
        asked: what the requests ask for.

    Attributes:
        names: the name in the table of each of the source's columns.
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
        """The answer's cells, without columns for which it has nothing."""
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
    """The name if it is free, else with the prefix, else with a number too; it is then taken."""
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
