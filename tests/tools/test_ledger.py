"""Every row has one outcome, and every outcome that is not ok says why and what to do."""

import json

import httpx

from agent import agent
from doubleword_batch.local.executors.faults import Match, RequestFault, ServerFault
from tables import rows_of

SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}},
    "required": ["label"],
    "additionalProperties": False,
}
ORDER = {"source": "reviews.csv", "prompt": "{{ text }}"}


def row(number, fault, **fields):
    return RequestFault(fault=fault, match=Match(custom_id=f"r{number}"), **fields)


async def test_the_outcomes_sum_to_the_rows_and_each_has_its_cause(settings, faulty, reviews, work):
    faults = [
        row(1, "error", status=400, message="This model's maximum context length is 10 tokens"),
        row(2, "error", status=422, message="no such parameter"),
        row(3, "truncated"),
        row(4, "refusal"),
        row(5, "invalid"),
    ]
    with faulty(requests=faults):
        async with agent(settings) as a:
            results = await a.runs_job(work / "out.jsonl", **ORDER, response_schema=SCHEMA)
    assert results["ledger"] == {"ok": 35, "failed": 2, "truncated": 1, "refused": 1, "invalid": 1}
    assert results["rows"] == 40
    causes = ["context_length", "http_422", "length", "refusal", "schema"]
    assert results["causes"] == dict.fromkeys(causes, 1)
    assert len(results["errors"]) == 3
    assert all(error["advice"] for error in results["errors"])
    table = rows_of(work / "out.jsonl")
    assert [r["outcome"] for r in table[:6]] == [
        "failed",
        "failed",
        "truncated",
        "refused",
        "invalid",
        "ok",
    ]
    assert table[0]["error"].startswith("context_length: «This model's maximum context")
    assert table[1]["label"] is None
    assert table[5]["label"] in {"good", "bad"}
    assert table[5]["error"] is None
    cut = results["next"]  # nothing else of these can be cured by a repeat
    assert cut.startswith(f'retry_failed(job="{results["job"]}", causes=["truncated"], params=')


async def test_failed_rows_run_again_in_place_and_join_the_same_table(
    settings, faulty, reviews, work
):
    with faulty(requests=[row(7, "error", status=400), row(9, "error", status=400)]):
        async with agent(settings) as a:
            first = await a.runs_job(**ORDER)
    async with agent(settings) as a:
        refused = await a.fails("retry_failed", job=first["job"])
        retried = await a.calls("retry_failed", job=first["job"], causes=["http_400"])
        await a.ends(first["job"])
        results = await a.calls(
            "fetch_results", job=first["job"], output_path=str(work / "out.jsonl")
        )
        batches = await a.calls("list", kind="batches")
    assert first["ledger"] == {"ok": 38, "failed": 2}
    assert "next" not in first.fields
    assert refused["error"]["code"] == "nothing_to_retry"
    assert "2 http_400" in refused.text
    assert (retried["rows"], retried["in_place"]) == (2, True)
    assert results["ledger"] == {"ok": 40}
    assert len(batches["lines"]) == 1
    assert len(rows_of(work / "out.jsonl")) == 40


async def test_truncated_rows_run_again_alone_with_other_parameters(settings, faulty, reviews):
    with faulty(requests=[row(3, "truncated"), row(8, "error", status=400)]):
        async with agent(settings) as a:
            first = await a.runs_job(**ORDER)
    async with agent(settings) as a:
        retried = await a.calls(
            "retry_failed", job=first["job"], causes=["length"], params={"max_tokens": 500}
        )
        await a.ends(first["job"])
        results = await a.calls("fetch_results", job=first["job"])
    assert (retried["rows"], retried["in_place"], retried["causes"]) == (1, False, {"length": 1})
    assert results["ledger"] == {"ok": 39, "failed": 1}


async def test_a_retry_that_does_worse_leaves_the_older_answer(settings, faulty, reviews, work):
    with faulty(requests=[row(3, "truncated")]):
        async with agent(settings) as a:
            first = await a.runs_job(**ORDER)
    with faulty(requests=[row(3, "error", status=400)]):
        async with agent(settings) as a:
            refused = await a.fails("retry_failed", job=first["job"], causes=["truncated"])
            spelt = await a.fails("retry_failed", job=first["job"], params={"max_token": 500})
            larger = refused["error"]["next"].partition("params=")[2].removesuffix(")")
            params = json.loads(larger)
            await a.calls("retry_failed", job=first["job"], causes=["truncated"], params=params)
            await a.ends(first["job"])
            status = await a.calls("get_status", job=first["job"])
            results = await a.calls(
                "fetch_results", job=first["job"], output_path=str(work / "out.jsonl")
            )
    assert "There is no parameter max_token. Did you mean max_tokens?" in spelt.text
    assert results["ledger"] == {"ok": 39, "truncated": 1}
    assert status["counts"] == {"total": 40, "completed": 39, "failed": 1}
    assert rows_of(work / "out.jsonl")[2]["answer"].startswith("[simulated]")


async def test_a_cancelled_job_keeps_what_it_finished_and_can_go_on(
    settings, faulty, reviews, work
):
    gate = work / "gate"
    held = RequestFault(fault="hold", match=Match(contains="Review 1"), until=str(gate))
    with faulty(requests=[held]):
        async with agent(settings) as a:
            created = await a.calls("create_batch_file", **ORDER)
            job = created["job"]
            await a.calls("create_batch", job=job)
            for _ in range(40):
                status = await a.calls("get_status", job=job, wait_seconds=1)
                if status["counts"]["completed"] == 29:
                    break
            partial = await a.calls("fetch_results", job=job)
            stopped = await a.calls("cancel", job=job)
            results = await a.calls("fetch_results", job=job)
            gate.touch()
            await a.calls("retry_failed", job=job)
            await a.ends(job)
            whole = await a.calls("fetch_results", job=job)
    assert partial["ledger"] == {"ok": 29, "pending": 11}
    assert partial["complete"] is False
    assert (stopped["stopped"], stopped["finished"]) == (11, 29)
    assert results["ledger"] == {"ok": 29, "cancelled": 11}
    assert results["complete"] is True
    assert whole["ledger"] == {"ok": 40}


