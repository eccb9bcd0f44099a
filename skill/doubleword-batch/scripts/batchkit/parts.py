"""Request lines onto the disk, in as many files as the limits ask for, all of them or none."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

from batchkit.ending import Exit, Stop, quoted
from batchkit.whole_files import being_written, check_name, publish, unfinished

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO

    from batchkit.limits import Limits


class PartFiles:
    """Writes `requests.jsonl`, `requests-0002.jsonl`, ...; `publish` gives them their names.

    Leaving the context without that leaves nothing behind.
    """

    def __init__(self, first: Path, limits: Limits, *, overwrite: bool) -> None:
        self._first = first
        self._limits = limits
        self._overwrite = overwrite
        self._open = ExitStack()
        self._stream: BinaryIO | None = None
        self._lines = self._bytes = 0
        self.paths: list[Path] = []
        check_name(first)
        self._refuse_to_replace([first])

    def __enter__(self) -> PartFiles:  # noqa: PYI034  # Self is not in Python 3.9
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()
        for path in self.paths:
            unfinished(path).unlink(missing_ok=True)

    def write(self, line: bytes) -> None:
        """Append a line, in a new file where the limits want one."""
        full = self._lines >= self._limits.max_requests
        if self._stream is None or full or self._bytes + len(line) > self._limits.max_file_bytes:
            self._begin()
        if self._stream is not None:
            self._stream.write(line)
        self._lines += 1
        self._bytes += len(line)

    def publish(self) -> None:
        """Finish the last file and give all of them their names."""
        self._open.close()
        self._refuse_to_replace(self.paths)
        self._refuse_leftovers()
        for path in self.paths:
            publish(path)

    def _begin(self) -> None:
        self._open.close()
        number = len(self.paths) + 1
        path = self._first
        if number > 1:
            path = path.with_name(f"{path.stem}-{number:04}{path.suffix}")
        self.paths.append(path)
        self._stream = self._open.enter_context(being_written(path))
        self._lines = self._bytes = 0

    def _refuse_to_replace(self, paths: list[Path]) -> None:
        for path in paths:
            if path.exists() and not self._overwrite:
                raise Stop(
                    Exit.INPUT,
                    f"{quoted(str(path))} is there already; nothing was written.",
                    "Give another --output, or --overwrite to replace it.",
                )

    def _refuse_leftovers(self) -> None:
        """A part of an earlier, longer build would pass for one of this build."""
        ours = re.compile(rf"{re.escape(self._first.stem)}-\d{{4}}{re.escape(self._first.suffix)}")
        for path in sorted(self._first.parent.iterdir()):
            if ours.fullmatch(path.name) and path not in self.paths:
                raise Stop(
                    Exit.INPUT,
                    f"{quoted(str(path))} is left from an earlier build; nothing was written.",
                    "Delete it, or give another --output.",
                )
