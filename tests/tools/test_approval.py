"""A person's yes before more is submitted than they allow unasked, asked for through the host."""

import json
from contextlib import asynccontextmanager, closing
from decimal import Decimal

import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitResult

from agent import Agent
from as_doubleword import as_doubleword
from doubleword_batch import InputError, Jobs
from doubleword_batch.jobs.store.approvals import DECISION_SECONDS, Approval, Approvals
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.library.approvals import JobApprovals
from doubleword_batch.local.executors.faults import RequestFault
from doubleword_batch.mcp_server import build_server
from doubleword_batch.settings import Settings

MODEL = "Qwen/Qwen3-14B-FP8"
ORDER = {"source": "reviews.csv", "prompt": "{{ text }}", "model": MODEL}
DEAR = {**ORDER, "params": {"max_tokens": 125_000}}
"""40 rows of at most 125,000 tokens cost a little over one dollar at most."""


def asking(environment, server, above="0.50", **more):
    return Settings.from_environment(
        {
            **environment,
            **as_doubleword(server),
            "DOUBLEWORD_BATCH_ASK_ABOVE_USD": above,
            **more,
        }
    )


class Person:
    """Answers the host's questions, and remembers them."""

    def __init__(self, *actions):
        self.actions = list(actions)
        self.asked = []

    async def __call__(self, _context, params):
        self.asked.append(params)
        assert self.actions, [q.message[:70] for q in self.asked]
        action = self.actions.pop(0)
        return ElicitResult(action=action, content={} if action == "accept" else None)


@asynccontextmanager
async def host(settings, mode, person=None):
    server = build_server(settings, max_retry_seconds=1.5)
    async with Client(server, mode=mode, elicitation_callback=person) as client:
        yield Agent(client)


both_eras = pytest.mark.parametrize("mode", ["auto", "legacy"])


def batches_at(server):
    import httpx

    headers = {"Authorization": f"Bearer {server.token}"}
    return httpx.get(f"{server.base_url}/batches", headers=headers, timeout=30).json()["data"]


@both_eras
async def test_a_yes_submits_it_and_the_question_has_no_field(environment, faulty, reviews, mode):
    person = Person("accept")
    with faulty() as server:
        async with host(asking(environment, server), mode, person) as a:
            job = (await a.calls("create_batch_file", **DEAR))["job"]
            reply = await a.calls("create_batch", job=job)
            await a.calls("create_batch", job=job)
    assert reply["batch_ids"]
    (question,) = person.asked
    assert question.requested_schema == {"type": "object", "properties": {}}
    assert "Submit 40 requests" in question.message
    assert "at most $1.0" in question.message


@both_eras
@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_no_and_a_closed_question_submit_nothing(
    environment, faulty, reviews, mode, action
):
    person = Person(action)
    with faulty() as server:
        async with host(asking(environment, server), mode, person) as a:
            job = (await a.calls("create_batch_file", **DEAR))["job"]
            reply = await a.fails("create_batch", job=job)
            status = await a.calls("get_status", job=job)
        assert batches_at(server) == []
    assert reply["error"]["code"] == ("declined" if action == "decline" else "needs_approval")
    assert "Nothing was submitted" in reply.text
    assert ("declined" in status["approval"]) == (action == "decline")
    assert len(person.asked) == 1


async def test_after_a_no_an_agent_cannot_nag(environment, faulty, reviews):
    person = Person("decline")
    with faulty() as server:
        async with host(asking(environment, server), "auto", person) as a:
            job = (await a.calls("create_batch_file", **DEAR))["job"]
            for _ in range(3):
                reply = await a.fails("create_batch", job=job)
                assert reply["error"]["code"] == "declined"
                assert "next" not in reply["error"]
    assert len(person.asked) == 1


@both_eras
async def test_a_host_that_cannot_ask_says_so_and_what_comes_next(
    environment, faulty, reviews, mode
):
    with faulty() as server:
        async with host(asking(environment, server), mode) as a:
            job = (await a.calls("create_batch_file", **DEAR))["job"]
            reply = await a.fails("create_batch", job=job)
            status = await a.calls("get_status", job=job)
        assert batches_at(server) == []
    error = reply["error"]
    assert error["code"] == "needs_approval"
    assert f"doubleword-batch approve {job}" in error["hint"]
    assert error["next"] == f'get_status(job="{job}", wait_seconds=45)'
    assert error["details"]["requests"] == 40
    assert "a person has to approve at most $1.0" in status["approval"]
    assert status["next"] == error["next"]


@both_eras
async def test_the_cap_is_the_wall_whatever_a_host_answers(environment, faulty, reviews, mode):
    person = Person(*["accept"] * 9)
    with faulty() as server:
        settings = asking(environment, server, DOUBLEWORD_BATCH_MAX_COST_USD="0.90")
        async with host(settings, mode, person) as a:
            job = (await a.calls("create_batch_file", **DEAR))["job"]
            reply = await a.fails("create_batch", job=job)
        assert batches_at(server) == []
    assert reply["error"]["code"] == "over_cap"
    assert person.asked == []


