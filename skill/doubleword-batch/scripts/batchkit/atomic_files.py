"""Writes the scripts' own files: whole or not at all, private to their owner, never through a link.

They are beside files that may come from anybody, who may also have put something under their names:
a link would choose which of the person's files is read or written, and a pipe would block forever.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
import zlib
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from batchkit.cli import Exit, ScriptError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from batchkit.limits import Limits

_ACCESS_DENIED, _SHARING_VIOLATION, _LOCK_VIOLATION = 5, 32, 33  # error codes of Windows
_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 0.05

_IS_WINDOWS = os.name == "nt"
_NO_NAME_THERE = re.compile(
    r"""(?: .*[<>:"|?*\x00-\x1f].* | .*[ .]  # otherwise a stream of another file, or another name
    | (?:CON|PRN|AUX|NUL|COM[0-9¹²³]|LPT[0-9¹²³])[ ]*(?:\..*)? )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def private(path: str, flags: int) -> int:
    """An `opener` for `open`: files it creates can only be read by their owner."""
    return os.open(path, flags, 0o600)


_OWN_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_own(path: Path, mode: str) -> BinaryIO:
    """Open a file that only the scripts write, in binary mode.

    Raises:
        ScriptError: the path is a link, or something else that is not a file.
        OSError: as `open`.
    """
    if path.is_symlink():
        raise _not_ours(path)
    try:
        stream = open(  # noqa: SIM115  # the caller closes it
            path, mode, opener=lambda name, flags: private(name, flags | _OWN_FLAGS)
        )
    except OSError:
        if os.path.lexists(path) and not path.is_file():
            raise _not_ours(path) from None
        raise
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise _not_ours(path)
    return stream  # type: ignore[return-value]


def _not_ours(path: Path) -> ScriptError:
    return ScriptError(
        Exit.STATE,
        f"{quoted(str(path))} is a link, or not a file.",
        "Only these scripts write there: remove it.",
    )


def check_name(path: Path) -> None:
    """Refuse a name that Windows cannot have, or takes for a device, a stream or another name."""
    if _IS_WINDOWS and _NO_NAME_THERE.fullmatch(path.name):
        raise ScriptError(
            Exit.INPUT,
            f"Windows cannot have a file named {quoted(path.name)}; nothing was written.",
            "Give another name.",
        )


def check_output(path: Path, inputs: Iterable[Path] = (), *, overwrite: bool) -> None:
    """Refuse a file that cannot or must not be written, before any work is done for it.

    Args:
        path: the file to write.
        inputs: the files that are read for it.
        overwrite: whether an existing file may be replaced.

    Raises:
        ScriptError: the file is refused.
    """
    refuse_target(path, inputs, overwrite=overwrite)
    check_can_write(path)


def refuse_target(path: Path, inputs: Iterable[Path] = (), *, overwrite: bool) -> None:
    """Refuse a path that is not a file's, or a file that must stay; arguments as `check_output`."""
    check_name(path)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _no_output(path, error) from None
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        why, hint = "is not a regular file", "Give another name."
    elif any(_is_same(path, each) for each in inputs):
        why, hint = "is one of the files that are read", "Give another name."
    elif overwrite:
        return
    else:
        why, hint = "already exists", "Give another name, or --overwrite to replace it."
    raise ScriptError(Exit.INPUT, f"{quoted(str(path))} {why}; nothing was written.", hint)


def check_can_write(path: Path) -> None:
    """Refuse a file that cannot be created in its folder or under its name."""
    probe = unfinished(path)
    probe = probe.with_name(probe.name.ljust(len(path.name), "x"))  # Windows counts the whole path
    try:
        with suppress(FileNotFoundError):
            path.lstat()  # the name may be too long
        with open(probe, "xb", opener=private):
            pass
        probe.unlink()
    except OSError as error:
        raise _no_output(path, error) from None


def _no_output(path: Path, error: OSError) -> ScriptError:
    return ScriptError(
        Exit.INPUT,
        f"{quoted(str(path))} cannot be written: {error.strerror}.",
        "Give a shorter name, or a folder that exists and is writable.",
    )


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


_PROCESS = secrets.token_hex(8)
_SHOWN_CHARACTERS = 24
_LEFT_AFTER_SECONDS = 3600


def unfinished(path: Path) -> Path:
    """The name of a file while this process writes it; no other process uses the same."""
    return path.with_name(f"{_unfinished_name(path)}{_PROCESS}.part")


def _unfinished_name(path: Path) -> str:
    """Its beginning; short enough for every file whose own name is not too long."""
    name = path.name.encode(errors="surrogatepass")
    return f".{path.name[:_SHOWN_CHARACTERS]}.{zlib.crc32(name):08x}."


def _remove_leftovers(path: Path) -> None:
    """Remove what processes killed an hour ago or earlier left of this file."""
    begins = _unfinished_name(path)
    with suppress(OSError):
        for each in path.parent.iterdir():
            if each.name.startswith(begins) and each.name.rstrip("x").endswith(".part"):
                with suppress(OSError):
                    if time.time() - each.lstat().st_mtime > _LEFT_AFTER_SECONDS:
                        each.unlink()


@contextmanager
def being_written(path: Path) -> Iterator[BinaryIO]:
    """Open the unfinished file of `path`; `publish` renames it, an error removes it.

    Raises:
        ScriptError: the disk does not accept it.
    """
    check_name(path)
    _remove_leftovers(path)
    part = unfinished(path)
    try:
        with naming(path, part), open(part, "xb", opener=private) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: Path, written: Path | None = None) -> Iterator[None]:
    """Name `path` in the error when it cannot be written; `written` is its name until then."""
    try:
        yield
    except OSError as error:
        if error.filename not in (None, str(written or path)):
            raise  # an error in reading its content
        raise _not_written(path, error) from None


