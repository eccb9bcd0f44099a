"""Files that appear whole or not at all.

The content goes to a temporary file beside the target. Its name cannot be predicted, and a planted
link cannot redirect it. It is synchronised to the disk and then renamed. If the writing ends before
that, the target stays as it was and the temporary file is removed.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from doubleword_batch.errors import InputError, StoreError

_COPIED_BYTES = 1 << 20
_SHOWN_CHARACTERS = 24  # of the target's name: writers that add a suffix of their own still fit
_FULL_ERRNO = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_FULL_WORDS = ("No space left", "File too large", "quota exceeded")


@contextmanager
def atomic_file(
    path: Path, *, private: bool = False, overwrite: bool = True, hint: str | None = None
) -> Generator[BinaryIO]:
    """Open a file for writing bytes; on leaving, it becomes `path`.

    Args:
        path: the target; its folder exists.
        private: readable by the owner only, else as the umask says.
        overwrite: False refuses a target that exists by then.
        hint: what to do when it cannot be written, in place of a general hint.

    Raises:
        InputError: code `output_exists`.
        StoreError: code `disk_full` or `not_written`, for every error of the operating system
            inside.
    """
    with _as_store_error(path, hint):
        file = AtomicFile(path, private=private)
        try:
            yield file.stream
            file.finish()
            file.publish(overwrite=overwrite)
        finally:
            file.discard()


@contextmanager
def atomic_path(
    path: Path, *, private: bool = False, overwrite: bool = True, hint: str | None = None
) -> Generator[Path]:
    """As `atomic_file`, for a writer that opens files by name: yields an empty temporary file.

    The writer's own errors (sqlite3, DuckDB) pass through; `not_written` understands them.
    """
    with _as_store_error(path, hint):
        file = AtomicFile(path, private=private)
        try:
            file.stream.close()
            yield file.temporary
            if private:
                file.temporary.chmod(0o600)  # a writer may have put a file of its own there
            file.finish()
            file.publish(overwrite=overwrite)
        finally:
            file.discard()


def write_bytes(
    path: Path, content: bytes, *, private: bool = False, overwrite: bool = True
) -> None:
    """Write a whole file; errors as in `atomic_file`."""
    with atomic_file(path, private=private, overwrite=overwrite) as file:
        file.write(content)


def write_text(path: Path, text: str, *, private: bool = False, overwrite: bool = True) -> None:
    """Write a whole file as UTF-8, line ends unchanged; errors as in `atomic_file`."""
    write_bytes(path, text.encode(), private=private, overwrite=overwrite)


def copy_file(source: Path, path: Path, *, private: bool = False, overwrite: bool = True) -> None:
    """Copy the content of a file; errors as in `atomic_file`.

    Raises:
        OSError: the source cannot be opened.
    """
    with (
        source.open("rb") as content,
        atomic_file(path, private=private, overwrite=overwrite) as file,
    ):
        shutil.copyfileobj(content, file, _COPIED_BYTES)


class AtomicFile:
    """A file being written, for writers of several files that get their names together.

    Args:
        path: the target.
        private: readable by the owner only, else as the umask says.

    Attributes:
        path: the target.
        temporary: the name until `publish`.
        stream: open for writing until `finish`.

    Raises:
        OSError: from every method: it cannot be written.
    """

    def __init__(self, path: Path, *, private: bool = False) -> None:
        self.path = path
        self.temporary = _temporary(path)
        self.stream = _create(self.temporary, 0o600 if private else 0o666)

    def finish(self) -> None:
        """Close the file and put its content on the disk."""
        self.stream.close()
        with self.temporary.open("rb+") as written:  # Windows syncs no file opened for reading
            os.fsync(written.fileno())

    def publish(self, *, overwrite: bool = True) -> None:
        """Give the finished file its name, durably.

        Raises:
            InputError: code `output_exists`: the name is taken and `overwrite` is False.
        """
        if overwrite:
            self.temporary.replace(self.path)
        else:
            _name_if_free(self.temporary, self.path)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """Close and remove the temporary file; after `publish` there is none."""
        with suppress(OSError):  # the rest of the buffer may not fit on the disk
            self.stream.close()
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)


def publish_together(files: Sequence[AtomicFile]) -> None:
    """Give finished files of one folder their names, all or none, durably.

    Raises:
        OSError: a file cannot be renamed; those renamed before are removed.
    """
    given: list[Path] = []
    try:
        for file in files:
            file.temporary.replace(file.path)
            given.append(file.path)
    except OSError:
        for path in given:
            path.unlink(missing_ok=True)
        raise
    for folder in {path.parent for path in given}:
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable."""
    with suppress(OSError):  # Windows does not open folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_writable(path: Path) -> None:
    """Reject a target that cannot be written, before any work is spent on it.

    A file is created beside it and removed: permissions, read-only and special file systems differ
    too much to be checked in any other way.

    Raises:
        InputError: code `not_written`.
        StoreError: code `disk_full`.
    """
    probe = _temporary(path)
    try:
        _create(probe, 0o600).close()
        probe.unlink()
    except OSError as error:
        if is_disk_full(error):
            raise not_written(path, error) from None
        raise InputError(
            f"No file can be created in {path.parent}: {error.strerror or error}.",
            hint="Choose a writable folder.",
            code="not_written",
        ) from None