@both_eras
async def test_what_costs_less_and_what_is_free_is_not_asked_for(
    environment, settings, faulty, reviews, mode
):
    person = Person()
    with faulty() as server:
        async with host(asking(environment, server), mode, person) as a:
            job = (await a.calls("create_batch_file", **ORDER))["job"]
            await a.calls("create_batch", job=job)
    assert person.asked == []


@both_eras
async def test_an_unknown_cost_counts_as_above(environment, faulty, reviews, mode):
    from tools.conftest import listing

    person = Person("accept")
    order = {**ORDER, "model": "somebody/new", "params": {"max_tokens": 5, "best_of": 2}}
    with faulty(server=[listing("somebody/new")]) as server:
        settings = asking(environment, server, DOUBLEWORD_BATCH_PROVIDER="generic")
        async with host(settings, mode, person) as a:
            job = (await a.calls("create_batch_file", **order))["job"]
            await a.calls("create_batch", job=job)
    (question,) = person.asked
    assert "for an unknown cost?" in question.message


async def test_a_yes_to_an_unknown_cost_is_for_the_window_that_was_shown(
    environment, faulty, reviews
):
    with faulty() as server:
        settings = asking(environment, server)
        async with host(settings, "auto") as a, Jobs(settings) as jobs:
            job = (await a.calls("create_batch_file", **DEAR | {"model": "unpriced"}))["job"]
            await a.fails("create_batch", job=job)
            (question,) = await JobApprovals(jobs).waiting()
            await JobApprovals(jobs).decide(question.id, "approved", "console")
            dearer = await a.fails("create_batch", job=job, completion_window="1h")
            assert "(1h)" in dearer.text
            assert batches_at(server) == []
            await a.calls("create_batch", job=job)


@both_eras
async def test_a_retry_is_asked_for_and_changes_nothing_before_the_yes(
    environment, faulty, reviews, mode
):
    person = Person("cancel", "accept")
    failing = [RequestFault(fault="error", status=500, message="no", times=40)]
    with faulty(requests=failing) as server:
        settings = asking(environment, server, above="1.50")
        async with host(settings, mode, person) as a:
            results = await a.runs_job(**DEAR)
            call = {"job": results["job"], "params": {"max_tokens": 250_000}}
            await a.fails("retry_failed", **call)
            status = await a.calls("get_status", job=results["job"])
            assert status["status"] == "failed"
            assert "a person has to approve at most $2.0" in status["approval"]
            retried = await a.calls("retry_failed", **call)
    assert retried["rows"] == 40
    assert [question.message.split(" for ")[1][:12] for question in person.asked] == [
        "at most $2.0"
    ] * 2


async def test_a_yes_that_is_given_elsewhere_makes_the_retry_itself_and_only_once(
    environment, faulty, reviews
):
    failing = [RequestFault(fault="error", status=500, message="no", times=40)]
    with faulty(requests=failing) as server:
        settings = asking(environment, server, above="1.50")
        async with host(settings, "auto", Person("cancel")) as a:
            job = (await a.runs_job(**DEAR))["job"]
            await a.fails("retry_failed", job=job, params={"max_tokens": 250_000})
        async with Jobs(settings) as jobs:
            approvals = JobApprovals(jobs)
            question = await approvals.about(job)
            approved = await approvals.decide(question.id, "approved", "terminal")
            retried = await approvals.perform(approved)
            assert (retried.rows, len(retried.batch_ids)) == (40, 1)
            with pytest.raises(InputError, match="answered and used") as caught:
                await approvals.decide(question.id, "approved", "terminal")
        assert len(batches_at(server)) == 2
    assert caught.value.code == "needs_approval"


async def test_a_changed_price_asks_again(environment, faulty, reviews, monkeypatch):
    """The state names a question; what is asked when the call comes again is another one."""
    from doubleword_batch.jobs import submit

    bound = submit.bound_cost
    factors = iter([1, 2, 2, 2])

    def dearer(*arguments, **options):
        cost = bound(*arguments, **options)
        return type(cost)(cost.usd * next(factors), cost.note, cost.output_tokens)

    monkeypatch.setattr(submit, "bound_cost", dearer)
    person = Person("accept", "accept")
    with faulty() as server:
        async with host(asking(environment, server), "auto", person) as a:
            job = (await a.calls("create_batch_file", **DEAR))["job"]
            await a.calls("create_batch", job=job)
    first, second = person.asked
    assert "at most $1.0" in first.message
    assert "at most $2.0" in second.message


async def first_round(a, job, **more):
    arguments = {"job": job, **more}
    return await a.client.session.call_tool("create_batch", arguments, allow_input_required=True)


