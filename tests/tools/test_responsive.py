"""Heavy work of one call does not hold up other calls."""

import anyio
import pytest

from agent import agent

WAIT_SECONDS = 120
ROWS = 20_000
ORDER = {"source": "large.csv", "prompt": "Sort: {{ text }}", "limit": ROWS}


@pytest.fixture
def large(work):
    lines = "".join(f'{n},"row {n}, ☕"\n' for n in range(ROWS))
    (work / "large.csv").write_text("id,text\n" + lines, encoding="utf-8")


async def order_of_ending(a, heavy, **arguments):
    """The calls in the order in which they end: a heavy one, and five small ones begun after it."""
    ended = []

    async def call(name, tool, **given):
        await a.calls(tool, **given)
        ended.append(name)

    async def small_calls():
        for _ in range(5):
            await call("small", "list")

    with anyio.fail_after(WAIT_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: call("heavy", heavy, **arguments))
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(small_calls)
    return ended


async def test_calls_are_answered_while_a_large_table_is_built(settings, work, large):
    async with agent(settings) as a:
        await a.calls("list")
        ended = await order_of_ending(a, "create_batch_file", **ORDER)
    assert ended == ["small"] * 5 + ["heavy"]


async def test_calls_are_answered_while_a_large_table_is_collected_and_written(
    settings, work, large
):
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", **ORDER)
        await a.calls("create_batch", job=created["job"])
        await a.ends(created["job"])
        out = str(work / "out.csv")
        ended = await order_of_ending(a, "fetch_results", job=created["job"], output_path=out)
    assert ended == ["small"] * 5 + ["heavy"]
