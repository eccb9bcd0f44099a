"""Answers that are taken in place of requests are those of who would answer now."""

import pytest

from doubleword_batch import Jobs, Settings
from doubleword_batch.local import LocalConfig, LocalServer

ROWS = "text\na\nb\n"


@pytest.fixture
def environment(tmp_path):
    return {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }


async def asked(environment, source):
    """Ask of every row of a source; the reply of the build."""
    async with Jobs(Settings.from_environment(environment)) as jobs:
        job = await jobs.create(source, prompt="Say {{ text }}", model="m")
        report = job.created
        await job.submit()
        await job.wait(60)
        await job.results()
        return report


async def test_simulated_answers_are_not_taken_for_those_of_a_model(environment, tmp_path):
    source = tmp_path / "t.csv"
    source.write_text(ROWS, encoding="utf-8", newline="\n")
    other = tmp_path / "u.csv"
    other.write_text(ROWS + "c\n", encoding="utf-8", newline="\n")
    simulated = await asked(environment, source)

    upstream = tmp_path / "upstream"
    upstream.mkdir(mode=0o700)
    with LocalServer(LocalConfig(home=upstream, executor="simulate")) as server:
        real = environment | {
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "upstream",
            "DOUBLEWORD_BATCH_LOCAL_URL": server.base_url,
            "DOUBLEWORD_BATCH_LOCAL_KEY": server.token,
        }
        same_work = await asked(real, source)
        assert same_work.job != simulated.job
        assert (same_work.reused, same_work.reused_rows) == (False, None)
        assert (await asked(real, other)).reused_rows == 2  # those of this server
    assert (await asked(environment, source)).job == simulated.job


async def test_answers_stay_the_persons_when_the_key_is_another(environment, tmp_path):
    source = tmp_path / "t.csv"
    source.write_text(ROWS, encoding="utf-8", newline="\n")
    other = tmp_path / "u.csv"
    other.write_text(ROWS + "c\n", encoding="utf-8", newline="\n")
    upstream = tmp_path / "upstream"
    upstream.mkdir(mode=0o700)
    with LocalServer(LocalConfig(home=upstream, executor="simulate")) as server:
        paid = environment | {
            "DOUBLEWORD_API_KEY": server.token,
            "DOUBLEWORD_BASE_URL": server.base_url,
            "DOUBLEWORD_BATCH_PROVIDER": "generic",
        }
        first = await asked(paid, source)
        rotated = Settings.from_environment(
            paid | {"DOUBLEWORD_API_KEY": "sk-the-key-of-next-month"}
        )
        async with Jobs(rotated) as jobs:  # nothing of it is sent: the server does not know the key
            again = (await jobs.create(source, prompt="Say {{ text }}", model="m")).created
            more = (await jobs.create(other, prompt="Say {{ text }}", model="m")).created
    assert (again.job, again.reused) == (first.job, True)
    assert more.reused_rows == 2
