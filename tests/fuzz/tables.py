"""The readers of tables, through `open_source`: rows, or an `InputError` in words."""

import gzip
import io
import sqlite3
import zipfile
from contextlib import contextmanager, suppress
from itertools import islice
from unittest.mock import patch

from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.isolated.process import ChildEndedError
from doubleword_batch.isolated.sql import SqlError, SqlProcess
from doubleword_batch.paths import Roots
from doubleword_batch.sources import SourceOptions, open_source, parquet, sqlite
from doubleword_batch.sources.values import as_json, as_text
from fuzz.inputs import damaged, one_of, together
from workbook import sheet, write_workbook

ENCODINGS = [
    *(None, None, None, "cp1252", "utf-16-le", "utf-16", "utf-32", "utf-7", "shift_jis"),
    *("utf-8-sig", "gbk", "iso2022_jp"),
]
CSV = [
    b'id,text\n1,hello\n2,"quoted, with\nbreak"\n3,\n',
    b'Report of 2026\n\nid;text;price\r\n1;a;2,5\r\n2;"b""c";3\r\n',
    "\ufeffa\tb\nx\t\u00e9\n".encode(),
    b'=cmd,@x\n\'1,""\n',
    "name,text\nm\u00fcller,gr\u00fc\u00dfe\n".encode("cp1252"),
    "id,text\n1,a\n".encode("utf-16"),
]
JSON_LINES = [
    b'{"id": 1, "text": "hello"}\n{"id": 2, "nested": {"a": [1, 2.5, null, true]}}\n',
    b'{"a": "\\ud83d\\ude00", "b": 12345678901234567890}\r\n\n{"b": -0.0}\n',
]
JSON = [
    b'[{"id": 1, "text": "a"}, {"id": 2, "text": null}]',
    b'{"data": [{"a": [[1]]}, {"a": {}}]}',
    b'[\n {"a": "x",\n "b": 1e10}\n]',
]


MOST_FRAMES_LEFT = 4
MOST_ROWS = 200_000
"""A few packed bytes can be millions of honest rows, which take longer than an input may."""


def check_rows(folder, suffix, options):
    """Read the one table of a folder to its end, and hold every row to what is said of rows."""
    roots = Roots([folder])
    with suppress_said():
        source = open_source(f"t{suffix}", roots, options)
        assert len(source.fingerprint()) == 64
        count = source.row_count()
        seen = 0
        for row in source.rows():
            seen += 1
            for name, value in row.items():
                assert isinstance(name, str)
                as_text(value).encode()
            as_json(dict(row))
            if seen == MOST_ROWS:
                return
        assert count is None or count == seen, (count, seen)
        assert all(isinstance(note, str) for note in source.notes)


@contextmanager
def suppress_said():
    """Let pass what this package says in words, and look at the words."""
    try:
        yield
    except DoublewordBatchError as error:
        assert_said_well(error)


def assert_said_well(error):
    """What an agent or a person is shown has a code and an end, and controls no terminal."""
    message = f"{error} {error.hint or ''}"
    assert error.code, message
    assert len(message) < 3000, message
    loud = [sign for sign in message if not (sign.isprintable() or sign in "\n\u200c\u200d")]
    assert not loud, ascii(message)


def table(suffix, samples, words=(), *, options=True):
    """A target: one file of that kind, read with options that fit or do not."""

    @contextmanager
    def target(folder):
        samples_here = samples(folder) if callable(samples) else samples
        inputs = damaged(samples_here, words)
        if suffix == ".xlsx":
            inputs = one_of(inputs, workbooks(samples_here), workbooks(samples_here))
        path = folder / f"t{suffix}"

        def check(fed):
            data, options = fed
            path.write_bytes(data)
            check_rows(folder, suffix, options)

        yield together(inputs, some_options if options else bad_rows), check

    return target


def some_options(chance):
    return SourceOptions(
        encoding=chance.choice(ENCODINGS),
        header_row=chance.choice([None, None, None, 0, 1, 2, 9]),
        quoting=chance.choice(["standard", "standard", "none"]),
        delimiter=chance.choice([None, None, None, ";", "||", "tab", "§"]),
        quote=chance.choice(['"', '"', "'"]),
        escape=chance.choice(["none", "none", "backslash", "in_quotes"]),
        null=chance.choice([None, None, "\\N"]),
        comment=chance.choice([None, None, "#"]),
        short_rows=chance.choice(["refuse", "fill"]),
        keeps_bad_rows=chance.random() < 0.5,
    )


def bad_rows(chance):
    return SourceOptions(keeps_bad_rows=chance.random() < 0.5)


def workbooks(samples, more=()):
    """A workbook one part of which is damaged, packed again as if nothing were."""
    words = [
        *more,
        *(b'<c r="XFD1048576">', b'<row r="1048576">', b'r="A0"', b't="s"', b"<v>-1</v>", b"<is>"),
        *(b"<!DOCTYPE x>", b"&x;", b"<!--", b"<v>1e999</v>", b'ref="A1:XFD1048576"', b"<f>"),
    ]

    def make(chance):
        with zipfile.ZipFile(io.BytesIO(chance.choice(samples))) as packed:
            parts = {name: packed.read(name) for name in packed.namelist()}
        name = chance.choice(sorted(parts))
        parts[name] = damaged([parts[name]], words)(chance)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as packed:
            for part, content in parts.items():
                packed.writestr(part, content)
        return out.getvalue()

    return make


