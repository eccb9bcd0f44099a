"""Pages of the table of answers: the same rows in the same order, however they are found."""

import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doubleword_batch.jobs.store.records import Entry
from doubleword_batch.jobs.views import answers, histograms, snapshots
from doubleword_batch.jobs.views.answers import AnswerFilter

COLUMNS = ["given", "outcome", "answer"]
CELLS = st.one_of(
    st.none(),
    st.sampled_from(["", "a", "B", "b", "ä", "10", "9", "%", "kettle"]),
    st.integers(-3, 3),
    st.floats(-2, 2),
    st.binary(max_size=2),
)


def snapshot_of(folder, rows):
    """A database of these (given, answer), and what was written of it."""
    path = folder / "answers.sqlite3"
    path.unlink(missing_ok=True)

    def entries_and_rows():
        for number, (value, answer) in enumerate(rows, start=1):
            outcome = "failed" if answer is None else "ok"
            line = (1, "output", 0, 1, None, None)  # of which run, where, and whose else
            entry = Entry(number, f"r{number}", outcome, None, None, *line, 1, 5, 9)
            yield entry, dict(zip(COLUMNS, (value, outcome, answer), strict=True))

    table = SimpleNamespace(
        columns=COLUMNS,
        answer_columns=["answer"],
        source_columns={"given": "given"},
        warnings=[],
        entries_and_rows=entries_and_rows,
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous=OFF")  # else each row waits for the disk
        snapshots.fill(db, table, COLUMNS, "1", lambda _: None, lambda: False)
    return snapshots.read_snapshot(path)


def walk(snapshot, wanted, marks, sort, descending, size):
    """The numbers of the rows of all pages, each page from where the one before ended."""
    found, after = [], 0
    while True:
        page = answers.page(
            snapshot, wanted, marks, sort=sort, descending=descending, after=after, size=size
        )
        found += [row.number for row in page.rows]
        if not page.has_more:
            return found
        after = page.rows[-1].number


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=25),
    sort=st.sampled_from([None, "row_number", "given", "answer", "outcome", "output_tokens"]),
    descending=st.booleans(),
    wanted=st.sampled_from(
        [
            AnswerFilter(),
            AnswerFilter(outcome="ok"),
            AnswerFilter(text="A"),
            AnswerFilter(column="given", value=""),
            AnswerFilter(column="given", low=-1, high=10),
            AnswerFilter(column="answer", value="1", mark="none"),
            AnswerFilter(mark="any", text="e"),
        ]
    ),
    size=st.integers(1, 7),
)
def test_pages_give_each_row_once_in_order_looked_up_or_listed(
    tmp_path, rows, sort, descending, wanted, size
):
    snapshot = snapshot_of(tmp_path, rows)
    marks = {1: "right", 3: "wrong"}
    whole = answers.page(snapshot, wanted, marks, sort=sort, descending=descending, size=100)
    expected = [row.number for row in whole.rows]
    assert walk(snapshot, wanted, marks, sort, descending, size) == expected
    ordered = sorted(answers.fitting_numbers(snapshot, wanted, marks))
    assert sorted(expected) == ordered
    if sort in {None, "row_number"}:
        assert expected == (ordered[::-1] if descending else ordered)
    counted = answers.count(snapshot, wanted, marks)
    assert (counted.rows, counted.is_all) == (len(expected), True)
    listed_by = None if sort == "row_number" else sort
    answers.make_list(snapshot, wanted, marks, listed_by)
    assert walk(snapshot, wanted, marks, sort, descending, size) == expected
    assert answers.count(snapshot, wanted, marks).rows == len(expected)


def test_what_is_not_found_within_the_time_of_a_page_is_listed_first(tmp_path, monkeypatch):
    snapshot = snapshot_of(tmp_path, [(f"kettle {n}", "fine") for n in range(30_000)])
    monkeypatch.setattr(answers, "MANY_ROWS", 1_000)
    monkeypatch.setattr(answers, "_PAGE_SECONDS", -1.0)  # over, by any clock
    wanted = AnswerFilter(text="kettle 29999")
    assert answers.page(snapshot, wanted, {}, sort="given", descending=False) is None
    answers.make_list(snapshot, wanted, {}, "given")
    page = answers.page(snapshot, wanted, {}, sort="given")
    assert [row.number for row in page.rows] == [30_000]


def test_a_mark_that_is_set_makes_another_list(tmp_path):
    snapshot = snapshot_of(tmp_path, [("a", "b")] * 4)
    wanted = AnswerFilter(mark="any")
    answers.make_list(snapshot, wanted, {1: "right"}, None)
    for marks in ({1: "right"}, {1: "right", 4: "wrong"}):
        rows = answers.page(snapshot, wanted, marks).rows
        assert [row.number for row in rows] == list(marks)


def test_the_last_eight_lists_are_kept(tmp_path):
    snapshot = snapshot_of(tmp_path, [("a", "b")])
    for number in range(20):
        answers.make_list(snapshot, AnswerFilter(text=str(number)), {}, None)
        answers.make_list(snapshot, AnswerFilter(text=str(number)), {}, None)
    with closing(sqlite3.connect(snapshot.path)) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    assert {name for name in names if name.startswith("list_")} == {
        f"list_{number}" for number in range(13, 21)
    }


def test_a_list_that_is_ended_leaves_nothing(tmp_path):
    snapshot = snapshot_of(tmp_path, [(f"kettle {n}", "fine") for n in range(30_000)])
    with pytest.raises(snapshots.InputError):
        answers.make_list(snapshot, AnswerFilter(text="z"), {}, "given", lambda: True)
    with closing(sqlite3.connect(snapshot.path)) as db:
        assert db.execute("SELECT * FROM lists").fetchall() == []
        assert "list_1" not in {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}


def test_texts_that_are_all_different_have_no_bars_and_are_not_all_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(histograms, "MOST_DISTINCT", 100)
    snapshot = snapshot_of(tmp_path, [(f"text {n}", f"label {n % 3}") for n in range(300)])
    many, few = (histograms.histogram(snapshot, name) for name in ("given", "answer"))
    assert (many.bars, many.distinct) == ((), 101)
    assert [(bar.value, bar.rows) for bar in few.bars] == [
        (f"label {number}", 100) for number in range(3)
    ]


def test_a_count_that_takes_long_says_what_it_has_found(tmp_path, monkeypatch):
    snapshot = snapshot_of(tmp_path, [("kettle", "fine")] * 3_000)
    monkeypatch.setattr(answers, "_COUNTED_AT_ONCE", 1_000)
    now = iter(range(10))
    monkeypatch.setattr(answers, "monotonic", lambda: next(now))
    found = answers.count(snapshot, AnswerFilter(text="KETTLE"), {})
    assert (found.rows, found.is_all) == (2_000, False)
