"""What reaches a terminal: nothing that rows, models or servers wrote reaches it raw."""

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

import processes
from doubleword_batch.cli.progress import progress_on
from doubleword_batch.cli.terminal import plain
from processes import COMMAND

HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]x[/] \u202egnp\x9b2J"


def test_plain_leaves_letters_and_replaces_what_would_steer_a_terminal():
    assert plain("Grüße\n\t世界 🙂") == "Grüße  世界 🙂"
    assert plain(HOSTILE) == "�[31mred�]0;title� [bold]x[/] �gnp�2J"


def test_text_of_rows_is_shown_and_does_not_steer_the_terminal(shared):
    shared.write("hostile.csv", f'text\n"{HOSTILE}"\n')
    made = shared.json("create-file", "hostile.csv", "-p", "{{ text }}")
    shared.run("create", made["job"])
    query = 'SELECT text, 1 AS "[red]x[/]\x1b[31m" FROM results'
    forced = {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}
    shown = shared.run("fetch", made["job"], "--wait", "--query", query, **forced)
    assert shown.returncode == 0, shown.stderr
    assert "[31mred" in shown.stdout.replace("\n", "")
    assert "[bold]x[/]" in shown.stdout
    assert "[red]x[/]" in shown.stdout
    for steering in ("\x1b[31m", "\x1b]0;", "\x07", "\u202e", "\x9b"):
        assert steering not in shown.stdout
    queried = shared.json("fetch", made["job"], "--query", "SELECT text FROM results")
    assert queried["query"]["rows"] == [[HOSTILE]]


def test_a_terminal_that_is_not_utf_8_gets_question_marks_and_no_traceback(shared):
    ended = shared.run(
        "create-file", "rows.csv", "-p", "Grüße {{ text }}", PYTHONIOENCODING="ascii"
    )
    assert ended.returncode == 0, ended.stderr
    assert "Gr??e" in ended.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_reader_that_leaves_early_changes_nothing_and_causes_no_error(shared):
    reading, writing = os.pipe()
    os.close(reading)
    ended = processes.run(
        [*COMMAND, "list", "models"],
        cwd=shared.folder,
        env=shared.environment,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=300,
        check=False,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_progress_on_a_terminal_is_a_bar():
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with progress_on(terminal) as tell:
        tell(1_000, 4_000, "bytes uploaded")
        tell(2, 10, "requests finished")
        tell(5, 10, "requests finished")
    drawn = terminal.file.getvalue()
    assert "requests finished" in drawn
    assert "5/10" in drawn


def test_progress_in_a_pipe_does_not_fill_the_log():
    log = Console(file=io.StringIO(), force_terminal=False)
    with progress_on(log) as tell:
        for done in range(1_000):
            tell(done, 1_000, "requests finished")
    assert log.file.getvalue() == ""
