"""A cancel that comes early, and one whose end the provider never says."""

import json
import time

import anyio
import httpx
import pytest
import respx

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.cancel import cancel
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.status import get_status, wait_until_ended
from doubleword_batch.models import Batch
from faults.harness import ended, fetched, row, submitted
from faults.test_openai import answer
from tables import rows_of

BASE = "https://api.openai.test/v1"
HOUR = 3600


async def test_a_batch_cancelled_while_it_is_validated_can_run_later_and_once(harness):
    gate = harness.folder / "gate"
    held = [row(number, "hold", until=str(gate)) for number in range(1, 41)]
    with harness.serving(requests=held):
        async with harness.workspace() as ws:
            job = await submitted(ws)
            created = ws.store.batch_runs(1)[0].status
            stopped = await cancel(ws, job)
            first = await fetched(ws, job)
            gate.touch()
            retried = await retry_failed(ws, job)
            await ended(ws, job)
            results = await fetched(ws, job, output_path="out.jsonl")
        assert len(harness.batches()) == 1
    assert created == "validating"
    assert (stopped.status, first.status, first.complete) == ("cancelled", "cancelled", True)
    assert retried.in_place
    assert first.ledger == {"cancelled": 40}
    assert results.ledger == {"ok": 40}
    assert len(rows_of(harness.work / "out.jsonl")) == 40


class Provider:
    """A server of OpenAI's shape whose cancellations began `seconds` ago, and do not end."""

    def __init__(self, router, seconds):
        self.uploaded, self.created, self.cancels = [], 0, 0
        self.first_batch = {}  # of the first batch, whatever was done to it
        self.counts = {"total": 10, "completed": 4, "failed": 0}
        self.output = [answer(number) for number in (7, 2, 9, 4)]
        self._seconds = seconds
        nothing = {"object": "list", "data": [], "has_more": False}
        router.get("/files").respond(json=nothing)
        router.get("/batches").respond(json=nothing)
        router.get("/models").respond(json=nothing)
        router.post("/files").mock(side_effect=self._upload)
        router.post("/batches").mock(side_effect=self._create)
        router.post("/batches/batch_1/cancel").mock(side_effect=self._cancel)
        router.get("/batches/batch_1").mock(side_effect=lambda _: self._said(1))
        router.get("/batches/batch_2").mock(side_effect=lambda _: self._said(2))
        for number in (1, 2):
            router.get(f"/files/file-out-{number}/content").mock(side_effect=self._content)

    def _upload(self, request):
        lines = [line for line in request.content.splitlines() if line.startswith(b'{"custom_id"')]
        self.uploaded.append([json.loads(line)["custom_id"] for line in lines])
        file = {"id": f"file-{len(self.uploaded)}", "object": "file", "bytes": 0, "filename": "x"}
        return httpx.Response(200, json=file)

    def _create(self, _request):
        self.created += 1
        return self._said(self.created)

    def _cancel(self, _request):
        self.cancels += 1
        return self._said(1)

    def _said(self, number):
        batch = {
            "id": f"batch_{number}",
            "endpoint": "/v1/chat/completions",
            "status": "validating",
            "input_file_id": f"file-{number}",
            "output_file_id": f"file-out-{number}",
            "completion_window": "24h",
            "created_at": int(time.time()) - 2 * HOUR,
            "request_counts": {"total": 10, "completed": 0, "failed": 0},
        }
        if number == 1 and self.cancels:
            since = int(time.time()) - self._seconds
            batch |= {"status": "cancelling", "cancelling_at": since}
            batch["request_counts"] = self.counts
        batch |= self.first_batch if number == 1 else {}
        if number == 2:
            batch |= {"status": "completed", "completed_at": int(time.time())}
            batch["request_counts"] = {"total": 6, "completed": 6, "failed": 0}
        return httpx.Response(200, json=batch)

    def _content(self, request):
        lines = self.output
        if "file-out-2" in request.url.path:
            lines = [answer(number) for number in (1, 3, 5, 6, 8, 10)]
        return httpx.Response(200, text="".join(line + "\n" for line in lines))


@pytest.fixture
async def cancelled(harness):
    """A job at such a server, submitted and cancelled; returns its workspace, name and server."""
    harness.table(10)
    environment = {
        "DOUBLEWORD_BASE_URL": BASE,
        "DOUBLEWORD_API_KEY": "sk-test-key",
        "DOUBLEWORD_BATCH_PROVIDER": "openai",
    }
    with (
        harness.serving(),
        respx.mock(base_url=BASE, assert_all_called=False) as router,
    ):
        async with harness.workspace(environment=environment, max_retry_seconds=0) as ws:

            async def make(seconds):
                provider = Provider(router, seconds)
                job = await submitted(ws, model="gpt-4o-mini")
                if seconds is not None:
                    await cancel(ws, job)
                return ws, job, provider

            yield make


