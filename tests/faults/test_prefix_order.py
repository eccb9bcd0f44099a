"""A file whose requests are ordered by their beginnings: each row keeps its own answer."""

import json

from doubleword_batch.jobs.retry import retry_failed
from faults.harness import done, ended, fetched, row
from tables import rows_of

ROWS = 12


def interleaved(harness):
    """Rows that ask about three long documents in turn."""
    lines = [
        f"{n},row {n}.,{name} {name * 9_000}\n"
        for n, name in ((n, "abc"[n % 3]) for n in range(1, ROWS + 1))
    ]
    (harness.work / "rows.csv").write_text("id,text,doc\n" + "".join(lines), encoding="utf-8")


async def test_a_retry_sends_the_requests_of_its_rows_and_the_table_stays_in_order(harness):
    interleaved(harness)
    failing = (2, 3, 9)
    with harness.serving(requests=[row(n, "error", status=400) for n in failing]):
        async with harness.workspace() as ws:
            job = await done(ws, prompt="{{ doc }} Say {{ text }}")
            first = await fetched(ws, job, output_path="first.jsonl")
            part = next((harness.home / "jobs").glob("*/part-0001.jsonl"))
            order = [json.loads(line)["custom_id"] for line in part.read_bytes().splitlines()]
    assert first.ledger == {"ok": ROWS - len(failing), "failed": len(failing)}
    assert order == [f"r{n}" for rest in (1, 2, 0) for n in range(1, ROWS + 1) if n % 3 == rest]
    with harness.serving():
        async with harness.workspace() as ws:
            again = await retry_failed(ws, job, params={"temperature": 0.5})
            await ended(ws, job)
            whole = await fetched(ws, job, output_path="whole.jsonl")
    assert again.rows == len(failing)
    assert whole.ledger == {"ok": ROWS}
    table = rows_of(harness.work / "whole.jsonl")
    assert [line["id"] for line in table] == [str(n) for n in range(1, ROWS + 1)]
    assert [line["custom_id"] for line in table] == [f"r{n}" for n in range(1, ROWS + 1)]
    retried = next((harness.home / "jobs").glob("*/part-0002.jsonl")).read_bytes().splitlines()
    asked = {(r := json.loads(line))["custom_id"]: r["body"] for line in retried}
    assert set(asked) == {f"r{n}" for n in failing}
    for name, body in asked.items():
        assert body["messages"][-1]["content"].endswith(f"Say row {name[1:]}.")
        assert body["temperature"] == 0.5
