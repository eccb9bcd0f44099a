"""Schemas of agents and answers of servers that would mislead a cascade, or stop it for good."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.conftest import environment, new_jobs, server, small_table, two_models
from cascade.two_models import CHEAP, OPTION, PROMPT, SCHEMA, STRONG
from doubleword_batch import InputError
from doubleword_batch.jobs.cascade.labels import DOUBTS, LOGPROBS, doubt_of, label_fields
from doubleword_batch.jobs.sync.answers import Answer
from doubleword_batch.library.approvals import ApprovalError, JobApprovals
from doubleword_batch.providers import PriceTable

__all__ = ["environment", "new_jobs", "server", "small_table", "two_models"]

pytestmark = pytest.mark.anyio

ABSURD = (
    [{"logprob": -1.7e308}] * 3,
    [{"logprob": -(10**400)}],
    [{"logprob": 1e308}] * 9,
    [{"logprob": float("nan")}],
    [{"logprob": [[]]}],
    {"content": {"logprob": -1}},
    "logprobs",
)
WORDS = ("string", "#/properties", "#", "")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(("string", "#/properties", "#", "")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ("properties", "type", "enum", "$ref", "anyOf", "maxLength", "content", "logprob")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


def doubt(logprobs):
    return doubt_of(Answer(text='{"label": "good"}', logprobs=logprobs), ("label",), LOGPROBS)


async def test_a_server_that_writes_absurd_probabilities_does_not_stop_a_cascade(
    new_jobs, small_table, two_models
):
    honest = two_models.choice

    def absurd(body, model, row, index):
        choice = honest(body, model, row, index)
        if choice["logprobs"] and row % 3:
            choice["logprobs"] = {"content": [{"token": "a", "logprob": -1.7e308}] * 3}
        return choice

    two_models.choice = absurd
    async with new_jobs() as jobs:
        job = await jobs.create(
            small_table,
            prompt=PROMPT,
            model=CHEAP,
            response_schema=SCHEMA,
            options={"cascade": OPTION},
        )
        await job.submit()
        await job.wait(60)
        reply = (await job.results()).reply
    assert (reply.status, reply.ledger) == ("completed", {"ok": 600})


@pytest.mark.parametrize("logprobs", ABSURD, ids=range(len(ABSURD)))
def test_absurd_probabilities_are_doubts(logprobs):
    assert 0 <= doubt(logprobs) < DOUBTS


@settings(max_examples=60)
@given(JSON)
def test_whatever_stands_for_probabilities_is_a_doubt(logprobs):
    assert 0 <= doubt(logprobs) < DOUBTS


def test_references_that_meet_again_and_again_are_followed_once():
    steps = {f"x{n}": {"anyOf": [{"$ref": f"#/$defs/x{n + 1}"}] * 40} for n in range(9)}
    fields = {"label": {"$ref": "#/$defs/x0"}}  # 40 ** 9 ways lead to its end
    schema = {"properties": fields, "$defs": {**steps, "x9": {"enum": ["good"]}}}
    assert label_fields(schema) == ("label",)
    schema["$defs"]["x9"] = {"type": "string"}
    with pytest.raises(InputError, match="may be free text"):
        label_fields(schema)


@settings(max_examples=60)
@given(JSON)
def test_whatever_stands_for_a_schema_is_labels_or_refused_in_words(node):
    found = None
    with suppress(InputError):
        found = label_fields({"properties": {"label": node}})
    assert found in (("label",), None)


@pytest.mark.parametrize("types", [[["string"]], {"a": 1}, [{}], 5, "object", []])
def test_a_type_that_is_none_is_not_a_label(types):
    with pytest.raises(InputError, match="may be free text"):
        label_fields({"properties": {"label": {"type": types}}})


async def test_a_price_raised_between_rounds_is_not_what_the_person_approved(
    new_jobs, small_table, two_models, monkeypatch
):
    asks = {"DOUBLEWORD_BATCH_ASK_ABOVE_USD": "0.004"}
    async with new_jobs(**asks) as jobs:
        job = await jobs.create(
            small_table,
            prompt=PROMPT,
            model=CHEAP,
            response_schema=SCHEMA,
            options={"cascade": OPTION},
            params={"max_tokens": 20},
        )
        with pytest.raises(ApprovalError):
            await job.submit()
        (question,) = await JobApprovals(jobs).waiting()
        await JobApprovals(jobs).decide(question.id, "approved", "console")
        await job.submit()
    honest = PriceTable.cost_usd
    monkeypatch.setattr(PriceTable, "cost_usd", lambda *given: honest(*given) * 20)
    async with new_jobs(**asks) as jobs:
        job = jobs.job(job.name)
        status = await job.wait(60)
        assert not two_models.asked[STRONG]
        assert "A person has to approve at most $" in status.cascade.waits_for
        (dearer,) = await JobApprovals(jobs).waiting()
        assert dearer.cost_usd > question.cost_usd
        with pytest.raises(ApprovalError):  # nor does submitting it again send it
            await job.submit()
        await JobApprovals(jobs).decide(dearer.id, "approved", "console")
        await job.status(wait_seconds=30)
    assert two_models.asked[STRONG]
