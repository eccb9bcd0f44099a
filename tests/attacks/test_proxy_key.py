"""No program of the machine spends through the proxy without the key that it makes and shows."""

import os

import openai
import pytest
from anyio import to_thread

import processes
from batch_openai.test_proxy import bounded  # noqa: F401  # applies by itself
from processes import COMMAND


async def lists_models(url, key):
    async with openai.AsyncOpenAI(base_url=url, api_key=key) as program:
        return bool((await program.models.list()).data)


def key_alone(home, environ):
    """What `--show-key` prints while a proxy runs; it starts none itself."""
    line = [*COMMAND, "proxy", "--show-key"]
    home = {"DOUBLEWORD_BATCH_HOME": str(home)}
    return processes.run(
        line,
        env=os.environ | environ | home,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


async def test_the_command_makes_a_key_shows_it_once_and_keeps_it(faulty, commanded, tmp_path):
    path = tmp_path / "proxy" / "proxy" / "key"
    with faulty() as server:
        environ = {"OPENAI_API_KEY": server.token, "OPENAI_BASE_URL": server.base_url}
        async with commanded(**environ) as (url, shown):
            key = path.read_text()
            assert shown.startswith(key)
            assert len(key) >= 32
            assert await lists_models(url, key)
            with pytest.raises(openai.AuthenticationError, match="--show-key"):
                await lists_models(url, "any")
        async with commanded(**environ) as (url, shown):
            assert key not in shown
            assert "in " in shown
            assert await lists_models(url, key)
            asked = await to_thread.run_sync(key_alone, tmp_path / "proxy", environ)
            assert asked == key + "\n"
    if os.name == "posix":
        assert not path.stat().st_mode & 0o077


async def test_the_command_requires_the_key_of_its_environment(faulty, commanded):
    with faulty() as server:
        environ = {"OPENAI_API_KEY": server.token, "OPENAI_BASE_URL": server.base_url}
        async with commanded(**environ, DOUBLEWORD_BATCH_PROXY_KEY="k-1") as (url, shown):
            assert "k-1" not in shown
            async with openai.AsyncOpenAI(base_url=url, api_key="k-1") as program:
                assert (await program.models.list()).data
            async with openai.AsyncOpenAI(base_url=url, api_key="k-2") as program:
                with pytest.raises(openai.AuthenticationError):
                    await program.models.list()
