"""Jobs on batch servers that nobody here wrote: whole ones, and such whose client is killed."""

import csv
import json
import subprocess
import time
from random import Random

import pytest

ROWS = 40
KILLS = 8
LONGEST_SECONDS = 2.5


@pytest.fixture
def model(request):
    """A model's name for each test, so that their jobs have different names on the same server."""
    return request.node.name


@pytest.fixture
def on_aibrix(aibrix, shell_for, model):
    """A ready request file whose bodies hold the answers that AIBrix's dry run sends back."""
    shell = shell_for(aibrix)
    lines = "".join(f"{_request(n, model)}\n" for n in range(1, ROWS + 1))
    shell.write("requests.jsonl", lines)
    job = shell.json("upload", "requests.jsonl")["job"]
    steps = [
        ("upload", "requests.jsonl"),
        ("create", job),
        ("status", job, "--wait"),
        ("fetch", job, "-o", "answers.jsonl", "--overwrite"),
    ]
    return shell, job, steps


@pytest.fixture
def on_ogx(ogx, shell_for, request):
    shell = shell_for(ogx)
    rows = "".join(f'{n},"row {n}, é\n☕"\n' for n in range(1, ROWS + 1))
    shell.write("rows.csv", f"id,text\n{rows}")
    words = ("--prompt", "Say {{ text }}", "--system", request.node.name, "--model", ogx.model)
    return shell, [("run", "rows.csv", *words, "-o", "answers.csv", "--overwrite", "--yes")]


def test_a_job_on_aibrix_gives_each_row_its_own_answer(aibrix, on_aibrix):
    shell, job, steps = on_aibrix
    all_done(shell, steps)
    assert_answers_of_aibrix(shell)
    assert len(aibrix.batches(job)) == 1


def test_a_job_on_aibrix_whose_client_is_killed_is_sent_once(aibrix, on_aibrix):
    shell, job, steps = on_aibrix
    killed_at_random(shell, steps, seed=1)
    all_done(shell, steps)
    assert_answers_of_aibrix(shell)
    assert len(aibrix.batches(job)) == 1


def test_a_job_on_ogx_gives_each_row_its_own_answer(ogx, live_model, on_ogx):
    shell, steps = on_ogx
    live_model.prompts.clear()
    all_done(shell, steps)
    assert_answers_of_ogx(shell)
    assert len(live_model.prompts) == live_model.prompts.total() == ROWS
    assert len(ogx.batches(the_job(shell))) == 1


def test_a_job_on_ogx_whose_client_is_killed_is_sent_once(ogx, live_model, on_ogx):
    shell, steps = on_ogx
    live_model.prompts.clear()
    killed_at_random(shell, steps, seed=2)
    all_done(shell, steps)
    assert_answers_of_ogx(shell)
    assert len(live_model.prompts) == live_model.prompts.total() == ROWS
    assert len(ogx.batches(the_job(shell))) == 1


@pytest.mark.parametrize("engine", ["aibrix", "ogx"])
def test_doctor_finds_nothing_wrong_with_an_engine(engine, request, shell_for):
    ended = shell_for(request.getfixturevalue(engine)).run("doctor")
    assert ended.returncode == 0, ended.stdout
    assert "they can be listed" in ended.stdout


def all_done(shell, steps):
    for step in steps:
        ended = shell.run(*step)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def killed_at_random(shell, steps, seed):
    """Start the steps from the first again and again; at a random time kill the one that runs."""
    random = Random(seed)  # it has to repeat itself
    for _ in range(KILLS):
        until = time.monotonic() + random.uniform(0.2, LONGEST_SECONDS)
        for step in steps:
            if not ends_before(until, shell.start(*step)):
                break


def ends_before(until, process):
    """Whether it ended in time; SIGKILL ends it otherwise."""
    try:
        process.communicate(timeout=max(0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False
    return True


def the_job(shell):
    return shell.json("list")["lines"][0].partition(":")[0]


def assert_answers_of_aibrix(shell):
    lines = (shell.folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    table = [json.loads(line) for line in lines]
    assert [row["answer"] for row in table] == [f"answer {n} é" for n in range(1, ROWS + 1)]
    assert {row["outcome"] for row in table} == {"ok"}


def assert_answers_of_ogx(shell):
    with (shell.folder / "answers.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["answer"] for row in table] == [f"SAY ROW {n}, É\n☕" for n in range(1, ROWS + 1)]
    assert {row["outcome"] for row in table} == {"ok"}


def _request(number, model):
    message = {"role": "assistant", "content": f"answer {number} é"}
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"row {number}"}],
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    line = {
        "custom_id": f"row-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }
    return json.dumps(line)
