"""What a person reads of each step, and of the programs that run until Ctrl-C."""

import json
import re
import subprocess
import sys

import pytest

from cli.commands import SECONDS
from doubleword_batch.cli import app
from doubleword_batch.cli.exit_codes import Exit

MODEL = "Qwen/Qwen3-14B-FP8"


def read(shell, *arguments, code=0):
    """What a command shows, as a dictionary of its names and values."""
    ended = shell.run(*arguments)
    assert ended.returncode == code, ended.stdout + ended.stderr
    found = re.findall(r"^(\S+(?: \S+)?) {2,}(\S.*)$", ended.stdout, re.MULTILINE)
    return dict(found)


def test_each_step_of_a_job_is_told_in_a_few_lines(shell):
    fault = {"match": {"contains": "bad"}, "fault": "error", "status": 500}
    shell.write("faults.json", json.dumps({"requests": [fault]}))
    with shell.local("--faults", "faults.json"):
        made = read(shell, "create-file", "rows.csv", "-p", "Say {{ text }}")
        job = made["job"]
        assert made["requests"] == "3 from 3 rows in 1 file"

        sent, again = read(shell, "upload", job), read(shell, "upload", job)
        assert sent["uploaded"].startswith("3 requests, ")
        assert "reused" not in sent
        assert (again["files"], again["reused"]) == (sent["files"], "1 file there already")

        assert read(shell, "create", job)["job"] == job
        ended = read(shell, "status", job, "--wait", code=8)
        assert ended["finished"] == "3 of 3 (100.0 %), 1 failed"
        assert read(shell, "fetch", job, code=8)["rows"] == "3: 2 ok, 1 failed"
        retried = read(shell, "retry", job)
        assert retried["again"] == "1 row: 1 http_500"
        assert len(retried["batches"].split()) == 1
        read(shell, "status", job, "--wait", code=8)
        stopped = read(shell, "cancel", job)
    assert stopped["stopped"] == "0 requests; 3 had finished"


def test_a_job_is_shown_with_what_each_window_costs_and_how_long_it_takes(hosted):
    made = hosted.run("create-file", "rows.csv", "-p", "Cost of {{ text }}", "-m", MODEL)
    windows = re.findall(r"^window +(.*)$", made.stdout, re.MULTILINE)
    assert [window.split(",")[0] for window in windows] == ["24h", "1h"]
    assert all(re.fullmatch(r"\w+, \$[\d.]+(, usually .+)?", window) for window in windows)
    unknown = hosted.run("create-file", "rows.csv", "-p", "Cost of {{ text }}", "-m", "new/model")
    assert "$" not in unknown.stdout


def test_what_waits_for_a_person_is_shown_with_what_to_do(hosted, shell):
    params = ("-p", "Ask {{ text }}", "-m", MODEL, "--param", "max_tokens=200000")
    assert hosted.run("approve").stderr == "Nothing is waiting for a person.\n"
    job = read(hosted, "create-file", "rows.csv", *params)["job"]
    assert hosted.run("create", job).returncode != 0
    waiting = hosted.run("approve")
    assert job in waiting.stdout
    assert "at most $0.08" in waiting.stdout
    assert "approve JOB asks you, and submits it" in waiting.stderr


def test_an_amount_that_is_none_is_an_error_of_the_command_line(shared):
    error = shared.json("create", "any", "--max-cost", "abc", code=Exit.USAGE)["error"]
    assert "'abc' is not an amount in US dollars" in error["message"]


def test_webhooks_without_a_secret_are_not_taken(shared):
    ended = shared.run("webhook", "--port", "0")
    assert ended.returncode == Exit.CONFIG
    assert "DOUBLEWORD_BATCH_WEBHOOK_SECRET is not set" in ended.stderr


def lines_of(shell, *arguments, number, last_note):
    """The first lines that a program which runs on shows a person, when its last note is there."""
    program = shell.start(*arguments)
    try:
        shown = [program.stdout.readline().decode().rstrip("\n") for _ in range(number)]
        notes = iter(lambda: program.stderr.readline().decode(), "")
        assert any(last_note in note for note in notes)
    finally:
        program.terminate()
        program.communicate(timeout=SECONDS)
    return shown


@pytest.mark.skipif(sys.platform == "win32", reason="the lines are those of a POSIX shell")
@pytest.mark.parametrize("options", [(), ("--show-token",)], ids=["file", "shown"])
def test_the_lines_that_the_local_server_shows_set_what_other_programs_need(shell, options):
    server, answers, token, *lines = lines_of(
        shell, "local", *options, number=5, last_note="Ctrl-C stops it"
    )
    assert answers.split()[:2] == ["answers", "simulate:"]
    echo = 'echo "$OPENAI_BASE_URL $OPENAI_API_KEY"'
    told = subprocess.run(
        ["sh", "-c", "\n".join([*lines, echo])], capture_output=True, text=True, check=True
    )
    key = (shell.home / "local" / "token").read_text("utf-8").strip()
    assert told.stdout.split() == [server.split()[-1], key]
    assert token.split()[-1] == (key if options else str(shell.home / "local" / "token"))


def test_the_console_shows_its_address_and_what_ctrl_c_leaves(shell):
    options = ("--no-browser", "--port", "0")
    (shown,) = lines_of(
        shell, "console", *options, number=1, last_note="jobs at the provider go on"
    )
    assert re.fullmatch(r"console  http://127\.0\.0\.1:\d+/enter\?token=\S+", shown)


def test_a_bug_is_called_one_with_its_trace_and_without_what_the_error_says(monkeypatch, capsys):
    def broken(*_):
        raise LookupError("what may be private")

    monkeypatch.setattr(app, "command_line", broken)
    assert app.run_app(["list", "--json"]) == Exit.BUG
    shown, notes = capsys.readouterr()
    error = json.loads(shown)["error"]
    assert (error["code"], "LookupError" in error["message"]) == ("bug", True)
    assert "private" not in shown
    assert "Traceback" in notes
