"""A file that another program of Windows has open: tried again for a while, then named as that."""

import os

import pytest

from doubleword_batch import atomic_files
from doubleword_batch.atomic_files import atomic_file, not_written, rename, write_text
from doubleword_batch.errors import StoreError

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
    monkeypatch.setattr(atomic_files, "_PATIENCE_SECONDS", 0.1)


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
    monkeypatch.setattr(atomic_files, "_PATIENCE_SECONDS", 0)

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
