"""What an agent, a row or another user might try, and what a human's limits must withstand."""

import json

import pytest

from agent import agent
from as_doubleword import as_doubleword
from doubleword_batch.local import LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import ServerFault
from doubleword_batch.settings import Settings
from tools.conftest import listing

ORDER = {"source": "reviews.csv", "prompt": "{{ text }}"}
MODEL = "openai/gpt-oss-20b"
DEAR = "Qwen/Qwen3.5-397B-A17B"


@pytest.fixture
def capped(home, environment):
    """An agent at a provider with prices, under a cap of one cent."""

    def settings(server):
        return Settings.from_environment(
            {
                **environment,
                **as_doubleword(server),
                "DOUBLEWORD_BATCH_MAX_COST_USD": "0.01",
            }
        )

    return settings


@pytest.mark.parametrize(
    "params",
    [
        {"max_tokens": 100_000},
        {"max_completion_tokens": 1, "max_tokens": 100_000},
        {"max_tokens": 200, "n": 640},
    ],
)
async def test_no_parameter_makes_an_expensive_job_look_cheap(capped, faulty, reviews, params):
    with faulty() as server:
        async with agent(capped(server)) as a:
            created = await a.calls("create_batch_file", **ORDER, model=MODEL, params=params)
            reply = await a.fails("create_batch", job=created["job"], max_cost_usd=1_000)
            batches = await a.calls("list", kind="batches")
    assert reply["error"]["code"] == "over_cap"
    assert "lines" not in batches.fields


@pytest.mark.parametrize("limit", ["100000", 100000.0, True])
async def test_a_token_limit_that_is_not_a_whole_number_is_refused(settings, reviews, limit):
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", **ORDER, params={"max_tokens": limit})
    assert reply["error"]["code"] == "invalid_argument"
    assert "max_tokens" in reply["error"]["message"]


async def test_a_foreign_file_is_priced_by_all_its_lines(capped, faulty, work):
    lines = [
        {
            "custom_id": f"c{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": DEAR if n else MODEL,
                "messages": [{"role": "user", "content": "x"}],
                "max_tokens": 100_000,
            },
        }
        for n in range(20)
    ]
    mixed, dear = work / "mixed.jsonl", work / "dear.jsonl"
    mixed.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    dear.write_text("".join(json.dumps(line) + "\n" for line in lines[1:]), encoding="utf-8")
    with faulty(server=[listing(MODEL, DEAR)]) as server:
        async with agent(capped(server)) as a:
            uploaded = await a.calls("upload", path="mixed.jsonl")
            unknown = await a.fails("create_batch", job=uploaded["job"])
            uploaded = await a.calls("upload", path="dear.jsonl")
            over = await a.fails("create_batch", job=uploaded["job"])
    assert unknown["error"]["code"] == "unknown_cost"
    assert over["error"]["code"] == "over_cap"


async def test_a_providers_estimate_that_ignores_token_limits_does_not_pass_the_cap(
    capped, faulty, reviews
):
    estimate = {
        "file_id": "x",
        "total_requests": 40,
        "total_estimated_input_tokens": 1_000,
        "total_estimated_output_tokens": 1_100,
        "total_estimated_cost": "0.0001",
        "models": [],
    }
    cheap = ServerFault(
        fault="status",
        route="GET /v1/files/{id}/cost-estimate",
        status=200,
        body=json.dumps(estimate),
        content_type="application/json",
        times=None,
    )
    order = {**ORDER, "model": "somebody/without-a-price"}
    with faulty(server=[cheap]) as server:
        async with agent(capped(server)) as a:
            dear = await a.calls("create_batch_file", **order, params={"max_tokens": 100_000})
            reply = await a.fails("create_batch", job=dear["job"])
            cheap = await a.calls("create_batch_file", **order, params={"max_tokens": 20})
            await a.calls("create_batch", job=cheap["job"])
            batches = await a.calls("list", kind="batches")
    assert reply["error"]["code"] == "over_cap"
    assert len(batches["lines"]) == 1


@pytest.mark.posix("links")
async def test_a_planted_link_does_not_redirect_what_is_written(settings, reviews, work, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine", encoding="utf-8")
    for name in ("out.jsonl.part", ".out.jsonl.part", "answers.csv.part"):
        (work / name).symlink_to(precious)
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", **ORDER, output_path="out.jsonl")
        await a.calls("create_batch", job=created["job"])
        await a.ends(created["job"])
        await a.calls("fetch_results", job=created["job"], output_path="answers.csv")
    assert precious.read_text(encoding="utf-8") == "mine"
    assert not (work / "out.jsonl").is_symlink()


@pytest.mark.posix("pipes with names")
async def test_a_pipe_in_the_data_folder_does_not_hang_a_call(settings, reviews, work):
    import os

    os.mkfifo(work / "schema.json")
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", **ORDER, response_schema="schema.json")
    assert reply["error"]["code"] == "file_not_found"


async def test_a_damaged_local_store_is_reported_and_does_not_stop_the_server(
    settings, reviews, home
):
    home.mkdir(mode=0o700)
    (home / "local").mkdir(mode=0o700)
    (home / "local" / "server.sqlite3").write_bytes(b"not a database" * 500)
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", **ORDER)
        assert len((await a.client.list_tools()).tools) == 8
    assert reply["error"]["code"] == "store"


async def test_when_the_discovered_local_server_has_gone_another_takes_over(
    settings, reviews, home
):
    standing = LocalServer(LocalConfig(home=home, executor="simulate"))
    standing.start()
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", **ORDER)
        standing.stop()
        await a.calls("create_batch", job=created["job"])
        await a.ends(created["job"])
        results = await a.calls("fetch_results", job=created["job"])
    assert results["ledger"] == {"ok": 40}


def test_a_server_started_in_the_root_of_the_disk_exposes_nothing(monkeypatch):
    monkeypatch.chdir("/")
    assert Settings.from_environment({}).roots == ()
