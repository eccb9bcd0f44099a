"""A creation that was answered with an id of which the provider then says that it has none."""

import httpx
import pytest
import respx

from doubleword_batch.errors import NotFoundError
from doubleword_batch.jobs.results import fetch_results
from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.lazy_workspace import LazyWorkspace
from faults.harness import MODEL, built
from faults.test_lists_that_do_not_tell import LISTS
from faults.test_openai import BASE, OpenAI, answer, settings_of


class GivesAnotherId(OpenAI):
    """Creates the batch `batch_1`, and calls it `batch_of_nobody` in its reply."""

    def __init__(self, router):
        lines = [answer(row) for row in range(1, 11)]
        super().__init__(router, output=lines, status="completed")
        router.get("/batches/batch_of_nobody").respond(404, json={"error": {"message": "none"}})
        router.get("/batches").mock(side_effect=self.list)
        self.shows_ours = True
        self.body = {}

    def list(self, _request):
        ours = [self.batch | {"metadata": self.body["metadata"]}] if self.body else []
        return httpx.Response(200, json={"data": ours if self.shows_ours else []})

    def _create(self, request):
        self.body = httpx.Response(200, content=request.content).json()
        self.created += 1
        return httpx.Response(200, json=self.batch | {"id": "batch_of_nobody", "status": "new"})


@pytest.fixture
async def ws(harness):
    harness.table(10)
    lazy_workspace = LazyWorkspace(settings_of(harness), max_retry_seconds=0)
    yield await lazy_workspace.get()
    await lazy_workspace.close()


@respx.mock(base_url=BASE, assert_all_called=False)
async def test_an_id_that_nobody_has_is_corrected_by_the_list(ws, respx_mock):
    server = GivesAnotherId(respx_mock)
    job = await built(ws, model=MODEL)
    await create_batch(ws, job)
    assert (await fetch_results(ws, job, sample=0)).ledger == {"ok": 10}
    await create_batch(ws, job)
    assert server.created == 1


@pytest.mark.parametrize("name", ["nothing", *LISTS])
@respx.mock(base_url=BASE, assert_all_called=False)
async def test_an_id_that_nobody_has_names_the_way_out_and_pays_nothing_twice(ws, respx_mock, name):
    server = GivesAnotherId(respx_mock)
    job = await built(ws, model=MODEL)
    await create_batch(ws, job)
    server.shows_ours = False
    if name in LISTS:
        code, body = LISTS[name]
        respx_mock.get("/batches").respond(code, text=body)
    for _ in range(2):
        with pytest.raises(NotFoundError, match="«batch_of_nobody» and does not know it") as caught:
            await fetch_results(ws, job)
        assert "It is not created again" in caught.value.hint
        await create_batch(ws, job)
    assert server.created == 1
