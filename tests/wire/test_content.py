"""Downloads: whole lines only, each handed over once, through cuts; and what is not lines."""

import gzip
import io
import zipfile

import anyio
import pytest
import respx

from doubleword_batch import errors
from doubleword_batch.api import ContentRead
from wire.conftest import API
from wire.scripted_server import Answer, answer, lines, serving

ID = "0191b5f2-0000-7000-8000-000000000001"
ROWS = [f'{{"custom_id":"row-{n}"}}' for n in range(5)]
WHOLE = "".join(row + "\n" for row in ROWS).encode()


def chunked(*pieces: bytes, end: bool = True) -> Answer:
    head = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces)
    return Answer(head + body + (b"0\r\n\r\n" if end else b""))


async def test_a_file_arrives_as_it_is(connect):
    async with serving(lines(*ROWS, headers={"X-Incomplete": "false"})) as server:
        got: list[bytes] = []
        read = await connect(server.base_url).files.content(ID, got.append)
    assert b"".join(got) == WHOLE
    assert read == ContentRead(lines=5, size_bytes=len(WHOLE), incomplete=False, next_skip=5)


async def test_the_sink_gets_whole_lines_wherever_the_body_is_split(connect):
    pieces = [WHOLE[at : at + 1] for at in range(len(WHOLE))]
    async with serving(chunked(*pieces)) as server:
        got: list[bytes] = []
        await connect(server.base_url).files.content(ID, got.append)
    assert b"".join(got) == WHOLE
    assert all(block.endswith(b"\n") for block in got)


@pytest.mark.parametrize(
    ("header", "incomplete"),
    [({"X-Incomplete": "true"}, True), ({"x-incomplete": "FALSE"}, False), ({}, None)],
)
async def test_incomplete_is_what_the_server_says(connect, header, incomplete):
    async with serving(lines(ROWS[0], headers=header)) as server:
        read = await connect(server.base_url).files.content(ID, lambda _: None)
    assert read.incomplete is incomplete


async def test_reading_goes_on_by_lines_received_not_by_what_the_header_counts(connect):
    async with serving(lines(*ROWS[2:4], headers={"X-Last-Line": "9"})) as server:
        read = await connect(server.base_url).files.content(ID, lambda _: None, skip=2)
        assert server.requests[0].target.endswith("/content?skip=2")
    assert read.next_skip == 4


async def test_the_first_read_sends_no_skip_and_offset_is_never_sent(connect):
    async with serving(lines(), lines()) as server:
        client = connect(server.base_url)
        await client.files.content(ID, lambda _: None)
        await client.files.content(ID, lambda _: None, skip=3)
        targets = [request.target for request in server.requests]
    assert targets == [f"/v1/files/{ID}/content", f"/v1/files/{ID}/content?skip=3"]


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_a_last_line_without_line_feed_is_a_line(connect, end):
    async with serving(chunked(WHOLE[:-1] + end)) as server:
        got: list[bytes] = []
        read = await connect(server.base_url).files.content(ID, got.append)
    assert (b"".join(got), read.lines, read.size_bytes) == (WHOLE, 5, len(WHOLE))


async def test_blank_lines_keep_their_positions(connect):
    async with serving(lines(ROWS[0], "", ROWS[1])) as server:
        read = await connect(server.base_url).files.content(ID, lambda _: None)
    assert (read.lines, read.next_skip) == (3, 3)


@pytest.mark.parametrize("cut_bytes", [3, len(ROWS[4]) + 1, len(WHOLE)], ids=["mid", "at", "all"])
async def test_a_cut_download_goes_on_at_the_right_line(connect, cut_bytes):
    arrived = (len(WHOLE) - cut_bytes) // (len(ROWS[0]) + 1)
    rest = lines(*ROWS[arrived:], headers={"X-Incomplete": "false"})
    async with serving(lines(*ROWS, cut_bytes=cut_bytes), rest) as server:
        got: list[bytes] = []
        read = await connect(server.base_url).files.content(ID, got.append)
        expected = f"?skip={arrived}" if arrived else "/content"
        assert server.requests[1].target.endswith(expected)
    assert b"".join(got) == WHOLE
    assert read == ContentRead(lines=5, size_bytes=len(WHOLE), incomplete=False, next_skip=5)


