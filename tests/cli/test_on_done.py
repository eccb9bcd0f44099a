"""`status --wait --on-done`: what a person wants to be run at the end."""

import os

import pytest


@pytest.mark.skipif(os.name == "nt", reason="the command is one of a POSIX shell")
def test_the_command_is_run_with_counts_and_its_output_stays_off_stdout(shared):
    job = shared.json("create-file", "rows.csv", "--prompt", "Told {{ text }}")["job"]
    shared.json("create", job)
    command = 'echo "$BATCH_JOB $BATCH_STATUS $BATCH_COMPLETED/$BATCH_ROWS"; exit 3'
    ended = shared.run("status", job, "--wait", "--on-done", command, "--json")
    assert ended.returncode == 0, ended.stderr
    assert f"{job} completed 3/3" in ended.stderr
    assert ended.stdout.count("\n") == 1
    assert "exit code 3" in ended.stderr


def test_it_needs_a_wait(shared):
    error = shared.json("status", "any", "--on-done", "true", code=2)["error"]
    assert "--on-done" in error["message"]
