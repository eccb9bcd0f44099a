"""A job step by step, as a script runs it: the JSON of every step names the next."""

import json
import shlex
import subprocess

import pytest

from cli.commands import SECONDS
from processes import COMMAND


def test_each_step_hands_the_job_to_the_next_until_the_table_is_there(shell):
    made = shell.json("create-file", "rows.csv", "-p", "Say {{ text }}", "-o", "requests.jsonl")
    job = made["job"]
    assert (made["requests"], made["reused"]) == (3, False)
    assert made["next"].startswith(f"doubleword-batch create {job}")

    sent = shell.json("upload", job)
    assert len(sent["input_file_ids"]) == 1
    started = shell.json("create", job, "--window", "1h")
    assert (started["completion_window"], started["reused"]) == ("1h", False)
    assert started["input_file_ids"] == sent["input_file_ids"]

    ended = shell.json("status", job, "--wait")
    assert (ended["status"], ended["counts"]["completed"]) == ("completed", 3)
    done = shell.json("fetch", job, "-o", "answers.csv", "--sample", "1")
    assert (done["ledger"], len(done["samples"])) == ({"ok": 3}, 1)
    assert done["output_path"] == str(shell.folder / "answers.csv")
    queried = shell.json("fetch", job, "--query", "SELECT count(*) AS n FROM results")
    assert (queried["query"]["rows"], queried["samples"]) == ([[3]], [])

    assert shell.json("create", job)["reused"]
    assert shell.json("cancel", job)["stopped"] == 0
    assert shell.json("retry", job, code=3)["error"]["code"] == "nothing_to_retry"


def test_a_request_file_made_elsewhere_becomes_a_job(shell):
    shell.write(
        "mine.jsonl",
        '{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":'
        '{"model":"simulated-chat","messages":[{"role":"user","content":"Hi"}]}}\n',
    )
    job = shell.json("upload", "mine.jsonl")["job"]
    ended = shell.run("create", job)
    assert ended.returncode == 0, ended.stderr
    assert "the job pauses until the next command" in ended.stderr
    assert shell.json("fetch", job, "--wait")["ledger"] == {"ok": 1}


def test_validate_names_every_kind_of_fault_at_once_and_ends_with_8(shell):
    line = '{"custom_id":"a","method":"POST","url":"/v1/completions","body":{"model":"m"}}\n'
    bare = line.replace("completions", "chat/completions").replace('"a"', '"b"')
    shell.write("bad.jsonl", line + line + "{broken\n" + bare)
    found = shell.json("validate", "bad.jsonl", code=8)
    kinds = {group["kind"]: group["first"][0]["line"] for group in found["groups"]}
    assert kinds == {"custom_id_duplicate": 2, "not_json": 3, "mixed_urls": 4, "content": 4}
    shown = shell.run("validate", "bad.jsonl")
    assert shown.returncode == 8
    assert "would reject it" in shown.stdout


def test_validate_calls_a_table_a_table_and_shows_the_command_that_makes_a_job_of_it(shell):
    shell.write("reviews.csv", "id,text\n1,good\n")
    refused = shell.run("validate", "reviews.csv")
    assert refused.returncode == 3
    assert "reviews.csv is a table and not a request file." in refused.stderr
    assert "create-file" in refused.stderr
    assert "missing_field" not in refused.stdout + refused.stderr


def test_list_shows_the_jobs_and_the_models_that_exist(shared):
    made = shared.json("create-file", "rows.csv", "-p", "List {{ text }}")
    assert shared.json("list")["lines"][0].startswith(f"{made['job']}: built, 3 rows")
    models = shared.run("list", "models")
    assert "simulated-chat" in models.stdout.splitlines()


def test_the_person_may_name_any_path_unless_folders_were_listed(shell):
    (shell.folder / "inside").mkdir(mode=0o700)
    arguments = ("create-file", str(shell.folder / "rows.csv"), "-p", "{{ text }}")
    free = shell.run(*arguments, DOUBLEWORD_BATCH_HOME=str(shell.folder / "inside"))
    assert free.returncode == 0, free.stderr
    bound = shell.run(*arguments, DOUBLEWORD_BATCH_ROOTS=str(shell.folder / "inside"))
    assert bound.returncode == 3
    assert "outside the folders" in bound.stderr


@pytest.mark.posix("a working directory that can be deleted")
def test_where_the_working_directory_was_deleted_only_relative_paths_fail(shell):
    """As it is for a shell, or an MCP server, whose worktree was removed."""
    source, output = shell.folder / "rows.csv", shell.folder / "answers.csv"
    gone = shell.folder / "gone"

    def run(*arguments, **environment):
        gone.mkdir()
        command = shlex.join([*COMMAND, *arguments])
        return subprocess.run(
            ["sh", "-c", f"rmdir ../gone; exec {command}"],
            cwd=gone,
            env=shell.environment | environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    prompt = ("-p", "Say {{ text }}")
    done = run("run", str(source), *prompt, "-o", str(output))
    assert done.returncode == 0, done.stderr
    again = run("run", "--locked", f"{output.with_suffix('')}.lock.json", "--overwrite")
    assert again.returncode == 0, again.stderr
    refused = run("create-file", "*.csv", *prompt)
    assert refused.returncode == 3
    assert "working directory is gone or cannot be read; give an absolute path" in refused.stderr
    home = run("list", DOUBLEWORD_BATCH_HOME="state")
    assert home.returncode == 4
    assert "DOUBLEWORD_BATCH_HOME names a relative path" in home.stderr


def test_delete_asks_where_something_would_be_lost_and_doctor_says_how_large_it_is(shell):
    created = shell.json("create-file", "rows.csv", "--prompt", "{{ text }}")
    job = created["job"]
    shell.json("create", job)  # it pauses with the command
    asked = shell.json("delete", job, code=3)["error"]
    found, tight = (
        {finding["subject"]: finding for finding in shell.json("doctor", **bound)["findings"]}
        for bound in ({}, {"DOUBLEWORD_BATCH_MAX_STATE_GB": "0.0001"})
    )
    deleted = shell.json("delete", job, "--yes")
    assert asked["code"] == "not_confirmed"
    assert "still runs" in asked["message"] or "not fetched" in asked["message"]
    assert f"the largest of 1 jobs: {job} " in found["disk"]["found"]
    assert "store.sqlite3" in found["disk"]["found"]
    assert tight["disk"]["state"] == "note"
    assert "delete JOB removes a job" in tight["disk"]["remedy"]  # this one would lose answers
    assert deleted["job"] == job
    assert not (shell.home / "jobs" / job).exists()


def test_every_deleted_job_is_a_json_line_and_an_error_is_the_last_one(shell):
    made = ("create-file", "rows.csv", "--prompt")
    jobs = [shell.json(*made, f"{word} {{{{ text }}}}")["job"] for word in ("Say", "List")]
    ended = shell.run("delete", *jobs, "nothing-1", "--yes", "--json")
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 3
    assert [line.get("job") for line in lines] == [*jobs, None]
    assert lines[-1]["error"]["code"] == "unknown_job"


def test_a_query_with_json_gives_all_its_rows(shell):
    shell.write("many.csv", "text\n" + "".join(f"row {n}\n" for n in range(3_000)))
    job = shell.json("run", "many.csv", "-p", "{{ text }}", "-o", "out.csv", "--yes")["job"]
    query = "SELECT text, answer FROM results ORDER BY 1"
    shown = shell.json("fetch", job, "--query", query)["query"]
    assert (len(shown["rows"]), shown["truncated"]) == (3_000, False)
