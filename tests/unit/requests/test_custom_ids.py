"""custom_id: the row and a readable label, within the provider's limit."""

import json

import pytest

from doubleword_batch.requests import (
    custom_id_for,
    row_of,
)
from unit.requests.conftest import first_request, spec


@pytest.mark.parametrize(
    ("row", "label", "expected"),
    [
        (1, None, "r1"),
        (17, "", "r17"),
        (17, "user-123/question 5", "r17-user-123-question-5"),
        (2, "Größe: Ångström", "r2-Groe-Angstrom"),
        (3, "名前", "r3"),
        (4, "--a..b__c--", "r4-a..b__c"),
        (5, 'x"\r\n}', "r5-x"),
    ],
)
def test_a_custom_id_is_the_row_and_the_readable_part_of_its_label(row, label, expected):
    assert custom_id_for(row, label) == expected
    assert row_of(expected) == row


@pytest.mark.parametrize("row", [1, 123_456_789_012])
def test_a_custom_id_never_grows_beyond_its_limit(row):
    custom_id = custom_id_for(row, "ab-" * 10_000, 20)
    assert len(custom_id) <= 20
    assert not custom_id.endswith("-")
    assert row_of(custom_id) == row


@pytest.mark.parametrize(
    "custom_id", ["", "r", "r0", "r01", "x1", "r1-", "r1 a", "1", "r1\n", "r٣"]
)
def test_ids_that_are_not_ours_have_no_row(custom_id):
    assert row_of(custom_id) is None


def test_custom_ids_keep_to_the_provider_s_limit(source, build):
    table = source("t.jsonl", json.dumps({"text": "a", "id": "x" * 100, "n": 7}))
    built = build(table, spec(id_column="id"), limits={"max_custom_id_bytes": 10})
    assert first_request(built)["custom_id"] == "r1-xxxxxxx"
    assert first_request(build(table, spec(id_column="n")))["custom_id"] == "r1-7"
