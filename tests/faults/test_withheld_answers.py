"""A batch that has ended, and whose answers the provider does not give yet, has none missing."""

import pytest
import respx

from doubleword_batch.errors import NotFoundError, ProtocolError
from doubleword_batch.jobs.cancel import cancel
from doubleword_batch.jobs.results import fetch_results
from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.lazy_workspace import LazyWorkspace
from faults.harness import MODEL, built
from faults.test_openai import BASE, OpenAI, answer, settings_of

LINES = [answer(row) for row in range(1, 11)]
COUNTS = {"total": 10, "completed": 10, "failed": 0}
NO_FILE = {"output_file_id": None, "request_counts": COUNTS}
WITHHELD = {
    "no file yet": (NO_FILE, {}),
    "no file and no counts": (NO_FILE | {"request_counts": None}, {}),
    "its own requests as the file": (NO_FILE | {"output_file_id": "file-in"}, {}),
    "an empty file": ({"request_counts": COUNTS}, {"content": b""}),
    "no content": ({"request_counts": COUNTS}, {"status_code": 204}),
    "nothing offered": ({"request_counts": COUNTS}, {"status_code": 501}),
}


@pytest.fixture
async def ws(harness):
    harness.table(10)
    lazy_workspace = LazyWorkspace(settings_of(harness), max_retry_seconds=0)
    yield await lazy_workspace.get()
    await lazy_workspace.close()


@pytest.mark.parametrize("kind", WITHHELD)
@respx.mock(base_url=BASE, assert_all_called=False)
async def test_answers_that_are_not_given_yet_are_not_missing_and_come_later(ws, respx_mock, kind):
    batch, content = WITHHELD[kind]
    server = OpenAI(respx_mock, output=LINES, status="completed", **batch)
    given = respx_mock.get("/files/file-out/content")
    given.respond(**content)
    job = await built(ws, model=MODEL)
    await create_batch(ws, job)
    for _ in range(2):
        with pytest.raises((ProtocolError, NotFoundError)):
            await fetch_results(ws, job)
    server.batch |= {"output_file_id": "file-out", "request_counts": COUNTS}
    respx_mock.get("/batches/batch_1").respond(json=server.batch)
    given.respond(content="".join(f"{line}\n" for line in LINES).encode())
    assert (await fetch_results(ws, job, sample=0)).ledger == {"ok": 10}
    assert server.created == 1


@respx.mock(base_url=BASE, assert_all_called=False)
async def test_answers_that_never_come_can_be_given_up(ws, respx_mock):
    OpenAI(respx_mock, status="completed", **NO_FILE)
    job = await built(ws, model=MODEL)
    await create_batch(ws, job)
    with pytest.raises(ProtocolError, match="batch_1 has ended, but the provider does not give"):
        await fetch_results(ws, job)
    assert (await cancel(ws, job)).note.startswith("Nothing was running. 10 rows are given up")
    assert (await fetch_results(ws, job, sample=0)).ledger == {"missing": 10}
