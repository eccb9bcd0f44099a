"""Prompts and schemas as editors and shells save them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleword_batch.saved_text import decode_saved

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff\r"))
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]


@given(TEXTS, st.sampled_from(ENCODINGS), st.sampled_from(["\n", "\r\n", "\r"]))
def test_a_text_is_the_same_in_every_encoding_that_says_what_it_is(text, encoding, newline):
    assert decode_saved(text.replace("\n", newline).encode(encoding)) == text


@given(st.binary())
def test_bytes_are_text_or_an_error_and_never_replaced(content):
    try:
        text = decode_saved(content)
    except UnicodeDecodeError:
        return
    assert "\ufffd" not in text or b"\xef\xbf\xbd" in content or content[:2] in b"\xff\xfe\xff"


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "shift-jis"])
def test_nothing_is_guessed(encoding):
    with pytest.raises(UnicodeDecodeError):
        decode_saved("müßig 日本".encode(encoding, "ignore"))
