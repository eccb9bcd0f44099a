"""A source of any kind that changes after the build is told from one that only looks changed."""

import gzip
import os
import sqlite3
from contextlib import closing

import duckdb
import pytest

from doubleword_batch.errors import InputError
from finished_job import chat
from workbook import sheet, write_workbook

PNG = b"\x89PNG\r\n\x1a\n"


def parquet(path, values):
    with duckdb.connect() as duck:
        duck.execute("CREATE TABLE t AS SELECT unnest(?) AS a", [values])
        duck.execute(f"COPY t TO '{path}' (FORMAT parquet)")


def database(path, values):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE IF NOT EXISTS t (a)")
        db.execute("DELETE FROM t")
        db.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
        db.commit()


def images(path, values):
    path.mkdir(exist_ok=True)
    for number, value in enumerate(values):
        (path / f"{number}.png").write_bytes(PNG + bytes([value]))


WRITERS = {
    "t.parquet": parquet,
    "t.xlsx": lambda path, values: write_workbook(
        path, {"S": sheet(["a"], *([value] for value in values))}
    ),
    "t.csv.gz": lambda path, values: path.write_bytes(
        gzip.compress("a\n{}\n{}\n".format(*values).encode(), mtime=0)
    ),
    "t.db": database,
    "pics": images,
}


@pytest.mark.parametrize("name", WRITERS)
async def test_changed_rows_are_left_out_and_untouched_ones_are_joined(finish, tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path, [1, 2])
    job = await finish(name, chat("x"), chat("y"))
    assert job.table().warnings == []
    columns = job.table().columns
    WRITERS[name](path, [2, 1])
    changed = job.table()
    assert "has changed" in changed.warnings[0]
    assert changed.columns == ["custom_id", "outcome", "answer", "error"]
    assert [row["answer"] for row in changed.rows()] == ["x", "y"]
    WRITERS[name](path, [1, 2])
    again = job.table()
    if name != "t.xlsx":  # a zip notes when it was written
        assert again.warnings == []
        assert again.columns == columns


@pytest.mark.parametrize("name", WRITERS)
async def test_a_source_that_was_only_touched_is_joined(finish, tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path, [1, 2])
    job = await finish(name, chat("x"))
    for touched in [path, *path.rglob("*")]:
        os.utime(touched, (1, 1))
    assert job.table().warnings == []


async def test_a_source_that_is_gone_leaves_the_answers(finish, tmp_path):
    database(tmp_path / "t.db", [1])
    job = await finish("t.db", chat("x"))
    (tmp_path / "t.db").unlink()
    table = job.table()
    assert "could not be joined" in table.warnings[0]
    assert [row["answer"] for row in table.rows()] == ["x"]


async def test_a_source_that_is_damaged_now_leaves_the_answers(finish, tmp_path):
    parquet(tmp_path / "t.parquet", [1, 2])
    job = await finish("t.parquet", chat("x"))
    (tmp_path / "t.parquet").write_bytes(b"PAR1 damaged")
    table = job.table()
    assert "could not be joined" in table.warnings[0]
    assert len(list(table.rows())) == 2


async def test_rows_that_went_missing_under_the_same_stamp_stop_the_table(finish, tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a\n1\n2\n")
    job = await finish("t.csv", chat("x"))
    stat = (tmp_path / "t.csv").stat()
    (tmp_path / "t.csv").write_bytes(b"a\n1\n\n\n")
    os.utime(tmp_path / "t.csv", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(InputError) as refused:
        list(job.table().rows())
    assert refused.value.code == "file_changed"
