"""Faults of this machine: a full disk, a locked store, two processes at once, neighbours."""

import dataclasses
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from doubleword_batch.errors import StoreError
from doubleword_batch.jobs import failpoints, listing
from doubleword_batch.jobs.listing import list_objects
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.jobs.store.schema import MIGRATIONS
from doubleword_batch.jobs.store.staging import remove_leftovers, staging_folder
from doubleword_batch.jobs.submit import create_batch, upload
from faults.harness import (
    CONTENT,
    CREATE,
    RESULTS,
    built,
    done,
    ended,
    fault,
    fetched,
    row,
    status,
    submitted,
)
from tables import rows_of

HERE = Path(__file__).parent
HOLD_THE_LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""
BEFORE_THE_WORDS = """
    ALTER TABLE history DROP COLUMN cached_tokens;
    ALTER TABLE ledger DROP COLUMN cached_tokens;
    ALTER TABLE bills DROP COLUMN list_cost_usd;
    DELETE FROM migrations WHERE name = '2026-11-cached-tokens';
    ALTER TABLE history RENAME COLUMN offset TO place;
    ALTER TABLE history RENAME COLUMN batch_run TO attempt;
    ALTER TABLE ledger RENAME COLUMN offset TO place;
    ALTER TABLE ledger RENAME COLUMN batch_run TO attempt;
    ALTER TABLE cursors RENAME COLUMN batch_run TO attempt;
    ALTER TABLE writes RENAME COLUMN sent_monotonic TO sent_steady;
    UPDATE parts SET retry_round = retry_round + 1;
    ALTER TABLE parts RENAME COLUMN retry_round TO generation;
    DROP INDEX batch_runs_by_job;
    ALTER TABLE batch_runs RENAME COLUMN collected TO settled;
    ALTER TABLE batch_runs RENAME TO attempts;
    CREATE INDEX attempts_by_job ON attempts (job);
    DELETE FROM migrations WHERE name IN ('2026-11-words', '2026-11-names-of-copies');
"""


def make_older(home):
    """Turn a state directory into one of the version before the words were changed."""
    db = sqlite3.connect(home / "store.sqlite3")
    db.executescript(BEFORE_THE_WORDS)
    db.close()
    for path in home.rglob("batch-run-*.jsonl"):
        path.rename(path.with_name(path.name.replace("batch-run", "attempt")))


@pytest.mark.parametrize("fill", ["collect", "export"])
async def test_a_full_disk_is_said_and_nothing_is_lost_when_there_is_space_again(harness, fill):
    harness.table(2_000)
    with harness.serving():
        async with harness.workspace() as ws:
            await done(ws)
        with anyio.fail_after(300):
            ran = await anyio.run_process(
                [sys.executable, str(HERE / "disk.py"), fill, json.dumps(harness.environment())],
                cwd=harness.work,
            )
    found = json.loads(ran.stdout)
    assert (found["code"], found["retryable"]) == ("disk_full", True)
    assert found["ledger"] == {"ok": 2_000}
    table = rows_of(harness.work / "out.jsonl")
    assert [line["id"] for line in table] == [str(n) for n in range(1, 2_001)]
    assert all(line["answer"] for line in table)
    assert sorted(path.name for path in harness.work.iterdir()) == [
        "out.jsonl",
        "out.lock.json",
        "rows.csv",
    ]


