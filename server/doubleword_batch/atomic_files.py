"""Writes files that appear whole or not at all.

The content goes to a temporary file beside the target, with an unpredictable name that a planted
link cannot redirect. It is flushed to the disk and then renamed. If the writing fails before that,
the target stays as it was and the temporary file is removed. A process that is
killed leaves its temporary file. It was locked while the process was alive, and the next writer of
the same target removes it.

A file that replaces another gets its owner, group, mode and ACL, so that it is open to the same
people.

On Windows a file that another program has open (a virus scanner, a sync client, Excel) cannot be
replaced, renamed or removed. Most programs close it within a moment, so this is retried for about
two seconds (`open_files.py`); after that the error says so.

Files outside the state directory are created and renamed in a folder that was opened without
following links (`open_files.py`); their paths are already resolved.
"""

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from doubleword_batch.errors import InputError, StoreError
from doubleword_batch.liveness import hold, is_held
from doubleword_batch.open_files import (
    CLOSE_IT,
    IN_USE,
    is_plain_file,
    keep_rights,
    may_be_in_use,
    open_regular,
    opened_folder,
    retry_while_in_use,
    why_not_replaced,
)
from doubleword_batch.path_text import LONGEST_PATH_OF_WINDOWS, units_of_windows

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

TRY_AGAIN = "try again"

_SHORTEN_IT = "Choose a shorter folder or name, or enable long paths in Windows"
_IS_WINDOWS = os.name == "nt"

_COPIED_BYTES = 1 << 20
_SHOWN_CHARACTERS = 24  # of the target's name: leaves room for a suffix that a writer adds
_LEFT_AFTER_SECONDS = 2.0  # a writer has no lock for a moment, before and after the writing
_FULL_ERRNO = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_FULL_WORDS = ("No space left", "File too large", "quota exceeded")


@contextmanager
def atomic_file(
    path: Path, *, private: bool = False, overwrite: bool = True, then: str = TRY_AGAIN
) -> Generator[BinaryIO]:
    """Open a file for writing bytes; when the block ends, it becomes `path`.

    Args:
        path: the target; its folder must exist.
        private: in the state directory, readable by the owner only; otherwise with the rights of
            the file that it replaces, or as the umask says.
        overwrite: False to refuse a target that exists by then.
        then: what to do if it could not be written, once the cause is gone.

    Raises:
        InputError: code `output_exists`.
        StoreError: code `disk_full` or `not_written`, for every error of the operating system
            inside the block.
    """
    with as_store_error(path, then):
        file = AtomicFile(path, private=private)
        try:
            yield file.stream
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
    """Write a whole file as UTF-8, with line ends unchanged; errors as in `atomic_file`."""
    write_bytes(path, text.encode(), private=private, overwrite=overwrite)


def copy_file(source: Path, path: Path, *, private: bool = False) -> None:
    """Copy the content of a file; errors as in `atomic_file`.

    Raises:
        OSError: the source cannot be opened, or is not a regular file.
    """
    with open_regular(source.resolve()) as content, atomic_file(path, private=private) as file:
        shutil.copyfileobj(content, file, _COPIED_BYTES)


