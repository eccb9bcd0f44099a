"""A retry that another process began and finished at the worst moment of ours."""

import anyio
import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.state import steps
from faults.bench import ended, fetched, row, submitted


async def test_rows_that_another_process_has_run_again_meanwhile_are_not_run_twice(
    bench, monkeypatch
):
    anew = {"params": {"temperature": 0.5}}
    with bench.serving(requests=[row(7, "error", status=400)]):
        async with bench.workspace() as ws:
            name = await submitted(ws)
            await ended(ws, name)
            await fetched(ws, name)
    with bench.serving():

        async def other_process():
            async with bench.workspace() as ws:
                await retry_failed(ws, name, **anew)
                await ended(ws, name)

        def overtaken(step):
            if step == "rebuild.begin":
                monkeypatch.setattr(steps, "observer", lambda _: None)
                anyio.run(other_process)

        monkeypatch.setattr(steps, "observer", overtaken)
        async with bench.workspace() as ws:
            with pytest.raises(InputError) as error:
                await retry_failed(ws, name, **anew)
            results = await fetched(ws, name)
        assert len(bench.batches()) == 2
    assert error.value.code == "retried_already"
    assert results.ledger == {"ok": 40}
