"""Next calls as command lines: what is printed can be typed."""

import shlex

import pytest
import typer

from doubleword_batch.cli.app import app
from doubleword_batch.cli.next_command import command_for, in_commands
from doubleword_batch.errors import Next

JOB = {"job": "rows-7f3a"}


@pytest.mark.parametrize(
    ("following", "command"),
    [
        (Next(tool="create_batch", arguments=JOB), "create rows-7f3a"),
        (
            Next(tool="create_batch", arguments=JOB | {"completion_window": "24h"}),
            "create rows-7f3a --window 24h",
        ),
        (
            Next(tool="get_status", arguments=JOB | {"wait_seconds": 45}),
            "status rows-7f3a --wait",
        ),
        (Next(tool="get_status", arguments=JOB), "status rows-7f3a"),
        (Next(tool="fetch_results", arguments=JOB), "fetch rows-7f3a -o rows-7f3a.csv"),
        (Next(tool="retry_failed", arguments=JOB), "retry rows-7f3a"),
        (Next(tool="cancel", arguments=JOB), "cancel rows-7f3a"),
        (Next(tool="upload", arguments=JOB), "upload rows-7f3a"),
        (Next(tool="list", arguments={"kind": "models"}), "list models"),
    ],
)
def test_every_next_call_is_a_command_that_the_command_line_reads(following, command):
    assert command_for(following) == f"doubleword-batch {command}"
    name, *arguments = shlex.split(command)
    commands = typer.main.get_command(app)
    commands.commands[name].make_context(name, arguments).close()


def test_a_name_with_a_shells_characters_is_quoted():
    following = Next(tool="cancel", arguments={"job": "a; rm b"})
    assert command_for(following) == "doubleword-batch cancel 'a; rm b'"


def test_tool_calls_in_a_hint_become_commands_and_words_stay_words():
    assert in_commands('Call create_batch(job="x-1") first, or list(kind=jobs).') == (
        "Call `doubleword-batch create x-1` first, or `doubleword-batch list jobs`."
    )
    assert in_commands("a list of files to upload") == "a list of files to upload"
