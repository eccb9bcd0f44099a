"""Listing what a server has, by script: batches with their jobs, and models."""

import json

import pytest

from skill.results import FAST
from skill.servers import answering


def test_it_lists_the_batches_with_their_jobs_and_the_models(run, work, served, requests_of):
    requests_of(3)
    with served() as server:
        empty = run("list_jobs.py", **server.variables)
        run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        jobs = run("list_jobs.py", **server.variables)
        running = run("list_jobs.py", "--status", "in_progress", **server.variables)
        found = run("list_jobs.py", "jobs", "--search", "REQUESTS-", **server.variables)
        models = run("list_jobs.py", "models", **server.variables)

    assert (empty.out, running.out) == ("nothing\n", "nothing\n")
    (line,) = jobs.out.splitlines()
    assert ": completed, 3 of 3 done, 0 failed, job requests-" in line
    assert found.out == jobs.out
    assert "simulated-chat" in models.out.splitlines()
    assert {done.code for done in (empty, jobs, models)} == {0}


def test_counts_and_statuses_of_any_spelling_are_shown(run):
    counts = {"completed": "2.0", "failed": "some", "total": [3]}
    batch = {"id": "b-1", "status": "IN-PROGRESS", "request_counts": counts}
    page = json.dumps({"data": [batch], "has_more": False}).encode()
    with answering(200, page, {"Content-Length": str(len(page))}) as (url, _):
        server = {"DOUBLEWORD_BASE_URL": url, "DOUBLEWORD_BATCH_PROVIDER": "generic"}
        listed = run("list_jobs.py", "--status", "In_Progress", **server)

    assert listed.out.startswith("b-1: in_progress, 2 of ? done, 0 failed")


@pytest.mark.parametrize(
    ("variable", "value", "fault"),
    [
        ("SSL_CERT_FILE", "nowhere.pem", "cannot be read"),
        ("SSL_CERT_FILE", "text.pem", "contains no certificates"),
        ("SSLKEYLOGFILE", "nowhere/keys.log", "cannot be written"),
    ],
)
def test_a_file_of_certificates_or_keys_that_cannot_be_used_is_named_with_its_variable(
    run, work, variable, value, fault
):
    (work / "text.pem").write_text("text", encoding="utf-8")
    address = {"DOUBLEWORD_BASE_URL": "https://127.0.0.1:9/v1", variable: value}
    done = run("list_jobs.py", **address)
    assert done.code == 4
    assert f"{variable} names «{value}», which {fault}. Correct {variable}" in done.err


def test_without_a_key_or_with_a_wrong_word_it_says_so(run):
    assert run("list_jobs.py").code == 4
    assert run("list_jobs.py", "files").code == 2

    for option, word, what in (
        ("--limit", "0", "a whole number, at least 1"),
        ("--limit", "some", "a whole number, at least 1"),
        ("--patience", "inf", "a time in seconds"),
        ("--patience", "soon", "a time in seconds"),
    ):
        done = run("list_jobs.py", option, word)
        assert done.code == 2
        assert f"«{word}» is not {what}" in done.err
