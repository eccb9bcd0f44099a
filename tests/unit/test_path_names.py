"""What names mean on each system, tried on whatever system the tests run on."""

import errno
import os
import unicodedata
from contextlib import nullcontext
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleword_batch import atomic_files, open_files, paths
from doubleword_batch.errors import InputError
from doubleword_batch.path_text import (
    check_names_of_windows,
    fault_on_windows,
    is_system_folder,
    is_too_long_for_windows,
    names_below,
)
from doubleword_batch.paths import Roots

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Größe é") for form in ("NFC", "NFD"))
NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=8
).filter(lambda name: name not in {".", ".."})


@pytest.mark.parametrize(
    ("platform", "given", "root", "is_inside"),
    [
        ("linux", "/data/a.csv", "/data", True),
        ("linux", "/Data/a.csv", "/data", False),
        ("linux", f"/{COMPOSED}/a.csv", f"/{DECOMPOSED}", False),
        ("darwin", "/Data/a.csv", "/data", True),
        ("darwin", f"/{COMPOSED}/a.csv", f"/{DECOMPOSED}", True),
        ("darwin", f"/{DECOMPOSED.upper()}/a.csv", f"/{COMPOSED}", True),
        ("darwin", "/data-2/a.csv", "/data", False),
        ("darwin", "/database", "/data", False),
        ("darwin", "/", "/data", False),
        ("win32", "C:/Data/a.csv", "c:/data", True),
        ("win32", "D:/data/a.csv", "C:/data", False),
        ("win32", f"C:/{COMPOSED}/a.csv", f"C:/{DECOMPOSED}", False),
        ("win32", "C:/straße/a.csv", "C:/strasse", False),
        # a network drive, which resolves to its server
        ("win32", "//server/share/data/a.csv", "//SERVER/Share/Data", True),
        ("win32", "//server/share/a.csv", "//server/share", True),
        ("win32", "//server/other/a.csv", "//server/share", False),
        ("win32", "//server2/share/a.csv", "//server/share", False),
        ("win32", "Z:/a.csv", "//server/share", False),
    ],
)
def test_names_are_compared_as_the_file_system_does(platform, given, root, is_inside):
    kind = PureWindowsPath if platform == "win32" else PurePosixPath
    below = names_below(kind(given), kind(root), platform)
    assert (below is not None) == is_inside
    assert below in {None, ("a.csv",)}


@given(st.lists(NAMES, max_size=4), st.lists(NAMES, max_size=3))
def test_whatever_lies_in_a_folder_does_so_on_every_system(above, below):
    folder = PurePosixPath("/", *above)
    for platform in ("linux", "darwin", "win32"):
        assert names_below(folder.joinpath(*below), folder, platform) == tuple(below)


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_macos_takes_every_case_and_form_of_a_folder_for_the_same(above):
    folder = PurePosixPath("/", *above)
    for form in ("NFC", "NFD"):
        written = PurePosixPath("/", *(unicodedata.normalize(form, name) for name in above))
        assert names_below(written / "a.csv", folder, "darwin") == ("a.csv",)


ANCHORS = ("C:/", "Z:/", "//server/share/", "//server/share2/", "//server2/share/", "//?/C:/")
PLAIN_NAMES = st.text(st.sampled_from("aBz1é -"), min_size=1, max_size=4)


@given(
    st.sampled_from(ANCHORS),
    st.sampled_from(ANCHORS),
    st.lists(PLAIN_NAMES, max_size=3),
    st.sampled_from([str.lower, str.upper, str.swapcase]),
)
def test_windows_takes_every_case_of_a_drive_or_share_for_the_same_and_no_other(
    anchor, other, above, case
):
    folder = PureWindowsPath(anchor, *above)
    assert names_below(PureWindowsPath(case(str(folder)), "a.csv"), folder, "win32") == ("a.csv",)
    elsewhere = PureWindowsPath(other, *above, "a.csv")
    assert (names_below(elsewhere, folder, "win32") is None) == (other != anchor)


def test_a_name_that_only_looks_the_same_opens_nothing_on_a_stricter_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "names_below", lambda path, root: names_below(path, root, "darwin"))
    for name in ("data", "DATA"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "a.csv").write_text("x")
    roots = Roots([tmp_path / "data"])
    assert roots.readable(tmp_path / "data" / "a.csv")
    if not (tmp_path / "data").samefile(tmp_path / "DATA"):
        with pytest.raises(InputError) as refused:
            roots.readable(tmp_path / "DATA" / "a.csv")
        assert refused.value.code == "outside_roots"


