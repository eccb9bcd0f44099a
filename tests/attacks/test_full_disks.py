"""Neither an agent that builds for ever nor a small table with a long prompt fills the disk."""

import os
import sys

import pytest

from agent import agent
from doubleword_batch.errors import ConfigError, InputError
from doubleword_batch.local import Faults
from doubleword_batch.settings import Settings


@pytest.fixture
def settings(environment):
    return Settings.from_environment({**environment, "DOUBLEWORD_BATCH_MAX_STATE_GB": "0.0001"})


def bytes_of(home):
    return sum(path.stat().st_size for path in (home / "jobs").rglob("part-*.jsonl"))


async def test_one_build_that_would_pass_the_bound_leaves_nothing(settings, work, home):
    (work / "t.csv").write_text("text\n" + "".join(f"a{n}\n" for n in range(300)), encoding="utf-8")
    async with agent(settings) as a:
        reply = await a.fails(
            "create_batch_file", source="t.csv", prompt="A long question about {{ text }}. " * 30
        )
        assert reply["error"]["code"] == "disk_full"
        assert "DOUBLEWORD_BATCH_MAX_STATE_GB" in reply["error"]["hint"]
        assert not bytes_of(home)
        await a.calls("create_batch_file", source="t.csv", prompt="{{ text }}", limit=10)


async def test_builds_of_all_jobs_count_together(settings, work, home):
    (work / "t.csv").write_text("text\n" + "".join(f"a{n}\n" for n in range(200)), encoding="utf-8")
    async with agent(settings) as a:
        for number in range(3):
            await a.calls("create_batch_file", source="t.csv", prompt=f"{number} {{{{ text }}}}")
        reply = await a.fails("create_batch_file", source="t.csv", prompt="last {{ text }}")
    assert reply["error"]["code"] == "disk_full"
    assert bytes_of(home) < 100_000


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
