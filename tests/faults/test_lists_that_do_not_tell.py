"""What is not in a list may be there all the same: then a batch is not created a second time."""

from datetime import UTC, datetime, timedelta

import pytest

from doubleword_batch.api.resources import Batches
from doubleword_batch.errors import DoublewordBatchError, TransportError
from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.models import Batch
from faults.clock import Clock
from faults.harness import (
    CREATE,
    LIST,
    UPLOAD,
    built,
    ended,
    fault,
    fetched,
    status,
    submitted,
)

GENERIC = {"DOUBLEWORD_BATCH_PROVIDER": "generic"}
LISTS = {
    "403": (403, "no"),
    "404": (404, "no"),
    "405": (405, "no"),
    "501": (501, "no"),
    "more, and an empty page": (200, '{"object":"list","data":[],"has_more":true}'),
    "more, and the same page": (200, '{"data":[{"id":"b-1"}],"has_more":true}'),
}


def listing(name, route=LIST):
    code, body = LISTS[name]
    return status(code, route, body, times=None, content_type="application/json")


@pytest.mark.parametrize("name", LISTS)
async def test_a_lost_create_is_not_repeated_where_the_list_cannot_tell(harness, name):
    clock = Clock()
    with harness.serving(fault("drop_after", CREATE), listing(name)):
        async with harness.workspace(
            max_retry_seconds=0, in_doubt_seconds=30, environment=GENERIC, **clock.seams()
        ) as ws:
            job = await built(ws)
            for _ in range(3):
                with pytest.raises(TransportError, match="its list cannot tell") as caught:
                    await create_batch(ws, job)
                await clock.sleep(60)
        with_lists = caught.value
    with harness.serving():
        assert len(harness.batches()) == 1
        async with harness.workspace(environment=GENERIC) as ws:  # the list is well again
            await create_batch(ws, job)
            await ended(ws, job)
            results = await fetched(ws, job)
        assert len(harness.batches()) == 1
    assert (with_lists.code, with_lists.retryable) == ("unconfirmed", False)
    assert "There is no Batch API" not in with_lists.message
    assert "as a new run" in with_lists.hint
    assert results.ledger == {"ok": 40}


async def test_a_lost_create_is_not_repeated_while_the_list_is_down(harness):
    clock = Clock()
    down = status(500, LIST, "no", times=None)
    with harness.serving(fault("drop_after", CREATE), down):
        async with harness.workspace(
            max_retry_seconds=0, in_doubt_seconds=3, environment=GENERIC, **clock.seams()
        ) as ws:
            job = await built(ws)
            for _ in range(2):
                with pytest.raises(DoublewordBatchError) as caught:
                    await create_batch(ws, job)
                assert caught.value.retryable is True
    with harness.serving():
        assert len(harness.batches()) == 1


@pytest.mark.parametrize("name", LISTS)
async def test_a_lost_upload_is_made_again_where_the_list_cannot_tell(harness, name):
    clock = Clock()
    with harness.serving(fault("drop_after", UPLOAD), listing(name, "GET /v1/files")):
        async with harness.workspace(
            max_retry_seconds=0, in_doubt_seconds=30, environment=GENERIC, **clock.seams()
        ) as ws:
            job = await built(ws)
            with pytest.raises(TransportError, match="not known yet"):
                await create_batch(ws, job)
            await clock.sleep(60)
            await create_batch(ws, job)
            await ended(ws, job)
    with harness.serving():
        assert len(harness.batches()) == 1
        assert len(harness.input_files()) == 2


@pytest.mark.parametrize("order", ["oldest first", "newest first"])
async def test_a_lost_create_is_found_however_far_down_the_list_it_is(harness, monkeypatch, order):
    """The others are older, or were created while nobody looked."""
    listed = Batches.list
    day = timedelta(days=-30 if order == "oldest first" else 1)
    others_at = datetime.now(UTC) + day

    async def long_list(self, **options):
        (ours,) = [batch async for batch in listed(self)]
        for number in range(700):
            step = timedelta(seconds=number if order == "oldest first" else -number)
            other = {
                "id": f"other-{number}",
                "metadata": {"a": "b"},
                "created_at": others_at + step,
            }
            yield ours.model_copy(update=other)
        yield ours

    monkeypatch.setattr(Batches, "list", long_list)
    with harness.serving(fault("drop_after", CREATE)):
        async with harness.workspace(environment=GENERIC) as ws:
            await submitted(ws)
        monkeypatch.undo()
        assert len(harness.batches()) == 1


async def test_a_list_of_newest_first_is_read_no_further_than_the_job_is_old(harness, monkeypatch):
    read = []

    async def long_list(_self, **_options):
        for number in range(5_000):
            read.append(number)
            made = datetime.now(UTC) - timedelta(hours=number)
            yield Batch(id=f"other-{number}", metadata={"a": "b"}, created_at=made)

    monkeypatch.setattr(Batches, "list", long_list)
    with harness.serving(fault("drop_before", CREATE)):
        async with harness.workspace(environment=GENERIC) as ws:
            await submitted(ws)
        monkeypatch.undo()
        assert len(harness.batches()) == 1
    assert max(read) < 400
