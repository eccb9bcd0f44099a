"""A file as a multipart form body, streamed from disk; its length is known before it is sent."""

import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

import anyio.from_thread
import anyio.to_thread

from doubleword_batch.errors import InputError
from doubleword_batch.open_files import not_readable

ByteProgress = Callable[[int, int], None]
"""Called in the event loop with the bytes of the file sent so far and its size."""

_READ_BYTES = 256 * 1024
_PROGRESS_SECONDS = 0.02  # between two reports: each waits for the event loop


class FormWithFile:
    """A form with text fields and one file, iterable once per try; a context that closes the file.

    It is produced piece by piece: `pieces` for the thread that sends it, `async for` for a custom
    transport. `headers` has its type and exact length.

    The closing boundary is sent only if the file has kept its size, so the server cannot store half
    of a file that changed meanwhile.

    Raises:
        InputError: code `file_not_found` or `not_readable`; `file_changed` while it is sent.
    """

    def __init__(
        self,
        path: Path,
        filename: str,
        fields: dict[str, str],
        on_progress: ByteProgress | None = None,
    ) -> None:
        boundary = secrets.token_hex(16)  # a file cannot contain what nobody can guess
        self._on_progress = on_progress
        self._head = _head(boundary, fields, filename)
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._path = path
        self._file = _opened(path)
        self._file_bytes = self._size_now()
        self.headers: dict[str, str] = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + self._file_bytes + len(self._tail)),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def pieces(self) -> Iterator[bytes]:
        """The form, for a worker thread of anyio; progress is reported in the event loop."""
        due = 0.0
        for piece, sent_bytes in self._steps():
            yield piece
            now = time.monotonic()
            if self._on_progress and sent_bytes and (now >= due or sent_bytes == self._file_bytes):
                anyio.from_thread.run_sync(self._on_progress, sent_bytes, self._file_bytes)
                due = now + _PROGRESS_SECONDS

    async def __aiter__(self) -> AsyncIterator[bytes]:
        steps = self._steps()
        while (step := await anyio.to_thread.run_sync(next, steps, None)) is not None:
            piece, sent_bytes = step
            yield piece
            if self._on_progress and sent_bytes:
                self._on_progress(sent_bytes, self._file_bytes)

    def _steps(self) -> Iterator[tuple[bytes, int]]:
        """Each piece, with the file bytes in it that have been sent; 0 for what frames the file."""
        yield self._head, 0
        self._file.seek(0)
        sent_bytes = 0
        while piece := self._read():
            sent_bytes += len(piece)
            if sent_bytes > self._file_bytes:
                break
            yield piece, sent_bytes
        if not sent_bytes == self._file_bytes == self._size_now():
            raise InputError(
                f"{self._path} changed during the upload; nothing was stored.",
                hint="Upload it again once nothing writes to it any more.",
                code="file_changed",
                retryable=True,
            )
        yield self._tail, 0

    def _read(self) -> bytes:
        try:
            return self._file.read(_READ_BYTES)
        except OSError as error:
            raise _unreadable(self._path, error) from None

    def _size_now(self) -> int:
        return os.fstat(self._file.fileno()).st_size


def _opened(path: Path) -> BinaryIO:
    try:
        if path.is_file():  # opening a pipe would wait for its writer
            return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None
    raise InputError(f"There is no file {path}.", hint="Check the path.", code="file_not_found")


def _head(boundary: str, fields: dict[str, str], filename: str) -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
        f'filename="{_quotable(filename)}"\r\nContent-Type: application/jsonl\r\n\r\n'
    )
    return "".join(parts).encode()


def _quotable(filename: str) -> str:
    # A quote, backslash or line break in a name must not end the header.
    return "".join(
        f"%{ord(c):02X}" if c in '"\\' or ord(c) < 32 or ord(c) == 127 else c  # noqa: PLR2004
        for c in filename.encode("utf-8", "replace").decode()
    )


def _unreadable(path: Path, error: OSError) -> InputError:
    hint = "Check its permissions and those of its folder."
    return not_readable(f"The file {path}", error, hint)
