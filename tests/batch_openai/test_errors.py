"""A failed row raises what the SDK would have raised; all else names the batch and the row."""

import asyncio
import errno
import json
from pathlib import Path

import openai
import pytest
from anyio import fail_after

from batch_openai.conftest import DEADLINE_SECONDS, batches_of, chat_call, quick
from doubleword_batch import DoublewordBatchError
from doubleword_batch.atomic_files import not_written
from doubleword_batch.batch_openai import (
    BatchCallError,
    CallTimeoutError,
    batch_task,
    batching_thread,
    dispatcher,
)
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.local.executors.base import Completion, RequestFailed
from doubleword_batch.local.executors.faults import Match, RequestFault, ServerFault
from doubleword_batch.local.executors.simulate import SimulateExecutor

STATUSES = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
}


@pytest.fixture(autouse=True)
async def bounded():
    with fail_after(DEADLINE_SECONDS):
        yield


async def test_calls_that_cannot_be_written_here_fail_with_what_to_do_and_later_ones_go_on(
    faulty, monkeypatch
):
    def full(*_, **_options):
        raise not_written(Path("part-0001.jsonl"), OSError(errno.ENOSPC, "No space left"))

    with faulty():
        async with quick() as client:
            with monkeypatch.context() as patch:
                patch.setattr(dispatcher, "job_of_calls", full)
                calls = (chat_call(client, text) for text in "ab")
                failed = await asyncio.gather(*calls, return_exceptions=True)
            assert (await chat_call(client, "a")).choices
            assert len(await batches_of(client)) == 1
    for error in failed:
        assert isinstance(error, BatchCallError)
        assert error.code == "disk_full"
        assert "Free some space" in error.hint


def failing(status, text=None):
    return RequestFault(
        fault="error", status=status, message="no such luck", match=Match(contains=text)
    )


async def outcomes(*calls):
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_each_status_of_a_row_raises_the_sdk_s_exception_and_spares_the_others(faulty):
    faults = [failing(status, f"gives {status}") for status in STATUSES]
    with faulty(requests=faults, max_attempts=1):
        async with quick() as client:
            good, *failed = await outcomes(
                chat_call(client, "fine"),
                *(chat_call(client, f"gives {status}") for status in STATUSES),
            )
            assert good.choices[0].message.content
            assert [type(error) for error in failed] == list(STATUSES.values())
            assert all(error.body["message"] == "no such luck" for error in failed)
            assert len(await batches_of(client)) == 1


async def test_a_raw_response_of_a_failed_row_raises_too(faulty):
    with faulty(requests=[failing(400)]):
        async with quick() as client:
            with pytest.raises(openai.BadRequestError) as caught:
                await client.chat.completions.with_raw_response.create(model="m", messages=[])
    assert caught.value.response.json()["error"]["type"] == "simulated_error"


async def test_a_stream_of_a_failed_row_raises_at_the_call(faulty):
    with faulty(requests=[failing(400)]):
        async with quick() as client:
            with pytest.raises(openai.BadRequestError):
                await chat_call(client, "a", stream=True)


async def test_a_cancelled_batch_gives_its_finished_rows_and_names_the_others(faulty, tmp_path):
    held = RequestFault(fault="hold", until=str(tmp_path / "never"), match=Match(contains="held"))
    with faulty(requests=[held]):
        async with quick() as client:
            fine, stuck = (
                asyncio.create_task(chat_call(client, "fine")),
                asyncio.create_task(chat_call(client, "held")),
            )
            assert (await fine).choices  # as it lands, while the other one runs
            (batch,) = await batches_of(client)
            await client.batches.cancel(batch.id)
            with pytest.raises(BatchCallError) as caught:
                await stuck
    error = caught.value
    assert isinstance(error, openai.OpenAIError)
    assert isinstance(error, DoublewordBatchError)
    assert (error.code, error.batch_id, error.row) == ("cancelled", batch.id, 2)
    assert batch.id in str(error)
    assert "Row 2" in str(error)


class NetworkTrouble(SimulateExecutor):
    async def run(self, _request):
        raise RequestFailed("NetworkError", "the model's server hung up")


async def test_a_row_that_failed_without_a_status_names_batch_row_and_cause(faulty):
    with faulty(executor=NetworkTrouble(), max_attempts=1):
        async with quick() as client:
            with pytest.raises(BatchCallError) as caught:
                await chat_call(client, "a")
            (batch,) = await batches_of(client)
    assert (caught.value.code, caught.value.batch_id) == ("network", batch.id)
    assert "hung up" in str(caught.value)


async def test_every_row_failed_is_not_a_lost_batch(faulty):
    with faulty(requests=[failing(400)]):
        async with quick() as client:
            errors = await outcomes(*(chat_call(client, str(n)) for n in range(5)))
    assert {type(error) for error in errors} == {openai.BadRequestError}


