"""A person is told that a job has ended: once, with counts alone, by whichever process sees it."""

import json
import os
import shlex
import sys
from dataclasses import replace

import anyio
import pytest

from agent import agent
from doubleword_batch import Jobs
from doubleword_batch.jobs.on_end import facts_of, notify
from doubleword_batch.jobs.replies import Counts
from doubleword_batch.jobs.store.jobs import Store
from doubleword_batch.jobs.watch_ends import watch_ends
from doubleword_batch.paths import Roots

WRITE_ENVIRONMENT = (
    "import json, os, sys; open(sys.argv[1], 'a').write(json.dumps(dict(os.environ)) + chr(10))"
)
KEY = "sk-a-key-that-nobody-may-see"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the command is one of a POSIX shell")


@pytest.fixture
def told(tmp_path):
    return tmp_path / "told.jsonl"


@pytest.fixture
def command(told):
    words = [sys.executable, "-c", WRITE_ENVIRONMENT, str(told)]
    return " ".join(map(shlex.quote, words))


def lines_of(path):
    """The lines that are written whole."""
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


async def appears(path, count=1):
    with anyio.fail_after(60):
        while len(lines_of(path)) < count:
            await anyio.sleep(0.05)
    return lines_of(path)


async def started(a):
    made = await a.calls("create_batch_file", source="reviews.csv", prompt="Sort: {{ text }}")
    await a.calls("create_batch", job=made["job"])
    return made["job"]


async def test_the_command_gets_counts_and_neither_rows_nor_keys(
    settings, reviews, told, command, monkeypatch
):
    monkeypatch.setenv("DOUBLEWORD_API_KEY", KEY)
    monkeypatch.setenv("MY_SERVICE_TOKEN", KEY)
    async with agent(replace(settings, on_done=command)) as a:
        job = await started(a)
        await a.calls("get_status", job=job, wait_seconds=45)
        (environment,) = await appears(told)
        await a.calls("get_status", job=job)
        await a.calls("fetch_results", job=job)
    assert {name: value for name, value in environment.items() if name.startswith("BATCH_")} == {
        "BATCH_JOB": job,
        "BATCH_STATUS": "completed",
        "BATCH_ROWS": "40",
        "BATCH_COMPLETED": "40",
        "BATCH_FAILED": "0",
        "BATCH_SKIPPED": "0",
    }
    everything = json.dumps(environment)
    assert KEY not in everything
    assert "Review" not in everything
    assert len(lines_of(told)) == 1


async def test_another_process_that_sees_the_end_tells_it_and_a_third_does_not(
    settings, reviews, work, told, command
):
    """The agent's session is over before the job is; that of a person looks at it afterwards."""
    roots = Roots(settings.roots, state_directory=settings.home, is_for_agent=True)
    async with Jobs(replace(settings, on_done="exit 3"), roots=roots) as jobs:
        job = (await jobs.create("reviews.csv", prompt="Sort: {{ text }}")).name
        await jobs.job(job).submit()
    for _ in range(2):
        async with Jobs(replace(settings, on_done=command)) as jobs:
            assert (await jobs.job(job).wait(60)).complete
    await appears(told)
    assert len(lines_of(told)) == 1


async def test_a_server_that_is_asked_nothing_any_more_watches_for_the_end(
    settings, reviews, told, command
):
    settings = replace(settings, on_done=command)
    roots = Roots(settings.roots, state_directory=settings.home, is_for_agent=True)
    async with Jobs(settings, roots=roots) as jobs:
        job = await jobs.create("reviews.csv", prompt="Sort: {{ text }}")
        await job.submit()
        async with anyio.create_task_group() as tasks:
            workspace = await jobs.workspace()
            tasks.start_soon(lambda: watch_ends(workspace, seconds=0.1))
            await appears(told)
            tasks.cancel_scope.cancel()


async def test_nothing_is_told_of_a_persons_own_job_or_where_nobody_asked(
    settings, reviews, told, command
):
    async with Jobs(replace(settings, on_done=command)) as jobs:
        job = await jobs.create(str(reviews), prompt="Sort: {{ text }}")
        await job.submit()
        await job.wait(60)
    async with agent(settings) as a:
        name = await started(a)
        await a.calls("get_status", job=name, wait_seconds=45)
    store = Store(settings.home)
    rows = store.query("SELECT count(*) FROM end_notices")
    store.close()
    assert rows == [(0,)]
    assert lines_of(told) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="notify-send is of Linux")
async def test_a_notification_goes_through_the_systems_program_with_counts_alone(
    tmp_path, told, monkeypatch
):
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "notify-send"
    body = f"import json, sys; open({str(told)!r}, 'a').write(json.dumps(sys.argv[1:]) + chr(10))"
    script.write_text(f"#!{sys.executable}\n{body}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    notify(facts_of("reviews-7f3a", "«$(rm -rf /)»", Counts(total=3, completed=2, failed=1)))
    (words,) = await appears(told)
    assert words == [
        "--",
        "doubleword-batch",
        "Job reviews-7f3a is ended: 2 of 3 rows answered, 1 failed.",
    ]