def output_exists(path: Path) -> InputError:
    """The error for a target that exists already."""
    return InputError(
        f"{path} exists and was left as it is.",
        hint="Give another output path, or ask to overwrite it.",
        code="output_exists",
    )


def not_written(path: Path, error: Exception, *, hint: str | None = None) -> StoreError:
    """The error for a full disk (`disk_full`) or another failure to write (`not_written`).

    Args:
        path: the file or folder that was to be written.
        error: an OSError, or the error of a writer such as sqlite3 or DuckDB.
        hint: in place of a general one.
    """
    full = is_disk_full(error)
    reason = "no space is left" if full else _reason(error, path)
    general = (
        "Free some space there, then try again."
        if full
        else "Check that its folder exists and may be written to, or choose another one."
    )
    return StoreError(
        f"{path} could not be written: {reason}.",
        hint=hint or general,
        code="disk_full" if full else "not_written",
        retryable=full,
    )


def is_disk_full(error: Exception) -> bool:
    """Whether an error says that the disk, a quota or a limit on a file's size is exhausted.

    Known by the errno of an OSError, by SQLite's result code, and by DuckDB's words for an errno.
    """
    sqlite_code = getattr(error, "sqlite_errorcode", None)
    if sqlite_code is not None:
        import sqlite3

        return sqlite_code in {
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_IOERR_WRITE,
            sqlite3.SQLITE_IOERR_FSYNC,
        }
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL_ERRNO
    return any(words in str(error) for words in _FULL_WORDS)


def _reason(error: Exception, path: Path) -> str:
    """The system's words; what was read for the file may have failed, and is named then."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if not isinstance(error.filename, str):
        return error.strerror
    named = Path(error.filename)
    is_ours = bool({named, named.parent} & {path, path.parent})
    return error.strerror if is_ours else f"{error.strerror}: {named}"


@contextmanager
def _as_store_error(path: Path, hint: str | None) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not of the operating system, such as a TimeoutError of ours
            raise
        raise not_written(path, error, hint=hint) from None


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name[:_SHOWN_CHARACTERS]}.{secrets.token_hex(8)}.part")


def _create(path: Path, mode: int) -> BinaryIO:
    """Create a file that must not exist, not even as a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, mode), "wb", buffering=_COPIED_BYTES)


def _name_if_free(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # fails where the name is taken, unlike a rename
    except FileExistsError:
        raise output_exists(path) from None
    except OSError:  # a file system without hard links
        if path.exists():
            raise output_exists(path) from None
        temporary.replace(path)
