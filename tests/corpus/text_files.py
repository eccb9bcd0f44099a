"""The delimited text, JSON and databases of the corpus."""

import csv
import json
import sqlite3
from contextlib import closing
from functools import partial

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
from pyarrow import csv as arrow_csv

from corpus.corpus_file import CorpusFile, lines_of
from corpus.texts import text_of
from corpus.values import NUMBERS, TEXTS, TIMES
from doubleword_batch.sources import SourceOptions

DIALECTS = {
    "excel": {"dialect": "excel"},
    "tabs": {"dialect": "excel-tab"},
    "unix": {"dialect": "unix"},
    "semicolons": {"delimiter": ";"},
    "pipes": {"delimiter": "|", "lineterminator": "\n"},
    "all-quoted": {"quoting": csv.QUOTE_ALL},
}


def _text_columns():
    columns = {
        f"t_{name}": ["" if v is None else v for v in values] for name, values in TEXTS.items()
    }
    for name, values in (NUMBERS | TIMES).items():
        columns[f"n_{name}"] = ["" if value is None else str(value) for value in values]
    return columns


def _csv_rows(path, encoding="utf-8-sig", **dialect):
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file, **dialect))


def _write_csv(path, encoding, **dialect):
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, **dialect).writerows(lines_of(_text_columns()))


def _frame_rows(path, **options):
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, lineterminator=None, **options)
    return frame.to_dict("records")


def csv_files():
    for dialect, options in DIALECTS.items():
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            yield CorpusFile(
                f"csv-{dialect}-{encoding}.csv",
                partial(_write_csv, encoding=encoding, **options),
                partial(_csv_rows, encoding=encoding, **options),
            )
    for encoding, text in (("cp1252", "größe €"), ("shift_jis", "日本語"), ("gbk", "中文")):
        write = lambda path, encoding, text: path.write_bytes(f"a,b\n{text},1\n".encode(encoding))  # noqa: E731
        yield CorpusFile(
            f"csv-{encoding}.csv",
            partial(write, encoding=encoding, text=text),
            partial(_csv_rows, encoding=encoding),
            SourceOptions(encoding=encoding),
        )
    columns = _text_columns()
    plain = {name: [v.replace("\r\n", "\n") for v in values] for name, values in columns.items()}
    yield CorpusFile(
        "pandas.csv", lambda path: pd.DataFrame(plain).to_csv(path, index=False), _csv_rows
    )
    yield CorpusFile(
        "pandas-semicolons.csv",
        lambda path: pd.DataFrame(plain).to_csv(path, index=False, sep=";"),
        partial(_csv_rows, delimiter=";"),
    )
    yield CorpusFile(
        "pandas-gzip.csv.gz",
        lambda path: pd.DataFrame(plain).to_csv(path, index=False, compression="gzip"),
        _frame_rows,
    )
    yield CorpusFile("polars.csv", lambda path: pl.DataFrame(columns).write_csv(path), _csv_rows)
    yield CorpusFile(
        "polars-bom.csv",
        lambda path: pl.DataFrame(columns).write_csv(path, include_bom=True),
        _csv_rows,
    )
    yield CorpusFile(
        "polars.tsv",
        lambda path: pl.DataFrame(columns).write_csv(path, separator="\t"),
        partial(_csv_rows, delimiter="\t"),
    )
    yield CorpusFile(
        "pyarrow.csv", lambda path: arrow_csv.write_csv(pa.table(columns), path), _csv_rows
    )
    for delimiter in (",", "|"):
        copy = f"COPY written TO '{{}}' (FORMAT csv, HEADER, DELIMITER '{delimiter}')"
        name = "duckdb.csv" if delimiter == "," else "duckdb-pipes.csv"
        own = partial(_csv_rows, delimiter=delimiter)
        yield CorpusFile(name, partial(_by_duckdb, copy=copy), own)


def _by_duckdb(path, copy):
    with duckdb.connect() as duck:
        duck.register("written", pa.table(_text_columns()))
        duck.execute(copy.format(path))


def _json_columns():
    return {f"t_{name}": values for name, values in TEXTS.items()} | {
        f"n_{name}": values for name, values in NUMBERS.items()
    }


def _json_rows(path):
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text) if text.lstrip().startswith("[") else map(json.loads, text.split("\n"))
    if not text.lstrip().startswith("["):
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    return [{name: text_of(value) for name, value in row.items()} for row in rows]


def _write_json(path, *, lines, **options):
    names, *rows = lines_of(_json_columns())
    rows = [dict(zip(names, row, strict=True)) for row in rows]
    text = (
        "\n".join(json.dumps(r, **options) for r in rows) if lines else json.dumps(rows, **options)
    )
    path.write_text(text, encoding="utf-8")


def json_files():
    frame = partial(pl.DataFrame, _json_columns())
    yield CorpusFile("json.jsonl", partial(_write_json, lines=True), _json_rows)
    yield CorpusFile(
        "json-letters.jsonl", partial(_write_json, lines=True, ensure_ascii=False), _json_rows
    )
    yield CorpusFile("json-indented.json", partial(_write_json, lines=False, indent=2), _json_rows)
    yield CorpusFile("polars.jsonl", lambda path: frame().write_ndjson(path), _json_rows)
    yield CorpusFile("polars.json", lambda path: frame().write_json(path), _json_rows)
    yield CorpusFile(
        "pandas.jsonl",
        lambda path: pd.DataFrame(_json_columns()).to_json(path, orient="records", lines=True),
        _json_rows,
    )
    yield CorpusFile(
        "pandas.json",
        lambda path: pd.DataFrame(_json_columns()).to_json(path, orient="records"),
        _json_rows,
    )
    for name, array in (("duckdb.jsonl", "false"), ("duckdb.json", "true")):
        copy = f"COPY written TO '{{}}' (FORMAT json, ARRAY {array})"
        yield CorpusFile(name, partial(_by_duckdb, copy=copy), _json_rows)


def _sqlite_rows(path):
    with closing(sqlite3.connect(path)) as store:
        store.row_factory = sqlite3.Row
        rows = [dict(row) for row in store.execute("SELECT * FROM written")]
    return [{name: text_of(value) for name, value in row.items()} for row in rows]


def _write_sqlite(path):
    names, *rows = lines_of(_json_columns())
    with closing(sqlite3.connect(path)) as store, store:
        store.execute(f"CREATE TABLE written ({', '.join(names)})")
        places = ", ".join("?" * len(names))
        store.executemany(f"INSERT INTO written VALUES ({places})", rows)  # noqa: S608


def _write_frame_sqlite(path):
    with closing(sqlite3.connect(path)) as store, store:
        pd.DataFrame(_json_columns()).to_sql("written", store, index=False)


def database_files():
    yield CorpusFile("sqlite3.db", _write_sqlite, _sqlite_rows)
    yield CorpusFile("pandas.db", _write_frame_sqlite, _sqlite_rows)
