"""What the provider counts and does not give yet is not missing: its rows wait, in bounded time."""

import dataclasses

import pytest
import respx

from doubleword_batch.errors import InputError, NotFoundError, ProtocolError
from doubleword_batch.jobs.cancel import cancel
from doubleword_batch.jobs.results import fetch_results
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.lazy_workspace import LazyWorkspace
from faults.harness import MODEL, built
from faults.test_openai import BASE, OpenAI, answer, result, settings_of

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
HOUR = 3_600


def file_of(lines):
    return "".join(f"{line}\n" for line in lines).encode()


FAILED = [result(row, response=None, error={"message": "no"}) for row in range(6, 11)]
UNCOUNTED = "half of the lines, and no counts"
HALF = file_of(LINES[:5])
SOME_FAILED = {"total": 10, "completed": 5, "failed": 5}
CUT = {
    "half of the lines": (HALF, {"request_counts": COUNTS}, 5),
    UNCOUNTED: (HALF, {"request_counts": None}, 5),
    "half of the bytes": (file_of(LINES)[: len(HALF) + 40], {"request_counts": COUNTS}, 5),
    "the file of another batch": (
        file_of(LINES).replace(b'"r', b'"x'), {"request_counts": COUNTS}, 0,
    ),
    "no file of errors yet": (HALF, {"request_counts": SOME_FAILED}, 5),
    "half of what was done when it was cancelled": (
        file_of(LINES[:3]),
        {"status": "cancelled", "request_counts": SOME_FAILED | {"failed": 0}},
        3,
    ),
    "half of what was done when it expired": (
        file_of(LINES[:3]),
        {"status": "expired", "request_counts": SOME_FAILED | {"failed": 0}},
        3,
    ),
}  # fmt: skip


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
    given.respond(content=file_of(LINES))
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


async def a_cut_batch(ws, respx_mock, kind):
    """A job whose batch has ended, and whose file is cut; the server, and the job's name."""
    content, batch, _ = CUT[kind]
    server = OpenAI(respx_mock, output=content, **{"status": "completed", **batch})
    job = await built(ws, model=MODEL)
    await create_batch(ws, job)
    return server, job


@pytest.mark.parametrize("kind", CUT)
@respx.mock(base_url=BASE, assert_all_called=False)
async def test_rows_whose_lines_a_cut_file_lacks_wait_for_them(ws, respx_mock, kind):
    server, job = await a_cut_batch(ws, respx_mock, kind)
    there = CUT[kind][2]
    for _ in range(2):
        found = await fetch_results(ws, job, sample=0)
        assert {name: rows for name, rows in found.ledger.items() if rows} == (
            {"ok": there, "pending": 10 - there} if there else {"pending": 10}
        )
        assert not found.complete
        assert "Nothing has to be paid again" in " ".join(found.warnings)
    with pytest.raises(InputError, match=" has failed"):
        await retry_failed(ws, job)
    respx_mock.get("/files/file-out/content").respond(content=file_of(LINES))
    found = await fetch_results(ws, job, sample=0)
    assert (found.ledger, found.complete, found.warnings) == ({"ok": 10}, True, [])
    assert server.created == 1


@pytest.mark.parametrize("kind", CUT)
@respx.mock(base_url=BASE, assert_all_called=False)
async def test_rows_whose_lines_never_come_wait_in_bounded_time(ws, respx_mock, kind):
    _, job = await a_cut_batch(ws, respx_mock, kind)
    there, status = CUT[kind][2], CUT[kind][1].get("status", "missing")
    await fetch_results(ws, job, sample=0)
    later = dataclasses.replace(ws, now=lambda: ws.now() + HOUR)
    found = await fetch_results(later, job, sample=0)
    assert found.ledger == ({"ok": there, status: 10 - there} if there else {"missing": 10})
    assert found.complete
    # Where answers are counted, and not errors alone, some of what never came was paid for.
    is_paid = status == "missing" and kind not in {"no file of errors yet", UNCOUNTED}
    assert found.errors[0].cause == ("unreadable" if is_paid else status)
    respx_mock.get("/files/file-out/content").respond(content=file_of(LINES))
    if status == "missing":  # a later fetch still looks
        assert (await fetch_results(later, job, sample=0)).ledger == {"ok": 10}


@respx.mock(base_url=BASE, assert_all_called=False)
async def test_a_file_that_still_grows_is_waited_for_anew(ws, respx_mock):
    _, job = await a_cut_batch(ws, respx_mock, "half of the lines")
    for hours, lines in enumerate((6, 7, 8), start=1):
        respx_mock.get("/files/file-out/content").respond(content=file_of(LINES[:lines]))
        later = dataclasses.replace(ws, now=lambda hours=hours: ws.now() + hours * HOUR)
        found = await fetch_results(later, job, sample=0)
        assert found.ledger == {"ok": lines, "pending": 10 - lines}


@respx.mock(base_url=BASE, assert_all_called=False)
async def test_a_file_of_errors_may_be_named_after_the_batch_has_ended(ws, respx_mock):
    server, job = await a_cut_batch(ws, respx_mock, "no file of errors yet")
    assert (await fetch_results(ws, job, sample=0)).ledger == {"ok": 5, "pending": 5}
    server.batch |= {"error_file_id": "file-err"}
    respx_mock.get("/batches/batch_1").respond(json=server.batch)
    respx_mock.get("/files/file-err/content").respond(content=file_of(FAILED))
    assert (await fetch_results(ws, job, sample=0)).ledger == {"ok": 5, "failed": 5}


@respx.mock(base_url=BASE, assert_all_called=False)
async def test_rows_that_the_provider_does_not_count_do_not_wait(ws, respx_mock):
    counts = {"total": 10, "completed": 5, "failed": 0}
    OpenAI(respx_mock, output=HALF, status="completed", request_counts=counts)
    job = await built(ws, model=MODEL)
    await create_batch(ws, job)
    found = await fetch_results(ws, job, sample=0)
    assert (found.ledger, found.errors[0].cause) == ({"ok": 5, "missing": 5}, "missing")


@respx.mock(base_url=BASE, assert_all_called=False)
async def test_lines_that_never_come_can_be_given_up_at_once(ws, respx_mock):
    _, job = await a_cut_batch(ws, respx_mock, "half of the lines")
    await fetch_results(ws, job, sample=0)
    assert (await cancel(ws, job)).note.startswith("Nothing was running. 5 rows are given up")
    found = await fetch_results(ws, job, sample=0)
    assert (found.ledger, found.errors[0].cause) == ({"ok": 5, "missing": 5}, "unreadable")
