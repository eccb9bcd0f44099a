"""A file that takes the place of another: who may read it, and what nothing can replace."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from doubleword_batch.atomic_files import atomic_file, write_text
from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_file_that_replaces_another_is_read_by_those_who_could_read_that_one(tmp_path):
    path = tmp_path / "out.csv"
    for mode in (0o600, 0o640, 0o604):
        path.write_text("earlier", encoding="utf-8")
        path.chmod(mode)
        with atomic_file(path) as file:
            (unfinished,) = tmp_path.glob(".out.csv.*.part")
            assert oct(unfinished.stat().st_mode & 0o777) == oct(mode)
            file.write(b"new")
        assert path.read_text(encoding="utf-8") == "new"
        assert oct(path.stat().st_mode & 0o777) == oct(mode)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives files away")
def test_a_file_that_replaces_another_has_its_owner_and_group(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("earlier", encoding="utf-8")
    os.chown(path, 1234, 4321)
    write_text(path, "new")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


ALLOWED = 1234


def access_list(*entries):
    """The bytes of a POSIX ACL: (tag, permissions, id)."""
    header = (2).to_bytes(4, "little")
    return header + b"".join(
        tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + who.to_bytes(4, "little")
        for tag, rights, who in entries
    )


@pytest.mark.skipif(sys.platform != "linux", reason="where Python knows such lists")
def test_a_file_that_replaces_another_has_its_access_list(tmp_path):
    path, nobody = tmp_path / "out.csv", 0xFFFFFFFF
    path.write_text("earlier", encoding="utf-8")
    users = [(1, 6, nobody), (2, 4, ALLOWED), (4, 0, nobody), (16, 4, nobody), (32, 0, nobody)]
    try:
        os.setxattr(path, "system.posix_acl_access", access_list(*users))
    except OSError as error:
        pytest.skip(f"this file system has none: {error.strerror}")
    write_text(path, "new")
    assert os.getxattr(path, "system.posix_acl_access") == access_list(*users)


@contextmanager
def as_somebody_else():
    """A folder that everybody may write to, and not to be root meanwhile."""
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("only root can be somebody else")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o1777)
        for path in ("theirs.csv", "protected.csv"):
            (folder / path).write_text("precious", encoding="utf-8")
            (folder / path).chmod(0o666)
        os.chown(folder / "theirs.csv", 1234, 1234)
        os.chown(folder / "protected.csv", 65534, 65534)
        (folder / "protected.csv").chmod(0o444)
        os.chown(folder, 4321, 4321)
        os.setresuid(65534, 65534, 0)
        try:
            yield folder
        finally:
            os.setresuid(0, 0, 0)


@pytest.mark.parametrize(
    ("name", "why"), [("theirs.csv", "another user"), ("protected.csv", "write-protected")]
)
def test_a_file_that_nobody_may_replace_is_refused_before_any_work(name, why):
    with as_somebody_else() as folder:
        with pytest.raises(InputError, match=why) as refused:
            Roots([folder]).writable(name, overwrite=True)
        assert (folder / name).read_text(encoding="utf-8") == "precious"
    assert refused.value.code == "not_written"


MOUNTED = """
import subprocess, sys
from pathlib import Path
from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots

folder = Path(sys.argv[1])
subprocess.run(["mount", "--bind", folder / "outside", folder / "a b\\.csv"], check=True)
try:
    Roots([folder]).writable("a b\\.csv", overwrite=True)
except InputError as error:
    print(error.code, error.message)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mounts of single files are Linux's")
def test_a_file_that_a_container_was_given_alone_is_refused_before_any_work(tmp_path):
    for name in ("outside", "a b\\.csv"):
        (tmp_path / name).touch()
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("this user may mount nothing")
    ended = subprocess.run(
        [*alone, sys.executable, "-c", MOUNTED, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ended.stdout.startswith("not_written ")
    assert "mounted as a single file" in ended.stdout
