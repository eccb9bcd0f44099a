"""A server that takes smaller files than its kind should: the same job goes on in smaller parts."""

import json

import pytest

from doubleword_batch.errors import RejectedError
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.submit import create_batch, upload
from faults.harness import MODEL, UPLOAD, built, ended, fetched, row, status
from tables import rows_of


async def until_taken(call):
    """Make the same call again for as long as the files are too large."""
    refusals = []
    for tries in range(6):
        try:
            return tries, refusals, await call()
        except RejectedError as error:
            refusals.append((error.code, error.retryable, error.next and error.next.tool))
    raise AssertionError("the files stay too large")


async def test_a_part_above_the_servers_limit_is_divided_and_the_same_call_goes_on(harness):
    harness.table(200, "x" * 500)
    with harness.serving(max_file_bytes=40_000):
        async with harness.workspace() as ws:
            name = await built(ws)
            with pytest.raises(RejectedError) as caught:
                await upload(ws, job=name)
            uploaded = await upload(ws, **caught.value.next.arguments)
            await create_batch(ws, name)
            await ended(ws, name)
            results = await fetched(ws, name, output_path=str(harness.work / "out.csv"))
        sizes = [file["bytes"] for file in harness.input_files()]
    assert "40000 bytes" in caught.value.message
    assert "(up to 200,000,000) and this server does not" in caught.value.message
    assert "up to 40,000 bytes each; nothing has to be built again" in caught.value.hint
    assert uploaded.requests == 200
    assert len(sizes) > 3
    assert max(sizes) <= 40_000
    assert results.ledger == {"ok": 200}
    table = (harness.work / "out.csv").read_text(encoding="utf-8").splitlines()
    assert [line.partition(",")[0] for line in table[1:]] == [str(n) for n in range(1, 201)]


@pytest.mark.parametrize("kind", ["text/plain", "text/html"])  # as a gateway in front says it
async def test_where_the_limit_is_not_named_the_parts_are_halved_until_they_fit(harness, kind):
    harness.table(64, "x" * 500)
    with harness.serving(status(413, UPLOAD, "<html>", times=3, content_type=kind)):
        async with harness.workspace() as ws:
            name = await built(ws)
            tries, refusals, _ = await until_taken(lambda: create_batch(ws, name))
            await ended(ws, name)
            results = await fetched(ws, name)
        assert len(harness.batches()) >= 4
    assert tries >= 2
    assert refusals == [("too_large", True, "upload")] * tries
    assert results.ledger == {"ok": 64}


async def test_a_retry_whose_file_is_too_large_goes_on_in_smaller_parts(harness):
    failing = [row(number, "error", status=400) for number in range(1, 41)]
    with harness.serving(requests=failing):
        async with harness.workspace() as ws:
            name = await built(ws)
            await create_batch(ws, name)
            await ended(ws, name)
            await fetched(ws, name)
    with harness.serving(max_file_bytes=4_000):
        async with harness.workspace() as ws:
            await until_taken(lambda: retry_failed(ws, name, params={"temperature": 0.5}))
            await ended(ws, name)
            results = await fetched(ws, name)
    assert results.ledger == {"ok": 40}


async def test_a_request_file_made_elsewhere_is_divided_too_and_each_row_keeps_its_name(harness):
    names = [f"order {number}" for number in range(1, 61)]
    lines = [
        {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": MODEL, "messages": [{"role": "user", "content": f"Of {name}."}]},
        }
        for name in names
    ]
    path = harness.work / "ready.jsonl"
    path.write_text("\n\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    with harness.serving(max_file_bytes=4_000):
        async with harness.workspace() as ws:
            with pytest.raises(RejectedError) as caught:
                await upload(ws, path=str(path))
            name = caught.value.next.arguments["job"]
            await until_taken(lambda: create_batch(ws, name))
            await ended(ws, name)
            results = await fetched(ws, name, output_path=str(harness.work / "out.jsonl"))
        assert len(harness.batches()) == 3
    assert results.ledger == {"ok": 60}
    assert [each["custom_id"] for each in rows_of(harness.work / "out.jsonl")] == names


async def test_one_request_that_is_too_large_is_said_and_nothing_changes(harness):
    harness.table(1, "x" * 5_000)
    with harness.serving(max_file_bytes=2_000):
        async with harness.workspace() as ws:
            name = await built(ws)
            for _ in range(2):
                with pytest.raises(RejectedError, match="2000 bytes") as caught:
                    await create_batch(ws, name)
                assert not caught.value.retryable
            files = [path.name for path in (harness.home / "jobs" / name).glob("part-*.jsonl")]
    assert files == ["part-0001.jsonl"]


async def test_what_dies_while_parts_are_divided_leaves_the_job_as_it_was(harness, monkeypatch):
    def dies(*_arguments):
        raise MemoryError

    harness.table(200, "x" * 500)
    with harness.serving(max_file_bytes=40_000):
        async with harness.workspace() as ws:
            name = await built(ws)
            with monkeypatch.context() as broken:
                broken.setattr(type(ws.store), "delete_part", dies)
                with pytest.raises(MemoryError):
                    await create_batch(ws, name)
            assert [part.number for part in ws.store.parts(1)] == [1]
        async with harness.workspace() as ws:
            await until_taken(lambda: create_batch(ws, name))
            await ended(ws, name)
            results = await fetched(ws, name, output_path=str(harness.work / "out.jsonl"))
    assert results.ledger == {"ok": 200}
    assert len(rows_of(harness.work / "out.jsonl")) == 200
