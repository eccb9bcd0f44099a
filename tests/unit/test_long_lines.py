"""Whose a line is that is too long to be read."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from doubleword_batch.api.download import LongLine

CUSTOM_IDS = st.text(min_size=1, max_size=64) | st.integers(0, 10**9)
VALUES = st.recursive(
    st.none() | st.text(max_size=8) | st.integers() | st.just('","custom_id":"other"}'),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["custom_id", "a", "b"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=100)
@given(
    custom_id=CUSTOM_IDS,
    fields=st.dictionaries(st.sampled_from(["id", "model", "x"]), VALUES),
    is_first=st.booleans(),
    cut=st.integers(70_000, 150_000),
    escaped=st.booleans(),
)
def test_its_custom_id_is_found_before_or_behind_the_answer(
    custom_id, fields, is_first, cut, escaped
):
    named = {"custom_id": custom_id}
    rest = {**fields, "response": {"custom_id": "inner", "text": "x" * 150_000}}
    text = json.dumps({**named, **rest} if is_first else {**rest, **named}, ensure_ascii=escaped)
    data = text.encode("utf-8", "surrogatepass")
    line = LongLine(data[:cut])
    line.add(data[cut:])
    assert json.loads(line.in_short())["custom_id"] == str(custom_id)