def publish(path: Path) -> None:
    """Give a finished file its name, durably; an existing file of that name is replaced.

    Raises:
        ScriptError: it cannot have that name.
    """
    try:
        with naming(path, unfinished(path)):
            _rename(unfinished(path), path)
    finally:
        unfinished(path).unlink(missing_ok=True)
    with suppress(OSError):  # Windows cannot open folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _not_written(path: Path, error: OSError) -> ScriptError:
    return ScriptError(
        Exit.STATE,
        f"{quoted(str(path))} could not be written: {error.strerror or error}.",
        "Check that its folder is writable and has space, then run the same command again.",
    )


def _rename(part: Path, path: Path) -> None:
    """On Windows, a scanner or a sync client may have the target open for a moment."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while not _renamed(part, path):
        if time.monotonic() > until:
            raise ScriptError(
                Exit.STATE,
                f"Another program has {quoted(str(path))} open.",
                "Close it there, then run the same command again.",
            )
        time.sleep(_PAUSE_SECONDS)


def _renamed(part: Path, path: Path) -> bool:
    """Rename it; False if another program has one of the two open."""
    try:
        part.replace(path)
    except OSError as error:
        if not _may_be_held(error, path):
            raise
        return False
    return True


def _may_be_held(error: OSError, path: Path) -> bool:
    code = getattr(error, "winerror", None)
    if code != _ACCESS_DENIED:
        return code in (_SHARING_VIOLATION, _LOCK_VIOLATION)
    return path.is_file() and os.access(path, os.W_OK)  # otherwise the permission is missing


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file in one go."""
    with being_written(path) as stream:
        stream.writelines(pieces)
    publish(path)


# Request lines, in as many files as the limits require


class PartFiles:
    """Writes `requests.jsonl`, `requests-0002.jsonl`, ...; `publish` gives them their names.

    If the context is left without that, no file remains.
    """

    def __init__(
        self, first: Path, limits: Limits, *, overwrite: bool, inputs: Iterable[Path] = ()
    ) -> None:
        self._first = first
        self._inputs = list(inputs)
        self._limits = limits
        self._overwrite = overwrite
        self._open = ExitStack()
        self._stream: BinaryIO | None = None
        self._lines = self._bytes = 0
        self.paths: list[Path] = []
        check_output(first, self._inputs, overwrite=overwrite)

    def __enter__(self) -> PartFiles:  # noqa: PYI034  # Self is not in Python 3.9
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._open.close()
        finally:
            for path in self.paths:
                unfinished(path).unlink(missing_ok=True)

    def write(self, line: bytes) -> None:
        """Append a line, in a new file if the limits require one."""
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
        for path in self.paths:
            refuse_target(path, self._inputs, overwrite=self._overwrite)
        self._refuse_leftovers()
        for path in self.paths:
            publish(path)

    def _begin(self) -> None:
        self._open.close()
        number = len(self.paths) + 1
        path = self._first
        if number > 1:
            path = path.with_name(f"{path.stem}-{number:04}{path.suffix}")
            refuse_target(path, self._inputs, overwrite=self._overwrite)
        self.paths.append(path)
        self._stream = self._open.enter_context(being_written(path))
        self._lines = self._bytes = 0

    def _refuse_leftovers(self) -> None:
        """A part left from an earlier, longer build would be taken for a part of this build."""
        ours = re.compile(rf"{re.escape(self._first.stem)}-\d{{4}}{re.escape(self._first.suffix)}")
        for path in sorted(self._first.parent.iterdir()):
            if ours.fullmatch(path.name) and path not in self.paths:
                raise ScriptError(
                    Exit.INPUT,
                    f"{quoted(str(path))} is left from an earlier build; nothing was written.",
                    "Delete it, or give another --output.",
                )
