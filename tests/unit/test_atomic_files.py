"""A file appears whole or not at all, whatever its name, its folder or its disk is like."""

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from doubleword_batch.atomic_files import (
    AtomicFile,
    atomic_file,
    copy_file,
    is_disk_full,
    not_written,
    publish_together,
    write_bytes,
    write_text,
)
from doubleword_batch.errors import InputError, StoreError
from doubleword_batch.paths import Roots

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")

LONGEST_NAME = "ü" * 125 + ".json"  # 255 bytes, the most that common file systems allow


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path):
    with atomic_file(tmp_path / "out.jsonl") as file:
        file.write(b"a line\n")
        assert "out.jsonl" not in names(tmp_path)
    assert names(tmp_path) == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_bytes() == b"a line\n"


def test_an_error_while_writing_leaves_the_earlier_file(tmp_path):
    def write_half():
        with atomic_file(tmp_path / "out.txt") as file:
            file.write(b"half")
            raise ValueError("no such answer")

    write_text(tmp_path / "out.txt", "earlier")
    with pytest.raises(ValueError, match="no such answer"):
        write_half()
    assert names(tmp_path) == ["out.txt"]
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "earlier"


@posix
def test_the_longest_name_of_a_file_system_is_written(tmp_path):
    path = Roots([tmp_path]).writable(LONGEST_NAME)
    write_bytes(path, b"x")
    assert names(tmp_path) == [LONGEST_NAME]


@pytest.mark.parametrize(
    "name",
    ["x" * 256, "x" * 300 + "*", pytest.param("ü" * 126 + ".json", marks=posix)],  # bytes there
)
def test_a_name_that_is_too_long_is_refused_before_anything_is_written(tmp_path, name):
    roots = Roots([tmp_path])
    reads = () if os.name == "nt" else (roots.readable, roots.matches)  # there is no such file
    for use in (roots.writable, *reads):
        with pytest.raises(InputError):
            use(name)


def test_a_folder_on_the_way_whose_name_is_too_long_is_refused(tmp_path):
    with pytest.raises(InputError):
        Roots([tmp_path]).writable("x" * 300 + "/out.jsonl")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that only Linux has")
def test_a_folder_in_which_no_file_can_be_created_is_refused_early(tmp_path):
    with pytest.raises(InputError) as refused:
        Roots(None).writable("/proc/x.jsonl")
    assert refused.value.code == "not_written"
    with pytest.raises(StoreError) as failed:
        write_bytes(Path("/proc/x.jsonl"), b"x")
    assert failed.value.code == "not_written"


@posix
def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        Roots([tmp_path]).writable("pipe", overwrite=True)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_checking_whether_a_file_can_be_written_leaves_nothing(tmp_path):
    Roots([tmp_path]).writable("out.jsonl")
    assert names(tmp_path) == []


@posix
def test_a_folder_that_has_vanished_is_a_store_error(tmp_path):
    folder = tmp_path / "folder"

    def write_while_it_vanishes():
        with atomic_file(folder / "out.jsonl") as file:
            file.write(b"x")
            shutil.rmtree(folder)

    folder.mkdir()
    with pytest.raises(StoreError) as failed:
        write_while_it_vanishes()
    assert (failed.value.code, failed.value.retryable) == ("not_written", False)


@posix
def test_a_private_file_is_readable_by_its_owner_only_and_another_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "private", b"x", private=True)
        write_bytes(tmp_path / "shared", b"x")
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    assert modes == {"private": "0o600", "shared": "0o640"}


def test_what_a_killed_writer_left_is_removed_by_the_next_and_what_a_living_one_has_is_not(
    tmp_path,
):
    killed, living = (AtomicFile(tmp_path / "out.csv") for _ in range(2))
    other, probe = tmp_path / ".out.csv.backup.part", f"{killed.temporary.name}xx"
    other.touch()
    (tmp_path / probe).touch()
    killed.stream.close()  # all that the system does for a process that is killed
    for path in (killed.temporary, living.temporary, other, tmp_path / probe):
        os.utime(path, (0, 0))
    write_text(tmp_path / "out.csv", "new")
    assert names(tmp_path) == sorted([living.temporary.name, other.name, "out.csv"])
    living.finish()
    living.publish()
    assert names(tmp_path) == [other.name, "out.csv"]


