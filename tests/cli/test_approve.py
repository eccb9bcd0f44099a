"""`approve`: a person's yes at a terminal, and what an agent with a shell meets."""

import json

import anyio
import pytest

from cli.test_person import Person
from doubleword_batch import Jobs
from doubleword_batch.jobs.approvals import ApprovalError
from doubleword_batch.settings import Settings

MODEL = "Qwen/Qwen3-14B-FP8"
PROMPT = ("-p", "Say {{ text }}", "-m", MODEL, "--param", "max_tokens=200000")
"""Two rows of at most 200,000 tokens cost at most eight cents."""


def refused(shell):
    """A job whose submission waits for a person."""

    async def work():
        settings = Settings.from_environment(shell.environment)
        async with Jobs(settings) as jobs:
            job = await jobs.create(
                str(shell.folder / "rows.csv"),
                prompt="Say {{ text }}",
                model=MODEL,
                params={"max_tokens": 200_000},
                new_run=True,
            )
            with pytest.raises(ApprovalError):
                await job.submit()
            return job.name

    return anyio.run(work)


def failure(shell, *arguments):
    ended = shell.run(*arguments, "--json")
    assert ended.returncode != 0
    return json.loads(ended.stdout)["error"]


def test_without_a_terminal_nothing_is_submitted_and_nothing_approved(hosted):
    job = refused(hosted)
    again = failure(hosted, "create", job)
    assert again["code"] == "needs_approval"
    assert "at most $0.08" in again["message"]
    shown = hosted.run("approve", job)
    assert shown.returncode != 0
    assert "Only a person may approve" in shown.stderr
    assert "--code" not in shown.stdout + shown.stderr
    assert failure(hosted, "approve", job, "--code", "0000000000")["code"] == "not_confirmed"
    (question,) = [q for q in hosted.json("approve")["waiting"] if q["job"] == job]
    assert "at most $0.08" in question["question"]


def test_a_person_at_a_terminal_says_yes_and_it_is_submitted(hosted):
    job = refused(hosted)
    person = Person(hosted, "approve", job, "--json")
    asked = person.reads("[y/N]")
    assert "at most $0.08" in asked
    assert "for 2 requests" in asked
    person.types("y\n")
    code, output = person.result()
    assert code == 0
    assert json.loads(output)["batch_ids"]
    assert failure(hosted, "approve", job)["code"] == "not_submitted"


@pytest.mark.parametrize("command", ["create", "run"])
def test_while_a_person_is_asked_nothing_draws_over_what_they_type(hosted, command):
    """A progress bar hides the cursor, and clears the line again and again."""
    arguments = {
        "create": ("create", refused(hosted)),
        "run": ("run", "rows.csv", *PROMPT, "-o", "new.csv", "--new-run"),
    }[command]
    person = Person(hosted, *arguments, TERM="xterm")
    asked = person.reads("[y/N]")
    person.types("n\n")
    assert person.result()[0] == 3
    assert asked.count("\033[?25l") == asked.count("\033[?25h")


def test_the_code_of_a_terminal_serves_where_there_is_none_and_only_once(hosted):
    job, other = refused(hosted), refused(hosted)
    person = Person(hosted, "approve", job)
    code = person.reads("[y/N]").partition("--code ")[2][:10]
    person.types("n\n")
    assert person.result()[0] != 0
    assert failure(hosted, "approve", other, "--code", code)["code"] == "not_confirmed"
    assert hosted.json("approve", job, "--code", code)["batch_ids"]
    assert failure(hosted, "approve", job, "--code", code)["code"] == "not_submitted"


def test_a_no_stands_until_the_person_changes_their_mind(hosted):
    job = refused(hosted)
    assert hosted.run("approve", job, "--decline").returncode == 0
    assert failure(hosted, "create", job)["code"] == "declined"
    person = Person(hosted, "approve", job)
    person.reads("[y/N]")
    person.types("y\n")
    assert person.result()[0] == 0


def test_run_asks_once_at_the_terminal_with_the_price_that_holds(hosted):
    hosted.write("other.csv", "text\nfine\nbroken\n")
    person = Person(hosted, "run", "other.csv", *PROMPT, "-o", "answers.csv", "--json")
    asked = person.reads("[y/N]")
    assert "at most $0.08" in asked
    person.types("y\n")
    code, output = person.result()
    assert code == 0, output
    assert json.loads(output)["ledger"] == {"ok": 2}


def test_no_option_of_run_is_a_persons_yes(hosted):
    hosted.write("third.csv", "text\nlate\nearly\n")
    options = ("run", "third.csv", *PROMPT, "-o", "third-answers.csv", "--yes", "--max-cost", "9")
    assert failure(hosted, *options)["code"] == "needs_approval"
