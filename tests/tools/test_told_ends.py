"""A person is told that a job has ended: once, with counts alone, by whichever process sees it."""

import json
import os
import shlex
import signal
import sys
from dataclasses import replace

import anyio
import pytest

from agent import agent
from doubleword_batch import Jobs
from doubleword_batch.jobs import notifications
from doubleword_batch.jobs.notifications import end_variables, notify
from doubleword_batch.jobs.replies import Counts
from doubleword_batch.jobs.status import watch_ends
from doubleword_batch.jobs.store.job_store import Store
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


@pytest.fixture
def stub(tmp_path, told, monkeypatch):
    """Puts a program of that name alone on PATH; it writes its arguments and variables down."""

    def put(name):
        folder = tmp_path / "bin"
        folder.mkdir()
        script = folder / name
        what = "{'arguments': sys.argv[1:], 'environment': dict(os.environ)}"
        body = f"import json, os, sys; open({str(told)!r}, 'a').write(json.dumps({what}) + chr(10))"
        script.write_text(f"#!{sys.executable}\n{body}\n", encoding="utf-8", newline="\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return put


HOSTILE_NAMES = [
    'x" & (do shell script "touch /tmp/owned") & "',
    "x'); Start-Process calc; $('",
    "$(touch owned)`touch owned`",
    "-e",
    "a\nb\\",
    "«é☕»",
]


COUNTS = Counts(total=3, completed=2, failed=1)


@pytest.mark.parametrize(
    ("name", "told_as"),
    [
        ("march-reviews_2.a", "march-reviews_2.a"),
        ("a & calc", "a___calc"),
        ("%COMSPEC%", "_COMSPEC_"),
        ("$(touch owned)", "__touch_owned_"),
        ("--help", "help"),
        ("a\nBATCH_STATUS=x", "a_BATCH_STATUS_x"),
        ("x" * 5_000, "x" * 100),
    ],
)
def test_whatever_a_changed_store_calls_a_job_no_shell_runs_it(name, told_as):
    assert end_variables(name, "completed", COUNTS)["BATCH_JOB"] == told_as


def words_of(name):
    return f"Job {name} is completed: 2 of 3 rows answered, 1 failed."


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_for_osascript_a_jobs_name_is_an_argument_and_no_code(name, stub, told, monkeypatch):
    monkeypatch.setattr(notifications, "_SYSTEM", "mac")
    stub("osascript")
    notify(end_variables("j", "completed", COUNTS) | {"BATCH_JOB": name})
    (seen,) = await appears(told)
    *script, title, words = seen["arguments"]
    assert script[::2] == ["-e"] * 3
    assert not any(name in line for line in script[1::2] if name != "-e")
    assert (title, words) == ("doubleword-batch", words_of(name))


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_for_powershell_a_jobs_name_is_a_variable_and_no_code(name, stub, told, monkeypatch):
    monkeypatch.setattr(notifications, "_SYSTEM", "windows")
    stub("powershell")
    notify(end_variables("j", "completed", COUNTS) | {"BATCH_JOB": name})
    (seen,) = await appears(told)
    *options, script = seen["arguments"]
    assert options == ["-NoProfile", "-NonInteractive", "-Command"]
    assert name not in script or name == "-e"
    assert "$env:BATCH_WORDS" in script
    assert seen["environment"]["BATCH_WORDS"] == words_of(name)


async def test_a_process_killed_as_it_tells_tells_nobody_and_no_other_does(
    settings, environment, reviews, told, command
):
    roots = Roots(settings.roots, state_directory=settings.home, is_for_agent=True)
    async with Jobs(replace(settings, on_done="exit 3"), roots=roots) as jobs:
        job = await jobs.create("reviews.csv", prompt="Sort: {{ text }}")
        await job.submit()
    with anyio.fail_after(120):
        child = await anyio.run_process(
            [sys.executable, "-c", DIES_AS_IT_TELLS, job.name],
            env={**os.environ, **environment},
            check=False,
        )
    assert child.returncode == -signal.SIGKILL
    async with Jobs(replace(settings, on_done=command)) as jobs:
        assert (await jobs.job(job.name).wait(60)).complete
    assert lines_of(told) == []


DIES_AS_IT_TELLS = """
import asyncio, os, signal, sys
from doubleword_batch import Jobs, Settings
from doubleword_batch.jobs import notifications

notifications.start_command = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
os.environ["DOUBLEWORD_BATCH_ON_DONE"] = "true"

async def look():
    async with Jobs(Settings.from_environment()) as jobs:
        await jobs.job(sys.argv[1]).wait(60)

asyncio.run(look())
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="notify-send is of Linux")
async def test_a_notification_goes_through_the_systems_program_with_counts_alone(stub, told):
    stub("notify-send")
    notify(end_variables("reviews-7f3a", "«$(rm -rf /)»", Counts(total=3, completed=2, failed=1)))
    (seen,) = await appears(told)
    assert seen["arguments"] == [
        "--",
        "doubleword-batch",
        "Job reviews-7f3a is ended: 2 of 3 rows answered, 1 failed.",
    ]
