"""What comes out of the tolerant reader is JSON again, whatever went in."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleword_batch.loose_json import (
    decode,
    decode_relaxed_or_none,
    is_too_deep,
    is_value_too_deep,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("ab'\"\\:/,]", max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("digits", [301, 400, 5000])
def test_a_whole_number_beyond_what_a_float_holds_becomes_its_text(sign, digits):
    number = sign + "9" * digits

    assert decode(f'{{"a": {number}}}') == {"a": number}
    assert decode(f'{{"a": "{number}"}}') == {"a": number}


def test_a_whole_number_that_a_float_holds_stays_one():
    assert decode(f"[{10**299}, -{10**299}, 12345678901234567890]") == [
        10**299,
        -(10**299),
        12345678901234567890,
    ]


@given(st.lists(VALUES, max_size=4))
def test_relaxed_reading_takes_json_and_what_python_prints_for_what_it_is(value):
    assert decode_relaxed_or_none(json.dumps(value)) == value
    assert decode_relaxed_or_none(json.dumps(value, ensure_ascii=False)) == value
    assert decode_relaxed_or_none(repr(value)) == value


@pytest.mark.parametrize("text", ["", "a", "7", "{'a'", "{'a': b}", '{"a": "b\\', "{a b}", "[1 2]"])
def test_relaxed_reading_takes_nothing_that_is_neither_object_nor_list(text):
    assert decode_relaxed_or_none(text) is None


@pytest.mark.parametrize(
    "piece",
    ['\\"', "'", '"', "/*", ",  ", "a ", "a" * 9, "0x", "9", ".", "+", "[", "\\U00110000", "//"],
)
def test_relaxed_reading_takes_time_that_grows_with_the_text_alone(piece):
    begin = time.process_time()
    for before in ("{", '["', "['", "[1,"):
        decode_relaxed_or_none(before + piece * (100_000 // len(piece)))
    assert time.process_time() - begin < 10


def test_a_value_that_many_hold_is_looked_at_once():
    value = []
    for _ in range(400):
        value = [value, value]
    assert not is_value_too_deep(value)


def nested(depth):
    value = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("depth", [0, 1, 499, 500, 501, 502])
def test_a_value_is_as_deep_as_its_text(depth):
    text = '{"a":' * depth + "1" + "}" * depth
    assert is_value_too_deep(nested(depth)) == is_too_deep(text.encode()) == (depth > 500)
