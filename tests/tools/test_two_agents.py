"""Two agents over two processes of the server, at once on one job: each reply is right."""

import os
from contextlib import asynccontextmanager

import anyio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from agent import Agent
from processes import COMMAND

ORDER = {"source": "reviews.csv", "prompt": "Sort: {{ text }}"}


@asynccontextmanager
async def two_agents(environment):
    """Two clients, each with a server process of its own over one state directory."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD_", "OPENAI_"))}
    server = StdioServerParameters(
        command=COMMAND[0], args=list(COMMAND[1:]), env={**kept, **environment}
    )
    async with (
        Client(stdio_client(server)) as first,
        Client(stdio_client(server)) as second,
    ):
        yield Agent(first), Agent(second)


async def both(*calls):
    """What these calls return that are made at the same time."""
    replies = [None] * len(calls)

    async def make(at, call):
        replies[at] = await call

    with anyio.fail_after(120):
        async with anyio.create_task_group() as tasks:
            for at, call in enumerate(calls):
                tasks.start_soon(make, at, call)
    return replies


async def deleted(job, environment):
    """A person deletes the job by the command line."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD_", "OPENAI_"))}
    return await anyio.run_process(
        [*COMMAND, "delete", job, "--yes"], env={**kept, **environment}, check=False
    )


async def test_what_two_agents_do_at_once_is_done_once(environment, reviews, work):
    async with two_agents(environment) as (first, second):
        built = await both(*(a.calls("create_batch_file", **ORDER) for a in (first, second)))
        assert built[0]["job"] == built[1]["job"]
        job = built[0]["job"]
        sent = await both(*(a.tries("create_batch", job=job) for a in (first, second)))
        status = await first.ends(job)
        fetched, cancelled = await both(
            first.calls("fetch_results", job=job, output_path="table.csv"),
            second.calls("cancel", job=job),
        )
        batches = await second.calls("list", kind="batches")
        gone, seen = await both(deleted(job, environment), second.tries("get_status", job=job))
        after = await first.fails("get_status", job=job)
    for reply in sent:
        assert not reply.is_error or reply["error"]["retryable"], reply.text
    assert len(status["batch_ids"]) == 1
    assert len(batches["lines"]) == 1
    assert fetched["ledger"]["ok"] == 40
    assert cancelled["note"] == "Nothing was running: it was completed already."
    assert (work / "table.csv").exists()
    assert gone.returncode == 0, gone.stderr
    assert not seen.is_error or seen["error"]["code"] == "unknown_job", seen.text
    assert after["error"]["code"] == "unknown_job"
