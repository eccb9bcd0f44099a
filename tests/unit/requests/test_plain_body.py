"""The bodies that calls of plain JSON are sent with, and the keys that are made of them."""

import datetime as dt
import enum
import json
import uuid
from dataclasses import dataclass
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubleword_batch.requests import RequestKeys
from doubleword_batch.requests.keys import CanonicalBody, plain_body

KEYS = RequestKeys("p", "s", "/v1/chat/completions")

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
spelt_with_exponents = st.sampled_from([1e-7, 1.5e-300, 5e-324, 1e22, 1.7e308, 0.1, -0.0])
text = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | numbers | spelt_with_exponents | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
circle = []
circle.append(circle)
deep = []
for _ in range(200_000):
    deep = [deep]


class Word(enum.Enum):
    first = "a"


@dataclass
class Message:
    role: str = "user"


@settings(max_examples=200)
@given(st.dictionaries(text, json_values, max_size=5))
def test_a_body_says_what_was_given_and_has_the_key_of_those_fields(fields):
    body = plain_body(fields)
    assert json.loads(body) == fields
    assert list(json.loads(body)) == sorted(fields)
    assert KEYS.keys_of_body(body) == KEYS.keys_of_body(json.dumps(fields).encode())
    assert KEYS.keys_of_body(body) == KEYS.keys_of_body(bytes(body))


@pytest.mark.parametrize(
    ("field", "is_hashed_as_it_is"),
    [
        ({"content": "é\n\u2028\x7f", "top": [0.7, 1e-7, 2**70, True, None]}, True),
        ([], True),
        (1.0, False),
        ([{"deep": [-0.0]}], False),
        (1e22, False),
        (None, False),
    ],
)
def test_only_a_body_without_nulls_and_whole_floats_is_hashed_as_it_is(field, is_hashed_as_it_is):
    body = plain_body({"model": "m", "field": field})
    assert (type(body) is CanonicalBody) == is_hashed_as_it_is
    assert KEYS.keys_of_body(body) == KEYS.keys_of_fields({"model": "m", "field": field})


@pytest.mark.parametrize(
    "value",
    [
        object(),
        b"bytes",
        bytearray(b"bytes"),
        float("nan"),
        float("inf"),
        {1, 2},
        ("a", "tuple"),
        {1: "a number for a name"},
        {None: 1},
        "\ud800",
        {"\ud800": 1},
        dt.date(2026, 1, 1),
        dt.timedelta(seconds=1),
        uuid.UUID(int=1),
        Decimal("0.5"),
        Word.first,
        Message(),
        msgspec.Raw(b"1"),
        (number for number in [1]),
        circle,
        deep,
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_left_to_the_sdk(value):
    assert plain_body({"model": "m", "messages": [value]}) is None
    assert plain_body({"model": "m", "messages": value, "temperature": 1.0}) is None
    assert plain_body({"model": "m"}) == b'{"model":"m"}'