WINDOWS = {
    "SystemRoot": r"C:\Windows",
    "ProgramFiles": r"C:\Program Files",
    "ProgramFiles(x86)": r"C:\Program Files (x86)",
}
HOME = PureWindowsPath(r"C:\Users\Ada")


@pytest.mark.parametrize(
    ("folder", "is_nobodys"),
    [
        (r"C:\Windows\System32", True),
        (r"c:\windows\SYSTEM32", True),
        (r"C:\Windows", True),
        (r"C:\Program Files\Claude", True),
        ("C:\\", True),
        (r"\\srv\share", True),
        ("\\\\srv\\share\\", True),
        (r"\\srv\share\data", False),
        (r"C:\Users\ada", True),
        (r"C:\users", True),
        (r"C:\Users\Ad", False),
        (r"C:\Users\Ada\data", False),
        (r"D:\data", False),
        (r"C:\Windows.old", False),
    ],
)
def test_a_host_s_working_directory_on_windows_is_not_a_root_where_nobody_s_data_lies(
    folder, is_nobodys
):
    assert is_system_folder(PureWindowsPath(folder), HOME, WINDOWS, "win32") == is_nobodys


@pytest.mark.parametrize(
    ("platform", "folder", "is_nobodys"),
    [
        ("linux", "/", True),
        ("linux", "/home", True),
        ("linux", "/home/ada", True),
        ("linux", "/home/ada/data", False),
        ("linux", "/home/Ada", False),
        ("darwin", "/Home/Ada", True),
        ("darwin", "/home/ada/data", False),
    ],
)
def test_elsewhere_the_disk_and_what_holds_the_home_folder_are_not_roots(
    platform, folder, is_nobodys
):
    home = PurePosixPath("/home/ada")
    assert is_system_folder(PurePosixPath(folder), home, {}, platform) == is_nobodys


@pytest.mark.parametrize(
    "name",
    [
        *("what?.csv", "a*.csv", "a<b.csv", "a>b.csv", "a|b.csv", 'a"b.csv'),
        *("a.csv:stream", "a:b", "CON", "con.csv", "NUL.tar.gz", "com1.csv", "LPT³.csv", "aux "),
        *("CONIN$", "a.csv.", "a.csv ", "a. .", "tab\there.csv"),
    ],
)
def test_a_name_that_windows_cannot_have_is_known_as_that(name):
    assert fault_on_windows(name)


@pytest.mark.parametrize(
    "name",
    [
        "a.csv",
        "console.csv",
        "com10.csv",
        ".hidden",
        "日本.csv",
        "a'b.csv",
        "a&b (1).csv",
        "..",
    ],
)
def test_a_name_that_windows_can_have_is_none(name):
    assert fault_on_windows(name) is None


@pytest.mark.parametrize(
    ("name", "is_too_long"),
    [("x" * 255, False), ("é" * 255, False), ("x" * 256, True), ("\N{PILE OF POO}" * 128, True)],
)
def test_a_name_of_windows_has_at_most_255_units_of_utf_16(name, is_too_long):
    assert is_too_long_for_windows(name) == is_too_long
    with pytest.raises(InputError) if is_too_long else nullcontext():
        check_names_of_windows(f"C:/data/{name}/a.csv")


@pytest.mark.parametrize("name", ["what?.csv", "out.csv:stream", "NUL.csv", "out.csv."])
def test_on_a_disk_of_windows_such_a_name_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, name
):
    monkeypatch.setattr(paths, "_is_for_windows", lambda _path: True)
    with pytest.raises(InputError) as refused:
        Roots(None).writable(tmp_path / name)
    assert refused.value.code in {"not_written", "invalid_argument"}  # Windows itself has none such
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("folder", "name"), [(150, "x" * 120 + ".csv"), (240, "answers.csv")])
def test_a_path_too_long_for_windows_is_refused_as_that_before_anything_is_written(
    tmp_path, monkeypatch, folder, name
):
    def as_windows_opens(path, *arguments, **options):
        if len(str(path)) > 259:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return real(path, *arguments, **options)

    deep = tmp_path / ("f" * (folder - len(str(tmp_path)) - 1))
    deep.mkdir()
    real = os.open
    monkeypatch.setattr(os, "open", as_windows_opens)
    monkeypatch.setattr(open_files, "WALKS_FOLDERS", False)  # the paths are whole there
    monkeypatch.setattr(atomic_files, "_IS_WINDOWS", True)

    with pytest.raises(InputError, match=r"path has 27\d characters, .* allows 259") as refused:
        Roots(None).writable(deep / name)

    assert refused.value.code == "not_written"
    assert "long paths" in refused.value.hint
    assert list(deep.iterdir()) == []
