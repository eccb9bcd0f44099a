"""The table of answers as files: every row, every column, in order, typed, and harmless."""

import csv
import json
import subprocess
import sys

import duckdb
import pytest

from doubleword_batch.errors import ConfigError, InputError
from doubleword_batch.jobs.export.write_table import format_of, write_table
from doubleword_batch.jobs.store.worker_threads import AbandonedError
from doubleword_batch.sources.values import as_text
from finished_job import chat

SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "count": {"type": "integer"},
        "score": {"type": "number"},
        "sure": {"type": ["boolean", "null"]},
        "tags": {"type": "array"},
        "error": {"type": "string"},
    },
}


def answer(**fields):
    return chat(json.dumps(fields))


@pytest.fixture
def written(tmp_path):
    """Write a table and read it back as dictionaries."""

    def write(table, form, **options):
        path = tmp_path / f"out.{form}"
        write_table(table, path, form, **options)
        assert not [p for p in tmp_path.iterdir() if ".part" in p.name]
        if form == "csv":
            with path.open(encoding="utf-8", newline="") as lines:
                return list(csv.DictReader(lines))
        if form == "jsonl":
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        with duckdb.connect() as duck:
            found = duck.execute("SELECT * FROM read_parquet(?)", [str(path)])
            names = [name for name, *_ in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    return write


def types_of(path):
    with duckdb.connect() as duck:
        found = duck.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)])
        return {name: kind for name, kind, *_ in found.fetchall()}


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
async def test_every_source_row_stands_once_in_order_with_its_answer_or_its_cause(
    finish, written, tmp_path, form
):
    (tmp_path / "t.csv").write_text(
        "größe in cm,outcome\n" + "".join(f"00{n},x\n" for n in range(4)), encoding="utf-8"
    )
    job = await finish("t.csv", chat("a"), "boom", chat("c", finish="length"), status="expired")
    rows = written(job.table(), form)
    columns = ["größe in cm", "source_outcome", "custom_id", "outcome", "answer", "error"]
    assert [list(row) for row in rows] == [columns] * 4
    assert [row["größe in cm"] for row in rows] == ["000", "001", "002", "003"]
    assert [row["outcome"] for row in rows] == ["ok", "failed", "truncated", "expired"]
    assert [row["answer"] or None for row in rows] == ["a", None, "c", None]
    assert [(row["error"] or "").split(":")[0] for row in rows] == [
        "",
        "server",
        "length",
        "expired",
    ]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
async def test_a_schema_makes_columns_typed_by_it_and_nested_ones_are_json(
    finish, written, tmp_path, form
):
    (tmp_path / "t.csv").write_text("day\n2024-01-02\n7\n")
    good = answer(label="1", count=1, score=2, sure=None, tags=[{"a": 1}], error="none")
    job = await finish("t.csv", good, chat("no JSON"), spec={"response_schema": SCHEMA})
    table = job.table()
    first, second = written(table, form)
    assert first["day"] == "2024-01-02"
    assert first["label"] == "1"
    assert first["answer_error"] == "none"
    assert [second[name] or None for name in ("label", "count", "tags")] == [None] * 3
    assert second["answer"] == "no JSON"
    assert second["error"].startswith("schema")
    tags = first["tags"]
    assert (tags if form == "jsonl" else json.loads(tags)) == [{"a": 1}]
    if form == "parquet":
        types = types_of(tmp_path / "out.parquet")
        assert types["day"] == "VARCHAR"
        assert [types[n] for n in ("label", "count", "score", "sure", "tags")] == [
            "VARCHAR",
            "BIGINT",
            "DOUBLE",
            "BOOLEAN",
            "VARCHAR",
        ]
        assert (first["count"], first["score"], first["sure"]) == (1, 2.0, None)


async def test_a_field_of_json_without_a_name_has_one_in_parquet(finish, written, tmp_path):
    row = {"": 1, "text": "a", " ": 2, "column_1": 3, "\0": 4}
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8", newline="\n")
    job = await finish("t.jsonl", chat("yes"))
    (read,) = written(job.table(), "parquet")
    names = ["column_1", "text", " ", "column_1_2", "\ufffd"]
    assert {name: read[name] for name in names} == dict(zip(names, row.values(), strict=True))
    (kept,) = written(job.table(), "jsonl")
    assert {name: kept[name] for name in row} == row