def xlsx_samples(folder):
    cells = (
        '<c r="A1" t="s"><v>0</v></c><c r="C1" t="b"><v>1</v></c><c r="D1" s="1"><v>45000.5</v></c>'
    )
    shared = ["<si><t>name</t></si>", "<si><r><t>a</t></r><r><t>b</t></r></si>"]
    formula = '<row><c r="A2"><f>1+1</f><v>2</v></c><c t="e"><v>#N/A</v></c></row>'
    first = sheet(["id", "text"], [1, "hello"], [2, None]).replace(
        "</worksheet>", '<mergeCells><mergeCell ref="A1:B1"/></mergeCells></worksheet>'
    )
    second = sheet(["a"], [cells], [1]).replace("</sheetData>", f"{formula}</sheetData>")
    paths = [
        write_workbook(folder / "one.xlsx", {"first": first}),
        write_workbook(folder / "two.xlsx", {"hid": second, "first": first}, texts=shared),
    ]
    return [path.read_bytes() for path in paths]


DATABASES = (
    """CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, data BLOB, price REAL);
    INSERT INTO t VALUES (1, 'a', x'00ff', 1.5), (2, NULL, NULL, 9e999)""",
    """CREATE TABLE t (a); INSERT INTO t VALUES (1), ('x'), (CAST(x'ff' AS TEXT));
    CREATE VIEW v AS SELECT a FROM t; CREATE INDEX i ON t (a)""",
    """CREATE VIEW v AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 5)
    SELECT n FROM r""",
)
PARQUET = (
    "SELECT i AS id, 'text ' || i AS text, i / 3 AS price FROM range(50) t(i)",
    """SELECT [1, NULL] AS a, {'x': DATE '2026-01-01', 'y': 1.5::DECIMAL(9, 2)} AS b,
    TIMESTAMPTZ '2026-01-01 00:00:00+02' AS c, 'a'::BLOB AS d, NULL AS e""",
)


def sqlite_samples(folder):
    made = []
    for number, statements in enumerate(DATABASES):
        path = folder / f"sample{number}.db"
        path.unlink(missing_ok=True)
        db = sqlite3.connect(path)
        db.executescript(statements)
        db.close()
        made.append(path.read_bytes())
    return made


def parquet_samples(folder):
    import duckdb

    made = []
    for number, select in enumerate(PARQUET):
        path = folder / f"sample{number}.parquet"
        duckdb.sql(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
        made.append(path.read_bytes())
    return made


@contextmanager
def parquets(folder):
    """Each reading has a session of one database: opening a database takes longer than reading."""
    reading = table(".parquet", parquet_samples, options=False)
    with (
        parquet.duckdb_connection("") as database,
        reading(folder) as fed_and_check,
        patch.object(parquet, "duckdb_connection", lambda _kind: database.cursor()),
    ):
        yield fed_and_check


@contextmanager
def databases(folder):
    """One child answers for many inputs: starting it takes far longer than reading."""
    reading = table(".db", sqlite_samples, SQLITE_WORDS, options=False)
    children = []

    @contextmanager
    def child(bounds):
        if not children:
            children.append(_ManyTimes(bounds))
        try:
            yield children[0]
            children[0].read_rest()
        except SqlError:
            raise  # its answer to this request is over
        except BaseException:  # it has ended, or is still busy
            children.pop().close()
            raise

    with reading(folder) as fed_and_check, patch.object(sqlite, "SqlProcess", child):
        try:
            yield fed_and_check
        finally:
            for left in children:
                left.close()


class _ManyTimes(SqlProcess):
    """A child that may be asked again before all rows of its last answer were read."""

    _frames_left = ()

    def select(self, sql, databases, shown=None, spill=None):
        self.read_rest()
        found = super().select(sql, databases, shown, spill)
        self._frames_left = found._frames
        return found

    def read_rest(self):
        read = sum(1 for _ in islice(self._frames_left, MOST_FRAMES_LEFT))
        self._frames_left = ()
        if read == MOST_FRAMES_LEFT:  # a view that may have no end
            raise ChildEndedError("abandoned")


def compressed(samples):
    return [gzip.compress(sample, mtime=0) for sample in samples]


def zstandard(samples):
    with suppress(ImportError):
        from backports import zstd

        return [zstd.compress(sample) for sample in samples]
    from compression import zstd

    return [zstd.compress(sample) for sample in samples]


WIDE = b"a,b\n" + (b"1," + b"x" * 999 + b"\n") * 200
SQLITE_WORDS = [b"CREATE TABLE t (a, a)", b"GENERATED ALWAYS AS", b"VIRTUAL TABLE", b"SELECT load"]
TARGETS = {
    "csv": table(".csv", CSV),
    "jsonl": table(".jsonl", JSON_LINES),
    "json": table(".json", JSON),
    "xlsx": table(".xlsx", xlsx_samples, options=False),
    "parquet": parquets,
    "sqlite": databases,
    # Without options, by some of which a megabyte of fields takes seconds; "csv" has them.
    "gzip": table(".csv.gz", compressed([*CSV[:2], WIDE]), options=False),
    "zstd": table(".jsonl.zst", zstandard(JSON_LINES)),
}
