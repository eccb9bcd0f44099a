"""Rows of a batch made elsewhere that share a custom_id are run again each with its request."""

import json

import httpx
import pytest

from doubleword_batch.jobs.retry import retry_failed
from faults.harness import MODEL, ended, fetched, row
from tables import rows_of

ROWS = 6
NAMES = ["a", "a", "b", "a", "", "a"]


def prompt(number):
    return f"Say row {number}."


def made_elsewhere(harness):
    """A batch whose requests were named by somebody who does not look at names."""
    lines = [
        {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": MODEL, "messages": [{"role": "user", "content": prompt(number)}]},
        }
        for number, name in enumerate(NAMES, start=1)
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    headers = {"Authorization": f"Bearer {harness.server.token}"}
    with httpx.Client(base_url=harness.server.base_url, headers=headers, timeout=30) as http:
        form = {"files": {"file": ("in.jsonl", content)}, "data": {"purpose": "batch"}}
        file_id = http.post("/files", **form).json()["id"]
        wanted = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return http.post("/batches", json={"input_file_id": file_id, **wanted}).json()["id"]


def lines_of(harness, path):
    headers = {"Authorization": f"Bearer {harness.server.token}"}
    reply = httpx.get(harness.server.base_url + path, headers=headers, timeout=30)
    return [json.loads(line) for line in reply.raise_for_status().text.splitlines()]


def asked(harness, batch):
    """The prompts of a batch's requests."""
    found = lines_of(harness, f"/files/{batch['input_file_id']}/content")
    return [line["body"]["messages"][0]["content"] for line in found]


def answers(harness):
    """What the provider answered last, by prompt."""
    return {
        line["input_body"]["messages"][0]["content"]: line["response_body"]["choices"][0]["message"]
        for batch in reversed(harness.batches())
        for line in lines_of(harness, f"/batches/{batch['id']}/results")
        if line["response_body"]
    }


ROUNDS = [[[2, 4]], [[2, 4], [4]], [[1, 2, 4, 6], [2, 6], [6]], [[5], []]]
"""The rows that fail, in the first run and in each retry."""


@pytest.mark.parametrize("rounds", ROUNDS)
async def test_each_retry_sends_the_requests_of_the_rows_that_failed(harness, rounds):
    job, wanted = None, []
    for turn, failing in enumerate([*rounds, []]):
        bad = [row(number, "error", status=500) for number in failing]
        with harness.serving(requests=bad):
            async with harness.workspace() as ws:
                if job is None:
                    job = made_elsewhere(harness)
                else:
                    await retry_failed(ws, job, params={"temperature": turn / 10})
                    assert asked(harness, harness.batches()[0]) == list(map(prompt, wanted))
                await ended(ws, job)
                results = await fetched(ws, job, output_path="out.jsonl", overwrite=True)
                if job != results.job:
                    job = results.job
                told = answers(harness)
        table = rows_of(harness.work / "out.jsonl")
        assert [line["custom_id"] for line in table] == NAMES
        for number, line in enumerate(table, start=1):
            if line["outcome"] == "ok":
                assert line["answer"] == told[prompt(number)]["content"], number
        wanted = [n for n, line in enumerate(table, start=1) if line["outcome"] == "failed"]
        assert wanted == failing
        if not wanted:
            break
    assert results.ledger == {"ok": ROWS}
