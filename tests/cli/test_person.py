"""At a real terminal: the help, and the question before money is spent."""

import json
import os
import select
import signal
import subprocess

import pytest

import processes
from cli.commands import SECONDS, Shell
from processes import COMMAND

pty = pytest.importorskip("pty")
PROMPT = ("-p", "Say {{ text }}", "-m", "simulated-chat")


class Person:
    """Somebody at a terminal who starts a command and reads the screen."""

    def __init__(self, shell, *arguments, **environment):
        self._screen, inside = pty.openpty()
        self.command = processes.Popen(
            [*COMMAND, *arguments],
            cwd=shell.folder,
            env=shell.environment | environment,
            stdin=inside,
            stdout=subprocess.PIPE,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)

    def reads(self, words):
        seen = ""
        while words not in seen:
            assert select.select([self._screen], [], [], SECONDS)[0], seen
            seen += os.read(self._screen, 4096).decode(errors="replace")
        return seen

    def types(self, text):
        os.write(self._screen, text.encode())

    def result(self):
        output, _ = self.command.communicate(timeout=SECONDS)
        os.close(self._screen)
        return self.command.returncode, output.decode()


@pytest.fixture(scope="module")
def hosted(tmp_path_factory):
    """A folder whose provider costs money: the local server under a provider's name."""
    shell = Shell(tmp_path_factory.mktemp("hosted"))
    shell.write("rows.csv", "text\ngood\n")
    with shell.hosted():
        yield shell


def test_without_arguments_a_person_gets_the_help(shared):
    code, output = Person(shared).result()
    assert code == 0
    assert "Usage: doubleword-batch" in output


def test_ctrl_c_at_the_question_submits_nothing_and_a_yes_later_does(hosted):
    arguments = ("run", "rows.csv", *PROMPT, "-o", "answers.csv", "--json")
    doubting = Person(hosted, *arguments)
    seen = doubting.reads("[y/N]")
    assert "estimated cost at Doubleword" in seen
    os.killpg(doubting.command.pid, signal.SIGINT)
    code, output = doubting.result()
    assert (code, json.loads(output)["error"]["code"]) == (3, "not_confirmed")
    assert hosted.json("list", "batches")["lines"] == []

    agreeing = Person(hosted, *arguments)
    agreeing.reads("[y/N]")
    agreeing.types("y\n")
    code, output = agreeing.result()
    assert (code, json.loads(output)["ledger"]) == (0, {"ok": 1})
