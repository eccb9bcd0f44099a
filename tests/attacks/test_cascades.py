"""Schemas of agents and answers of servers that would mislead a cascade, or stop it for good."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.conftest import environment, new_jobs, server, small_table, two_models
from cascade.two_models import CHEAP, OPTION, PROMPT, SCHEMA
from doubleword_batch import InputError
from doubleword_batch.jobs.cascade.labels import DOUBTS, LOGPROBS, doubt_of, label_fields
from doubleword_batch.jobs.sync.answers import Answer

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
def test_a_type_that_is_none_is_no_label(types):
    with pytest.raises(InputError, match="may be free text"):
        label_fields({"properties": {"label": {"type": types}}})
