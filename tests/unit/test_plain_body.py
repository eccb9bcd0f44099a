"""The bodies that calls of plain JSON are sent with: those of the standard library, or none."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubleword_batch.batch_openai import plain_body as written

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(-1e300, 1e300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
circle = []
circle.append(circle)


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=4).filter(str.isprintable), json_values, max_size=4))
def test_plain_json_is_written_as_the_standard_library_does(params):
    try:
        expected = json.dumps(params, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        expected = None
    assert written.plain_body(params) == expected


@pytest.mark.parametrize("value", [object(), b"bytes", float("nan"), float("inf"), {1, 2}, circle])
def test_anything_else_is_left_to_the_sdk(value):
    assert written.plain_body({"model": "m", "messages": [value]}) is None
    assert written.plain_body({"model": "m"}) == b'{"model":"m"}'


def test_a_python_without_that_encoder_writes_the_same(monkeypatch):
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    write = written._encoder_made_once()
    assert write({"text": "\u00e9", "numbers": [1, 0.5]}) == '{"text":"\u00e9","numbers":[1,0.5]}'