class AtomicFile:
    """A file being written, for writers of several files that get their names together.

    Args:
        path: the target; a resolved path, unless it is private.
        private: in the state directory, readable by the owner only; otherwise with the rights of
            the file that it replaces, or as the umask says.

    Attributes:
        path: the target.
        temporary: its name until `publish`.
        stream: open for writing until `finish`.

    Raises:
        OSError: from every method: it cannot be written, or a link is in its path by now.
    """

    def __init__(self, path: Path, *, private: bool = False) -> None:
        self.path = path
        self.temporary = _temporary(path)
        self._is_private = private
        with self._folder() as folder:
            if private:
                self.stream = _create(self.temporary, 0o600, folder)
                return
            _remove_leftovers(path, folder)
            replaces = is_plain_file(path)
            self.stream = _create(self.temporary, 0o600 if replaces else 0o666, folder)
            if not _IS_WINDOWS:  # there nobody removes an open file
                hold(self.stream.fileno())
            if replaces:
                keep_rights(self.stream.fileno(), _at(path, folder), folder)

    def sync(self) -> None:
        """Flush the content to the disk."""
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def finish(self) -> None:
        """Close the file and flush its content to the disk."""
        self.sync()
        if not _IS_WINDOWS:
            with suppress(OSError):  # it has no lock from here on, and flushing may take long
                os.utime(self.stream.fileno())
        self.stream.close()

    def publish(self, *, overwrite: bool = True) -> None:
        """Give the finished file its name, durably.

        Raises:
            InputError: code `output_exists`: the name is taken and `overwrite` is False.
        """
        with self._folder() as folder:
            if overwrite:
                _replace(_at(self.temporary, folder), _at(self.path, folder), folder)
            else:
                _name_if_free(self.temporary, self.path, folder)
            sync_folder(self.path.parent, folder)

    def discard(self) -> None:
        """Close and remove the temporary file; after `publish` there is none."""
        with suppress(OSError):  # the rest of the buffer may not fit on the disk
            self.stream.close()
        with suppress(OSError), self._folder() as folder:
            if os.path.lexists(self.temporary):
                _unlink(_at(self.temporary, folder), folder)

    def _folder(self) -> "AbstractContextManager[int | None]":
        return nullcontext(None) if self._is_private else opened_folder(self.path.parent)


def publish_together(files: Sequence[AtomicFile]) -> None:
    """Give finished files of one folder their names, all or none, durably.

    Raises:
        OSError: a file cannot be renamed; those renamed before are removed.
    """
    given: list[Path] = []
    try:
        for file in files:
            _replace(file.temporary, file.path, None)
            given.append(file.path)
    except OSError:
        for path in given:
            with suppress(FileNotFoundError):
                _unlink(path, None)
        raise
    for folder in {path.parent for path in given}:
        sync_folder(folder)


def rename(path: Path, target: Path) -> None:
    """Rename a file or folder of the state directory; a file with the new name is replaced.

    Raises:
        StoreError: code `not_written` or `disk_full`.
    """
    with as_store_error(target):
        _replace(path, target, None)


def sync_folder(folder: Path, opened: int | None = None) -> None:
    """Make new names in a folder durable; `opened` is its descriptor, if it is open."""
    with suppress(OSError):  # Windows cannot open folders
        name = folder if opened is None else "."
        descriptor = os.open(name, os.O_RDONLY, dir_fd=opened)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_writable(path: Path) -> None:
    """Reject a target that cannot be written, before any work is done for it.

    Creates a file beside it and removes it again: permissions, read-only and special file systems
    differ too much to be checked in any other way. Its name is as long as the target's, because
    Windows counts the whole path. An existing file may not be replaceable.

    Raises:
        InputError: code `not_written`.
        StoreError: code `disk_full`.
    """
    if path.exists() and (fault := why_not_replaced(path)):
        raise InputError(f"{path} {fault}.", hint="Give another output path.", code="not_written")
    probe = _temporary(path)
    probe = probe.with_name(probe.name.ljust(len(path.name), "x"))
    try:
        with opened_folder(path.parent) as folder:
            _create(probe, 0o600, folder).close()
            _unlink(_at(probe, folder), folder)
    except OSError as error:
        if is_disk_full(error):
            raise not_written(path, error) from None
        too_long = _too_long(error, probe)
        raise InputError(
            f"No file can be created in {path.parent}: {too_long or error.strerror or error}.",
            hint=f"{_SHORTEN_IT}." if too_long else "Choose a writable folder.",
            code="not_written",
        ) from None


def output_exists(path: Path) -> InputError:
    """The error for a target that already exists."""
    return InputError(
        f"{path} exists and was left as it is.",
        hint="Give another output path, or set overwrite to replace it.",
        code="output_exists",
    )