async def test_a_row_too_large_is_reported_and_does_not_stop_the_rest(settings, work):
    big = "x" * 11_000_000
    rows = "".join(f"{n},{big if n == 2 else 'small'}\n" for n in range(1, 5))
    (work / "big.csv").write_text("n,text\n" + rows, encoding="utf-8")
    async with agent(settings) as a:
        order = {"source": "big.csv", "prompt": "{{ n }}: {{ text }}"}
        created = await a.calls("create_batch_file", **order)
        again = await a.calls("create_batch_file", **order)
        await a.calls("create_batch", job=created["job"])
        await a.ends(created["job"])
        results = await a.calls("fetch_results", job=created["job"])
    assert (created["rows"], created["requests"]) == (4, 3)
    assert "row 2" in created["warnings"][0]
    assert (again["job"], again["warnings"]) == (
        created["job"],
        ["1 row is left out (1 too_large)."],
    )
    assert results["ledger"] == {"ok": 3, "failed": 1}
    assert results["errors"][0]["cause"] == "too_large"


async def test_a_row_too_large_can_stop_the_build_even_of_a_job_built_before(settings, work):
    big = "x" * 11_000_000
    (work / "big.csv").write_text(f"n,text\n1,small\n2,{big}\n", encoding="utf-8")
    order = {"source": "big.csv", "prompt": "{{ text }}"}
    async with agent(settings) as a:
        first = await a.fails("create_batch_file", **order, options={"on_bad_row": "stop"})
        assert (await a.calls("list")).fields.get("lines", []) == []
        await a.calls("create_batch_file", **order)
        second = await a.fails("create_batch_file", **order, options={"on_bad_row": "stop"})
    assert [reply["error"]["code"] for reply in (first, second)] == ["request_too_large"] * 2
    assert "Row 2" in first.text


async def test_a_batch_made_elsewhere_is_adopted_and_accounted_for(settings, faulty, work):
    with faulty(requests=[RequestFault(fault="error", match=Match(custom_id="user-2"))]) as server:
        headers = {"Authorization": f"Bearer {server.token}"}
        lines = "".join(
            json.dumps(
                {
                    "custom_id": f"user-{n}",
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": {"model": "m", "messages": [{"role": "user", "content": str(n)}]},
                }
            )
            + "\n"
            for n in range(4)
        )
        async with httpx.AsyncClient(base_url=server.base_url, headers=headers) as http:
            form = {"purpose": "batch"}
            file = (await http.post("/files", data=form, files={"file": ("x", lines)})).json()
            body = {
                "input_file_id": file["id"],
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            }
            batch = (await http.post("/batches", json=body)).json()
        async with agent(settings) as a:
            await a.ends(batch["id"])
            results = await a.calls(
                "fetch_results", job=batch["id"], output_path=str(work / "out.jsonl")
            )
            again = await a.calls("get_status", job=results["job"])
    assert results["ledger"] == {"ok": 3, "failed": 1}
    assert again["batch_ids"] == [batch["id"]]
    table = rows_of(work / "out.jsonl")
    assert [r["custom_id"] for r in table] == ["user-0", "user-1", "user-2", "user-3"]
    assert table[2]["outcome"] == "failed"


async def test_a_foreign_request_file_runs_and_is_accounted_for(settings, work):
    lines = [
        {
            "custom_id": f"question {n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [{"role": "user", "content": "x"}]},
        }
        for n in range(3)
    ]
    path = work / "mine.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    async with agent(settings) as a:
        uploaded = await a.calls("upload", path="mine.jsonl")
        again = await a.calls("upload", path="mine.jsonl")
        await a.calls("create_batch", job=uploaded["job"])
        await a.ends(uploaded["job"])
        results = await a.calls("fetch_results", job=uploaded["job"])
    assert again["reused"] == 1
    assert again["input_file_ids"] == uploaded["input_file_ids"]
    assert results["ledger"] == {"ok": 3}


async def test_a_source_that_changed_is_never_joined_to_the_wrong_rows(settings, reviews, work):
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", **ORDER)
        await a.calls("create_batch", job=created["job"])
        await a.ends(created["job"])
        text = reviews.read_text(encoding="utf-8")
        head, _, rest = text.partition("\n")
        reviews.write_text(f"{head}\nnew,inserted row,5\n{rest}", encoding="utf-8")
        results = await a.calls(
            "fetch_results", job=created["job"], output_path=str(work / "out.jsonl")
        )
    assert "changed" in results["warnings"][0]
    assert "Left out: «stars»" in results["warnings"][0]
    table = rows_of(work / "out.jsonl")
    assert len(table) == 40
    assert "stars" not in table[0]
    assert (table[0]["id"], table[0]["custom_id"]) == ("a0", "r1")
    assert table[39]["text"].startswith("Review 39")


async def test_a_deadline_that_passed_does_not_end_work_that_still_runs(settings, faulty, reviews):
    expire = ServerFault(fault="expire", route="POST /v1/batches")
    with faulty(server=[expire]):
        async with agent(settings) as a:
            results = await a.runs_job(**ORDER)
    assert results["ledger"] == {"ok": 40}
