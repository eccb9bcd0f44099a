"""Paths that reach a network or a device are refused by their text, before anything is resolved."""

import glob
import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent import agent
from doubleword_batch import path_text
from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots

NETWORK = (
    r"\\evil\share\x.csv",
    "//evil/share/x.csv",
    r"\/evil/share/x.csv",
    r"/\evil\share\x.csv",
    r"\\?\UNC\evil\share\x.csv",
    r"\\.\pipe\x.csv",
    "//./COM1",
    "//?/C:/x.csv",
    r"\\evil\share\*.csv",
    "//evil/share/*.csv",
    "file://evil/share/x.csv",
    "smb://evil/share/x.csv",
    r"file:\\evil\share\x.csv",
)


@contextmanager
def untouched_disk():
    """Whatever resolves or looks at a path in here fails the test.

    Not until the test's end: who writes down why it failed looks at paths, too.
    """

    def touched(*_args, **_more):
        pytest.fail("the disk was looked at")

    with pytest.MonkeyPatch.context() as patched:
        for name in ("resolve", "exists", "stat", "lstat", "is_file", "open"):
            patched.setattr(Path, name, touched)
        patched.setattr(os.path, "exists", touched)
        patched.setattr(os.path, "realpath", touched)
        patched.setattr(glob, "glob", touched)
        yield


@pytest.mark.parametrize("path", NETWORK)
def test_a_network_path_is_refused_before_the_disk_is_looked_at(work, path):
    roots = Roots([work], is_for_agent=True)
    for use in (roots.readable, roots.matches, roots.writable, roots.readable_file):
        with untouched_disk(), pytest.raises(InputError) as refused:
            use(path)
        assert refused.value.code == "outside_roots"


@pytest.mark.parametrize("path", NETWORK)
async def test_no_argument_and_no_row_takes_a_network_path(settings, reviews, path):
    order = {"source": "reviews.csv", "prompt": "{{ text }}"}
    async with agent(settings) as a:
        for wrong in (
            {"source": path, "prompt": "x"},
            {"source": f"sqlite:{path}", "prompt": "x"},
            {"source": f"{path}::t", "prompt": "x"},
            {**order, "response_schema": path},
            {**order, "output_path": path},
            {"rows": [{"i": path}], "prompt": "x", "image_column": "i"},
            {"rows": [{"i": {"path": path}}], "prompt": "x", "image_column": "i"},
        ):
            reply = await a.fails("create_batch_file", **wrong)
            assert reply["error"]["code"] != "bug", wrong
        await a.fails("upload", path=path)


@pytest.mark.parametrize(
    "path",
    ["NUL", "con.csv", "sub/AUX", r"sub\COM1.txt", "lpt9", "a.csv:b", "CONIN$", "x. ", "COM¹"],
)
def test_on_windows_devices_and_streams_are_not_read(work, monkeypatch, path):
    monkeypatch.setattr(path_text, "_IS_WINDOWS", True)
    with pytest.raises(InputError) as refused:
        Roots([work], is_for_agent=True).readable(path)
    assert refused.value.code == "outside_roots"


@pytest.mark.parametrize("path", [r"C:\data\x.csv", "C:/data/x.csv", "sub/x.csv", "../x.csv", "."])
def test_on_windows_plain_paths_pass_the_check_of_their_text(monkeypatch, path):
    monkeypatch.setattr(path_text, "_IS_WINDOWS", True)
    path_text.check_path_text(path, is_output=True)


def test_the_names_of_a_path_begin_behind_its_drive():
    path_text.check_names_of_windows(r"\\?\C:\data\x.csv")
    for path in (r"\\.\COM1", r"\\?\C:\data\NUL", r"sub\C:\x.csv", r"\\?\C:\a?.csv"):
        with pytest.raises(InputError) as refused:
            path_text.check_names_of_windows(path)
        assert refused.value.code == "not_written"


def test_names_with_colons_are_read_where_the_system_has_them(work):
    (work / "12:30 notes.csv").write_text("text\nx\n", encoding="utf-8")
    roots = Roots([work], is_for_agent=True)
    assert roots.readable("12:30 notes.csv") == work / "12:30 notes.csv"
