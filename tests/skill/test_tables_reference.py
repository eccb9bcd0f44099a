"""The reference on tables: every source that it names opens, its columns are those there are."""

import gzip
import sqlite3
from contextlib import closing

import duckdb

from doubleword_batch.jobs.export.columns import LEDGER, TOOLS
from doubleword_batch.jobs.extras import EXTRAS
from doubleword_batch.paths import Roots
from doubleword_batch.sources import open_source
from skill import markdown
from skill.places import SKILL
from workbook import sheet, write_workbook

try:
    from compression import zstd
except ImportError:
    from backports import zstd

TABLES = SKILL / "references" / "tables.md"


def test_the_columns_of_the_answers_are_those_of_the_table():
    cells = markdown.rows(markdown.section(TABLES, "The table of answers"))
    documented = {name for row in cells for name in markdown.named(row[0])}

    assert documented - {"response_schema"} == {
        *LEDGER,
        *TOOLS,
        *EXTRAS,
        "answer",
        "embedding",
    }


def test_every_source_of_the_tables_reference_opens_with_the_columns_that_it_says(tmp_path):
    lines = b'{"id": 1, "text": "a", "year": 2026}\n'
    files = {
        "reviews.csv": b"id;text;year\n1;a;2026\n",
        "reviews.jsonl": lines,
        "reviews.json": b"[" + lines + b"]",
        "reviews.csv.gz": gzip.compress(b"id,text,year\n1,a,2026\n"),
        "reviews.jsonl.zst": zstd.compress(lines),
        "notes/a.html": b"<p>a</p>",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    orders = sheet(("id", "text", "year"), (1, "a", 2026))
    write_workbook(tmp_path / "book.xlsx", {"Orders": orders})
    duckdb.sql("SELECT 1 AS id, 'a' AS text, 2026 AS year").write_parquet(
        str(tmp_path / "reviews.parquet")
    )
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop, shop:
        shop.execute("CREATE TABLE orders (id, text, year)")
        shop.execute("INSERT INTO orders VALUES (1, 'a', 2026)")
    cells = markdown.rows(markdown.section(TABLES, "Sources"))
    written = {name: row[2] for row in cells for name in markdown.named(row[1])}
    written = {name: columns for name, columns in written.items() if "." in name}
    del written[".txt"], written[".md"], written[".pdf"], written[".docx"]

    opened = {name: open_source(name, Roots((tmp_path,))).columns for name in written}

    texts = opened.pop("notes/*.html")
    assert written["notes/*.html"] == ", ".join(f"`{name}`" for name in texts)
    assert opened.pop("shop.db::SELECT id, text FROM orders WHERE year = 2026") == ("id", "text")
    assert set(opened.values()) == {("id", "text", "year")}
    assert len(opened) >= 8
