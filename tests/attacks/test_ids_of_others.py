"""A provider that gives a new batch no id, or the id of another batch: whose answers are they?"""

import pytest
import respx
from anyio import fail_after
from httpx import Response

from batch_openai.conftest import DEADLINE_SECONDS, chat_call, environment, home, quick
from batch_openai.test_outcomes import URL, Provider, answered
from doubleword_batch import Jobs
from doubleword_batch.batch_openai import BatchCallError
from doubleword_batch.errors import ProtocolError, TransportError
from doubleword_batch.jobs.sync import idempotent_write
from doubleword_batch.settings import Settings

__all__ = ["environment", "home"]  # fixtures


class OneId(Provider):
    """Each batch has the same id."""

    def batch(self, request):
        return Response(200, json=super().batch(request).json() | {"id": "batch_1"})


@pytest.fixture
async def jobs(home, monkeypatch):
    monkeypatch.setattr(idempotent_write, "_LONGEST_SEARCH_SECONDS", 0.5)
    variables = {
        "DOUBLEWORD_BATCH_HOME": str(home),
        "DOUBLEWORD_API_KEY": "k",
        "DOUBLEWORD_BASE_URL": URL,
    }
    async with Jobs(Settings.from_environment(variables), max_retry_seconds=0.1) as opened:
        with fail_after(DEADLINE_SECONDS):
            yield opened


def sent(router):
    return [call for call in router.calls if call.request.method == "POST"]


async def test_answers_of_one_job_are_not_taken_for_those_of_another_and_nothing_is_sent_twice(
    jobs,
):
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        OneId("completed", [answered(1)]).serve(router)
        router.get("/batches/batch_1/analytics").respond(404)
        first, second = [
            await jobs.create([{"text": text}], prompt="{{ text }}", model="m") for text in "ab"
        ]
        await first.submit()
        for _ in range(3):
            with pytest.raises(ProtocolError, match="the same id, «batch_1»"):
                await second.submit()
        assert len(sent(router)) == 4  # two uploads, two batches
        assert (await first.status()).percent == 100
        assert (await second.status()).batch_ids == []


@pytest.mark.usefixtures("environment")
async def test_the_caller_of_a_batch_without_an_id_of_its_own_is_told_in_words():
    with (
        fail_after(DEADLINE_SECONDS),
        respx.mock(base_url=URL, assert_all_called=False) as router,
    ):
        OneId("completed", [answered(1)]).serve(router)
        async with quick(api_key="k", base_url=URL) as client:
            assert (await chat_call(client, "one")).choices
            with pytest.raises(BatchCallError, match="the same id"):
                await chat_call(client, "two")


@pytest.mark.parametrize("named", ["", None])
async def test_a_batch_without_an_id_is_not_one(jobs, named):
    class Nameless(Provider):
        def batch(self, request):
            return Response(200, json=super().batch(request).json() | {"id": named})

    with respx.mock(base_url=URL, assert_all_called=False) as router:
        Nameless("completed", [answered(1)]).serve(router)
        job = await jobs.create([{"text": "a"}], prompt="{{ text }}", model="m")
        with pytest.raises(TransportError, match="does not fit what POST /batches returns"):
            await job.submit()
        assert (await job.status()).batch_ids == []
