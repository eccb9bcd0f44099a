"""Uploads: the same bytes, streamed, with their exact length; and names that try to break out."""

import tracemalloc
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import anyio
import pytest

from doubleword_batch import errors
from wire.scripted_server import Answer, Received, answer, serving

STORED = answer(201, {"id": "0191b5f2-0000-7000-8000-000000000001", "bytes": 1})


def form(request: Received) -> dict[str, EmailMessage]:
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = BytesParser(policy=HTTP).parsebytes(head + request.body).iter_parts()
    return {part.get_param("name", header="content-disposition"): part for part in parts}


async def test_the_server_gets_the_files_bytes_and_the_purpose(connect, tmp_path: Path):
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(b'{"custom_id":"1"}\n' * 30_000 + "\u00fc\r\n--x".encode())
    async with serving(STORED) as server:
        await connect(server.base_url).files.upload(path)
        (request,) = server.requests
    parts = form(request)
    assert request.target == "/v1/files"
    assert "transfer-encoding" not in request.headers
    assert int(request.headers["content-length"]) == len(request.body)
    assert parts["file"].get_filename() == "reviews.jsonl"
    assert parts["file"].get_payload(decode=True) == path.read_bytes()
    assert parts["purpose"].get_payload() == "batch"
    assert set(parts) == {"purpose", "file"}


async def test_an_expiry_is_counted_from_creation(connect, tmp_path: Path):
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(b"{}\n")
    async with serving(STORED) as server:
        await connect(server.base_url).files.upload(
            path, filename="other.jsonl", expires_after_seconds=3600
        )
        parts = form(server.requests[0])
    assert parts["expires_after[anchor]"].get_payload() == "created_at"
    assert parts["expires_after[seconds]"].get_payload() == "3600"
    assert parts["file"].get_filename() == "other.jsonl"


async def test_a_large_file_is_streamed_in_constant_memory(connect, tmp_path: Path):
    path = tmp_path / "large.jsonl"
    size_bytes = 64 * 1024 * 1024
    with path.open("wb") as file:
        file.truncate(size_bytes)
    seen: list[tuple[int, int]] = []
    counted = Answer(STORED.raw, keep_body=False)
    async with serving(counted) as server:
        client = connect(server.base_url)
        tracemalloc.start()
        try:
            await client.files.upload(path, on_progress=lambda *at: seen.append(at))
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert server.requests[0].body_bytes > size_bytes
    assert peak_bytes < 8 * 1024 * 1024
    assert seen[-1] == (size_bytes, size_bytes)
    assert seen == sorted(set(seen))
    assert len(seen) > 2


@pytest.mark.parametrize(
    "name",
    [
        'a"; name="purpose',
        "a\r\nX-Evil: 1",
        'a"\r\n\r\nfine-tune\r\n--',
        "b\\",
        "\u540d\u524d 100%.jsonl",
        "\udcff",
    ],
)
async def test_a_file_name_cannot_break_out_of_its_header(connect, tmp_path: Path, name: str):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"{}\n")
    async with serving(STORED) as server:
        await connect(server.base_url).files.upload(path, filename=name)
        body = server.requests[0].body
    parts = form(server.requests[0])
    assert list(parts) == ["purpose", "file"]
    assert parts["purpose"].get_payload() == "batch"
    assert parts["file"].get_payload(decode=True) == b"{}\n"
    assert body.count(b"\r\n\r\n") == 2
    assert b"\nX-Evil" not in body


@pytest.mark.parametrize("kind", ["missing", "folder"])
async def test_a_missing_file_is_the_callers_to_fix(connect, tmp_path: Path, kind):
    path = tmp_path if kind == "folder" else tmp_path / "none.jsonl"
    async with serving() as server:
        with pytest.raises(errors.InputError) as caught:
            await connect(server.base_url).files.upload(path)
        assert server.requests == []
    assert caught.value.code == "file_not_found"
    assert str(path) in caught.value.message


@pytest.mark.parametrize("change", [b"more\n" * 1000, b""], ids=["grows", "shrinks"])
async def test_a_file_that_changes_on_the_way_is_not_stored(connect, tmp_path: Path, change):
    path = tmp_path / "growing.jsonl"
    path.write_bytes(b"x" * 2_000_000)

    def write(sent_bytes: int, _total: int) -> None:
        if sent_bytes < 1_000_000:
            with path.open("ab" if change else "r+b") as file:
                file.write(change) if change else file.truncate(1_000_000)

    async with serving(STORED) as server:
        with pytest.raises(errors.InputError) as caught:
            await connect(server.base_url).files.upload(path, on_progress=write)
        with anyio.fail_after(30):  # it sees the end of the connection a moment after we do
            while not server.requests:
                await anyio.sleep(0.01)
        (request,) = server.requests
        assert request.body_bytes < int(request.headers["content-length"])
    assert caught.value.code == "file_changed"
    assert caught.value.retryable
