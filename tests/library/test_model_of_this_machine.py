"""Without a key the local server answers; for a model that it does not have, errors say so."""

import openai
import pytest

from agent import agent
from cli.commands import Shell
from doubleword_batch import BatchOpenAI, ForbiddenError, Jobs
from doubleword_batch.local import LocalConfig, LocalServer
from doubleword_batch.settings import Settings

HOSTED_MODEL = "Qwen/Qwen3-14B-FP8"
SAYS = (
    "No key is in use, so the local batch server answers, and it does not have the model",
    "it has «small-chat»",
    "DOUBLEWORD_API_KEY",
)


@pytest.fixture
def environment(tmp_path):
    home = tmp_path / "home"
    config = LocalConfig(home=home, executor="simulate", models=("small-chat",))
    with LocalServer(config):
        yield {"DOUBLEWORD_BATCH_HOME": str(home), "DOUBLEWORD_BATCH_ROOTS": str(tmp_path)}


def says_it(text):
    flat = " ".join(text.split())
    return [part for part in SAYS if part not in flat] == []


async def test_the_library_and_the_tools_name_the_missing_key_and_the_model_there_is(environment):
    settings = Settings.from_environment(environment)
    async with Jobs(settings) as jobs:
        job = await jobs.create([{"text": "a"}], prompt="Say {{ text }}", model=HOSTED_MODEL)
        with pytest.raises(ForbiddenError) as error:
            await job.submit()
    async with agent(settings) as a:
        reply = await a.fails("create_batch", job=job.name)
    assert says_it(str(error.value))
    assert says_it(reply.text)
    assert reply["error"]["code"] == "forbidden"
    assert reply["error"]["next"] == 'list(kind="models")'


@pytest.mark.parametrize("window", ["24h", "async"])
async def test_a_call_of_batch_openai_names_them_too(environment, window, monkeypatch):
    for name in ("DOUBLEWORD_API_KEY", "DOUBLEWORD_BASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    home = environment["DOUBLEWORD_BATCH_HOME"]
    async with BatchOpenAI(
        state_dir=home, batch_window_seconds=0.01, max_retry_seconds=2, completion_window=window
    ) as client:
        with pytest.raises(openai.APIStatusError) as error:
            await client.chat.completions.create(
                model=HOSTED_MODEL, messages=[{"role": "user", "content": "a"}]
            )
    assert says_it(str(error.value))


def test_the_command_line_names_them_too(environment, tmp_path):
    shell = Shell(tmp_path, **environment)
    shell.write("reviews.csv", "id,text\n1,good\n")
    wanted = ("run", "reviews.csv", "--prompt", "Say {{ text }}", "--model", HOSTED_MODEL)
    done = shell.run(*wanted, "--output", "answers.csv")
    assert done.returncode not in {0, None}
    assert says_it(done.stderr)
