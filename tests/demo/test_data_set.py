"""The data set and the job agree with each other and with what is written about them."""

import csv
import hashlib
import re
from importlib.resources import files

import jsonschema

from doubleword_batch.demo import demo_job
from doubleword_batch.demo.folder import DATA_FILE, ID_COLUMN, LABEL_COLUMN

DATA = files("doubleword_batch.demo") / "data"


def entries():
    with (DATA / DATA_FILE).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_is_the_one_whose_origin_is_written_down():
    digest = hashlib.sha256((DATA / DATA_FILE).read_bytes()).hexdigest()
    assert digest in (DATA / "README.md").read_text("utf-8")


def test_the_licence_of_the_data_comes_with_it():
    assert "Princeton University" in (DATA / "LICENSE-wordnet.txt").read_text("utf-8")


def test_there_are_at_least_forty_rows_with_ids_of_their_own():
    ids = [entry[ID_COLUMN] for entry in entries()]
    assert len(ids) >= 40
    assert len(set(ids)) == len(ids)


def test_the_prompt_uses_columns_that_exist_and_does_not_show_the_label():
    used = set(re.findall(r"{{\s*(\w+)\s*}}", demo_job.PROMPT + demo_job.SYSTEM))
    assert used
    assert used <= set(entries()[0])
    assert LABEL_COLUMN not in used


def test_labels_and_topics_are_the_same_and_each_is_as_frequent():
    labels = [entry[LABEL_COLUMN] for entry in entries()]
    share = len(labels) // len(demo_job.TOPICS)
    assert {labels.count(topic) for topic in demo_job.TOPICS} == {share}


def test_the_schema_takes_every_topic_and_nothing_else():
    schema = jsonschema.Draft202012Validator(demo_job.SCHEMA)
    assert all(schema.is_valid({"topic": topic}) for topic in demo_job.TOPICS)
    assert not schema.is_valid({"topic": "mineral"})


def test_no_example_of_the_prompt_is_a_row_of_the_table():
    examples = set(re.findall(r"Word: (\w+)", demo_job.SYSTEM))
    assert len(examples) == 8
    assert examples.isdisjoint(entry["word"] for entry in entries())


def test_every_topic_has_an_example():
    assert set(re.findall(r'"topic": "(\w+)"', demo_job.SYSTEM)) == set(demo_job.TOPICS)