async def test_while_a_batch_is_being_cancelled_its_answers_come_and_nothing_runs_again(cancelled):
    ws, job, provider = await cancelled(seconds=60)
    again = await cancel(ws, job)
    seen = await get_status(ws, job)
    with anyio.fail_after(30):
        waited = await wait_until_ended(ws, job, 0.5)
    results = await fetched(ws, job)
    with pytest.raises(InputError, match="still running") as refused:
        await retry_failed(ws, job)
    assert (provider.created, provider.cancels) == (1, 1)
    assert {again.status, seen.status, waited.status, results.status} == {"cancelling"}
    assert [reply.complete for reply in (seen, waited, results)] == [False] * 3
    assert results.ledger == {"ok": 4, "pending": 6}
    assert refused.value.code == "still_running"


async def test_a_cancellation_that_lasts_for_over_an_hour_has_ended_and_says_so(cancelled):
    ws, job, provider = await cancelled(seconds=HOUR + 60)
    with anyio.fail_after(30):
        waited = await wait_until_ended(ws, job, None)
    first = await fetched(ws, job)
    retried = await retry_failed(ws, job)
    await ended(ws, job)
    results = await fetched(ws, job)
    assert (waited.status, waited.complete) == ("cancelled", True)
    assert "batch_1 counts as cancelled" in waited.problems[0]
    assert first.ledger == {"ok": 4, "cancelled": 6}
    assert (retried.rows, retried.in_place) == (6, False)
    assert sorted(map(len, provider.uploaded)) == [6, 10]
    assert provider.created == 2
    assert results.ledger == {"ok": 10}


async def test_answers_that_come_after_such_an_end_are_taken(cancelled):
    ws, job, provider = await cancelled(seconds=2 * HOUR)
    await get_status(ws, job)
    first = await fetched(ws, job)
    provider.output.append(answer(1))
    provider.counts = {"total": 10, "completed": 5, "failed": 0}
    await get_status(ws, job)
    later = await fetched(ws, job)
    assert first.ledger == {"ok": 4, "cancelled": 6}
    assert later.ledger == {"ok": 5, "cancelled": 5}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"cancelling_at": 1_700_000_000}, "cancelled"),
        ({"cancelling_at": None, "expires_at": 1_700_000_000}, "cancelled"),
        ({"cancelling_at": 32_000_000_000}, "cancelling"),
        ({"cancelling_at": "soon"}, "cancelling"),
        ({"cancelling_at": 1_700_000_000, "status": "in_progress"}, "in_progress"),
        ({}, "cancelling"),
    ],
)
def test_how_long_is_told_by_the_providers_times(fields, status):
    batch = Batch.model_validate({"id": "b", "status": "Canceling", **fields})
    assert batch.status == status
    assert batch.still_cancelling == (status == "cancelled")


@pytest.mark.parametrize("word", ["stopped", "terminated", "aborted", "cancelled"])
async def test_a_batch_that_was_stopped_elsewhere_and_ends_later_gives_all_its_answers(
    cancelled, word
):
    ws, job, provider = await cancelled(seconds=None)
    four = {"total": 10, "completed": 4, "failed": 0}
    provider.first_batch = {"status": word, "request_counts": four}
    stopped = await fetched(ws, job)
    provider.first_batch = {"status": "in_progress", "request_counts": four}
    going_on = await get_status(ws, job)
    provider.first_batch = {"status": word, "request_counts": four}
    again = await get_status(ws, job)
    provider.output = [answer(number) for number in range(1, 11)]
    provider.first_batch = {"status": "completed", "request_counts": {**four, "completed": 10}}
    seen = await get_status(ws, job)
    results = await fetched(ws, job)
    assert (stopped.status, stopped.ledger) == ("cancelled", {"ok": 4, "cancelled": 6})
    assert (going_on.status, again.status, seen.status) == ("in_progress", "cancelled", "completed")
    assert (results.ledger, provider.created) == ({"ok": 10}, 1)


@pytest.mark.parametrize(("counted", "outcome"), [(0, "cancelled"), (10, "pending")])
async def test_answers_that_a_stopped_batch_counted_before_it_had_them_are_taken_later(
    cancelled, counted, outcome
):
    ws, job, provider = await cancelled(seconds=None)
    counts = {"total": 10, "completed": counted, "failed": 0}
    provider.first_batch = {"status": "stopped", "request_counts": counts, "output_file_id": None}
    stopped = await fetched(ws, job)
    provider.output = [answer(number) for number in range(1, 11)]
    provider.first_batch = {"status": "completed", "request_counts": counts}
    results = await fetched(ws, job)
    assert stopped.ledger == {outcome: 10}
    assert results.ledger == {"ok": 10}
