"""The references on tables and stages: what the one names opens, and the other's calls run."""

import csv
import gzip
import json
import re
import sqlite3
from contextlib import closing

import duckdb

from agent import agent
from doubleword_batch.jobs.export.columns import LEDGER, TOOLS
from doubleword_batch.jobs.extra_columns import EXTRA_COLUMNS
from doubleword_batch.paths import Roots
from doubleword_batch.settings import Settings
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
        *EXTRA_COLUMNS,
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


# The chain of the reference on stages

STAGES = SKILL / "references" / "stages.md"


def real(value, names):
    """Arguments with the names that the jobs got in the place of those on the page."""
    if isinstance(value, dict):
        return {key: real(inner, names) for key, inner in value.items()}
    if not isinstance(value, str) or not names:
        return value
    written = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.sub(written, lambda found: names[found[0]], value)


async def test_the_chain_of_the_stages_reference_runs_as_it_stands(tmp_path):
    (tmp_path / "reports").mkdir()
    for name in ("north", "south"):
        text = "\n\n".join(f"Part {n} of {name}. " + "It may rain. " * 120 for n in range(12))
        (tmp_path / "reports" / f"{name}.txt").write_text(text, encoding="utf-8")
    environment = {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        "DOUBLEWORD_BATCH_ROOTS": str(tmp_path),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }
    calls = [json.loads(line) for line in markdown.lines(STAGES, "json")]
    names, replies, built = {}, [], None
    async with agent(Settings.from_environment(environment)) as a:
        for call in calls:
            if call["tool"] == "create_batch":
                names[call["arguments"]["job"]] = built
            arguments = real(call["arguments"], names)
            reply = await a.calls(call["tool"], **arguments)
            replies.append(reply)
            if call["tool"] == "create_batch_file":
                built = reply["job"]
            elif call["tool"] == "create_batch":
                await a.ends(built)

    rows = [reply["rows"] for reply in replies if "requests" in reply.fields]
    assert rows[0] > 2
    assert rows[1:] == [2, 2]
    with (tmp_path / "risks.csv").open(encoding="utf-8", newline="") as file:
        kept = list(csv.DictReader(file))
    assert [row["name"] for row in kept] == ["north.txt", "south.txt"]
    assert {row["verdict"] for row in kept} <= {"keep", "redo"}
