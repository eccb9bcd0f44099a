"""What Windows refuses: a file that another program has open, a missing right, a name."""

import os
from pathlib import Path

import pytest

from skill.places import script_module

ACCESS_DENIED, SHARING_VIOLATION = 5, 32


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write over a file that Windows does not let go, for so many times."""
    atomic_files = script_module("atomic_files")
    monkeypatch.setattr(atomic_files, "_PATIENCE_SECONDS", 0.1)
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"old")
    real = Path.replace

    def write(code, times):
        refused = iter(range(times))

        def replace(part, target):
            if next(refused, None) is None:
                return real(part, target)
            error = PermissionError(13, "Access is denied", str(part))
            error.winerror = code
            raise error

        monkeypatch.setattr(Path, "replace", replace)
        atomic_files.write_whole(path, [b"new"])
        return path.read_bytes()

    return write


@pytest.mark.parametrize("code", [ACCESS_DENIED, SHARING_VIOLATION])
def test_one_that_is_held_for_a_moment_is_replaced(written, code):
    assert written(code, times=1) == b"new"


@pytest.mark.parametrize("code", [ACCESS_DENIED, SHARING_VIOLATION])
def test_one_that_stays_open_elsewhere_is_named_as_that(written, code):
    with pytest.raises(Exception, match="Another program has") as stopped:
        written(code, times=1_000)
    assert type(stopped.value).__name__ == "ScriptError"


def test_one_that_may_not_be_written_is_not_said_to_be_open_elsewhere(written, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(Exception, match="Access is denied") as stopped:
        written(ACCESS_DENIED, times=1_000)
    assert type(stopped.value).__name__ == "ScriptError"


@pytest.mark.parametrize(
    "name", ["a.csv:b.jsonl", "NUL", "con.csv", "com1 .jsonl", "what?.jsonl", "requests.jsonl."]
)
def test_a_name_that_windows_cannot_have_is_refused_and_nothing_is_written(
    tmp_path, monkeypatch, name
):
    atomic_files = script_module("atomic_files")
    monkeypatch.setattr(atomic_files, "_IS_WINDOWS", True)
    with pytest.raises(Exception, match="Windows cannot have a file named") as stopped:
        atomic_files.write_whole(tmp_path / name, [b"x"])
    assert type(stopped.value).__name__ == "ScriptError"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["contents.csv", "nul_1.jsonl", "a (1) ä [b].jsonl", ".hidden"])
def test_a_name_that_windows_can_have_is_written(tmp_path, monkeypatch, name):
    atomic_files = script_module("atomic_files")
    monkeypatch.setattr(atomic_files, "_IS_WINDOWS", True)
    atomic_files.write_whole(tmp_path / name, [b"x"])
    assert (tmp_path / name).read_bytes() == b"x"
