"""A file that another program of Windows has open: tried again for a while, then named as that."""

import os
import sys
import threading

import pytest

from doubleword_batch import open_files
from doubleword_batch.atomic_files import atomic_file, not_written, rename, write_text
from doubleword_batch.errors import InputError, StoreError
from doubleword_batch.open_files import open_regular
from doubleword_batch.paths import Roots
from doubleword_batch.sources import open_source

ACCESS_DENIED, SHARING_VIOLATION, LOCK_VIOLATION = 5, 32, 33


class Holder:
    """Another program: Windows refuses `change` so many times while it has the file open."""

    def __init__(self, monkeypatch, change, code, times):
        self.refused = 0
        real = getattr(os, change)

        def refuse(path, *others, **options):
            if self.refused >= times:
                return real(path, *others, **options)
            self.refused += 1
            error = PermissionError(13, "Access is denied", str(path))
            error.winerror = code
            raise error

        monkeypatch.setattr(os, change, refuse)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(open_files, "_PATIENCE_SECONDS", 0.1)


@pytest.mark.parametrize("code", [ACCESS_DENIED, SHARING_VIOLATION, LOCK_VIOLATION])
def test_a_file_that_is_held_for_a_moment_is_replaced_all_the_same(tmp_path, monkeypatch, code):
    path = tmp_path / "out.csv"
    write_text(path, "old")
    holder = Holder(monkeypatch, "replace", code, times=3)

    write_text(path, "new")

    assert path.read_text(encoding="utf-8") == "new"
    assert holder.refused == 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_held_for_a_moment_is_renamed(tmp_path, monkeypatch):
    (tmp_path / "building").mkdir()
    Holder(monkeypatch, "replace", SHARING_VIOLATION, times=2)

    rename(tmp_path / "building", tmp_path / "job")

    assert (tmp_path / "job").is_dir()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("code", [ACCESS_DENIED, SHARING_VIOLATION, LOCK_VIOLATION])
