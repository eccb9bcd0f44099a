"""Many calls at once: none of them meets what another one is cleaning up."""

import asyncio

import pytest

from doubleword_batch import Jobs
from doubleword_batch.settings import Settings

CALLS = 200


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "rows.csv").write_text("text\na\nb\n", encoding="utf-8")
    return Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
            "DOUBLEWORD_BATCH_ROOTS": str(tmp_path / "work"),
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
        }
    )


async def test_two_hundred_builds_at_once_give_two_hundred_jobs(settings, tmp_path):
    source = str(tmp_path / "work" / "rows.csv")
    async with Jobs(settings) as jobs:
        made = await asyncio.wait_for(
            asyncio.gather(
                *(
                    jobs.create(source, prompt=f"{n} {{{{ text }}}}", model="m")
                    for n in range(CALLS)
                )
            ),
            240,
        )
    assert len({job.name for job in made}) == CALLS
    assert not list((tmp_path / "home" / "jobs").glob(".building-*"))