async def test_a_cut_download_without_skip_is_read_again_and_handed_over_once(connect):
    again = chunked(WHOLE[:30], WHOLE[30:])
    async with serving(lines(*ROWS, cut_bytes=3), again) as server:
        got: list[bytes] = []
        read = await connect(server.base_url, like="openai").files.content(ID, got.append, skip=1)
        assert all("skip" not in request.target for request in server.requests)
    assert b"".join(got) == WHOLE[len(ROWS[0]) + 1 :]
    assert (read.lines, read.next_skip) == (4, 5)


async def test_a_chunked_body_without_its_last_chunk_is_a_cut(connect):
    async with serving(chunked(WHOLE[:-1], end=False), lines(ROWS[4])) as server:
        got: list[bytes] = []
        await connect(server.base_url).files.content(ID, got.append)
    assert b"".join(got) == WHOLE


async def test_a_body_of_unknown_length_that_ends_inside_a_line_is_a_cut(connect):
    cut = lines(*ROWS, cut_bytes=3, framed=False)
    async with serving(cut, lines(ROWS[4], framed=False)) as server:
        got: list[bytes] = []
        await connect(server.base_url).files.content(ID, got.append)
    assert b"".join(got) == WHOLE


async def test_a_download_that_keeps_moving_outlives_the_retry_time(connect, fake_time):
    def one_line_then_cut(number: int):
        def reply(_request) -> Answer:
            fake_time.now_seconds += 100  # each try takes nearly the whole budget
            return lines(ROWS[number % 5], "never whole", cut_bytes=3)

        return reply

    tries = [one_line_then_cut(number) for number in range(8)]
    async with serving(*tries, lines()) as server:
        read = await connect(server.base_url, max_retry_seconds=120).files.content(
            ID, lambda _: None
        )
    assert read.lines == 8


async def test_a_download_without_progress_ends_and_says_what_arrived(connect, fake_time):
    stuck = [lines(ROWS[2], cut_bytes=3)] * 50
    async with serving(lines(*ROWS, cut_bytes=len(ROWS[0]) * 3), *stuck) as server:
        with pytest.raises(errors.TransportError) as caught:
            await connect(server.base_url, max_retry_seconds=60).files.content(
                ID, lambda _: None, skip=7
            )
    assert caught.value.details["lines"] == 2
    assert caught.value.details["next_skip"] == 9
    assert sum(fake_time.waits) == pytest.approx(60)


@pytest.mark.parametrize("cut_bytes", [3, len(ROWS[4]) + 1, len(WHOLE)], ids=["mid", "at", "all"])
@pytest.mark.parametrize("end", ["closed", "reset", "silence"])
async def test_a_list_of_results_that_breaks_after_its_200_goes_on_at_the_right_line(
    connect, cut_bytes, end
):
    arrived = (len(WHOLE) - cut_bytes) // (len(ROWS[0]) + 1)
    asked: list[int] = []

    def reply(request) -> Answer:
        skip = int(request.target.partition("/results?skip=")[2] or 0)
        asked.append(skip)
        if arrived > skip or len(asked) == 1:
            broken = lines(*ROWS[skip:], cut_bytes=cut_bytes)
            broken.reset, broken.hold = end == "reset", end == "silence"
            return broken
        return lines(*ROWS[skip:])

    # Silence takes its time, so that is short. Where the machine is slower, a try ends too soon
    # and is made again, and the server answers it as it did before.
    patience = {"timeout_seconds": 0.5} if end == "silence" else {}
    async with serving(*[reply] * 50) as server:
        got: list[bytes] = []
        read = await connect(server.base_url, **patience).batches.results(ID, got.append)
    assert len(asked) > 1
    assert set(asked) == {0, arrived}
    assert asked == sorted(asked)
    assert b"".join(got) == WHOLE
    assert (read.lines, read.next_skip) == (5, 5)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_download_goes_on_after_a_server_failure_in_its_middle(connect, status):
    async with serving(lines(*ROWS, cut_bytes=3), answer(status), lines(ROWS[4])) as server:
        got: list[bytes] = []
        await connect(server.base_url).files.content(ID, got.append)
    assert b"".join(got) == WHOLE


async def test_a_file_that_goes_away_during_a_download_is_an_error_with_the_lines(connect):
    gone = [answer(404)] * 60  # what was there a moment ago is asked for again for a while
    async with serving(lines(*ROWS, cut_bytes=3), *gone) as server:
        with pytest.raises(errors.NotFoundError) as caught:
            await connect(server.base_url).files.content(ID, lambda _: None)
    assert caught.value.details["lines"] == 4


