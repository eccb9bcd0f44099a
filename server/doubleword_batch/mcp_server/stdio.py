"""The MCP server on stdin and stdout: stdout is protocol only, the log goes to stderr."""

import io
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from doubleword_batch.errors import ConfigError
from doubleword_batch.mcp_server.server import build_server
from doubleword_batch.settings import Settings

_BLOCK_BYTES = 1 << 16
_END_SECONDS = 5.0
_NO_MESSAGE = re.compile(rb"^(?![ \t\r]*[\[{]).*\n", re.MULTILINE)

_HIGH, _LOW, _HEX = rb"u[dD][89abAB]", rb"u[dD][c-fC-F]", rb"[0-9a-fA-F]"
_ESCAPE = re.compile(
    # at a block's end: what may continue in the next one, as the first half of a pair does
    rb"(?P<unfinished>\\(?:u(?:[dD](?:[89a-fA-F](?:%(x)s)?)?)?)?\Z"
    rb"|\\%(high)s%(x)s{2}(?:\\(?:u(?:[dD](?:[c-fC-F](?:%(x)s)?)?)?)?)?\Z)"
    rb"|\\%(high)s%(x)s{2}\\%(low)s%(x)s{2}"
    rb"|(?P<half>\\u[dD][89a-fA-F]%(x)s{2})"
    rb"|\\."  # any other escape, so that the second of two backslashes does not begin one
    % {b"high": _HIGH, b"low": _LOW, b"x": _HEX},
    re.DOTALL,
)


def serve(settings: Settings | ConfigError) -> None:
    """Answer MCP requests on stdin and stdout until the host closes them or a signal arrives.

    Args:
        settings: `log_level` is the level of the log on stderr; or the error that explains why
            there are no settings.
    """
    level = settings.log_level if isinstance(settings, Settings) else "warning"
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    _end_by_signal(_relayed_stdin())
    try:
        build_server(settings).run("stdio")
    except* (BrokenPipeError, ConnectionResetError):
        # The host is gone: nobody reads what is left in stdout, and flushing it at exit would fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class MessageFilter:
    """Drops lines that are not messages: the SDK handles each as an error, which takes time.

    A message is an object or an array of objects; blank lines and all others are not.
    """

    def __init__(self) -> None:
        self._is_inside = False

    def of(self, block: bytes) -> bytes:
        """A block from the host without such lines, as far as the block has them whole."""
        begin = block.find(b"\n") + 1 if self._is_inside else 0
        if self._is_inside and not begin:
            return block
        self._is_inside = not block.endswith(b"\n")
        return block[:begin] + _NO_MESSAGE.sub(b"", block[begin:])


def _relayed_stdin() -> Callable[[], None]:
    """Put our own pipe before stdin; returns the function that ends it.

    The SDK reads in a thread that ends only with its input, and the interpreter waits for that
    thread: without this, an interrupt would hang until the host closes its side.
    """
    host = os.dup(0)
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.close(reading)
    pipe = io.FileIO(writing, "wb")

    def relay() -> None:
        with suppress(OSError, ValueError), pipe:  # closed by a signal in the meantime
            messages, characters = MessageFilter(), SurrogateFilter()
            while block := os.read(host, _BLOCK_BYTES):
                left = memoryview(characters.of(messages.of(block)))
                while left:
                    left = left[pipe.write(left) :]
        _end_at_last(0)

    threading.Thread(target=relay, name="stdin", daemon=True).start()
    return pipe.close


def _end_at_last(code: int) -> None:
    """End the process some seconds from now, whatever its threads are doing then.

    The interpreter waits for threads, and a thread may be busy for minutes: with a pattern over a
    large disk, or a prompt with a hundred thousand values. Stored data is safe: the disk is
    consistent at every moment, as after a kill.
    """
    timer = threading.Timer(_END_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()


def _end_by_signal(end: Callable[[], None]) -> None:
    """Call `end` on SIGINT or SIGTERM, even while the main thread waits for its next event.

    A Python handler runs in the main thread between two steps. A signal that comes after the last
    step before a wait, or to another thread, would only be handled after the wait, which ends with
    the host's next message; so a thread reads what Python writes when the signal arrives.
    """

    def stop(number: int, _frame: FrameType | None = None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second signal does not wait
        begin(number)

    def begin(number: int) -> None:
        _end_at_last(128 + number)
        end()

    def watch() -> None:
        while number := os.read(signals, 1):
            begin(number[0])

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if sys.platform != "win32":  # on Windows, asyncio's loop uses the only such descriptor
        signals, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=watch, name="signals", daemon=True).start()


class SurrogateFilter:
    """Repairs lone surrogates in blocks of a stream of JSON lines, wherever the blocks are cut.

    Hosts send them, and the SDK does not answer a message that has one: a text that JavaScript cut
    inside an emoji is valid JSON with half of a surrogate pair in an escape. It becomes U+FFFD
    here, before anything reads the message.
    """

    def __init__(self) -> None:
        self._held = b""

    def of(self, block: bytes) -> bytes:
        """The next bytes to pass on; an escape that may continue in the next block is held back."""
        data, self._held = self._held + block, b""
        return _ESCAPE.sub(self._mended, data) if b"\\" in data else data

    def _mended(self, found: re.Match[bytes]) -> bytes:
        if found["half"]:
            return b"\\ufffd"
        if found["unfinished"]:
            self._held = found[0]
            return b""
        return found[0]
