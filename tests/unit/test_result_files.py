"""Whatever stands between the lines of a file of results, its lines come out, in any pieces."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubleword_batch.api import file_encoding, line_layout
from result_files import LAYOUTS, NOT_READ
from skill.places import script_module

READERS = {
    "package": (file_encoding, line_layout),
    "scripts": (script_module("file_encoding"), script_module("line_layout")),
}
ANSWER = 'a \\"}{\\" \\\\ é [{"custom_id":"no"}], \ud83d\ude00'
LINES = [
    json.dumps(
        {
            "id": f"batch_req_{number}",
            "response": {"body": {"output": [{"text": ANSWER}], "metadata": {"custom_id": "not"}}},
            "custom_id": f"r{number}",
        }
    )
    for number in range(1, 11)
]


def blocks(reader, pieces):
    """What the reader hands on of a file that comes in pieces."""
    forms, layouts = READERS[reader]
    form, layout = forms.FileDecoder(), layouts.LineLayout()
    for data in pieces:
        for piece in form.decoded(data):
            yield layout.lines_of(piece)
    for piece in form.rest():
        yield layout.lines_of(piece)
    assert form.is_whole
    yield layout.rest()


def objects(reader, content, size):
    """The objects in a file, as those who read its lines find them."""
    pieces = (content[at : at + size] for at in range(0, len(content), size))
    found = []
    for line in b"".join(blocks(reader, pieces)).split(b"\n"):
        try:
            found.append(json.loads(line.decode("utf-8-sig")))
        except ValueError:
            inside = READERS[reader][1].ObjectLines().lines_of(line)
            found += map(json.loads, inside.splitlines())
    return found


@pytest.mark.parametrize("size", [7, 1 << 16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reader", READERS)
def test_the_lines_of_any_layout_come_out_in_any_pieces(reader, layout, size):
    assert objects(reader, LAYOUTS[layout](LINES), size) == list(map(json.loads, LINES))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=8,
)


@given(
    rows=st.lists(
        st.fixed_dictionaries({"custom_id": st.text()}, optional={"response": JSON})
    ).filter(bool),
    layout=st.sampled_from(sorted(LAYOUTS)),
    size=st.integers(1, 200),
    reader=st.sampled_from(sorted(READERS)),
)
@settings(max_examples=40, deadline=None)
def test_any_values_come_out_as_they_went_in(rows, layout, size, reader):
    if layout.startswith("by custom_id"):  # there are no two of a name, and they have a response
        rows = [
            {"response": None, **row} for row in {row["custom_id"]: row for row in rows}.values()
        ]
    lines = [json.dumps(row) for row in rows]
    found = objects(reader, LAYOUTS[layout](lines), size)
    assert [{name: row[name] for name in row if name != "id"} for row in found] == rows


@given(
    content=st.binary(max_size=300),
    size=st.integers(1, 99),
    reader=st.sampled_from(["package", "scripts"]),
)
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_lines_or_refused(content, size, reader):
    forms, layouts = READERS[reader]
    form, layout = forms.FileDecoder(), layouts.LineLayout()
    try:
        for at in range(0, len(content), size):
            for piece in form.decoded(content[at : at + size]):
                layout.lines_of(piece)
        for piece in form.rest():
            layout.lines_of(piece)
    except (forms.UnsupportedEncodingError, forms.EncodingError):
        return
    layout.rest()


@pytest.mark.parametrize("first", ['{"custom_id":"r0","response":{"bo', "none", "{", '{"a":[1,'])
@pytest.mark.parametrize("reader", READERS)
def test_a_first_line_that_is_cut_costs_no_other(reader, first):
    content = "\n".join([first, *LINES]).encode()
    found = b"".join(blocks(reader, [content])).split(b"\n")
    assert [line.decode() for line in found] == [first, *LINES]


@pytest.mark.parametrize("layout", ["a list on a line", "a page", "lines that end with CR"])
@pytest.mark.parametrize("reader", READERS)
def test_a_file_without_line_breaks_is_not_held_in_memory(reader, layout):
    line = json.dumps({"custom_id": "r1", "response": {"text": "x" * 1000}})
    content = LAYOUTS[layout]([line] * 1500)
    pieces = (content[at : at + 4096] for at in range(0, len(content), 4096))
    tracemalloc.start()
    try:
        lines = sum(block.count(b"\n") for block in blocks(reader, pieces))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert lines == 1500
    assert peak < 700_000


@pytest.mark.parametrize("name", [name for name in NOT_READ if "read" not in NOT_READ[name][1]])
@pytest.mark.parametrize("reader", READERS)
def test_a_form_that_is_not_read_is_named(reader, name):
    content, words = NOT_READ[name]
    with pytest.raises(READERS[reader][0].UnsupportedEncodingError, match=words):
        list(blocks(reader, [content]))
