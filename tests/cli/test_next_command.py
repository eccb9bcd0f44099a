"""Next calls as command lines: what is printed can be typed."""

import json
import shlex

import pytest
import typer

from doubleword_batch.cli.app import command_line
from doubleword_batch.cli.next_command import command_for
from doubleword_batch.cli.show import show_findings
from doubleword_batch.cli.terminal import Terminal
from doubleword_batch.doctor import Finding
from doubleword_batch.errors import Next

JOB = {"job": "rows-7f3a"}


@pytest.mark.parametrize(
    ("next_call", "command"),
    [
        (Next("create_batch_file"), "create-file"),
        (Next("upload", JOB), "upload rows-7f3a"),
        (Next("upload", {"path": "my requests.jsonl"}), "upload 'my requests.jsonl'"),
        (Next("create_batch", JOB), "create rows-7f3a"),
        (
            Next("create_batch", JOB | {"completion_window": "24h"}),
            "create rows-7f3a --window 24h",
        ),
        (Next("create_batch", JOB | {"metadata": {"team": "red"}}), "create rows-7f3a"),
        (Next("get_status", JOB), "status rows-7f3a"),
        (Next("get_status", JOB | {"wait_seconds": 45}), "status rows-7f3a --wait"),
        (Next("fetch_results", JOB), "fetch rows-7f3a -o rows-7f3a.csv"),
        (
            Next("fetch_results", JOB | {"output_path": "a.parquet", "wait_seconds": 45}),
            "fetch rows-7f3a --wait -o a.parquet",
        ),
        (Next("cancel", JOB), "cancel rows-7f3a"),
        (Next("list", {"kind": "models"}), "list models"),
        (Next("retry_failed", JOB), "retry rows-7f3a"),
        (
            Next("retry_failed", JOB | {"causes": ["truncated"], "params": {"max_tokens": 900}}),
            "retry rows-7f3a --cause truncated --param max_tokens=900",
        ),
    ],
)
def test_every_next_call_is_a_command_that_the_command_line_reads(next_call, command):
    assert command_for(next_call) == f"doubleword-batch {command}"
    name, *arguments = shlex.split(command)
    if next_call.arguments:
        commands = typer.main.get_command(command_line())
        commands.commands[name].make_context(name, arguments).close()


def test_a_name_with_a_shells_characters_is_quoted():
    assert command_for(Next("cancel", {"job": "a; rm b"})) == "doubleword-batch cancel 'a; rm b'"


def test_a_reports_next_call_is_a_command_for_people_and_for_programs(shared):
    job = shared.json("create-file", "rows.csv", "-p", "Next {{ text }}")["job"]
    command = f"doubleword-batch create {job} --window 24h"
    assert shared.json("create-file", "rows.csv", "-p", "Next {{ text }}")["next"] == command
    shown = shared.run("create-file", "rows.csv", "-p", "Next {{ text }}")
    assert f"next      {command}\n" in shown.stdout


def test_an_errors_next_call_is_a_command_for_people_and_for_programs(shared):
    job = shared.json("create-file", "rows.csv", "-p", "Fail {{ text }}")["job"]
    command = f"doubleword-batch create {job}"
    assert shared.json("status", job, "--wait", code=3)["error"]["next"] == command
    shown = shared.run("status", job, "--wait")
    assert shown.stderr.endswith(f"Next: {command}\n")


def test_a_findings_next_call_is_a_command_for_people_and_for_programs(capsys):
    call = Next("list", {"kind": "models"})
    found = Finding(subject="answers", state="wrong", found="No such model.", next=call)
    show_findings(Terminal(), [found])
    assert capsys.readouterr().out.endswith("doubleword-batch list models\n")
    show_findings(Terminal(as_json=True), [found])
    (fields,) = json.loads(capsys.readouterr().out)["findings"]
    assert fields["next"] == "doubleword-batch list models"