def test_a_file_that_stays_open_elsewhere_is_left_and_named_as_that(tmp_path, monkeypatch, code):
    path = tmp_path / "out.csv"
    write_text(path, "old")
    Holder(monkeypatch, "replace", code, times=1_000)

    with pytest.raises(StoreError) as refused, atomic_file(path) as file:
        file.write(b"new")

    assert refused.value.code == "not_written"
    assert refused.value.retryable
    assert "another program has it open" in refused.value.message
    assert "Close it there" in refused.value.hint
    assert "space" not in refused.value.hint
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("impatient")
def test_the_unfinished_file_goes_also_where_a_scanner_looks_at_it(tmp_path, monkeypatch):
    Holder(monkeypatch, "unlink", SHARING_VIOLATION, times=1)

    def write_half():
        with atomic_file(tmp_path / "out.csv") as file:
            file.write(b"half")
            raise ValueError("no such answer")

    with pytest.raises(ValueError, match="no such answer"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_right_is_not_said_to_be_another_program(tmp_path, monkeypatch):
    Holder(monkeypatch, "replace", ACCESS_DENIED, times=1_000)
    monkeypatch.setattr(open_files, "_PATIENCE_SECONDS", 0)

    with pytest.raises(StoreError) as refused, atomic_file(tmp_path / "new.csv") as file:
        file.write(b"x")

    assert "another program" not in refused.value.message
    assert not refused.value.retryable


def test_only_a_full_disk_is_said_to_need_space(tmp_path):
    then = "fetch again"
    full = not_written(tmp_path / "x", OSError(28, "No space left on device"), then=then)
    denied = not_written(tmp_path / "x", PermissionError(13, "Permission denied"), then=then)

    assert full.hint == "Free some space there, then fetch again."
    assert "space" not in denied.hint
    assert denied.hint.endswith("then fetch again.")


class HeldForItself:
    """Another program that lets nobody open the file, for so many attempts."""

    def __init__(self, monkeypatch, times, code=SHARING_VIOLATION):
        self.refused = 0
        self._times, self._code, self._real = times, code, os.open
        monkeypatch.setattr(open_files, "WALKS_FOLDERS", False)
        monkeypatch.setattr(open_files, "_code_of_opening", lambda _path: self._code)
        monkeypatch.setattr(open_files.os, "open", self._open)

    def _open(self, path, *others, **options):
        if self.refused >= self._times:
            return self._real(path, *others, **options)
        self.refused += 1
        raise PermissionError(13, "Permission denied", str(path))


@pytest.mark.parametrize("code", [SHARING_VIOLATION, LOCK_VIOLATION])
def test_a_file_that_another_program_has_for_itself_for_a_moment_is_read(
    tmp_path, monkeypatch, code
):
    path = tmp_path.resolve() / "a.csv"
    path.write_text("text\nhello\n", encoding="utf-8")
    holder = HeldForItself(monkeypatch, 3, code)

    with open_regular(path) as stream:
        assert stream.read() == path.read_bytes()
    assert holder.refused == 3


@pytest.mark.usefixtures("impatient")
def test_a_source_that_another_program_keeps_for_itself_is_named_as_that(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("text\nhello\n", encoding="utf-8")
    HeldForItself(monkeypatch, 1_000)

    with pytest.raises(InputError) as refused:
        open_source("a.csv", Roots([tmp_path]))

    assert "another program has it open" in refused.value.message
    assert "Close it there" in refused.value.hint


def test_a_file_without_a_right_to_read_it_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("text\nhello\n", encoding="utf-8")
    holder = HeldForItself(monkeypatch, 1_000, ACCESS_DENIED)

    with pytest.raises(PermissionError, match="Permission denied"):
        open_regular(tmp_path.resolve() / "a.csv")
    assert holder.refused == 1


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.CreateFileW.restype = wintypes.HANDLE

    def hold(path):
        """Open a file so that nobody else does."""
        handle = _kernel32.CreateFileW(str(path), 0x80000000, 0, None, 3, 0, None)
        assert handle != wintypes.HANDLE(-1).value
        return lambda: _kernel32.CloseHandle(wintypes.HANDLE(handle))

    def test_on_windows_a_file_that_is_let_go_in_time_is_read_and_replaced(tmp_path, monkeypatch):
        monkeypatch.setattr(open_files, "_PATIENCE_SECONDS", 30)  # a loaded machine takes its time
        path = tmp_path.resolve() / "a.csv"
        write_text(path, "old")
        for use in (lambda: open_regular(path).close(), lambda: write_text(path, "new")):
            threading.Timer(0.3, hold(path)).start()
            use()
        assert path.read_text(encoding="utf-8") == "new"

    @pytest.mark.usefixtures("impatient")
    def test_on_windows_a_file_that_is_kept_is_left_and_named_as_held(tmp_path):
        path = tmp_path.resolve() / "a.csv"
        write_text(path, "old")
        let_go = hold(path)
        with pytest.raises(PermissionError, match="another program has it open"):
            open_regular(path)
        with pytest.raises(StoreError, match="another program has it open"):
            write_text(path, "new")
        let_go()
        assert path.read_text(encoding="utf-8") == "old"


@pytest.mark.skipif(sys.platform != "linux", reason="the rule is enforced on Linux by the tests")
@pytest.mark.usefixtures("impatient")
def test_the_tests_hold_the_package_to_the_rule_of_windows(tmp_path):
    path, folder = tmp_path / "out.csv", tmp_path / "job"
    write_text(path, "old")
    folder.mkdir()
    with (folder / "part").open("w"), path.open("rb"):
        for change in (
            lambda: write_text(path, "new"),
            lambda: rename(path, tmp_path / "other.csv"),
            lambda: rename(folder, tmp_path / "done"),
        ):
            with pytest.raises(StoreError, match="another program has it open"):
                change()
        path.rename(tmp_path / "out.csv")  # a test may do what it likes
    write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