@pytest.mark.parametrize("body", [b"<!DOCTYPE html>\n<p>\n", b"\xef\xbb\xbf<html>\n", b"\n <a>"])
@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
async def test_a_web_page_is_not_lines(connect, body, kind):
    got: list[bytes] = []
    async with serving(answer(200, body, kind=kind)) as server:
        with pytest.raises(errors.ProtocolError) as caught:
            await connect(server.base_url).files.content(ID, got.append)
    assert caught.value.code == "unexpected_reply"
    assert "with HTML" in caught.value.message
    assert b"<" not in b"".join(got)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"quota","type":"x"}}',
        b'{"error":"too_many_requests","message":"m"}\n',
        b'{\n  "error": {\n    "message": "quota"\n  }\n}\n',
    ],
)
async def test_an_error_object_with_status_200_is_not_lines(connect, body):
    got: list[bytes] = []
    async with serving(answer(200, body)) as server:
        with pytest.raises(errors.ProtocolError) as caught:
            await connect(server.base_url).files.content(ID, got.append)
    assert caught.value.code == "unexpected_reply"
    assert "in place of lines" in caught.value.message
    assert got == []


@pytest.mark.parametrize(
    "row",
    [
        '{"error":"NonRetriable","custom_id":"a","status":"failed"}',
        '{"error":null,"custom_id":"a","response":{}}',
        '{"error":{"message":"m"},"custom_id":"a"}',
    ],
)
async def test_a_failed_row_that_begins_with_its_error_is_a_line(connect, row):
    async with serving(lines(row)) as server:
        read = await connect(server.base_url).batches.results(ID, lambda _: None)
    assert read.lines == 1


async def test_what_the_sink_raises_comes_through_and_ends_the_download(connect):
    def full_disk(_block: bytes) -> None:
        raise errors.StoreError("full", retryable=True)

    async with serving(lines(*ROWS), lines(*ROWS)) as server:
        with pytest.raises(errors.StoreError):
            await connect(server.base_url).files.content(ID, full_disk)
        assert len(server.requests) == 1


async def test_a_compressed_file_is_unpacked(connect):
    packed = answer(200, gzip.compress(WHOLE), headers={"Content-Encoding": "gzip"})
    async with serving(packed) as server:
        got: list[bytes] = []
        read = await connect(server.base_url).files.content(ID, got.append)
    assert (b"".join(got), read.size_bytes) == (WHOLE, len(WHOLE))


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("results.jsonl", content)
    return packed.getvalue()


OF_THE_REPLY = {"Content-Encoding": "gzip"}
DAMAGED = {
    "a reply that is no gzip": (b"\x1f\x8b no gzip", OF_THE_REPLY),
    "a reply without its end": (gzip.compress(WHOLE)[:-12], OF_THE_REPLY),
    "a gzip file that is none": (b"\x1f\x8b\x08 no gzip", {}),
    "a gzip file without its end": (gzip.compress(WHOLE)[:-12], {}),
    "a zip file without its end": (zipped(WHOLE)[:60], {}),
    "a zip file with other bytes": (
        zipped(WHOLE).replace(b"\xab", b"\xff", 1)[:43] + b"\xff" * 99,
        {},
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
async def test_a_damaged_compressed_file_is_requested_again(connect, name):
    body, headers = DAMAGED[name]
    async with serving(answer(200, body, headers=headers), lines(*ROWS)) as server:
        got: list[bytes] = []
        read = await connect(server.base_url, like="openai").files.content(ID, got.append)
        assert len(server.requests) == 2
    assert (b"".join(got), read.lines) == (WHOLE, 5)


async def test_a_cancelled_download_leaves_the_client_usable(connect):
    begun = lines(*ROWS, cut_bytes=3)
    begun.hold = True
    async with serving(begun, lines(*ROWS)) as server:
        client = connect(server.base_url)
        arrived = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.files.content, ID, lambda _: arrived.set())
            await arrived.wait()
            tasks.cancel_scope.cancel()
        assert (await client.files.content(ID, lambda _: None)).lines == 5
        assert len(server.requests) == 2


@respx.mock
async def test_ordered_results_take_the_status_and_skip(connect):
    route = respx.get(f"{API}/batches/{ID}/results", params={"status": "failed", "skip": 4})
    route.respond(200, content=WHOLE, headers={"X-Incomplete": "true"})
    read = await connect().batches.results(ID, lambda _: None, skip=4, status="failed")
    assert (read.lines, read.next_skip, read.incomplete) == (5, 9, True)
