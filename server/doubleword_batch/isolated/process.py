"""Starts a child process, talks to it, and kills it when it exceeds its limits."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Literal, Self, cast

import msgspec

from doubleword_batch.child_environment import detached
from doubleword_batch.errors import StoreError, quote_untrusted

_TICK_SECONDS = 0.05
_START_SECONDS = 60.0  # it takes 0.05 s on an idle machine
_LONGEST_FRAME_BYTES = 256 << 20
_PACKAGE = Path(__file__).resolve().parent.parent
_START = """\
import sys
sys.path += sys.argv[3:]
from doubleword_batch.isolated.child import main
main(sys.argv[1], int(sys.argv[2]))
"""
# Without these, Python itself does not start on some systems. None of them is a key.
_KEPT_VARIABLES = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

is_cancelled: ContextVar[Callable[[], bool]] = ContextVar("is_cancelled", default=lambda: False)
"""Returns whether this context's work was abandoned; its child processes then end at once."""

Reason = Literal["too_slow", "abandoned", "gone"]


class ChildEndedError(Exception):
    """The child has ended.

    Attributes:
        reason: `too_slow` and `abandoned`: it was killed; `gone`: it ended by itself, usually
            because it needed more memory than allowed.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class ChildProcess:
    """A child that answers requests with frames, all of them JSON.

    One thread at a time talks to it. Use it as a context manager: leaving it kills the child.

    Args:
        work: `sql`, `schema`, `document` or `workbook`.
        memory_bytes: how much it may allocate, where the system can enforce that (Linux and
            Windows; elsewhere the child's own libraries limit themselves as far as they can).
        packages: top-level packages that it imports besides the standard library.
        cancelled: checked all the time; True kills it. By default `is_cancelled` of the caller.

    Raises:
        StoreError: code `no_process`: no process can be started now.
    """

    def __init__(
        self,
        work: Literal["sql", "schema", "document", "workbook"],
        *,
        memory_bytes: int,
        packages: Sequence[str] = (),
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._cancelled = cancelled or is_cancelled.get()
        self._is_up = False
        self._until: float | None = None
        self._killed: Reason | None = None
        self._closed = threading.Event()
        folders = [str(_PACKAGE.parent), *map(_folder_of, packages)]
        command = [_interpreter(), "-I", "-S", "-c", _START, work, str(memory_bytes), *folders]
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and words
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=_PACKAGE,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                **detached(starts_others=False),
            )
        except OSError as error:
            raise _not_started(error) from None
        self._requests = cast("IO[bytes]", self._process.stdin)
        self._frames = cast("IO[bytes]", self._process.stdout)
        try:
            threading.Thread(target=self._watch, name="child-watch", daemon=True).start()
        except RuntimeError as error:  # no more threads
            self.close()
            raise _not_started(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: dict[str, Any], *, seconds: float) -> None:
        """Send a request.

        Raises:
            ChildEndedError: it has ended.
            StoreError: code `no_process`: it did not start.
        """
        if not self._is_up:
            self._come_up()
        self._until = time.monotonic() + seconds
        try:
            self._requests.write(msgspec.json.encode(request) + b"\n")
            self._requests.flush()
        except (OSError, ValueError):  # a broken or closed pipe
            raise self._ended() from None
        finally:
            self._until = None

    def frame(self, *, seconds: float) -> Any:
        """The next frame, waiting at most this long.

        Raises:
            ChildEndedError: it has ended.
        """
        self._until = time.monotonic() + seconds
        try:
            line = self._frames.readline(_LONGEST_FRAME_BYTES)
            # A complete frame counts, even if the child was killed a moment later.
            if line.endswith(b"\n"):
                return msgspec.json.decode(line)
        except (OSError, ValueError):  # DecodeError is a ValueError
            pass
        finally:
            self._until = None
        raise self._ended()

    def _come_up(self) -> None:
        try:
            self.frame(seconds=_START_SECONDS)
        except ChildEndedError as ended:
            if ended.reason == "abandoned":
                raise
            raise _not_started(f"Python ended at once ({sys.executable})") from None
        self._is_up = True

    def close(self) -> None:
        """Kill the child and wait for its end, which takes milliseconds."""
        self._closed.set()
        self._process.kill()
        for stream in (self._requests, self._frames):
            try:
                stream.close()
            except OSError:  # buffered data cannot be sent any more
                continue
        self._process.wait()

    def _ended(self) -> ChildEndedError:
        self.close()
        return ChildEndedError(self._killed or "gone")

    def _watch(self) -> None:
        while not self._closed.wait(_TICK_SECONDS):
            until = self._until
            if self._cancelled():
                self._killed = "abandoned"
            elif until is not None and time.monotonic() > until:
                self._killed = "too_slow"
            if self._killed is not None:
                self._process.kill()
                return


def _interpreter() -> str:
    """On Windows, a virtual environment's python.exe only starts another one and waits for it."""
    if sys.platform == "win32":
        return str(getattr(sys, "_base_executable", "") or sys.executable)
    return sys.executable


def _folder_of(package: str) -> str:
    found = find_spec(package)
    places = (found.submodule_search_locations if found else None) or []
    return str(Path(next(iter(places))).parent) if places else ""


def _not_started(reason: object) -> StoreError:
    return StoreError(
        f"No process can be started now: {quote_untrusted(str(reason))}.",
        hint="Let other work end first, or raise the limits on open files and processes "
        "(ulimit -n, ulimit -u).",
        code="no_process",
        retryable=True,
    )