async def test_parquet_columns_have_the_types_of_their_values(finish, written, tmp_path):
    rows = [
        {"i": 1, "f": 1, "b": True, "s": "1.50", "mixed": 1, "big": 1 << 70, "A": [1], "a": None},
        {"i": None, "f": 0.5, "b": None, "s": "x\u0000", "mixed": "1", "big": 1, "A": None, "a": 2},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = await finish("t.jsonl", chat("a"), chat("b"))
    first, second = written(job.table(), "parquet")
    types = types_of(tmp_path / "out.parquet")
    assert [types[name] for name in ("i", "f", "b", "s", "mixed", "A", "a_2")] == [
        "BIGINT",
        "DOUBLE",
        "BOOLEAN",
        "VARCHAR",
        "VARCHAR",
        "VARCHAR",
        "BIGINT",
    ]
    assert first["s"] == "1.50"
    assert second["s"].startswith("x")
    assert (first["mixed"], second["mixed"]) == ("1", "1")
    assert (first["A"], second["a_2"]) == ("[1]", 2)
    assert (first["big"], second["big"]) == (str(1 << 70), "1")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([(1 << 53) + 1, 0.5, None], "VARCHAR"),
        ([1 << 53, 0.5, -(1 << 53)], "DOUBLE"),
        ([(1 << 63) - 1, -(1 << 63), None], "BIGINT"),
        ([1 << 63, 1, None], "VARCHAR"),
        ([1 << 64, 0.5, -(1 << 200)], "VARCHAR"),
    ],
)
async def test_no_number_loses_digits_in_parquet(finish, written, tmp_path, values, kind):
    rows = [{"text": str(number), "n": value} for number, value in enumerate(values)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = await finish("t.jsonl", chat("a"), chat("b"), chat("c"))
    read = [row["n"] for row in written(job.table(), "parquet")]
    assert types_of(tmp_path / "out.parquet")["n"] == kind
    texts = [None if value is None else str(value) for value in values]
    assert read == (texts if kind == "VARCHAR" else values)


@pytest.mark.parametrize(
    "values",
    [
        [(1 << 53) + 1, 1e-7, 1e21],
        ["x", 1.2345678901234568e17, 0.00001],
        [[1e16, {"a": 1.5e300}], {"b": [1e-6, -0.0]}, 1e16],
        [True, 5e-324, 1 << 70],
    ],
)
async def test_a_number_in_a_text_of_parquet_is_the_text_that_a_csv_table_has(
    finish, written, tmp_path, values
):
    rows = [{"text": str(number), "n": value} for number, value in enumerate(values)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = await finish("t.jsonl", chat("a"), chat("b"), chat("c"))
    read = [row["n"] for row in written(job.table(), "parquet")]
    assert types_of(tmp_path / "out.parquet")["n"] == "VARCHAR"
    assert read == [row["n"] for row in written(job.table(), "csv")]
    assert read == [as_text(value) for value in values]


async def test_bytes_of_a_source_come_back_as_bytes(finish, written, tmp_path):
    with duckdb.connect() as duck:
        duck.execute(f"COPY (SELECT '\\x00\\xFF'::BLOB AS pic) TO '{tmp_path / 't.parquet'}'")
    job = await finish("t.parquet", chat("a"))
    assert written(job.table(), "parquet")[0]["pic"] == b"\x00\xff"
    assert written(job.table(), "jsonl")[0]["pic"] == "AP8="


async def test_embeddings_are_lists_of_floats_of_one_length(finish, written, tmp_path):
    (tmp_path / "t.csv").write_text("t\na\nb\nc\n")
    bodies = [{"data": [{"embedding": [n, 0.5, 1.5]}]} for n in range(2)]
    job = await finish("t.csv", *bodies, endpoint="/v1/embeddings")
    rows = written(job.table(), "parquet")
    assert [row["embedding"] for row in rows] == [[0.0, 0.5, 1.5], [1.0, 0.5, 1.5], None]
    assert types_of(tmp_path / "out.parquet")["embedding"] == "FLOAT[]"
    assert json.loads(written(job.table(), "csv")[1]["embedding"]) == [1, 0.5, 1.5]


def arrow_schema_of(path):
    with duckdb.connect() as duck:
        found = duck.execute(
            "SELECT key, value FROM parquet_kv_metadata(?)", [str(path)]
        ).fetchall()
    return dict(found).get(b"ARROW:schema")


# What pyarrow 26 reads as: t: string, custom_id: string, outcome: string,
# embedding: fixed_size_list<element: float>[3], error: string
ARROW_SCHEMA = b"""
/////8ABAAAQAAAAAAAKAAwABAAGAAgACgAAAAQAAQAMAAAACAAIAAAABAAIAAAABAAAAAUAAAAkAAAAWAAAAJQAAADMAAAA
VAEAABAAFAAEAAgACQAMAAAAEAAQAAAAEAAAAAEFAAAUAAAAFAAAAAEAAAB0AAAABAAEAAQAAAAAAAAAEAAUAAQACAAJAAwA
AAAQABAAAAAQAAAAAQUAABwAAAAcAAAACQAAAGN1c3RvbV9pZAAAAAQABAAEAAAAAAAAABAAFAAEAAgACQAMAAAAEAAQAAAA
EAAAAAEFAAAYAAAAGAAAAAcAAABvdXRjb21lAAQABAAEAAAAAAAAABAAFAAEAAgACQAMAAAAEAAQAAAAEAAAAAEQAAAcAAAA
IAAAAAkAAABlbWJlZGRpbmcABgAIAAQABgAAAAMAAAABAAAAFAAAABAAFAAEAAgACQAMAAAAEAAQAAAAEAAAAAEDAAAcAAAA
IAAAAAcAAABlbGVtZW50AAAABgAGAAQABgAAAAEAAAAAAAAAEAAUAAQACAAJAAwAAAAQABAAAAAQAAAAAQUAABgAAAAYAAAA
BQAAAGVycm9yAAAABAAEAAQAAAAAAAAA
"""


async def test_vectors_of_one_length_are_of_that_fixed_length_for_readers_of_arrow(
    finish, written, tmp_path
):
    (tmp_path / "t.csv").write_text("t\na\nb\nc\n")
    bodies = [{"data": [{"embedding": [n, 0.5, 1.5]}]} for n in range(2)]
    job = await finish("t.csv", *bodies, endpoint="/v1/embeddings")
    written(job.table(), "parquet")
    assert arrow_schema_of(tmp_path / "out.parquet") == b"".join(ARROW_SCHEMA.split())


@pytest.mark.parametrize(
    ("second", "shown"),
    [
        ([0.5], [0.5]),
        ("AAAAPw==", [0.5]),
        ("no vector", "no vector"),
        ([0.5, None], [0.5, None]),
        ([[0.5, 1], [2, 3]], "[[0.5,1],[2,3]]"),
    ],
)
async def test_vectors_that_are_not_of_one_length_are_not_lists_of_a_fixed_length(
    finish, written, tmp_path, second, shown
):
    (tmp_path / "t.csv").write_text("t\na\nb\n")
    bodies = [{"data": [{"embedding": vector}]} for vector in ([0.5, 1.5, 2.5], second)]
    job = await finish("t.csv", *bodies, endpoint="/v1/embeddings")
    assert written(job.table(), "parquet")[1]["embedding"] == shown
    assert arrow_schema_of(tmp_path / "out.parquet") is None


async def test_one_tool_call_is_two_columns_and_several_are_a_list(finish, written, tmp_path):
    (tmp_path / "t.csv").write_text("t\na\nb\nc\nd\n")
    job = await finish(
        "t.csv",
        chat(calls=[("find", '{"x": 1}')]),
        chat(calls=[("find", "{}"), ("send", "no JSON")]),
        chat("just text"),
        spec={"params": {"tools": [{"type": "function"}]}},
    )
    first, second, text, missing = written(job.table(), "jsonl")
    names = ("tool_name", "tool_arguments", "tool_calls", "answer")
    assert [first[n] for n in names] == ["find", {"x": 1}, None, None]
    calls = [{"name": "find", "arguments": {}}, {"name": "send", "arguments": "no JSON"}]
    assert [second[n] for n in names] == [None, None, calls, None]
    assert [text[n] for n in names] == [None, None, None, "just text"]
    assert [missing[n] for n in names] == [None] * 4
    assert json.loads(written(job.table(), "csv")[0]["tool_arguments"]) == {"x": 1}


HARMFUL = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", " =1", "\tx"]
HARMLESS = ["-5", "+49,5", "-1.5e3", "text =1", "1=1", ""]


async def test_no_cell_of_a_csv_becomes_a_formula(finish, written, tmp_path):
    lines = [json.dumps({"=HYPERLINK()": text}) for text in HARMFUL + HARMLESS]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    answers = [chat(text or "-") for text in HARMFUL + HARMLESS]
    job = await finish("t.jsonl", *answers)
    rows = written(job.table(), "csv")
    for column in ("'=HYPERLINK()", "answer"):
        assert [row[column] for row in rows[: len(HARMFUL)]] == ["'" + text for text in HARMFUL]
    assert [row["'=HYPERLINK()"] for row in rows[len(HARMFUL) :]] == HARMLESS
    unguarded = written(job.table(), "csv", formulas=True)
    assert [row["=HYPERLINK()"] for row in unguarded] == HARMFUL + HARMLESS


async def test_a_changed_source_is_never_joined_to_the_wrong_rows(finish, written, tmp_path):
    for name, before, after in [
        ("t.csv", b"a\n1\n2\n", b"a\n0\n1\n2\n"),
        ("t.jsonl", b'{"a":1}\n{"a":2}\n', b'{"a":2}\n{"a":1}\n'),
    ]:
        (tmp_path / name).write_bytes(before)
        job = await finish(name, chat("x"), chat("y"))
        (tmp_path / name).write_bytes(after)
        table = job.table()
        assert "changed" in table.warnings[0]
        assert [list(row) for row in written(table, "jsonl")] == [table.columns] * 2
        assert "a" not in table.columns
        (tmp_path / name).write_bytes(before)
        assert job.table().columns[0] == "a"


async def test_a_source_that_changes_while_it_is_joined_leaves_no_table(finish, tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a\n" + b"1\n" * 3)
    job = await finish("t.csv", chat("x"))
    table = job.table()
    rows = table.rows()
    next(rows)
    (tmp_path / "t.csv").write_bytes(b"a\n2\n")
    with pytest.raises(InputError) as refused:
        list(rows)
    assert refused.value.code == "file_changed"
    assert refused.value.retryable


async def test_keys_that_come_late_are_in_the_jsonl_table_and_named(finish, written, tmp_path):
    lines = ['{"a":1}'] * 1000 + ['{"a":1,"late":2,"error":"mine"}', '{"b":1}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    job = await finish("t.jsonl", chat("x"))
    table = job.table()
    rows = written(table, "jsonl")
    assert rows[1000]["late"] == 2
    assert rows[1000]["error"] == "missing"
    assert rows[1001]["a"] is None
    assert "«error», «late»" in table.warnings[0]


async def test_writing_that_is_cancelled_leaves_nothing(finish, tmp_path):
    (tmp_path / "t.csv").write_text("t\na\nb\n")
    job = await finish("t.csv", chat("x"))
    before = sorted(tmp_path.iterdir())
    for form in ("jsonl", "csv", "parquet"):
        with pytest.raises(AbandonedError):
            write_table(job.table(), tmp_path / "out", form, cancelled=lambda: True)
    assert sorted(tmp_path.iterdir()) == before


async def test_parquet_without_the_extra_says_how_to_get_it(finish, tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("t\na\n")
    job = await finish("t.csv", chat("x"))
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigError) as refused:
        write_table(job.table(), tmp_path / "out.parquet", "parquet")
    assert refused.value.code == "no_extra"
    assert not (tmp_path / "out.parquet").exists()


def test_the_name_says_the_format(tmp_path):
    names = {"a.csv": "csv", "a.JSONL": "jsonl", "a": "jsonl", "a.parquet": "parquet"}
    assert {name: format_of(tmp_path / name, None) for name in names} == names
    assert format_of(tmp_path / "a.txt", "parquet") == "parquet"
    for name, asked in (("a.xlsx", None), ("a.csv", "parquet"), ("a.xlsx", "csv")):
        with pytest.raises(InputError) as refused:
            format_of(tmp_path / name, asked)
        assert refused.value.code == "invalid_argument"


FULL_DISK = """
import resource, sys
from pathlib import Path
from doubleword_batch.errors import StoreError
from doubleword_batch.jobs.export.write_table import write_table


class Table:
    columns = ["a"]
    schemas = {}
    embedding_column = None
    about = {}

    def rows(self):
        return ({"a": str(n) * 1000} for n in range(4000))


form, limit, path = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    write_table(Table(), path, form)
except StoreError as error:
    print(error.code, error.retryable)
"""


@pytest.mark.posix("limits on a file's size")
@pytest.mark.parametrize(
    ("form", "limit"),
    [("jsonl", 500_000), ("csv", 500_000), ("parquet", 500_000), ("parquet", 20_000)],
)
def test_a_full_disk_is_said_and_the_old_table_stays(tmp_path, form, limit):
    path = tmp_path / "out"
    path.write_text("old")
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, form, str(limit), str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout.split() == ["disk_full", "True"]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
