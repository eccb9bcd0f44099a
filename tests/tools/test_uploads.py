"""Request files that were made elsewhere: what is wrong in them, what is only odd, who decides."""

import json

import pytest

from agent import agent
from as_doubleword import as_doubleword
from doubleword_batch.local.executors.faults import ServerFault
from doubleword_batch.settings import Settings
from tools.conftest import listing

MODEL = "simulated-chat"
CHAT = "/v1/chat/completions"


def line(custom_id="a", url=CHAT, **body):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]} | body
    request = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
    return json.dumps(request) + "\n"


@pytest.fixture
def at_doubleword(environment):
    """Settings that take a local server for Doubleword."""

    def settings(server):
        named = {
            **as_doubleword(server),
        }
        return Settings.from_environment(environment | named)

    return settings


async def test_what_is_only_odd_in_a_request_file_is_said_with_the_upload(settings, work):
    (work / "mine.jsonl").write_text(f"{line()}\n\n{line('b')}", encoding="utf-8")
    async with agent(settings) as a:
        first = await a.calls("upload", path="mine.jsonl")
        again = await a.calls("upload", path="mine.jsonl")
    warnings = ["blank_line (2 lines, the first is 2): The line is blank."]
    assert (first["warnings"], again["warnings"]) == (warnings, warnings)
    assert again["job"] == first["job"]


@pytest.mark.parametrize("given", [{}, {"job": "reviews-1", "path": "mine.jsonl"}], ids=len)
async def test_an_upload_is_of_a_job_or_of_a_file(settings, given):
    async with agent(settings) as a:
        reply = await a.fails("upload", **given)
    assert reply["error"]["code"] == "invalid_argument"
    assert "job or path" in reply["error"]["message"]


async def test_a_model_that_doubleword_does_not_list_is_named_beside_the_other_faults(
    at_doubleword, faulty, work
):
    bare = json.loads(line("b"))
    del bare["body"]["messages"]
    (work / "bad.jsonl").write_text(line(model="simulated-chatt") + json.dumps(bare) + "\n")
    with faulty(server=[listing(MODEL)]) as server:
        async with agent(at_doubleword(server)) as a:
            reply = await a.fails("upload", path="bad.jsonl")
    assert reply["error"]["details"]["kinds"] == {"model_unknown": 1, "content": 1}
    assert "did you mean «simulated-chat»?" in reply["error"]["message"]
    assert "body.messages is missing" in reply["error"]["message"]


@pytest.mark.parametrize("listed", [[], None])
async def test_where_the_list_of_models_is_empty_or_fails_the_server_decides(
    at_doubleword, faulty, work, listed
):
    broken = ServerFault(fault="status", route="GET /v1/models", status=403, times=None)
    (work / "mine.jsonl").write_text(line(), encoding="utf-8")
    with faulty(server=[broken if listed is None else listing(*listed)]) as server:
        async with agent(at_doubleword(server)) as a:
            reply = await a.calls("upload", path="mine.jsonl")
    assert "warnings" not in reply.fields