class Clock:
    """Stands still until a test moves it."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


async def test_a_call_past_its_deadline_fails_and_its_batch_goes_on(
    faulty, home, tmp_path, monkeypatch
):
    clock, store = Clock(), Store(home)
    monkeypatch.setattr(batching_thread, "time", clock)
    monkeypatch.setattr(batch_task, "time", clock)
    gate = tmp_path / "gate"
    held = RequestFault(fault="hold", until=str(gate), match=Match(contains="held"))
    with faulty(requests=[held]):
        async with quick(deadline_seconds=1.5) as client:
            call = asyncio.create_task(chat_call(client, "held"))
            while not (batches := await batches_of(client)) or not store.knows_batch(batches[0].id):
                assert not call.done()
                await asyncio.sleep(0.02)
            store.close()
            clock.now += 2
            with pytest.raises(CallTimeoutError) as caught:
                await call
            (batch,) = batches
            assert isinstance(caught.value, openai.APITimeoutError)
            assert (caught.value.batch_id, caught.value.row) == (batch.id, 1)
            gate.touch()
            answer = await chat_call(client, "held")  # the batch went on, and is not paid twice
            assert answer.choices
            assert len(await batches_of(client)) == 1


async def test_a_call_s_own_timeout_frees_it_alone(faulty, tmp_path):
    gate = tmp_path / "gate"
    with faulty(requests=[RequestFault(fault="hold", until=str(gate))]):
        async with quick() as client:
            patient = asyncio.create_task(chat_call(client, "patient"))
            with pytest.raises(CallTimeoutError, match=r"timeout of 0\.5 s"):
                await chat_call(client, "hasty", timeout=0.5)
            gate.touch()
            assert (await patient).choices


async def test_cancelling_one_caller_frees_it_at_once_and_leaves_the_others(faulty, tmp_path):
    gate = tmp_path / "gate"
    with faulty(requests=[RequestFault(fault="hold", until=str(gate))]):
        async with quick() as client:
            calls = [asyncio.create_task(chat_call(client, f"call {n}")) for n in range(3)]
            while not await batches_of(client):
                await asyncio.sleep(0.02)
            calls[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await calls[1]
            gate.touch()
            for call in (calls[0], calls[2]):
                assert (await call).choices


async def test_a_call_cancelled_before_its_batch_is_sent_is_never_sent(faulty):
    with faulty():
        async with quick(batch_window_seconds=0.4) as client:
            calls = [asyncio.create_task(chat_call(client, f"call {n}")) for n in range(3)]
            await asyncio.sleep(0)  # each has been made by now
            calls[0].cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            (batch,) = await batches_of(client)
    assert batch.request_counts.total == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, openai.AuthenticationError),
        (402, openai.APIStatusError),
        (403, openai.PermissionDeniedError),
        (429, openai.RateLimitError),
    ],
)
async def test_a_rejected_upload_or_creation_reaches_every_caller_in_time(faulty, status, error):
    fault = ServerFault(route="POST /v1/batches", fault="status", status=status, times=None)
    with faulty(server=[fault]):
        async with quick(max_retry_seconds=0.5) as client:
            failures = await outcomes(chat_call(client, "a"), chat_call(client, "b"))
    assert all(isinstance(failure, error) for failure in failures), failures
    assert failures[0] is not failures[1]  # tracebacks do not mix


@pytest.mark.parametrize("route", ["POST /v1/batches", "GET /v1/batches/{id}"])
async def test_the_clients_time_bounds_the_repeats_of_its_single_requests_too(faulty, route):
    """Two refusals use up three seconds; a third request would succeed."""
    busy = {"route": route, "fault": "status", "status": 429, "times": 2}
    with faulty(server=[ServerFault(**busy, headers={"Retry-After": "2"})]):
        async with quick(max_retry_seconds=3) as client:
            (failure,) = await outcomes(chat_call(client, "a"))
    assert isinstance(failure, openai.RateLimitError)


async def test_a_server_that_cannot_be_reached_raises_a_connection_error(unused_url):
    client = quick(api_key="k", base_url=unused_url, max_retry_seconds=0.5)
    async with client:
        with pytest.raises(openai.APIConnectionError):
            await chat_call(client, "a")


class Verbatim(SimulateExecutor):
    """Answers with a finish reason that the SDK's types do not know."""

    async def run(self, request):
        answer = await super().run(request)
        body = json.loads(json.dumps(answer.body))
        body["choices"][0]["finish_reason"] = "out_of_patience"
        return Completion(200, body)


async def test_an_answer_that_does_not_fit_the_types_is_taken_as_the_sdk_takes_it(faulty):
    with faulty(executor=Verbatim()):
        async with quick() as client:
            answer = await chat_call(client, "a")
    assert answer.choices[0].finish_reason == "out_of_patience"


async def test_the_key_is_in_no_error_and_no_repr(unused_url):
    key = "sk-plant-4711-do-not-leak"
    client = quick(api_key=key, base_url=unused_url, max_retry_seconds=0)
    async with client:
        with pytest.raises(openai.OpenAIError) as caught:
            await chat_call(client, "a")
    chain, error = [], caught.value
    while error is not None:
        chain.append(f"{error!r} {error} {vars(error)}")
        error = error.__cause__
    assert key not in "".join([*chain, repr(client._state.shared.batching_thread.settings)])
