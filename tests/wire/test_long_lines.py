"""A line longer than any that is taken costs its own row: the others come, before and behind it."""

import json

import pytest

from doubleword_batch import errors
from doubleword_batch.api import download
from wire.scripted_server import answer, lines, serving
from wire.test_content import ID, chunked

MOST = 100_000
SHORT = ['{"custom_id":"before"}', '{"custom_id":"behind"}']


@pytest.fixture(autouse=True)
def short_lines(monkeypatch):
    monkeypatch.setattr(download, "MAX_LINE_BYTES", MOST)


def long(custom_id="r1", size=3 * MOST, **fields):
    body = {"choices": [{"message": {"content": "x" * size}}]}
    line = {"id": "q", "custom_id": custom_id, "response": {"status_code": 200, "body": body}}
    return json.dumps(line | fields)


async def read(connect, *answers, **options):
    async with serving(*answers) as server:
        got: list[bytes] = []
        client = connect(server.base_url, **{"max_retry_seconds": 0, **options})
        found = await client.files.content(ID, got.append)
    return found, [json.loads(line) for line in b"".join(got).splitlines()]


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_only_its_own_row_is_lost_wherever_it_stands(connect, place):
    texts = [*SHORT[:place], long(), *SHORT[place:]]
    found, got = await read(connect, lines(*texts))
    assert found.lines == found.next_skip == 3
    names = ["before", "behind"]
    names.insert(place, "r1")
    assert [line["custom_id"] for line in got] == names
    assert got[place]["error"] == {
        "code": "line_too_long",
        "message": f"The result line has {len(long()):,} bytes; up to 100,000 are read.",
    }


@pytest.mark.parametrize(
    "line",
    [
        "x" * 3 * MOST,
        json.dumps({"text": "x" * 3 * MOST}),
        '{"custom_id": "\\x", "text": "' + "x" * 3 * MOST,
    ],
)
async def test_one_that_names_no_row_is_one_line_that_is_no_result(connect, line):
    async with serving(lines(SHORT[0], line, SHORT[1])) as server:
        got: list[bytes] = []
        found = await connect(server.base_url).files.content(ID, got.append)
    first, replaced, last = b"".join(got).decode().splitlines()
    assert [first, last] == SHORT
    assert "too long" in replaced
    assert found.next_skip == 3


async def test_after_a_cut_inside_it_the_download_begins_with_it_again(connect):
    whole = "".join(text + "\n" for text in (SHORT[0], long(), SHORT[1])).encode()
    cut = chunked(whole[: 2 * MOST], end=False)
    found, got = await read(connect, cut, lines(long(), SHORT[1]), max_retry_seconds=5)
    assert [line["custom_id"] for line in got] == ["before", "r1", "behind"]
    assert found.lines == 3


@pytest.mark.parametrize("framed", [True, False])
async def test_as_the_last_line_it_needs_no_line_feed(connect, framed):
    last = answer(200, long().encode(), kind="application/x-ndjson", framed=framed)
    found, got = await read(connect, last)
    assert (found.lines, got[0]["custom_id"]) == (1, "r1")


async def test_one_that_an_unframed_body_cuts_off_is_not_a_line(connect):
    cut = answer(200, long().encode()[:-50], kind="application/x-ndjson", framed=False)
    with pytest.raises(errors.TransportError):
        await read(connect, cut)


async def test_a_line_that_never_ends_ends_the_download_in_bounded_memory(connect):
    async with serving(lines("x" * 90_000, "y" * 20 * MOST)) as server:
        with pytest.raises(errors.ProtocolError, match="a line longer than 800000 bytes"):
            await connect(server.base_url).files.content(ID, lambda _: None)
