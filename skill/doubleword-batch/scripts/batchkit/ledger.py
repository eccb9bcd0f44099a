"""One outcome for every request: the best line that any of the result files has for it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from batchkit.answer_shapes import Answer
from batchkit.answers import OPEN_THOUGHTS, Reading, read_line
from batchkit.cli import Exit, ScriptError, check_file_is_there, quoted
from batchkit.journal import read_state
from batchkit.json_values import object_of
from batchkit.loose_json import decode_or_none
from batchkit.object_lines import objects_in
from batchkit.result_line import custom_id_in
from batchkit.schema_check import SchemaCheck
from batchkit.settings import takes_strict_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MISSING = Reading("", "missing", "missing")
"""The outcome of a request for which no file has a line."""

STOPPED = frozenset({"cancelled", "expired"})
UNREADABLE = "unreadable"
"""The cause of rows without a line whose answers the server counts: asking again pays again."""

WAITING = ("pending", "pending")
"""Outcome and cause of a request whose batch has not returned all its lines yet."""

_RANK = {"ok": 3, "truncated": 2, "refused": 2, "invalid": 2, "failed": 1}


class Place(NamedTuple):
    """Where a request's outcome is: the line at that offset, or the nth result in that line."""

    file: int
    offset: int
    nth: int | None


class Ledger:
    """The outcomes in some result files; only the position of each line is kept in memory.

    Args:
        files: output and error files of all attempts, oldest first.
        schema: the schema that answers must fit.
        ended: by custom_id, outcome and cause of a request without a line: `cancelled`, ...

    Attributes:
        outcomes: by custom_id: rank, and the position of the line.
        unreadable: lines that are not result lines.
        tokens: in and out, of all attempts: each was paid for.
    """

    def __init__(
        self,
        files: list[Path],
        schema: dict[str, Any] | None = None,
        ended: dict[str, tuple[str, str]] | None = None,
    ) -> None:
        self._files = files
        self._check = SchemaCheck(schema, is_strict=takes_strict_json()) if schema else None
        self._ended = ended or {}
        self._counted: set[bytes] = set()
        self.tokens = [0, 0]
        self.outcomes: dict[str, tuple[int, Place]] = {}
        self.unreadable = 0
        for number, path in enumerate(files):
            self._add_file(number, path)

    def readings(self, custom_ids: Iterable[str]) -> Iterator[Reading]:
        """The outcome of each of these requests, in this order."""
        streams = [path.open("rb") for path in self._files]
        try:
            for custom_id in custom_ids:
                found = self.outcomes.get(custom_id)
                if found is None:
                    yield Reading(custom_id, *self._ended.get(custom_id, MISSING[1:3]))
                    continue
                stream = streams[found[1].file]
                stream.seek(found[1].offset)
                line, nth = stream.readline(), found[1].nth
                reading = self._read(line if nth is None else objects_in(line)[nth])
                yield reading or MISSING._replace(custom_id=custom_id)
        finally:
            for stream in streams:
                stream.close()

    def _add_file(self, number: int, path: Path) -> None:
        offset = 0
        with path.open("rb") as stream:
            for line in stream:
                reading = self._read(line)
                if reading is not None:
                    self._add(line, reading, Place(number, offset, None))
                elif line.strip():
                    for nth, result in enumerate(objects_in(line) or [line]):
                        self._add(result, self._read(result), Place(number, offset, nth))
                offset += len(line)

    def _add(self, line: bytes, reading: Reading | None, place: Place) -> None:
        self._add_tokens(line, reading)
        if reading is not None and reading.outcome != "pending":
            rank = _RANK.get(reading.outcome, 0)
            known = self.outcomes.get(reading.custom_id)
            if known is None or rank > known[0]:
                self.outcomes[reading.custom_id] = (rank, place)
        elif reading is None:
            self.unreadable += 1

    def _read(self, line: bytes) -> Reading | None:
        """A line's outcome, with the answer checked against the schema."""
        try:
            reading = read_line(line)
            if reading is None or self._check is None:
                return reading
            is_whole = reading.outcome == "ok" or reading.cause == OPEN_THOUGHTS
            return self._check.judged(reading) if is_whole else reading
        except Exception:  # noqa: BLE001  # a bug that hits one line must not cost the others
            return _kept(line)

    def _add_tokens(self, line: bytes, reading: Reading | None) -> None:
        """Count what a line cost, but only once, even if it is in two files."""
        if reading is None or not (reading.input_tokens or reading.output_tokens):
            return
        digest = hashlib.sha256(line).digest()[:16]
        if digest not in self._counted:
            self._counted.add(digest)
            self.tokens[0] += reading.input_tokens
            self.tokens[1] += reading.output_tokens


def _kept(line: bytes) -> Reading | None:
    """The outcome of a line that could not be read: it was paid for, and is kept as received."""
    custom_id = custom_id_in(object_of(decode_or_none(line)))
    if custom_id is None:
        return None
    text = line.decode("utf-8", "replace").strip()
    return Reading(
        custom_id,
        "invalid",
        "unknown_body",
        text,
        "the line has no known shape",
        parts=Answer(text),
    )


def ended_without_a_line(files: Iterable[Path]) -> dict[str, tuple[str, str]]:
    """Outcome and cause of requests without a line, if their batch tells; else `missing`."""
    ended: dict[str, tuple[str, str]] = {}
    for path in files:
        state = path.with_name(path.name + ".state.json")
        try:
            entries = read_state(state)
        except OSError:
            continue
        status = entries.get("ended")
        if status in STOPPED:
            fate = (status, status)
        elif status is None and (entries.get("batch_id") or entries.get("create_sent_at")):
            fate = WAITING
        else:
            fate = ("missing", entries.get("lacking") or "missing")
        ended.update((custom_id, fate) for custom_id, _ in request_lines(path))
    return ended


def request_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """The custom_id and the line of every request in a request file."""
    check_file_is_there(path)
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                request = json.loads(line)
                request["body"]  # a result line has none
                yield str(request["custom_id"]), line
            except (ValueError, TypeError, KeyError):
                raise ScriptError(
                    Exit.INPUT,
                    f"Line {number} of {quoted(path.name)} is not a request.",
                    "validate_batch_file.py says more.",
                ) from None
