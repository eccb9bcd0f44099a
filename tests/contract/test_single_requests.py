"""Single requests: live, in the flexible tier, and responses in the background."""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import openai
import pytest

from contract.stand_in import DEADLINE_SECONDS, Echo, line, until
from doubleword_batch.local import LocalConfig, LocalServer
from doubleword_batch.local.executors.base import RequestFailed
from doubleword_batch.local.executors.faults import RequestFault
from doubleword_batch.local.executors.simulate import SimulateExecutor

TIERS = {"flex": "queued", "default": "in_progress", None: "in_progress"}
ASKED = {"model": "chat-1", "input": "hello"}


def post(caller, **fields):
    return caller.http.post("/responses", json=ASKED | fields)


def show(caller, id_):
    return caller.http.get(f"/responses/{id_}").json()


@pytest.fixture
def simulated(start):
    return start(SimulateExecutor())


def test_a_response_in_the_background_is_202_and_found_by_its_id(simulated):
    answer = post(simulated, background=True, service_tier="flex")
    assert answer.status_code == 202
    begun = answer.json()
    assert begun["id"].startswith("resp_")
    assert begun["object"] == "response"
    assert (begun["status"], begun["background"], begun["service_tier"]) == ("queued", True, "flex")
    assert begun["output"] == []

    done = until(lambda: (r := show(simulated, begun["id"]))["status"] == "completed" and r)

    assert done["id"] == begun["id"]
    assert done["output"][0]["content"][0]["text"].startswith("[simulated] ")
    assert show(simulated, begun["id"].removeprefix("resp_")) == done
    assert simulated.http.get("/batches").json()["data"] == []
    assert simulated.http.get("/files").json()["data"] == []


def test_only_the_flexible_tier_is_queued_first(start, echo):
    caller = start(echo)
    begun = {tier: post(caller, background=True, service_tier=tier).json() for tier in TIERS}
    assert {tier: response["status"] for tier, response in begun.items()} == TIERS


def test_a_response_in_the_background_survives_a_restart(tmp_path):
    gate = tmp_path / "gate"
    held = SimulateExecutor([RequestFault(fault="hold", until=str(gate))])

    def serve(executor):
        return LocalServer(LocalConfig(tmp_path), executor=executor)

    def sdk(server):
        return openai.OpenAI(base_url=server.base_url, api_key=server.token)

    with serve(held) as server, sdk(server) as client:
        begun = client.responses.create(model="chat-1", input="x", background=True)
        until(lambda: client.responses.retrieve(begun.id).status == "in_progress")
    with serve(SimulateExecutor()) as server, sdk(server) as client:
        done = until(lambda: (r := client.responses.retrieve(begun.id)).status == "completed" and r)
    assert done.id == begun.id


def test_a_failed_response_says_why(simulated):
    id_ = simulated.http.post(
        "/responses", json={"model": "chat-1", "input": [], "background": True}
    ).json()["id"]
    failed = until(lambda: (r := show(simulated, id_))["status"] == "failed" and r)
    assert "input must be a string" in failed["error"]["message"]


def test_a_deleted_response_is_erased(simulated, tmp_path):
    ids = {}
    for name in ("gone", "kept"):
        ids[name] = post(simulated, background=True, input=f"secret-{name}").json()["id"]
        until(lambda name=name: show(simulated, ids[name])["status"] == "completed")
    simulated.http.delete(f"/responses/{ids['gone']}")
    simulated.server.stop()
    stored = (tmp_path / "local" / "server.sqlite3").read_bytes()
    assert b"secret-gone" not in stored
    assert b"secret-kept" in stored


class Unlisted(Echo):
    async def models(self):
        raise RequestFailed("NetworkError", "nobody is there")


def test_an_executor_that_does_not_list_its_models_answers_all_the_same(start):
    caller = start(Unlisted(any_model=False))
    assert caller.http.post("/chat/completions", json={"model": "m"}).status_code == 200
    listed = caller.http.get("/models")
    assert (listed.status_code, listed.json()["error"]["code"]) == (503, "unavailable")


class Failing(Echo):
    async def _answer(self, _request):
        raise RequestFailed("NetworkError", "the model's server hung up")


