"""What is printed reads well where it is read: at 80 columns, in a pipe, in a narrow terminal."""

import io

import pytest
import typer
from rich.console import Console

from doubleword_batch.cli.app import command_line, run_app
from doubleword_batch.cli.show import table
from doubleword_batch.cli.terminal import Terminal

COMMANDS = [
    ["--help"],
    ["local", "pull", "--help"],
    *([name, "--help"] for name in typer.main.get_command(command_line()).list_commands(None)),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_no_boxes_is_not_cut_and_fits_80_columns(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    assert run_app(command) == 0
    shown = capsys.readouterr().out
    assert not set("╭╮╰╯─│") & set(shown)
    assert max(map(len, shown.splitlines())) <= 80
    assert len(shown.encode()) < 3_200
    usage, *lines = shown.splitlines()
    assert usage.startswith("Usage: ")
    assert not [line for line in lines if line.endswith(("...", "…"))]


def test_help_says_in_whole_sentences_what_each_command_does(shared):
    shown = " ".join(shared.run("--help").stdout.split())
    assert "..." not in shown.partition("Commands:")[2]
    assert "Upload request files without starting them; content uploaded before is not" in shown


def written(width, shown):
    """What a terminal of that width gets."""
    terminal = Terminal()
    terminal._out = Console(file=io.StringIO(), width=width)
    terminal.show(shown)
    return terminal._out.file.getvalue()


@pytest.mark.parametrize("width", [20, 80, 200])
def test_a_table_breaks_no_name(width):
    name, batch = "invalid_request_error", "0191d5a0-0000-7000-8000-000000000000"
    words = "a longer text that says what to do about it, in several words"
    rows = [("failed", name, 12, batch, words), ("truncated", "length", 3, "x" * 60, words)]
    columns = ("outcome", "cause", "rows", "message", "what to do")
    shown = written(width, table("Rows", columns, rows))
    for whole in ("truncated", name, batch, "x" * 60, "outcome"):
        assert whole in shown


def test_the_title_of_a_narrow_table_stays_on_its_line():
    title = "Some answers (written by the model)"
    shown = written(80, table(title, ("row", "label"), [(1, "good"), (2, "bad")]))
    assert shown.splitlines()[0].rstrip() == title
