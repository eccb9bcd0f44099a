"""One outcome for every request: the best line that any of the result files has for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from batchkit.answers import Reading, read_line
from batchkit.ending import Exit, Stop, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MISSING = Reading("", "missing", "missing")
"""The outcome of a request for which no file has a line."""

_RANK = {"ok": 3, "truncated": 2, "refused": 2, "invalid": 2, "failed": 1}


class Place(NamedTuple):
    """Where the line of a request's outcome lies."""

    file: int
    offset: int


class Ledger:
    """The outcomes in some result files; of each line only its place is held in memory.

    Args:
        files: output and error files, of all attempts, the oldest first.

    Attributes:
        outcomes: by custom_id: rank, and the place of the line.
        unreadable: lines that are not result lines.
    """

    def __init__(self, files: list[Path]) -> None:
        self._files = files
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
                    yield MISSING._replace(custom_id=custom_id)
                    continue
                stream = streams[found[1].file]
                stream.seek(found[1].offset)
                yield read_line(stream.readline()) or MISSING._replace(custom_id=custom_id)
        finally:
            for stream in streams:
                stream.close()

    def _add_file(self, number: int, path: Path) -> None:
        if not path.is_file():
            raise Stop(Exit.INPUT, f"There is no file {quoted(str(path))}.", "Check the path.")
        offset = 0
        with path.open("rb") as stream:
            for line in stream:
                reading = read_line(line)
                if reading is not None and reading.outcome != "pending":
                    rank = _RANK.get(reading.outcome, 0)
                    known = self.outcomes.get(reading.custom_id)
                    if known is None or rank > known[0]:
                        self.outcomes[reading.custom_id] = (rank, Place(number, offset))
                elif reading is None and line.strip():
                    self.unreadable += 1
                offset += len(line)


def request_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """The custom_id and the line of every request in a request file."""
    if not path.is_file():
        raise Stop(Exit.INPUT, f"There is no file {quoted(str(path))}.", "Check the path.")
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                request = json.loads(line)
                request["body"]  # a result line has none
                yield str(request["custom_id"]), line
            except (ValueError, TypeError, KeyError):
                raise Stop(
                    Exit.INPUT,
                    f"Line {number} of {quoted(path.name)} is no request.",
                    "validate_batch_file.py says more.",
                ) from None
