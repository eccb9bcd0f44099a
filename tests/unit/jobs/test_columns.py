"""What the columns of a table of answers are called, whatever the source has."""

import json
from random import Random

import pytest

from doubleword_batch.jobs.export.columns import distinct_names, table_columns
from finished_job import chat

CHAT = "/v1/chat/completions"
LABELS = {"properties": {"label": {"type": "string"}, "confidence": {"type": "number"}}}


def columns(given, prompt="{{ text }}", schema=None):
    return table_columns(given, {"prompt": prompt, "response_schema": schema}, CHAT)


def test_the_models_answers_have_the_plain_names_in_the_schemas_order():
    named = columns(["text", "label"], schema=LABELS)
    assert named.all == [
        "text",
        "source_label",
        "custom_id",
        "outcome",
        "label",
        "confidence",
        "answer",
        "error",
    ]
    assert named.answers == ["label", "confidence"]
    assert named.renamed == {"label": "source_label"}


def test_names_that_differ_by_case_only_clash_too_as_they_do_in_sql():
    assert columns(["Label", "text"], schema=LABELS).renamed == {"Label": "source_Label"}


def test_a_table_of_an_earlier_job_loses_its_ledger_and_does_not_pile_up():
    first = columns(["text"]).all
    second = columns(first).all
    third = columns(second).all
    assert second == ["text", "source_answer", "custom_id", "outcome", "answer", "error"]
    assert third == [
        "text",
        "source_answer",
        "source_answer_2",
        "custom_id",
        "outcome",
        "answer",
        "error",
    ]


def test_where_an_earlier_answer_is_from_is_not_said_of_the_new_one():
    first = ["text", "custom_id", "outcome", "answer", "origin", "error"]
    assert columns(first).renamed == {"answer": "source_answer", "origin": "source_origin"}
    assert columns(["text", "origin"]).renamed == {}


def test_what_the_prompt_takes_of_an_earlier_ledger_stays():
    named = columns(["text", "custom_id", "outcome", "answer", "error"], "Why {{ outcome }}?")
    assert named.renamed == {"outcome": "source_outcome", "answer": "source_answer"}
    assert "custom_id" not in named.given


NAMES = ["text", "answer", "Answer", "source_answer", "source_answer_2", "label", "LABEL", "error"]
NAMES += ["source_label", "outcome", "custom_id", "row_number", "answer_error", "embedding"]


@pytest.mark.parametrize("seed", range(300))
def test_every_column_has_a_name_of_its_own_and_an_answer_never_one_of_the_source(seed):
    random = Random(seed)  # must be repeatable
    given = random.sample(NAMES, random.randrange(8))
    properties = {name: {} for name in random.sample(NAMES, random.randrange(4))}
    named = columns(given, schema={"properties": properties})
    ours = [name.lower() for name in named.all[len(named.given) :]]
    assert len(set(named.all)) == len(named.all)
    assert {"custom_id", "outcome", "error", "answer"} <= set(named.all)
    assert not set(ours) & {name.lower() for name in named.given.values()}
    assert list(named.properties) == list(properties)
    sql = dict(zip(named.all, distinct_names(named.all), strict=True))
    assert all(sql[name] == name for name in named.all[len(named.given) :] if name in given)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
async def test_a_label_of_the_source_and_one_of_the_model_stand_side_by_side(
    finish, tmp_path, suffix
):
    rows = [{"text": "a", "label": "human"}, {"text": "b", "label": "human"}]
    lines = {
        "csv": "text,label\na,human\nb,human\n",
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows),
    }
    (tmp_path / f"t.{suffix}").write_text(lines[suffix])
    answers = [chat(json.dumps({"label": label, "confidence": 1})) for label in ("good", "bad")]
    job = await finish(f"t.{suffix}", *answers, spec={"prompt": "p", "response_schema": LABELS})
    table = job.table()
    assert [(row["source_label"], row["label"]) for row in table.rows()] == [
        ("human", "good"),
        ("human", "bad"),
    ]
    assert table.answer_columns == ["label", "confidence"]
