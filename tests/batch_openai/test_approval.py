"""Calls of programs wait for a person's yes above the amount that was set, and are sent once."""

import asyncio

import pytest

from batch_openai.conftest import chat_call, quick
from doubleword_batch import Jobs
from doubleword_batch.batch_openai.sdk_errors import BatchCallError
from doubleword_batch.library.approvals import JobApprovals
from doubleword_batch.settings import Settings

SECONDS = 60


async def question_of(jobs):
    """The question that appears while calls wait."""
    async with asyncio.timeout(SECONDS):
        while not (waiting := await JobApprovals(jobs).waiting()):
            await asyncio.sleep(0.05)
    (question,) = waiting
    return question


@pytest.mark.parametrize("window", ["24h", "async"])
@pytest.mark.parametrize("decision", ["approved", "declined"])
async def test_calls_wait_for_a_persons_answer(faulty, monkeypatch, window, decision):
    monkeypatch.setenv("DOUBLEWORD_BATCH_ASK_ABOVE_USD", "0.01")
    with faulty() as server:
        monkeypatch.setenv("DOUBLEWORD_API_KEY", server.token)
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", server.base_url)
        monkeypatch.setenv("DOUBLEWORD_BATCH_PROVIDER", "doubleword")
        settings = Settings.from_environment()
        async with quick(completion_window=window) as client, Jobs(settings) as jobs:
            calls = [asyncio.create_task(chat_call(client, "a"))]
            question = await question_of(jobs)
            assert question.cost_usd is None  # no price of that model is on file
            assert not any(call.done() for call in calls)
            await JobApprovals(jobs).decide(question.id, decision, "console")
            (answer,) = await asyncio.gather(*calls, return_exceptions=True)
    if decision == "approved":
        assert answer.choices[0].message.content.startswith("[simulated]")
    else:
        assert isinstance(answer, BatchCallError)
        assert answer.code == "declined"
