"""A retry that another process began and finished at the worst moment of ours."""

import threading

import anyio
import pytest

from doubleword_batch.errors import InputError, Next, RateLimitedError
from doubleword_batch.jobs import failpoints
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.submit import create_batch
from faults.harness import UPLOAD, built, ended, fetched, row, status, submitted

WAIT_SECONDS = 60


async def test_rows_that_another_process_has_run_again_meanwhile_are_not_run_twice(
    harness, monkeypatch
):
    anew = {"params": {"temperature": 0.5}}
    with harness.serving(requests=[row(7, "error", status=400)]):
        async with harness.workspace() as ws:
            name = await submitted(ws)
            await ended(ws, name)
            await fetched(ws, name)
    with harness.serving():

        async def other_process():
            async with harness.workspace() as ws:
                await retry_failed(ws, name, **anew)
                await ended(ws, name)

        def overtaken(step):
            if step == "rebuild.begin":
                monkeypatch.setattr(failpoints, "observer", lambda _: None)
                anyio.run(other_process)

        monkeypatch.setattr(failpoints, "observer", overtaken)
        async with harness.workspace() as ws:
            with pytest.raises(InputError) as error:
                await retry_failed(ws, name, **anew)
            results = await fetched(ws, name)
        assert len(harness.batches()) == 2
    assert error.value.code == "still_running"
    assert error.value.next == Next("get_status", {"job": name})
    assert results.ledger == {"ok": 40}


async def test_a_submission_that_another_process_overtook_leaves_its_retry_alone(
    harness, monkeypatch
):
    full = status(429, UPLOAD, after=1, times=9, headers={"retry-after": "60"})
    with harness.serving(full, requests=[row(7, "error", status=400)]):
        async with harness.workspace() as ws:
            name = await built(ws)

            async def other_process():
                async with harness.workspace() as other:
                    await create_batch(other, name)
                    await ended(other, name)
                    with pytest.raises(RateLimitedError):  # the retry is built, and not uploaded
                        await retry_failed(other, name, params={"temperature": 0.5})

            def overtaken(step):
                if step == "upload.recorded":
                    monkeypatch.setattr(failpoints, "observer", lambda _: None)
                    process = threading.Thread(target=anyio.run, args=(other_process,))
                    process.start()
                    process.join(WAIT_SECONDS)

            monkeypatch.setattr(failpoints, "observer", overtaken)
            late = await create_batch(ws, name)
        assert late.batch_ids == [batch["id"] for batch in harness.batches()]
    with harness.serving():
        async with harness.workspace() as ws:
            await retry_failed(ws, name)
            await ended(ws, name)
            results = await fetched(ws, name)
        assert len(harness.batches()) == 2
    assert results.ledger == {"ok": 40}
