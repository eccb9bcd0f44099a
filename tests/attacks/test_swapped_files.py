"""A link that takes a file's or a folder's place after the check leads nowhere; no pipe hangs."""

import os
import sys
import tarfile
from pathlib import Path

import pytest

from agent import agent
from doubleword_batch import open_files
from doubleword_batch.atomic_files import atomic_file
from doubleword_batch.errors import DoublewordBatchError, InputError
from doubleword_batch.open_files import open_regular
from doubleword_batch.paths import Roots
from doubleword_batch.sources import open_source

if sys.platform == "win32":
    import _winapi

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 50


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "a.csv").write_text("text\nsecret\n", encoding="utf-8")
    return folder


@pytest.fixture(params=["walked", "compared"])
def way(request, monkeypatch):
    """Both ways of opening: folder by folder, and, as on Windows, compared afterwards."""
    if request.param == "walked" and not open_files.WALKS_FOLDERS:
        pytest.skip("this system opens no folders")
    monkeypatch.setattr(open_files, "WALKS_FOLDERS", request.param == "walked")


def swap(path, target):
    path.rename(path.with_name("moved"))
    path.symlink_to(target)


@pytest.mark.usefixtures("way")
def test_a_folder_that_becomes_a_link_is_not_read_through(work, outside):
    (work / "sub").mkdir()
    (work / "sub" / "a.csv").write_text("text\nmine\n", encoding="utf-8")
    path = Roots([work]).readable("sub/a.csv")
    swap(work / "sub", outside)
    with pytest.raises(OSError, match="link"):
        open_regular(path)


@pytest.mark.usefixtures("way")
def test_a_file_that_becomes_a_link_is_not_read_through(work, outside):
    (work / "a.csv").write_text("text\nmine\n", encoding="utf-8")
    path = Roots([work]).readable("a.csv")
    swap(work / "a.csv", outside / "a.csv")
    with pytest.raises(OSError, match="link"):
        open_regular(path)


@pytest.mark.usefixtures("way")
def test_a_folder_that_becomes_a_link_is_not_written_through(work, outside):
    (work / "sub").mkdir()
    path = Roots([work], is_for_agent=True).writable("sub/new.csv")
    swap(work / "sub", outside)
    with pytest.raises(DoublewordBatchError), atomic_file(path) as file:
        file.write(b"x")
    assert [p.name for p in outside.iterdir()] == ["a.csv"]


@pytest.mark.skipif(not open_files.WALKS_FOLDERS, reason="this system opens no folders")
def test_a_folder_that_becomes_a_link_during_the_writing_does_not_get_the_file(work, outside):
    (work / "sub").mkdir()
    path = Roots([work], is_for_agent=True).writable("sub/new.csv")

    def write_while_it_is_swapped():
        with atomic_file(path) as file:
            file.write(b"x")
            swap(work / "sub", outside)

    with pytest.raises(DoublewordBatchError):
        write_while_it_is_swapped()
    assert [p.name for p in outside.iterdir()] == ["a.csv"]


def test_a_source_that_becomes_a_link_between_two_reads_is_not_followed(work, outside):
    (work / "a.csv").write_text("text\nmine\n", encoding="utf-8")
    source = open_source("a.csv", Roots([work], is_for_agent=True))
    swap(work / "a.csv", outside / "a.csv")
    with pytest.raises(OSError, match="link"):
        list(source.rows())


def test_what_was_opened_is_what_is_read(work):
    (work / "a.csv").write_bytes(b"x" * 100_000)
    with open_regular(work / "a.csv") as file:
        swap(work / "a.csv", "/etc/passwd")
        assert file.read() == b"x" * 100_000


@pytest.mark.parametrize("make", ["pipe", "socket", "device"])
def test_a_pipe_a_socket_and_a_device_are_refused_at_once(work, make, monkeypatch):
    path = work / "x.csv"
    if make == "pipe":
        os.mkfifo(path)
    elif make == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as listener:
            monkeypatch.chdir(work)  # a socket's path has at most 107 bytes
            listener.bind(path.name)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises((InputError, OSError)):
        open_regular(path.resolve())
    for location in ("x.csv", "*.csv", "x.*"):
        with pytest.raises(InputError):
            open_source(location, Roots([work], is_for_agent=True))
        with pytest.raises(InputError):
            open_source(str(work / location), Roots(None))


def test_a_pipe_out_of_an_archive_does_not_hang_a_folder(work):
    (work / "texts").mkdir()
    pipe = tarfile.TarInfo("trap.txt")
    pipe.type = tarfile.FIFOTYPE
    with tarfile.open(work / "a.tar", "w") as archive:
        archive.addfile(pipe)
    with tarfile.open(work / "a.tar") as archive:
        archive.extractall(work / "texts", filter="fully_trusted")  # noqa: S202  # our own
    (work / "texts" / "good.txt").write_text("fine", encoding="utf-8")
    for roots in (Roots([work], is_for_agent=True), Roots(None)):
        with pytest.raises(InputError, match=r"trap\.txt is not a file"):
            open_source(str(work / "texts"), roots)
        found = open_source(str(work / "texts" / "*.txt"), roots)
        assert [row["name"] for row in found.rows()] == ["good.txt"]


@pytest.mark.parametrize(
    "name", ["/proc/self/environ", "/proc/self/fd/0", "/sys/kernel/uevent_seqnum"]
)
def test_files_that_the_kernel_makes_up_are_not_data(work, name):
    (work / "x.txt").symlink_to(name)
    for roots in (
        Roots([work, *Roots([work]).readable(".").parents], is_for_agent=True),
        Roots(None),
    ):
        for location in (name, str(work / "x.txt"), str(work / "*.txt"), str(work)):
            with pytest.raises(InputError):
                open_source(location, roots)


async def test_an_image_that_is_a_pipe_or_a_device_is_refused_at_once(settings, work):
    os.mkfifo(work / "pipe.png")
    (work / "zero.png").symlink_to("/dev/zero")
    async with agent(settings) as a:
        for name in ("pipe.png", "zero.png"):
            await a.fails("create_batch_file", rows=[{"i": name}], prompt="look", image_column="i")


class Junction:
    """What `lstat` tells of a junction of Windows: a folder that leads elsewhere."""

    st_reparse_tag = 0xA0000003

    def __init__(self, found):
        self._found = found

    def __getattr__(self, name):
        return getattr(self._found, name)


@pytest.fixture
def junction(work, outside, monkeypatch):
    """A folder of texts in which a junction leads out; elsewhere than on Windows, its double."""
    place = work / "notes" / "far"
    place.parent.mkdir()
    (place.parent / "a.txt").write_text("mine", encoding="utf-8")
    if sys.platform == "win32":
        _winapi.CreateJunction(str(outside), str(place))
        return place
    place.mkdir()
    (place / "b.txt").write_text("secret", encoding="utf-8")
    real = Path.lstat
    monkeypatch.setattr(
        Path, "lstat", lambda path: Junction(real(path)) if path == place else real(path)
    )
    monkeypatch.setattr(open_files, "_JUNCTION", Junction.st_reparse_tag)
    return place


def test_a_junction_in_a_folder_of_texts_is_refused(work, junction):
    assert open_files.is_link(junction)
    with pytest.raises(InputError, match="is a link to a folder"):
        open_source(str(work / "notes"), Roots([work]))
