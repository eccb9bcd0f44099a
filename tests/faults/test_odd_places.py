"""State directories and names as people have them: odd characters, long names."""

import os
import sqlite3
from contextlib import closing

import pytest

from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.local import LocalConfig, LocalServer
from faults.harness import Harness, built, ended, fetched
from tables import rows_of

ODD = [
    "a b",
    "ü 日本 é",
    "50% #1 ?x=1&y",
    "50% #1 x=1&y",
    'it\'s "quoted"',
    "it's quoted",
    "x;mode=memory&y",
    "{{ text }} ${HOME} $(id) `id`",
    "-rf",
    "x" * 200,
]
NOT_ON_WINDOWS = {
    "50% #1 ?x=1&y": "no name there holds a question mark",
    'it\'s "quoted"': "no name there holds a double quote",
    "x;mode=memory&y": "a semicolon separates the roots in DOUBLEWORD_BATCH_ROOTS there",
    "x" * 200: "a path there has at most 260 characters unless the machine is told otherwise",
}
HERE = [name for name in ODD if os.name != "nt" or name not in NOT_ON_WINDOWS]


def named(name):
    """A parameter, marked where Windows does not have the name."""
    reason = NOT_ON_WINDOWS.get(name)
    if reason is None:
        return name
    return pytest.param(name, marks=pytest.mark.skipif(os.name == "nt", reason=reason))


@pytest.mark.parametrize("name", [named(name) for name in ODD])
async def test_a_job_runs_in_a_state_directory_of_any_name(tmp_path, name):
    place = tmp_path / name
    place.mkdir()
    harness = Harness(place)
    (harness.work / "rows.csv").rename(harness.work / f"{name}.csv")
    with harness.serving():
        async with harness.workspace() as ws:
            job = await built(ws, source=f"{name}.csv")
            await create_batch(ws, job)
            await ended(ws, job)
            out = harness.work / f"{name}-out.jsonl"
            results = await fetched(ws, job, output_path=str(out), query="SELECT 1 FROM results")
    assert results.ledger == {"ok": 40}
    assert len(rows_of(out)) == 40
    stores = [path for path in place.rglob("*.sqlite3") if path.parent == harness.home]
    assert len(stores) == 1
    with closing(sqlite3.connect(stores[0])) as store:
        assert store.execute("SELECT count(*) FROM jobs").fetchone() == (1,)


async def test_the_local_server_starts_in_a_state_directory_of_any_name(tmp_path):
    for name in HERE:
        with LocalServer(LocalConfig(home=tmp_path / name)) as server:
            assert server.is_running()
