"""Neither an agent that builds for ever nor a small table with a long prompt fills the disk."""

import os
import sys
from types import SimpleNamespace

import pytest

from agent import agent
from doubleword_batch import Jobs
from doubleword_batch.doctor import examine
from doubleword_batch.errors import ConfigError, InputError, StoreError
from doubleword_batch.jobs.disk_quota import size_on_disk
from doubleword_batch.local import Faults
from doubleword_batch.settings import Settings

BOUND_BYTES = 6_000_000
LONG = "A long question about {{ text }}. " * 1_000


@pytest.fixture
def bounded(environment):
    return environment | {"DOUBLEWORD_BATCH_MAX_STATE_GB": str(BOUND_BYTES / 1e9)}


@pytest.fixture
def settings(bounded):
    return Settings.from_environment(bounded)


@pytest.fixture
def table(work):
    """300 rows: with the long question eight megabytes of requests."""
    path = work / "t.csv"
    lines = ["text", *(f"a{n}" for n in range(300))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return path


async def test_one_build_that_would_pass_the_bound_leaves_nothing(settings, table, home):
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", source="t.csv", prompt=LONG)
        assert reply["error"]["code"] == "disk_full"
        assert "would take more than its 6.0 MB" in reply.text
        assert "DOUBLEWORD_BATCH_MAX_STATE_GB" in reply["error"]["hint"]
        assert [path.name for path in (home / "jobs").iterdir()] == []
        await a.calls("create_batch_file", source="t.csv", prompt="{{ text }}", limit=10)


async def test_builds_of_all_jobs_count_together(settings, table, home):
    async with agent(settings) as a:
        for number in range(20):
            prompt = f"{number} {LONG}"
            reply = await a.tries("create_batch_file", source="t.csv", prompt=prompt, limit=40)
            if reply.is_error:
                break
    assert (reply["error"]["code"], number > 1) == ("disk_full", True)
    assert size_on_disk(home) < 2 * BOUND_BYTES


async def test_a_file_of_requests_counts_too(settings, work):
    path = work / "requests.jsonl"
    path.write_bytes(b" " * BOUND_BYTES)
    async with agent(settings) as a:
        reply = await a.fails("upload", path="requests.jsonl")
    assert reply["error"]["code"] == "disk_full"


async def test_what_is_paid_for_is_kept_beyond_the_bound_and_delete_makes_room(
    environment, bounded, table, work
):
    unbounded = Settings.from_environment(environment)
    async with Jobs(unbounded) as jobs:
        job = await jobs.create(table, prompt=LONG)
        await job.submit()
        await job.wait(60)
    async with Jobs(Settings.from_environment(bounded)) as jobs:
        kept = jobs.job(job.name)
        await kept.results(output_path=work / "answers.csv")
        assert len((work / "answers.csv").read_text(encoding="utf-8").splitlines()) == 301
        with pytest.raises(StoreError, match="would take more"):
            await jobs.create(table, prompt=f"Another one: {LONG}", limit=1)
        (disk,) = [f for f in await examine(jobs.settings) if f.subject == "disk"]
        assert disk.state == "note"
        assert "of at most 6.0 MB" in disk.found
        assert disk.remedy == f"This loses no answer: doubleword-batch delete {job.name}"
        before = size_on_disk(jobs.settings.home / "jobs")
        await kept.delete()
        assert size_on_disk(jobs.settings.home / "jobs") < before / 10


async def test_a_build_leaves_room_on_the_disk_for_answers(settings, table, monkeypatch):
    nearly_full = SimpleNamespace(total=500 * 10**9, used=0, free=10**9 + 50_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: nearly_full)
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", source="t.csv", prompt=LONG)
        assert reply["error"]["code"] == "disk_full"
        assert "answers that are paid for need room" in reply.text
        await a.calls("create_batch_file", source="t.csv", prompt="{{ text }}", limit=10)


@pytest.mark.parametrize("size", ["0", "-1", "much", "inf", "1e99"])
def test_a_bound_that_is_none_is_refused(environment, size):
    with pytest.raises(ConfigError, match="is not a size"):
        Settings.from_environment({**environment, "DOUBLEWORD_BATCH_MAX_STATE_GB": size})


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with a name in a folder")
def test_a_faults_file_that_is_a_pipe_or_a_device_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "zero"):
        if path.name == "zero":
            path.symlink_to("/dev/zero")
        with pytest.raises(InputError, match="cannot be read: it is not a regular file"):
            Faults.load(path)