def not_written(path: Path, error: Exception, *, then: str = TRY_AGAIN) -> StoreError:
    """The error for a full disk (`disk_full`) or another failure to write (`not_written`).

    If only another program is in the way, the error is retryable.

    Args:
        path: the file or folder that was to be written.
        error: an OSError, or the error of a writer such as sqlite3 or DuckDB.
        then: what to do once the cause is gone.
    """
    is_full = is_disk_full(error)
    held = isinstance(error, OSError) and may_be_in_use(error, path)
    if is_full:
        reason, advice = "no space is left", "Free some space there"
    elif held:
        reason, advice = IN_USE, CLOSE_IT
    elif too_long := _too_long(error, path):
        reason, advice = too_long, _SHORTEN_IT
    else:
        reason = _reason(error, path)
        advice = "Check that its folder exists and is writable, or choose another one"
    return StoreError(
        f"{path} could not be written: {reason}.",
        hint=f"{advice}, then {then}.",
        code="disk_full" if is_full else "not_written",
        retryable=is_full or held,
    )


@contextmanager
def as_store_error(path: Path, then: str = TRY_AGAIN) -> Generator[None]:
    """Turn every error of the operating system inside into `not_written` or `disk_full`."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not from the operating system, such as our own TimeoutError
            raise
        raise not_written(path, error, then=then) from None


def is_disk_full(error: Exception) -> bool:
    """Whether an error says that the disk, a quota or a limit on file size is exhausted.

    Recognised by an OSError's errno, SQLite's result code, or DuckDB's text for an errno.
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


def _too_long(error: Exception, path: Path) -> str | None:
    """The reason, if a file could not be created because its path is too long for Windows."""
    if not (_IS_WINDOWS and isinstance(error, OSError) and error.errno == errno.ENOENT):
        return None
    names = (name for name in (error.filename, error.filename2) if isinstance(name, str))
    longest = max(map(units_of_windows, (str(path), *names)))
    if longest <= LONGEST_PATH_OF_WINDOWS:
        return None
    return f"the path has {longest} characters, and Windows allows {LONGEST_PATH_OF_WINDOWS}"


def _reason(error: Exception, path: Path) -> str:
    """The system's message; if reading another file failed, that file is named."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if not isinstance(error.filename, str):
        return error.strerror
    named = Path(error.filename)
    is_ours = len(named.parts) == 1 or bool({named, named.parent} & {path, path.parent})
    return error.strerror if is_ours else f"{error.strerror}: {named}"


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name[:_SHOWN_CHARACTERS]}.{secrets.token_hex(8)}.part")


def _remove_leftovers(path: Path, folder: int | None) -> None:
    """Remove the temporary files left by killed processes that were writing this target."""
    shown = re.escape(path.name[:_SHOWN_CHARACTERS])
    is_temporary = re.compile(rf"\.{shown}\.[0-9a-f]{{16}}\.partx*", re.DOTALL).fullmatch
    with suppress(OSError):  # the folder may be writable and not readable
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in entries if is_temporary(entry.name)]
        for left in map(path.with_name, names):
            with suppress(OSError):
                if _is_abandoned(left):
                    os.unlink(_at(left, folder), dir_fd=folder)


def _is_abandoned(path: Path) -> bool:
    return time.time() - path.lstat().st_mtime > _LEFT_AFTER_SECONDS and not is_held(path)


def _at(path: Path, folder: int | None) -> Path | str:
    """The name to use for a file: its bare name in a folder that is open, otherwise its path."""
    return path if folder is None else path.name


def _replace(path: Path | str, target: Path | str, folder: int | None) -> None:
    retry_while_in_use(lambda: os.replace(path, target, src_dir_fd=folder, dst_dir_fd=folder))


def _unlink(path: Path | str, folder: int | None) -> None:
    retry_while_in_use(lambda: os.unlink(path, dir_fd=folder))


def _create(path: Path, mode: int, folder: int | None) -> BinaryIO:
    """Create a file that must not exist, not even as a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(_at(path, folder), flags, mode, dir_fd=folder)
    return os.fdopen(descriptor, "wb", buffering=_COPIED_BYTES)


def _name_if_free(temporary: Path, path: Path, folder: int | None) -> None:
    unfinished, target = _at(temporary, folder), _at(path, folder)
    try:
        # Fails if the name is taken, unlike a rename.
        os.link(unfinished, target, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:
        raise output_exists(path) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise output_exists(path) from None
        _replace(unfinished, target, folder)
    else:
        _unlink(unfinished, folder)
