"""The console's table of answers over many rows: the first page, filters and sorts, at the server.

Run it alone: `python tests/bench/console_answers.py [ROWS]`. It writes a table of that many rows
(1,000,000 by default) into the database that the console pages through, and prints medians of five
requests each; in brackets the first one, which makes the index of its column.
"""

import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.store.ledger_reader import Entry
from doubleword_batch.jobs.views import answers, answers_database
from doubleword_batch.jobs.views.answers import AnswerFilter

_ROWS = 1_000_000
_REPEATS = 5
_WORDS = [
    "kettle",
    "lamp",
    "chair",
    "desk",
    "fine",
    "lovely",
    "broken",
    "loud",
    "morning",
    "window",
    "river",
    "orchard",
]
_COLUMNS = ["id", "product", "review", "stars", "custom_id", "outcome", "answer", "error"]


def _table(rows: int) -> Table:
    """As much of a table as its database is made of."""

    def entries_and_rows() -> Iterator[tuple[Entry, dict[str, Any]]]:
        for n in range(rows):
            outcome = "ok" if n % 50 else "failed"
            cause = None if n % 50 else "http_429"
            name = f"r{n + 1}"
            entry = Entry(n + 1, name, 1, outcome, cause, None, 50, 9, 1, "output", n, 1)
            review = " ".join(_WORDS[(n * step) % len(_WORDS)] for step in range(3, 13))
            values = (str(n), _WORDS[n % 4], f"{review} {n}", str(n * 7 % 5), name, outcome)
            row = dict(zip(_COLUMNS, (*values, f"label {n % 3}", cause), strict=True))
            yield entry, row

    made = SimpleNamespace(
        columns=_COLUMNS,
        answer_columns=["answer"],
        warnings=[],
        entries_and_rows=entries_and_rows,
    )
    return cast("Table", made)


def _run(folder: Path, rows: int) -> None:
    began = time.perf_counter()
    path = folder / "answers.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        answers_database.fill(db, _table(rows), _COLUMNS, "1", lambda _: None, lambda: False)
    print(f"{rows:,} rows written once: {time.perf_counter() - began:.1f} s")
    snapshot = answers_database.read(path)
    assert snapshot is not None
    looks: dict[str, tuple[AnswerFilter, dict[str, Any]]] = {
        "first page": (AnswerFilter(), {}),
        "page in the middle": (AnswerFilter(), {"after": rows // 2}),
        "filter by outcome": (AnswerFilter(outcome="failed"), {}),
        "filter by value": (AnswerFilter(column="answer", value="label 2"), {}),
        "filter by a text that is everywhere": (AnswerFilter(text="kettle"), {}),
        "filter by a text that is nowhere": (AnswerFilter(text="zebra"), {}),
        "sort by a number": (AnswerFilter(), {"sort": "stars", "descending": True}),
        "sort by a text": (AnswerFilter(), {"sort": "review"}),
        "sort, far down": (AnswerFilter(), {"sort": "id", "after": rows // 2}),
        "filter and sort": (AnswerFilter(outcome="ok"), {"sort": "id"}),
    }
    for name, (wanted, options) in looks.items():
        seconds: list[float] = []
        for _ in range(_REPEATS + 1):
            began = time.perf_counter()
            answers.page(snapshot, wanted, {}, **options)
            seconds.append(time.perf_counter() - began)
        first, *others = seconds
        print(f"{name}: {1000 * statistics.median(others):.0f} ms ({1000 * first:.0f} at first)")


if __name__ == "__main__":
    wanted_rows = int(sys.argv[1]) if len(sys.argv) > 1 else _ROWS
    with tempfile.TemporaryDirectory() as made:
        _run(Path(made), wanted_rows)