def test_a_request_in_the_flexible_tier_that_fails_says_why_in_openai_s_shape(start):
    caller = start(Failing(), max_attempts=1)
    answer = caller.http.post("/chat/completions", json={"model": "chat-1", "service_tier": "flex"})
    assert answer.status_code >= 500
    assert answer.json()["error"]["code"] == "server_error"
    assert "hung up" in answer.json()["error"]["message"]


class Endless(Echo):
    async def _answer(self, _request):
        await asyncio.Event().wait()


def test_a_deleted_response_that_still_runs_stops(start):
    executor = Endless()
    caller = start(executor)
    begun = post(caller, background=True).json()["id"]
    until(lambda: executor.running == 1)
    assert caller.http.delete(f"/responses/{begun}").status_code == 200
    assert caller.http.get(f"/responses/{begun}").status_code == 404
    until(lambda: executor.running == 0)
    assert caller.create(line("a"))["status"] == "validating"


def test_a_deleted_response_is_gone(simulated):
    id_ = post(simulated, background=True).json()["id"]
    assert simulated.http.delete(f"/responses/{id_}").json() == {
        "id": id_, "object": "response", "deleted": True,
    }  # fmt: skip
    for missing in (id_, "resp_00000000-0000-4000-8000-000000000000", "nonsense"):
        answer = simulated.http.get(f"/responses/{missing}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/responses", {"model": 1}, 400),
        ("/responses", {"model": "m", "service_tier": "cheap"}, 400),
        ("/responses", {"model": "m", "service_tier": ["flex"]}, 400),
        ("/embeddings", {"model": "m", "input": ["x"] * 2049}, 400),
        ("/responses", {"model": "m", "input": "x", "stream": True}, 400),
        ("/chat/completions", {"model": "m", "messages": [], "background": True}, 400),
        ("/chat/completions", {"model": "m", "messages": []}, 400),
        ("/responses", [1], 400),
    ],
)
def test_what_is_not_taken_is_refused_in_openai_s_shape(simulated, path, body, status):
    answer = simulated.http.post(path, json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_body_that_is_no_json_is_refused_and_not_called_a_fault_of_the_server(simulated):
    for body in (b'{"model": ', b"[" * 100_000):
        answer = simulated.http.post("/chat/completions", content=body)
        assert answer.status_code == 400
        assert "not valid JSON" in answer.json()["error"]["message"]


def test_a_request_in_the_flexible_tier_that_is_deleted_is_told_to_whoever_waits(start, tmp_path):
    executor = Endless()
    caller = start(executor)
    with ThreadPoolExecutor(1) as threads:
        body = ASKED | {"service_tier": "flex"}
        waiting = threads.submit(caller.http.post, "/responses", json=body)
        until(lambda: executor.running == 1)
        with closing(sqlite3.connect(tmp_path / "local" / "server.sqlite3")) as database:
            ((id_,),) = database.execute("SELECT id FROM batches WHERE is_single")
        assert caller.http.delete(f"/responses/{id_}").status_code == 200
        answer = waiting.result(DEADLINE_SECONDS)
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        404, "The request was deleted.",
    )  # fmt: skip


def test_a_model_that_is_not_there_is_not_found(start):
    caller = start(Echo(any_model=False))
    answer = caller.http.post("/responses", json={"model": "gpt-9", "input": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_every_endpoint_answers_live_through_the_sdk(simulated):
    server = simulated.server
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.token) as client:
        messages = [{"role": "user", "content": "x"}]
        chat, flex, response, embedding = await asyncio.gather(
            client.chat.completions.create(model="m", messages=messages),
            client.chat.completions.create(model="m", messages=messages, service_tier="flex"),
            client.responses.create(model="m", input="x"),
            client.embeddings.create(model="e", input="x"),
        )
    assert chat.choices[0].message.content
    assert flex.choices[0].message.content
    assert response.output_text
    assert len(embedding.data[0].embedding) == 384


def test_batches_run_beside_single_requests(simulated):
    batch = simulated.create(line("a"))
    assert post(simulated).status_code == 200
    assert simulated.wait(batch["id"])["request_counts"]["completed"] == 1
