"""The MCP server is killed inside its calls; the agent starts it again and repeats them."""

import json
from random import Random

import pytest

from as_doubleword import as_doubleword
from crash.mcp_process import DiedError, McpProcess
from crash.test_random_kills import seeds

KILLS, MOST_SECONDS, MOST_CALLS = 3, 0.5, 60


def journey(process):
    """What an agent calls, from the start each time, until the table is there."""
    job = process.call("create_batch_file", source="rows.csv", prompt="Say {{ text }}", model="m")[
        "job"
    ]
    for _ in range(MOST_CALLS):
        if "error" in process.call("create_batch", job=job):
            continue  # it is not known yet whether the batch was created
        if not process.call("get_status", job=job, wait_seconds=10).get("complete"):
            continue
        results = process.call("fetch_results", job=job, output_path="out.jsonl", overwrite=True)
        if not results.get("ledger", {}).get("failed"):
            return job, results
        process.call("retry_failed", job=job)
    raise AssertionError(f"{job} does not come to its end")


@pytest.mark.parametrize("seed", seeds(2))
def test_a_job_whose_mcp_server_is_killed_is_run_once_and_loses_nothing(seed, tmp_path, server):
    random = Random(3_000 + seed)  # it has to repeat itself
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    rows = "".join(f'{n},"row {n}, of {tmp_path.name} {seed}"\n' for n in range(1, 11))
    (work / "rows.csv").write_text("id,text\n" + rows, encoding="utf-8")
    environment = {
        "DOUBLEWORD_BATCH_HOME": str(home),
        "DOUBLEWORD_BATCH_ROOTS": str(work),
        **as_doubleword(server),
    }
    died = 0
    for _ in range(KILLS):
        kill = random.randint(1, 4), random.uniform(0, MOST_SECONDS)
        try:
            with McpProcess(environment, kill=kill) as process:
                journey(process)
        except DiedError:
            died += 1
    with McpProcess(environment) as process:
        job, results = journey(process)
    assert results["ledger"] == {"ok": 9, "truncated": 1}
    table = [json.loads(line) for line in (work / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in table] == [str(n) for n in range(1, 11)]
    assert len(server.get("/batches", search=job, limit=100)["data"]) == 1
    assert died or not KILLS
