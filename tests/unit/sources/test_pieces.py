"""Texts cut into pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleword_batch.sources.files import pieces


@given(st.text(alphabet="ab. \n\r", max_size=400), st.integers(100, 150))
def test_pieces_are_bounded_and_joined_are_the_text(text, most):
    found = list(pieces(text, most))
    assert "".join(found) == text
    assert all(0 < len(piece) <= most for piece in found) or found == [""]


@pytest.mark.parametrize("mark", ["\n\n", "\r\n\r\n", "\n", "\r\n", ". ", " "])
def test_a_piece_ends_behind_a_break(mark):
    text = "x" * 70 + mark + "y" * 70
    assert list(pieces(text, 100)) == ["x" * 70 + mark, "y" * 70]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_paragraph_ends_a_piece_rather_than_a_line_whatever_ends_the_lines(end):
    text = "x" * 60 + end * 2 + "x" * 20 + end + "y" * 70
    assert next(pieces(text, 100)) == "x" * 60 + end * 2
