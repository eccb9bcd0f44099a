"""Requests that begin alike stand together in their file; everything else stays where it was."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubleword_batch.requests import RequestFileWriter, requests_of_rows

DOCUMENTS = {name: f"Document {name}. " + name * 9_000 for name in "abc"}


def request(row, text):
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    line = {"custom_id": f"r{row}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def written(folder, texts, *, max_requests=50_000, by_prefix=True):
    """The files, as lists of row numbers, and the writer's own account of them."""
    folder.mkdir(parents=True, exist_ok=True)
    with RequestFileWriter(folder, max_requests, 10**9, by_prefix=by_prefix) as files:
        for row, text in enumerate(texts, start=1):
            files.write(request(row, text))
        made = files.publish()
    return [rows_of(file.path) for file in made], made


def rows_of(path):
    return [int(json.loads(line)["custom_id"][1:]) for line in path.read_bytes().splitlines()]


def test_questions_about_the_same_documents_stand_together(tmp_path):
    texts = [DOCUMENTS[name] + question for question in "xyz" for name in "abc"]
    ((rows,), (file,)) = written(tmp_path / "a", texts)
    assert rows == [1, 4, 7, 2, 5, 8, 3, 6, 9]
    assert (file.requests, file.size_bytes) == (9, file.path.stat().st_size)
    content = file.path.read_bytes()
    import hashlib

    assert file.sha256 == hashlib.sha256(content).hexdigest()
    ((again,), (other,)) = written(tmp_path / "b", texts)
    assert (again, other.sha256) == (rows, file.sha256)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["part-0001.jsonl"]


def test_the_order_is_within_a_file_and_each_file_keeps_its_rows(tmp_path):
    texts = [DOCUMENTS["ab"[row % 2]] + str(row) for row in range(8)]
    files, _ = written(tmp_path, texts, max_requests=4)
    assert files == [[1, 3, 2, 4], [5, 7, 6, 8]]


@pytest.mark.parametrize(
    "texts",
    [
        ["short", "other", "short"] * 5,
        [DOCUMENTS["a"] + str(row) for row in range(6)],
        [DOCUMENTS[name] + str(row) for name in "abc" for row in range(3)],
        ["x" * 5_000 + "a", "y" * 5_000, "z" * 5_000],
    ],
    ids=["short", "one beginning", "in order already", "nothing shared"],
)
def test_what_gains_nothing_stays_as_it_was(tmp_path, texts):
    ((rows,), (file,)) = written(tmp_path / "a", texts)
    assert rows == list(range(1, len(texts) + 1))
    (_, (plain,)) = written(tmp_path / "b", texts, by_prefix=False)
    assert file.sha256 == plain.sha256


@settings(max_examples=25)
@given(names=st.lists(st.sampled_from(["a", "b", "ab", "short"]), min_size=1, max_size=12))
def test_every_line_is_there_once_and_the_first_stays_first(tmp_path_factory, names):
    texts = {"a": "a" * 9_000, "b": "b" * 9_000, "ab": "a" * 6_000 + "b" * 6_000, "short": "s"}
    folder = tmp_path_factory.mktemp("order")
    ((rows,), (file,)) = written(folder, [texts[name] for name in names])
    assert sorted(rows) == list(range(1, len(names) + 1))
    assert rows[0] == 1
    order = [names[row - 1] for row in rows]
    for name in ("a", "b", "ab"):  # each stands in one stretch
        places = [place for place, other in enumerate(order) if other == name]
        assert not places or places[-1] - places[0] == len(places) - 1
    wanted = set(rows[::2])
    assert [row for row, _ in requests_of_rows(file.path, wanted)] == rows[::2]
