"""A program over the library whose types pyright knows; it is checked and never run."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

from doubleword_batch import (
    Batch,
    BatchClient,
    BatchOpenAI,
    InputError,
    Job,
    JobResults,
    Jobs,
    Next,
    Results,
    Retried,
    Status,
    Submitted,
    run,
)


class Review(BaseModel):
    """What is asked of each row."""

    label: str


@dataclass
class Row:
    """A row of the source."""

    text: str


def in_one_call() -> None:
    """A whole job, and one over its answers."""
    answers = run([Row("a")], prompt="{{ text }}", response_schema=Review, params={"stop": "."})
    assert_type(answers, JobResults)
    for row in answers:
        assert_type(row, dict[str, Any])
    assert_type(answers.reply, Results)
    assert_type(answers.reply.cost_usd, Decimal | None)
    run(answers, prompt="{{ label }}", response_schema=Path("schema.json"), limit=3)


async def in_steps() -> None:
    """The steps of a job, and what an error says."""
    async with Jobs() as jobs:
        job = await jobs.create("reviews.csv", prompt="{{ text }}")
        assert_type(job, Job)
        assert_type(await job.submit(max_cost_usd=2, metadata={"team": "a"}), Submitted)
        assert_type(await job.wait(60), Status)
        assert_type(await job.retry("truncated"), Retried)
        try:
            assert_type(await job.results("a.parquet", format="parquet"), JobResults)
        except InputError as error:
            assert_type(error.next, Next | None)


async def as_the_sdk() -> None:
    """The calls of `AsyncOpenAI` keep their types."""
    async with BatchOpenAI() as client:
        ask = client.chat.completions.create
        answer = await ask(model="m", messages=[{"role": "user", "content": "a"}])
        assert_type(answer, ChatCompletion)
        assert_type(await client.responses.create(model="m", input="a"), Response)
        vectors = await client.embeddings.create(model="m", input="a")
        assert_type(vectors, CreateEmbeddingResponse)


async def over_the_api() -> None:
    """The typed client."""
    async with BatchClient(base_url="http://127.0.0.1:8765/v1", api_key="") as client:
        async for batch in client.batches.list():
            assert_type(batch, Batch)