async def test_a_store_that_another_process_locks_is_said_to_be_and_works_again(harness):
    with harness.serving():
        async with harness.workspace() as ws:
            job = await built(ws)
            impatient = Store(harness.home, busy_seconds=0.2)
            hasty = dataclasses.replace(ws, store=impatient)
            path = harness.home / "store.sqlite3"
            with subprocess.Popen(  # noqa: ASYNC220  # nothing else runs in this loop
                [sys.executable, "-c", HOLD_THE_LOCK, path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            ) as holder:
                assert holder.stdout.readline() == "held\n"
                with pytest.raises(StoreError) as locked:
                    await create_batch(hasty, job)
                holder.stdin.write("\n")
            await create_batch(hasty, job)
            impatient.close()
        assert len(harness.batches()) == 1
    assert (locked.value.code, locked.value.retryable) == ("store_locked", True)


async def test_two_processes_that_submit_one_job_create_its_batch_once_and_both_succeed(harness):
    slow = fault("drop_after", CREATE)  # so that one waits while the other looks for its reply
    batches = []

    async def create(ws, job):
        batches.append((await create_batch(ws, job)).batch_ids)

    with harness.serving(slow):
        async with (
            harness.workspace(in_doubt_seconds=30) as first,
            harness.workspace(in_doubt_seconds=30) as second,
        ):
            job = await built(first)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(create, first, job)
                tasks.start_soon(create, second, job)
        assert len(harness.batches()) == 1
    assert batches[0] == batches[1]


async def test_two_processes_that_build_the_same_job_get_one(harness):
    names = []

    async def build(ws):
        names.append(await built(ws))

    async with Anywhere(harness) as (first, second):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(build, first)
            tasks.start_soon(build, second)
        count = first.store.query("SELECT count(*) FROM jobs")
    assert names[0] == names[1]
    assert count == [(1,)]


class Anywhere:
    """Two workspaces on one state directory, and a server to go with them."""

    def __init__(self, harness):
        self._harness = harness

    async def __aenter__(self):
        self._stack = AsyncExitStack()
        self._stack.enter_context(self._harness.serving())
        return [await self._stack.enter_async_context(self._harness.workspace()) for _ in range(2)]

    async def __aexit__(self, *_error):
        await self._stack.aclose()


async def test_two_processes_that_adopt_one_batch_get_one_job(harness):
    names = []

    async def adopt(ws, batch):
        names.append((await fetched(ws, batch)).job)

    with harness.serving():
        async with harness.workspace() as maker:
            await done(maker)
        batch = harness.batches()[0]["id"]
        harness.home = harness.folder / "other"
        async with harness.workspace() as first, harness.workspace() as second:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(adopt, first, batch)
                tasks.start_soon(adopt, second, batch)
            count = first.store.query("SELECT count(*) FROM jobs")
            rows = first.store.query("SELECT outcome, count(*) FROM ledger GROUP BY 1")
    assert names[0] == names[1]
    assert (count, rows) == ([(1,)], [("ok", 40)])


@pytest.mark.parametrize(
    "step",
    [
        "collect.received",
        "collect.committed",
        "collect.close",
        "collect.closed",
        "export.begin",
        "export.written",
    ],
)
async def test_a_job_that_is_deleted_while_it_is_fetched_is_said_to_be(harness, monkeypatch, step):
    def delete(reached):
        if reached == step:
            monkeypatch.undo()
            command = [sys.executable, "-m", "doubleword_batch", "delete", job, "--yes"]
            environment = {**os.environ, **harness.environment()}
            subprocess.run(command, env=environment, check=True, timeout=60, capture_output=True)

    with harness.serving():
        async with harness.workspace() as ws:
            job = await done(ws)
            monkeypatch.setattr(failpoints, "observer", delete)
            with pytest.raises(StoreError, match=f"Job {job} was deleted"):
                await fetched(ws, job, output_path="out.jsonl")


async def test_a_job_that_is_deleted_when_lines_of_it_are_lacking_is_said_to_be(harness):
    late = fault("late_lines", CONTENT, lines=5, times=None)

    def now():
        if sys._getframe(1).f_code.co_name == "waits_for_lines":  # the moment before
            ws.store.drop_job(ws.store.existing_job(job).id)
        return time.time()

    with harness.serving(late, status(404, RESULTS, times=None)):
        async with harness.workspace() as opened:
            ws = dataclasses.replace(opened, now=now)
            job = await done(ws)
            with pytest.raises(StoreError, match=f"Job {job} was deleted"):
                await fetched(ws, job)


async def test_the_same_work_asked_for_twice_is_the_same_job_unless_a_new_run_is_wanted(harness):
    with harness.serving():
        async with harness.workspace() as ws:
            first = await submitted(ws)
            again = await submitted(ws)
            other = await submitted(ws, new_run=True)
        assert len(harness.batches()) == 2
        assert len(harness.input_files()) == 1, "the same content is not uploaded twice"
    assert first == again != other


async def test_another_state_directory_finds_the_batch_that_was_paid_for(harness):
    with harness.serving():
        async with harness.workspace() as ws:
            await submitted(ws)
        harness.home = harness.folder / "other"
        async with harness.workspace() as ws:
            job = await built(ws)
            found = await create_batch(ws, job)
        assert [batch["id"] for batch in harness.batches()] == found.batch_ids
    assert found.reused


def test_what_a_dead_process_was_building_is_swept_and_what_a_living_one_builds_is_not(harness):
    home = harness.home
    dead = """
import os, sys
from contextlib import AsyncExitStack
from pathlib import Path
from doubleword_batch.jobs.store.staging import staging_folder
from doubleword_batch.jobs.store.job_store import Store
store = Store(Path(sys.argv[1]))
with staging_folder(store) as staging:
    store.begin_job(building=staging.token, provider="p", base_url="", endpoint="", model="",
                    fingerprint="f", spec="{}")
    (staging.path / "part-0001.jsonl.part").write_text("x")
    os.kill(os.getpid(), 9)
"""
    store = Store(home)
    subprocess.run([sys.executable, "-c", dead, home], check=False)
    (home / "jobs" / ".building-0123").mkdir()  # killed before it could show that it lives
    with staging_folder(store) as alive:
        facts = {"provider": "p", "base_url": "", "endpoint": "", "model": ""}
        kept = store.begin_job(building=alive.token, fingerprint="g", spec="{}", **facts)
        before = len(list((home / "jobs").iterdir()))
        remove_leftovers(store)
        left = [path.name for path in (home / "jobs").iterdir()]
        locks = [path.name for path in (home / "building").iterdir()]
        jobs = store.query("SELECT id FROM jobs")
        store.drop_unfinished(kept)
    store.close()
    assert (before, left, jobs) == (3, [alive.path.name], [(kept,)])
    assert locks == [alive.token]


async def test_a_job_begun_by_one_process_is_listed_and_finished_by_another(harness):
    with harness.serving():
        async with harness.workspace() as ws:
            job = await built(ws)
            await upload(ws, job=job)
        async with harness.workspace() as ws:
            listed = await list_objects(ws, "jobs")
            assert listed.next is None  # what comes next costs money
            assert job in listed.lines[0]
            await create_batch(ws, job)
        async with harness.workspace() as ws:
            listed = await list_objects(ws, "jobs")
            results = await fetched(ws, job, wait_seconds=30)
    assert job in listed.lines[0]
    assert results.ledger == {"ok": 40}


async def test_a_job_of_a_status_is_found_however_many_newer_ones_there_are(harness, monkeypatch):
    monkeypatch.setattr(listing, "_PAGE", 2)
    with harness.serving():
        async with harness.workspace() as ws:
            old = await done(ws)
            newer = [await built(ws, prompt=f"{n} {{{{ text }}}}") for n in range(5)]
            ended_ones = await list_objects(ws, status="completed")
            first = await list_objects(ws, limit=4)
            rest = await list_objects(ws, limit=4, after=first.after)
    assert [line.split(":")[0] for line in ended_ones.lines] == [old]
    listed = [line.split(":")[0] for line in (*first.lines, *rest.lines)]
    assert listed == [*reversed(newer), old]
    assert (first.has_more, rest.has_more) == (True, False)


async def test_a_store_of_a_newer_version_is_refused(harness):
    Store(harness.home).close()
    db = sqlite3.connect(harness.home / "store.sqlite3")
    db.execute("INSERT INTO migrations VALUES ('2099-01-later')")
    db.commit()
    db.close()
    with pytest.raises(StoreError) as error:
        Store(harness.home)
    assert error.value.code == "store_too_new"
    assert len({name for name, _ in MIGRATIONS}) == len(MIGRATIONS)


async def test_the_answers_in_a_state_directory_of_the_version_before_are_not_lost(harness):
    """The provider has deleted its files since: what lies here is all there is."""
    with harness.serving(requests=[row(3, "error", status=400), row(5, "error", status=400)]):
        async with harness.workspace() as ws:
            job = await done(ws)
            await fetched(ws, job)
    with harness.serving(requests=[row(5, "error", status=422)]):
        async with harness.workspace() as ws:
            await retry_failed(ws, job, params={"temperature": 0.5})
            await ended(ws, job)
            before = await fetched(ws, job, output_path="before.jsonl")
    make_older(harness.home)
    with harness.serving(status(410, CONTENT, times=None)):
        async with harness.workspace() as ws:
            after = await fetched(ws, job, output_path="after.jsonl")
            same = await built(ws)
    assert rows_of(harness.work / "after.jsonl") == rows_of(harness.work / "before.jsonl")
    assert after.ledger == before.ledger == {"ok": 39, "failed": 1}
    assert (after.input_tokens, after.output_tokens) == (before.input_tokens, before.output_tokens)
    assert same == job


@pytest.mark.posix("modes")
async def test_nobody_else_can_read_the_state_directory(harness):
    with harness.serving():
        async with harness.workspace() as ws:
            job = await done(ws)
            await fetched(ws, job)
            await fetched(ws, job, query="SELECT count(*) FROM results")
            readable = [
                f"{path} {path.stat().st_mode:o}"
                for path in [harness.home, *harness.home.rglob("*")]
                if path.stat().st_mode & 0o077
            ]
    assert readable == []
