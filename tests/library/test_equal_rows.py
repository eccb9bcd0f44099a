"""Equal rows are one request: they share it, and its outcome."""

import pytest

from doubleword_batch import Jobs
from library.tables import PROMPT, Sent, done, table


async def test_equal_rows_are_one_request_and_each_has_its_outcome(settings, tmp_path):
    path = table(tmp_path / "rows.csv", [f"row {n % 1_129}" for n in range(2_000)])
    async with Jobs(settings) as jobs:
        job, results = await done(jobs, path)
        assert await Sent(jobs).requests(job) == 1_129
    assert (job.created.requests, job.created.shared_rows) == (1_129, 871)
    assert (results.reply.ledger, results.reply.shared_rows) == ({"ok": 2_000}, 871)
    found = list(results.rows())
    assert [row["custom_id"] for row in found] == [f"r{n}" for n in range(1, 2_001)]
    assert found[1_129]["answer"] == found[0]["answer"]
    assert [found[n]["origin"] for n in (0, 1_129)] == [None, "row 1"]


@pytest.mark.parametrize(
    ("params", "options", "requests"),
    [
        ({}, {}, 2),
        ({"temperature": 0}, {}, 2),
        ({"temperature": 0.7}, {}, 6),
        ({"n": 2}, {}, 6),
        ({}, {"equal_rows": "separate"}, 6),
        ({"temperature": 0.7}, {"equal_rows": "share"}, 2),
    ],
)
async def test_rows_share_a_request_unless_samples_are_wanted(
    settings, tmp_path, params, options, requests
):
    path = table(tmp_path / "rows.csv", ["a", "b", "a", "a", "b", "a"])
    async with Jobs(settings) as jobs:
        job = await jobs.create(path, prompt=PROMPT, model="m", params=params, options=options)
    assert job.created.requests == requests


async def test_rows_that_share_fail_together_and_are_retried_with_one_request(settings, tmp_path):
    rows = ["flaky", "fine", "flaky", "flaky", "fine"]
    async with Jobs(settings) as jobs:
        job, results = await done(jobs, table(tmp_path / "rows.csv", rows))
        assert results.reply.ledger == {"ok": 2, "failed": 3}
        retried = await job.retry()
        assert (retried.rows, retried.shared_rows) == (1, 2)
        pending = (await jobs.workspace()).store.query(
            "SELECT count(*) FROM ledger WHERE outcome = 'pending'"
        )
        assert pending == [(3,)]
        await job.wait(60)
        again = await job.results()
        assert again.reply.ledger == {"ok": 5}
        anew = await jobs.create(table(tmp_path / "new.csv", rows), prompt=PROMPT, model="m")
    assert anew.created.requests == 0
