"""No cell of a CSV runs in a spreadsheet, however that cuts the lines."""

import csv
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleword_batch.jobs.export.write_table import HarmlessCells

SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"
UNSEEN = ' \t\r\n\xa0\u3000\x0b\x1f\u200b\ufeff\u2060\u2028\U000e0020"'
FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3+cmd|'x'!A0", "@SUM(1)", '=HYPERLINK("http://x")']
HARMLESS = [
    *("-5", "+49,5", " -1.5e3", "1=1", "text =1", "a-b; c", "", "x;-5;y", "'=1", "50% + 50%"),
    *("Points:\n- one\n- two\n+ three", "Title\n=====\ntext\n---\n", "a\tb;c"),
]


def begins_like_a_formula(cell):
    bare = cell.lstrip(UNSEEN)
    return bare[:1] in SIGNS and bare[:1] != "" and not bare.strip().lstrip("+-").isdigit()


def cells_as_seen(value, delimiter):
    """What a spreadsheet makes of a line with this value in its second column."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["r1", HarmlessCells()(value), "ok"])
    lines = io.StringIO(text.getvalue(), newline="")
    return [cell for row in csv.reader(lines, delimiter=delimiter) for cell in row]


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("before", ["", *UNSEEN, " \t\n ", ";", "text;", "a\tb\t", "a\n", "a\r\n "])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_cell_begins_like_a_formula(before, formula, delimiter):
    for sign in (formula[0], SIGNS[SIGNS.index(formula[0]) + 4]):
        seen = cells_as_seen(before + sign + formula[1:], delimiter)
        assert not [cell for cell in seen if begins_like_a_formula(cell)]


@given(st.text(st.sampled_from([*SIGNS, *UNSEEN, *";,|!(ab1'"]), max_size=12))
def test_no_mixture_of_blanks_separators_and_signs_begins_like_a_formula(value):
    cells = HarmlessCells()
    shown = cells(value)
    for delimiter in ",;":
        for cell in cells_as_seen(value, delimiter):
            if begins_like_a_formula(cell):  # only lines of plain text may, which call nothing
                assert cell.lstrip()[:1] in "+-="
                assert cell.strip(" +-=") == "" or "(" not in cell
    assert (cells.apostrophes == 1) == (shown != value)
    assert shown.replace("'", "") == value.replace("'", "")


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_stays_as_it_is(text):
    cells = HarmlessCells()
    assert cells(text) == text
    assert cells.apostrophes == 0


def test_lists_and_objects_are_looked_through_too():
    assert HarmlessCells()(["a;=1+1", "b"]) == '["a;\'=1+1","b"]'
    assert HarmlessCells()({"=x": ";@y"}) == '{"=x":";\'@y"}'
    assert HarmlessCells()(-5) == "-5"
    assert HarmlessCells()(None) == ""


@pytest.mark.parametrize(
    "piece", ["|", ";", "\n- ", "\n=", "\n a  ", ";\t", "- x |", "\u200b", "-"]
)
def test_a_long_text_of_separators_takes_no_time(piece):
    begun = time.process_time()
    HarmlessCells()(piece * 300_000)
    assert time.process_time() - begun < 10
