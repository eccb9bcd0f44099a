"""A program that forks: the child's calls are answered, or say at once why they cannot be.

Neither the batching thread nor SQLite outlives a fork. A child that opens a store which its parent
has open loses what it writes there as soon as the parent closes it.
"""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from batch_openai.conftest import DEADLINE_SECONDS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PROGRAM = textwrap.dedent(
    """
    import asyncio, json, multiprocessing, os, sys
    import openai
    from doubleword_batch import BatchOpenAI, Settings
    from doubleword_batch.lazy_workspace import LazyWorkspace

    def made():
        return BatchOpenAI(batch_window_seconds=0.05, poll_interval_seconds=0.1)

    async def outcome(client, text):
        messages = [{"role": "user", "content": text}]
        try:
            answer = await client.chat.completions.create(model="chat-1", messages=messages)
        except openai.OpenAIError as error:
            return [error.code, str(error)]
        return ["ok", answer.id]

    def in_child(work):
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        child = context.Process(target=lambda: theirs.send(work()))
        child.start()
        theirs.close()
        found = ours.recv()
        child.join()
        return found
    """
)


@pytest.fixture
def run(faulty, tmp_path):
    """Runs what is written behind the program; gives what it printed as JSON."""

    def run_it(text):
        path = tmp_path / "program.py"
        path.write_text(PROGRAM + textwrap.dedent(text))
        with faulty():
            ended = subprocess.run(
                [sys.executable, "-W", "ignore", path],
                stdout=subprocess.PIPE,
                timeout=DEADLINE_SECONDS,
                check=True,
            )
        return json.loads(ended.stdout)

    return run_it


def test_a_client_of_before_the_fork_works_only_if_it_was_not_in_use(run):
    unused, before, used, anew, parent, after = run(
        """
        client = made()
        unused = in_child(lambda: asyncio.run(outcome(client, "1")))
        before = asyncio.run(outcome(client, "2"))
        used = in_child(lambda: asyncio.run(outcome(client, "3")))
        anew = in_child(lambda: asyncio.run(outcome(made(), "4")))
        parent = asyncio.run(outcome(client, "5"))
        asyncio.run(client.close())
        after = in_child(lambda: asyncio.run(outcome(made(), "6")))
        print(json.dumps([unused, before, used, anew, parent, after]))
        """
    )
    assert [found[0] for found in (unused, before, parent, after)] == ["ok"] * 4
    assert [found[0] for found in (used, anew)] == ["forked"] * 2
    assert "client was in use" in used[1]
    assert "has the store in" in anew[1]


def test_a_workspace_that_is_open_says_so_in_a_forked_process(run):
    child, parent = run(
        """
        async def main():
            workspace = LazyWorkspace(Settings.from_environment(os.environ))
            store = (await workspace.get()).store
            def count():
                try:
                    return store.query("SELECT count(*) FROM jobs")
                except Exception as error:
                    return error.code
            print(json.dumps([in_child(count), count()]))
            await workspace.close()

        asyncio.run(main())
        """
    )
    assert child == "forked"
    assert parent == [[0]]