KILLED = """
import os, signal, sys
from pathlib import Path
from doubleword_batch.atomic_files import atomic_file

with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@posix
def test_a_kill_while_a_file_is_written_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "out.csv"
    write_text(path, "earlier")
    ended = subprocess.run([sys.executable, "-c", KILLED, path], check=False, timeout=60)
    assert ended.returncode < 0
    assert path.read_text(encoding="utf-8") == "earlier"
    for left in tmp_path.glob(".*.part"):
        os.utime(left, (0, 0))
    write_text(path, "new")
    assert names(tmp_path) == ["out.csv"]


@posix
def test_a_writer_whose_last_flush_took_long_keeps_its_file_until_it_has_its_name(tmp_path):
    path = tmp_path / "out.csv"
    slow = AtomicFile(path)
    slow.stream.write(b"whole")
    slow.sync()
    os.utime(slow.temporary, (0, 0))  # as if that had taken years
    slow.finish()
    AtomicFile(path).discard()  # another writer, in the moment in which the first has no lock
    slow.publish()
    assert path.read_bytes() == b"whole"


def test_a_dash_does_not_become_a_file_unless_it_is_meant(tmp_path):
    with pytest.raises(InputError, match="standard output"):
        Roots([tmp_path]).writable("-")
    assert Roots([tmp_path]).writable("./-") == tmp_path.resolve() / "-"


def test_a_folder_that_is_named_and_missing_does_not_become_a_file(tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        Roots([tmp_path]).writable(f"answers{os.sep}")
    assert names(tmp_path) == []


@posix
def test_a_failure_to_replace_a_file_names_the_file_and_not_the_temporary_one(tmp_path):
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(StoreError) as failed:
        write_text(tmp_path / "out.csv", "new")
    assert ".part" not in failed.value.message
    assert names(tmp_path) == ["out.csv"]


def test_an_error_of_the_program_is_not_taken_for_one_of_the_disk(tmp_path):
    def write_too_slowly():
        with atomic_file(tmp_path / "out"):
            raise TimeoutError

    with pytest.raises(TimeoutError):
        write_too_slowly()
    assert names(tmp_path) == []


def test_what_could_not_be_read_for_the_file_is_named(tmp_path):
    def write_what_is_not_there():
        with atomic_file(tmp_path / "out") as file:
            file.write((tmp_path / "elsewhere" / "in").read_bytes())

    with pytest.raises(StoreError, match=r"No such file or directory: .*elsewhere.in"):
        write_what_is_not_there()
    with pytest.raises(StoreError, match="No such file or directory") as failed:
        write_bytes(tmp_path / "no-folder" / "out", b"x")
    assert ".part" not in failed.value.message


@pytest.mark.posix("links")
def test_a_link_at_the_target_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine", encoding="utf-8")
    (tmp_path / "out").symlink_to(tmp_path / "precious")
    write_text(tmp_path / "out", "new")
    assert (tmp_path / "precious").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("has_links", [True, False], ids=["links", "a disk without hard links"])
def test_a_file_that_appears_meanwhile_is_kept_when_nothing_may_be_overwritten(
    tmp_path, monkeypatch, has_links
):
    def no_link(*_, **_options):
        raise OSError(errno.EPERM, "Operation not permitted")

    def write_beside_another():
        with atomic_file(tmp_path / "out", overwrite=False) as file:
            file.write(b"ours")
            (tmp_path / "out").write_bytes(b"theirs")

    if not has_links:
        monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(InputError) as refused:
        write_beside_another()
    assert refused.value.code == "output_exists"
    assert (tmp_path / "out").read_bytes() == b"theirs"
    write_bytes(tmp_path / "free", b"ours", overwrite=False)
    assert (tmp_path / "free").read_bytes() == b"ours"
    assert names(tmp_path) == ["free", "out"]


def test_a_copy_is_whole_and_a_missing_source_leaves_nothing(tmp_path):
    write_bytes(tmp_path / "a", b"content" * 1000)
    copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"content" * 1000
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "missing", tmp_path / "c")
    assert names(tmp_path) == ["a", "b"]


def test_several_files_get_their_names_all_or_none(tmp_path):
    (tmp_path / "second").mkdir()
    files = [AtomicFile(tmp_path / name) for name in ("first", "second")]
    for file in files:
        file.finish()
    with pytest.raises(OSError, match="second"):
        publish_together(files)
    for file in files:
        file.discard()
    assert names(tmp_path) == ["second"]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EFBIG, "File too large"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EROFS, "Read-only file system"), False),
        (OSError("the disk is on fire"), False),
        (RuntimeError("IO Error: Could not write: No space left on device"), True),
        (RuntimeError("IO Error: Permission denied"), False),
    ],
)
def test_a_full_disk_is_told_from_other_failures(error, full):
    assert is_disk_full(error) is full
    failed = not_written(Path("out"), error)
    assert (failed.code, failed.retryable) == (("disk_full" if full else "not_written"), full)


def test_a_full_sqlite_database_is_a_full_disk():
    with sqlite3.connect(":memory:") as db:
        db.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as full:
            db.execute("CREATE TABLE t AS SELECT randomblob(100000)")
    db.close()
    assert is_disk_full(full.value)


FULL_DISK = """
import resource, sys
from pathlib import Path
from doubleword_batch.atomic_files import atomic_file
from doubleword_batch.errors import StoreError

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_file(Path(sys.argv[1])) as file:
        file.write(b"x" * 2000)
except StoreError as error:
    print(error.code)
"""


@posix
def test_a_full_disk_leaves_the_earlier_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "out", "earlier")
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ended.stdout.strip() == "disk_full"
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").read_text(encoding="utf-8") == "earlier"