@pytest.mark.parametrize("change", ["flipped", "other arguments", "other tool", "made up"])
async def test_a_state_that_was_tampered_with_is_refused(
    environment, faulty, reviews, home, change
):
    with faulty() as server:
        async with host(asking(environment, server), "auto", Person()) as a:
            job = (await a.calls("create_batch_file", **DEAR))["job"]
            asked = await first_round(a, job)
            state, name, arguments = asked.request_state, "create_batch", {"job": job}
            if change == "flipped":
                state = state[:-2] + ("A" if state[-2] != "A" else "B") + state[-1]
            if change == "other arguments":
                arguments["completion_window"] = "1h"
            if change == "other tool":
                name = "retry_failed"
            if change == "made up":
                with closing(Store(home)) as store:
                    state = Approvals(store).open(0.0)[0].id
            with pytest.raises(MCPError, match="requestState"):
                await a.client.session.call_tool(
                    name,
                    arguments,
                    input_responses={"approval": ElicitResult(action="accept", content={})},
                    request_state=state,
                )
        assert batches_at(server) == []


async def test_a_state_outlives_the_server_that_gave_it(environment, faulty, reviews):
    with faulty() as server:
        settings = asking(environment, server)
        async with host(settings, "auto", Person()) as a:
            job = (await a.calls("create_batch_file", **DEAR))["job"]
            asked = await first_round(a, job)
        async with host(settings, "auto", Person()) as a:
            result = await a.client.session.call_tool(
                "create_batch",
                {"job": job},
                input_responses={"approval": ElicitResult(action="accept", content={})},
                request_state=asked.request_state,
            )
    assert result.structured_content["batch_ids"]


async def test_a_person_approves_beside_the_agent_and_the_agents_wait_ends(
    environment, faulty, reviews
):
    with faulty() as server:
        settings = asking(environment, server)
        async with host(settings, "auto") as a:
            job = (await a.calls("create_batch_file", **DEAR))["job"]
            await a.fails("create_batch", job=job)
            async with Jobs(settings) as jobs:
                approvals = JobApprovals(jobs)
                (question,) = await approvals.waiting()
                assert question.job == job
                assert question.cost_usd > Decimal(1)
                approved = await approvals.decide(question.id, "approved", "console")
                await approvals.perform(approved)
                assert await approvals.waiting() == []
            status = await a.ends(job)
    assert "approval" not in status.fields


async def test_a_question_waits_no_more_once_a_larger_amount_let_its_job_through(
    environment, faulty, reviews
):
    with faulty() as server:
        async with host(asking(environment, server), "auto") as a:
            job = (await a.calls("create_batch_file", **DEAR))["job"]
            await a.fails("create_batch", job=job)
            assert "approval" in (await a.calls("get_status", job=job)).fields
        settings = asking(environment, server, above="50")
        async with host(settings, "auto") as a, Jobs(settings) as jobs:
            await a.calls("create_batch", job=job)
            approvals = JobApprovals(jobs)
            assert (await approvals.waiting(), await approvals.about(job)) == ([], None)
            assert "approval" not in (await a.calls("get_status", job=job)).fields


async def test_an_answer_is_for_one_job_is_used_once_and_runs_out(environment, faulty, reviews):
    with faulty() as server:
        settings = asking(environment, server)
        async with host(settings, "auto") as a, Jobs(settings) as jobs:
            ws = await jobs.workspace()
            approvals = Approvals(ws.store)
            job = (await a.calls("create_batch_file", **DEAR))["job"]
            other = (await a.calls("create_batch_file", **DEAR, new_run=True))["job"]
            await a.fails("create_batch", job=job)
            (question,) = approvals.open(ws.now())
            assert approvals.decide(question.id, "approved", "console", ws.now() - DECISION_SECONDS)
            again = await a.fails("create_batch", job=job)  # it has run out
            assert again["error"]["code"] == "needs_approval"
            assert approvals.decide(question.id, "approved", "console", ws.now())
            assert (await a.fails("create_batch", job=other))["error"]["code"] == "needs_approval"
            await a.calls("create_batch", job=job)
            assert not approvals.decide(question.id, "approved", "console", ws.now())
            used = approvals.find(question.id)
    assert used.used_at is not None
    assert used.decided_by == "console"


async def test_the_status_of_a_job_does_not_go_through_the_questions_about_others(
    environment, faulty, reviews, monkeypatch
):
    with faulty() as server:
        async with host(asking(environment, server), "auto") as a:
            jobs = [
                (await a.calls("create_batch_file", **DEAR, new_run=True))["job"] for _ in range(3)
            ]
            for job in jobs:
                await a.fails("create_batch", job=job)
            read, of = [], Approval.of
            note = lambda columns: read.append(columns[1]) or of(columns)  # noqa: E731
            monkeypatch.setattr(Approval, "of", note)
            assert "approval" in (await a.calls("get_status", job=jobs[0])).fields
    assert set(read) == {jobs[0]}


async def test_no_tool_approves(environment, faulty, reviews):
    with faulty() as server:
        async with host(asking(environment, server), "auto") as a:
            tools = (await a.client.list_tools()).tools
    assert not any("approv" in json.dumps(tool.model_dump(mode="json")) for tool in tools)
