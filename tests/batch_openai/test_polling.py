"""Many batches are followed with few requests, whether or not the provider's list can be used."""

import asyncio
import threading

import anyio
import httpx2
import pytest
from anyio import to_thread

from batch_openai.conftest import DEADLINE_SECONDS, batches_of, chat_call, quick
from doubleword_batch import LocalConfig, LocalServer
from doubleword_batch.local import Faults
from doubleword_batch.local.executors.faults import ServerFault
from doubleword_batch.local.executors.simulate import SimulateExecutor

LIST = "GET /v1/batches"
_TWELVE = 12


class Held(SimulateExecutor):
    """Answers nothing before it is told to; says when that many requests wait."""

    def __init__(self, expected):
        super().__init__()
        self._missing = expected
        self.all_wait = threading.Event()
        self.may_answer = threading.Event()

    async def run(self, request):
        self._missing -= 1
        if not self._missing:
            self.all_wait.set()
        await to_thread.run_sync(self.may_answer.wait, DEADLINE_SECONDS)
        return await super().run(request)


class Polls:
    """What a client asked its provider: an event hook of its HTTP client.

    Says when that many files were asked for: each batch's output, while it had no answer.
    """

    def __init__(self, expected_reads):
        self.lists = 0
        self.singles = 0
        self._missing = expected_reads
        self.have_read = asyncio.Event()

    async def __call__(self, request):
        path = request.url.path.removeprefix("/v1/")
        if request.method == "GET" and path.startswith("batches"):
            self.lists += path == "batches"
            self.singles += path != "batches"
        self._missing -= path.endswith("/content")
        if not self._missing:
            self.have_read.set()

    def client(self):
        return httpx2.AsyncClient(event_hooks={"request": [self]}, trust_env=False)


@pytest.fixture
def serving(tmp_path):
    """Starts a server for clients that make a batch of each call."""

    def start(*faults, executor=None):
        home = tmp_path / "server"
        config = LocalConfig(home, executor="simulate", faults=Faults(server=faults))
        return LocalServer(config, executor=executor)

    return start


def alone(server, **options):
    """A client that makes a batch of each call."""
    place = {"base_url": server.base_url, "api_key": server.token}
    return quick(**place, batch_provider="doubleword", **{"batch_size": 1, **options})


async def test_forty_batches_are_followed_with_few_requests(serving):
    polls, held = Polls(expected_reads=40), Held(expected=40)
    with serving(executor=held) as server:
        async with alone(server, http_client=polls.client(), poll_interval_seconds=1) as client:
            calls = [asyncio.create_task(chat_call(client, f"question {n}")) for n in range(40)]
            with anyio.fail_after(DEADLINE_SECONDS):
                await polls.have_read.wait()
            held.may_answer.set()
            assert all(answer.choices for answer in await asyncio.gather(*calls))
    # Each of them was seen at least twice: while it was held, and when it had answered.
    assert polls.lists >= 1
    assert polls.lists + polls.singles < 60


async def test_a_poll_that_hangs_delays_no_other(serving):
    class Hanging(Polls):
        """Lets the first question about a single batch wait for ever."""

        async def __call__(self, request):
            await super().__call__(request)
            if self.singles == 1 and "/batches/" in request.url.path:
                self.singles += 1
                await asyncio.Event().wait()

    polls = Hanging(expected_reads=_TWELVE)
    no_list = ServerFault(route=LIST, fault="status", status=404, times=None)
    held = Held(expected=_TWELVE)
    with serving(no_list, executor=held) as server:
        async with alone(server, http_client=polls.client()) as client:
            calls = [
                asyncio.create_task(chat_call(client, f"question {n}")) for n in range(_TWELVE)
            ]
            assert await to_thread.run_sync(held.all_wait.wait, DEADLINE_SECONDS)
            held.may_answer.set()
            with anyio.fail_after(DEADLINE_SECONDS):
                for _ in range(_TWELVE - 1):
                    done, calls = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                    calls = list(calls)
                    assert all(call.result().choices for call in done)
                    if len(calls) == 1:
                        break
            (hanging,) = calls
            assert not hanging.done()
            hanging.cancel()


@pytest.mark.parametrize(
    "fault",
    [
        ServerFault(route=LIST, fault="status", status=404, times=None),
        ServerFault(route=LIST, fault="status", status=503, times=2),
        ServerFault(
            route=LIST,
            fault="status",
            status=200,
            body="<html>",
            content_type="text/html",
            times=None,
        ),
    ],
    ids=["no list", "a list that fails twice", "a web page"],
)
async def test_where_the_list_cannot_be_used_each_batch_is_polled_by_itself(serving, fault):
    polls, held = Polls(expected_reads=_TWELVE), Held(expected=_TWELVE)
    with serving(fault, executor=held) as server:
        async with alone(server, http_client=polls.client()) as client:
            calls = [
                asyncio.create_task(chat_call(client, f"question {n}")) for n in range(_TWELVE)
            ]
            with anyio.fail_after(DEADLINE_SECONDS):
                await polls.have_read.wait()
            held.may_answer.set()
            assert all(answer.choices for answer in await asyncio.gather(*calls))
    assert polls.lists >= 1


async def test_batches_beyond_the_first_page_of_the_list_are_followed_too(serving):
    held = Held(expected=4)
    with serving(executor=held) as server:
        async with alone(server) as client:
            calls = [asyncio.create_task(chat_call(client, f"question {n}")) for n in range(4)]
            assert await to_thread.run_sync(held.all_wait.wait, DEADLINE_SECONDS)
            file = await anext(aiter(client.files.list(purpose="batch")))
            for _ in range(60):
                await client.batches.create(
                    input_file_id=file.id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                )
            held.may_answer.set()
            assert all(answer.choices for answer in await asyncio.gather(*calls))


async def test_calls_wait_for_lines_that_an_ended_batch_counts_and_has_not_given(serving):
    late = ServerFault(route="GET /v1/files/{id}/content", fault="late_lines", lines=2, times=6)
    no_list = ServerFault(
        route="GET /v1/batches/{id}/results", fault="status", status=404, times=None
    )
    with serving(late, no_list) as server:
        async with alone(server, batch_size=3) as client:
            calls = [chat_call(client, f"call {number}") for number in range(3)]
            answers = await asyncio.gather(*calls)
            batches = await batches_of(client)
    assert all(answer.choices[0].message.content for answer in answers)
    assert len(batches) == 1
