"""`run`: one command from a table to a table."""

import codecs
import json
import os
from pathlib import Path

import pytest

from doubleword_batch.local import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import Match, RequestFault
from tables import rows_of

PROMPT = ("--prompt", "Say {{ text }}")


@pytest.fixture(scope="module")
def first(shared):
    """The first run of the shared folder."""
    return shared.run("run", "rows.csv", *PROMPT, "-o", "answers.csv")


def test_writes_one_answer_for_each_row_in_the_order_of_the_source(shared, first):
    assert first.returncode == 0, first.stderr
    rows = rows_of(shared.folder / "answers.csv")
    assert [(row["id"], row["outcome"]) for row in rows] == [("1", "ok"), ("2", "ok"), ("3", "ok")]
    assert all(row["answer"] for row in rows)


def test_tells_a_person_what_became_of_the_rows_and_who_answered(first):
    assert "3: 3 ok" in first.stdout
    assert "answers are simulated" in first.stdout


def test_goes_on_with_the_same_job_when_it_is_run_again(shared, first):
    again = shared.json("run", "rows.csv", *PROMPT, "-o", "again.csv")
    assert f"job       {again['job']}" in first.stdout
    assert len(shared.json("list")["lines"]) == 1


def test_leaves_an_existing_output_alone_and_says_so_before_anything_is_built(shell):
    shell.write("answers.csv", "mine")
    error = shell.json("run", "rows.csv", *PROMPT, "-o", "answers.csv", code=3)["error"]
    assert error["code"] == "output_exists"
    assert (shell.folder / "answers.csv").read_text(encoding="utf-8") == "mine"
    assert shell.json("list")["lines"] == []


def test_replaces_the_output_when_asked_and_takes_its_prompt_from_a_file(shell):
    shell.write("answers.jsonl", "mine")
    shell.write("prompt.txt", "Ask {{ text }}\n")
    done = shell.json(
        "run", "rows.csv", "-p", "@prompt.txt", "-o", "answers.jsonl", "--overwrite", "--limit", "2"
    )
    assert (done["complete"], done["ledger"]) == (True, {"ok": 2})
    assert (shell.folder / "answers.jsonl").read_text(encoding="utf-8").count("\n") == 2


def test_takes_the_prompt_from_stdin_and_params_as_json(shell):
    shell.write("schema.json", '{"type":"object","properties":{"label":{"type":"string"}}}')
    arguments = ("rows.csv", "-p", "-", "--schema", "schema.json", "--param", "max_tokens=99")
    made = shell.run("create-file", *arguments, "--json", stdin="From stdin: {{ text }}")
    assert made.returncode == 0, made.stdout
    request = next((shell.home / "jobs").glob("*/part-0001.jsonl")).read_text(encoding="utf-8")
    assert "From stdin: good" in request
    assert '"max_tokens":99' in request


@pytest.mark.parametrize(("status", "can_help"), [(500, True), (400, False)])
def test_ends_with_8_and_says_why_when_rows_have_no_good_answer(shell, status, can_help):
    fault = RequestFault(match=Match(contains="bad"), fault="error", status=status)
    faults = Faults(requests=(fault,))
    with LocalServer(  # the command finds it
        LocalConfig(home=shell.home, executor="simulate", faults=faults, max_attempts=1)
    ):
        ended = shell.run("run", "rows.csv", *PROMPT, "-o", "answers.csv")
    assert ended.returncode == 8, ended.stderr
    assert "3: 2 ok, 1 failed" in ended.stdout
    assert f"http_{status}" in ended.stdout
    assert ("next      doubleword-batch retry rows-" in ended.stdout) == can_help


def test_a_csv_holds_no_formula_unless_the_person_wants_it(shell):
    shell.write("rows.csv", "id,text\n1,=1+1\n")
    done = shell.json("run", "rows.csv", *PROMPT, "-o", "safe.csv")
    shell.json("fetch", done["job"], "-o", "raw.csv", "--formulas")
    texts = [rows_of(shell.folder / name)[0]["text"] for name in ("safe.csv", "raw.csv")]
    assert texts == ["'=1+1", "=1+1"]


def test_a_csv_begins_with_a_byte_order_mark_where_the_source_does_or_a_person_asks(shell):
    def marks(*words):
        job = shell.json("run", "rows.csv", *PROMPT, "-o", "a.csv", "--new-run", *words)["job"]
        shell.json("fetch", job, "-o", "without.csv", "--no-bom", "--overwrite")
        shell.json("fetch", job, "-o", "with.csv", "--bom", "--overwrite")
        query = ("--query", "SELECT text FROM results")
        shell.json("fetch", job, "-o", "query.csv", *query, "--overwrite")
        names = ("a.csv", "without.csv", "with.csv", "query.csv")
        return [(shell.folder / name).read_bytes().count(codecs.BOM_UTF8) for name in names]

    (shell.folder / "rows.csv").write_text("id,text\n1,Größe\n", encoding="utf-8")
    assert marks() == [0, 0, 1, 0]
    for encoding in ("utf-8-sig", "utf-16"):
        (shell.folder / "rows.csv").write_text("id,text\n1,Größe\n", encoding=encoding)
        assert marks("--overwrite") == [1, 0, 1, 1]
    table = (shell.folder / "a.csv").read_text(encoding="utf-8-sig")
    assert table.startswith("id,text,custom_id,outcome,answer,error\n1,Größe,")


def test_says_what_goes_first_and_sends_the_others_behind_it(shell):
    rows = "".join(f'{n},"{"word " * 1_000} question {n}"\n' for n in range(4))
    shell.write("alike.csv", "id,text\n" + rows)
    done = shell.run("run", "alike.csv", "-p", "{{ text }}", "-o", "out.csv", "--first-wave", "1")
    assert done.returncode == 0, done.stderr
    assert "1 request goes first; the other 3 wait until it has ended." in done.stderr
    assert "4: 4 ok" in done.stdout
    job = shell.json("create-file", "alike.csv", "-p", "{{ text }}", "--option", "first_wave=1")
    status = shell.json("status", job["job"])
    assert (job["reused"], len(status["batch_ids"])) == (True, 2)


def test_a_run_without_what_it_needs_says_all_that_is_missing(shared):
    without_prompt = shared.run("run", "rows.csv", "-o", "out.csv")
    bare = shared.run("run")
    assert "Give a prompt (--prompt)." in without_prompt.stderr
    all_three = "the table to read (SOURCE), a prompt (--prompt) and the file to write (--output)"
    assert f"Give {all_three}." in " ".join(bare.stderr.split())
    assert without_prompt.returncode == bare.returncode == 2


# `status --wait --on-done`: what a person wants to be run at the end


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


def test_a_parameter_nested_without_end_is_a_text_like_all_that_is_not_json(shell):
    nested = "[" * 5_000 + "]" * 5_000
    made = shell.json("create-file", "rows.csv", *PROMPT, "--param", f"stop={nested}")
    line = Path(made["paths"][0]).read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(line)["body"]["stop"] == nested
