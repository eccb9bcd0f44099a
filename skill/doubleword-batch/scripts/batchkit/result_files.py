"""Downloads result lines: resumed by `skip`, checked, then given their file names.

Whole lines are collected in `<file>.reading`, so the disk shows where to continue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchkit.atomic_files import naming, open_own, write_whole
from batchkit.cli import Exit, ScriptError, quoted
from batchkit.errors import ApiError, TransportError
from batchkit.json_values import object_of
from batchkit.loose_json import decode_or_none
from batchkit.object_lines import objects_in
from batchkit.result_line import custom_id_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchkit.api import Api

_BLOCK_BYTES = 1 << 20
_MOST_REPEATED = 3  # a line may come again if the server's lines have moved
_SPARE_LINES = 1000


def gathering(path: Path) -> Path:
    """Where the lines of a result file are kept until it is complete."""
    return path.with_name(path.name + ".reading")


class LineFile:
    """One result file being downloaded.

    Args:
        path: its name once it is complete.
        requests: how many the batch has.
        is_passing: it is never given that name.

    Attributes:
        path: its name once it is complete.
        lines: whole lines on the disk that are not in the named file yet.
    """

    def __init__(self, path: Path, requests: int, *, is_passing: bool = False) -> None:
        self.path = path
        self._is_passing = is_passing
        self._most_lines = requests * _MOST_REPEATED + _SPARE_LINES
        self._gathered = gathering(path)
        self.lines = self._cut_to_whole_lines()

    def read_on(self, api: Api, path: str) -> None:
        """Read what the server has at that path beyond our lines, despite cuts and failures."""
        retry_budget = api.retry_budget()
        while True:
            before = self.lines
            try:
                return self._append(api.lines(path, skip=self.lines))
            except (ApiError, TransportError) as error:
                if self.lines > before:
                    retry_budget.renew()
                retry_budget.wait_after(error)

    def forget(self) -> None:
        """Start again with the first line."""
        self._gathered.unlink(missing_ok=True)
        self.lines = 0

    def take(self, lines: Iterator[bytes]) -> None:
        """Replace all lines by these."""
        self.forget()
        with naming(self._gathered), open_own(self._gathered, "wb") as stream:
            for line in lines:
                stream.write(line)
                self.lines += 1

    def with_status(self, status: str) -> Iterator[bytes]:
        """The lines of a list of results whose requests have that status."""
        return (line for line in self._unique() if _field(line, "status") == status)

    def count_unique(self) -> int:
        """The number of result lines, counting repeated ones once."""
        return sum(1 for _ in self._unique())

    def custom_ids(self) -> set[str]:
        """The custom_ids of these lines."""
        found = (custom_id_in(object_of(decode_or_none(line))) for line in self._unique())
        return {custom_id for custom_id in found if custom_id is not None}

    def publish(self) -> None:
        """Give the file its name, with every line once; an earlier file of that name is kept."""
        write_whole(self.path, self._unique())
        self._gathered.unlink(missing_ok=True)

    def refuse_if_unreadable(self) -> None:
        """Stop if something came, perhaps answers, but not a single result line."""
        if self.lines and not self.count_unique():
            raise ScriptError(
                Exit.NO_CONNECTION,
                f"{quoted(str(self._gathered))} has what came; no line of it can be read.",
                "Nothing has to be paid again: the answers are in that file, at the server too.",
            )

    def _append(self, blocks: Iterator[bytes]) -> None:
        with naming(self._gathered), open_own(self._gathered, "ab") as stream:
            for block in blocks:
                stream.write(block)
                stream.flush()
                self.lines += block.count(b"\n")
                if self.lines > self._most_lines:
                    raise ScriptError(
                        Exit.NO_CONNECTION,
                        f"The server sends more lines than the batch has requests: {self.lines}.",
                        "What it has sent is kept; check DOUBLEWORD_BASE_URL.",
                    )

    def _unique(self) -> Iterator[bytes]:
        seen: set[str] = set()
        for path in (self.path, self._gathered):
            if not path.exists() or (path == self.path and self._is_passing):
                continue
            with open_own(path, "rb") as stream:
                for line in stream:
                    for name, result in _results_in(line):
                        if name not in seen:
                            seen.add(name)
                            yield result

    def _cut_to_whole_lines(self) -> int:
        """What a killed process left may end inside a line."""
        if not self._gathered.exists():
            return 0
        lines = end = position = 0
        with open_own(self._gathered, "rb+") as stream:
            for block in iter(lambda: stream.read(_BLOCK_BYTES), b""):
                lines += block.count(b"\n")
                last = block.rfind(b"\n")
                end = position + last + 1 if last >= 0 else end
                position += len(block)
            stream.truncate(end)
        return lines


def _results_in(line: bytes) -> Iterator[tuple[str, bytes]]:
    """The result line with its name; for `data: {...}` and joined lines, those inside."""
    name = _name_of(line)
    if name is not None:
        yield name, line
    elif line.strip():
        for inside in objects_in(line):
            name = _name_of(inside)
            if name is not None:
                yield name, inside


def _name_of(line: bytes) -> str | None:
    """What distinguishes a result line from all others; None if it is not a result line."""
    result: Any = decode_or_none(line)
    name = custom_id_in(result) if isinstance(result, dict) else None
    return None if name is None else f"{result.get('id') or ''} {name}"


def _field(line: bytes, name: str) -> Any:
    result: Any = decode_or_none(line)
    return result.get(name) if isinstance(result, dict) else None
