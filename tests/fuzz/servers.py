"""What runs in processes of its own: SQL, schemas, and the MCP server on its standard input."""

import json
import os
import queue
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.isolated.process import ChildEndedError
from doubleword_batch.isolated.schema import InvalidSchemaError, SchemaChecker
from doubleword_batch.isolated.sql import Bounds, SqlError, SqlProcess
from fuzz.inputs import BYTES, damaged, encoded, grafted, one_of, together, values

DECISION_SECONDS = 60  # of a busy machine; a server that is stuck never answers

# SQL

STATEMENTS = [
    "SELECT id, text FROM results WHERE id > 1 ORDER BY text",
    "SELECT count(*), group_concat(text, ', ') FROM results GROUP BY id % 2 HAVING count(*) > 0",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 9) SELECT n,x'00' FROM r",
    "SELECT json_extract(text, '$.a'), printf('%5.2f', id), 9e999, NULL FROM results LIMIT 3",
]
SQL_WORDS = [
    b"SELECT", b"FROM", b"results", b"sqlite_master", b"pragma_table_info('results')",
    b"ATTACH 'x' AS y",
    b"PRAGMA writable_schema=1", b";DROP TABLE results", b"load_extension('x')",
    b"readfile('/etc/passwd')",
    b"writefile('x', 'y')", b"UNION ALL", b"CAST(x'ff' AS TEXT)", b"zeroblob(999999999)",
    b"randomblob(9)",
    b"fts5(x)", b"json_each(text)", b"generate_series(1, 9e9)", b"VACUUM INTO 'x'", b"--", b"/*",
    b"NATURAL JOIN",
    b"OVER (ORDER BY id)", b"COLLATE nocase", b"INSERT INTO results", b"RETURNING *",
    b"VALUES (1)", b"?1", b":a",
    b"replace(hex(zeroblob(999999)), '0', 'x')", b"CROSS JOIN results a CROSS JOIN results b",
    b"EXPLAIN", b"edit(1)",
]  # fmt: skip


@contextmanager
def sql(folder):
    path = folder / "results.db"
    path.unlink(missing_ok=True)
    db = sqlite3.connect(path)
    db.executescript(
        "CREATE TABLE results (id INTEGER, text TEXT);"
        "INSERT INTO results VALUES (1, 'a'), (2, '{\"a\": 1}'), (3, NULL), (4, 'x')"
    )
    db.close()
    before = path.read_bytes()
    bounds = Bounds(seconds=20, value_bytes=1 << 20, row_bytes=1 << 20, sql_bytes=8000, columns=99)

    def check(statement):
        text = statement.decode("utf-8", "replace")
        try:
            with SqlProcess(bounds, tables=["results"]) as child:
                for number, row in enumerate(
                    child.select(text, {"main": f"{path.as_uri()}?mode=ro"})
                ):
                    assert isinstance(row, list | tuple)
                    if number > 1000:
                        break
        except SqlError as error:
            quote_untrusted(error.words).encode()
        except ChildEndedError:
            pass
        assert path.read_bytes() == before
        assert {file.name for file in folder.iterdir()} == {"results.db"}

    yield damaged([text.encode() for text in STATEMENTS], SQL_WORDS, most=3), check


# Schemas

SCHEMA_WORDS = [
    "type", "properties", "required", "items", "enum", "const", "$ref", "$defs", "allOf", "anyOf",
    "oneOf",
    "not", "pattern", "format", "minimum", "maximum", "multipleOf", "minItems", "uniqueItems", "a",
    "b",
    "additionalProperties", "string", "number", "integer", "object", "array", "null", "#",
    "#/$defs/a",
    "http://127.0.0.1:9/x", "file:///etc/passwd", "^(a+)+$", "(?=x)", "\\p{L}", "[", "date-time",
    "$id",
    "$dynamicRef", "$anchor", "if", "then", "prefixItems", "contains", "minLength", "propertyNames",
]  # fmt: skip
SCHEMAS = [
    {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "^a*$"}, "b": {"$ref": "#/$defs/a"}},
        "required": ["a"],
        "$defs": {"a": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}},
    },
    {"anyOf": [{"type": "number", "multipleOf": 0.1}, {"enum": ["a", 1]}, {"$ref": "#"}]},
]


@contextmanager
def schemas(_folder):
    schema = one_of(grafted(SCHEMAS, SCHEMA_WORDS), values(SCHEMA_WORDS))
    answer = values(["a", "b"])

    def answers(chance):
        return [answer(chance) for _ in range(chance.randint(1, 4))]

    def check(fed):
        schema, answers = fed
        checker = SchemaChecker(schema)
        try:
            checker.open()
            found = checker.problems(answers)
            assert len(found) == len(answers)
            assert all(text is None or text.encode() for text in found)
            assert found == checker.problems(answers)
            if schema is True:
                assert found == [None] * len(answers)
        except InvalidSchemaError as refused:
            refused.reason.encode()
        finally:
            checker.close()

    yield together(schema, answers), check


# The MCP server


class McpServer:
    """A real server; `alive` asks it whether it still answers."""

    def __init__(self, folder):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD_", "OPENAI_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "doubleword_batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=kept
            | {
                "DOUBLEWORD_BATCH_HOME": str(folder / "state"),
                "DOUBLEWORD_BATCH_ROOTS": str(folder),
                "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
            },
        )
        self._pings = 0
        self._answers = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def feed(self, data):
        self._process.stdin.write(data + b"\n")
        self._process.stdin.flush()

    def alive(self):
        self._pings += 1
        mark = f"fuzz-{self._pings}"
        self.feed(json.dumps({"jsonrpc": "2.0", "id": mark, "method": "ping"}).encode())
        while True:
            line = self._answers.get(timeout=DECISION_SECONDS)
            assert line, "the server ended"
            message = json.loads(line)
            assert message["jsonrpc"] == "2.0", line
            if message.get("id") == mark:
                assert message["result"] == {}, line
                return

    def close(self):
        self._process.kill()
        self._process.communicate()

    def _read(self):
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(b"")


HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "fuzz", "version": "1"},
    },
}
CALLS = [
    ("create_batch_file", {"rows": [{"text": "a"}], "prompt": "{{ text }}", "model": "m"}),
    ("create_batch_file", {"source": "t.csv", "prompt": "{{ a }}", "output_path": "out.csv"}),
    ("get_status", {"job": "j", "wait_seconds": 0}),
    ("fetch_results", {"job": "j", "query": "SELECT 1", "output_path": "o.csv"}),
    ("list", {"kind": "jobs", "limit": 3}),
    ("cancel", {"job": "../../x"}),
    ("retry_failed", {"job": "j", "params": {"max_tokens": -1}}),
    ("upload", {"path": "requests.jsonl"}),
]
MESSAGES = [
    HELLO,
    {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
    *(
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": n, "arguments": a}}
        for n, a in CALLS
    ),
]
MESSAGE_WORDS = [
    "jsonrpc", "id", "method", "params", "name", "arguments", "rows", "prompt", "source", "job",
    "query",
    "tools/call", "ping", "resources/read", "completion/complete", "notifications/initialized",
    "_meta",
    "progressToken", "2.0", "cursor", "logging/setLevel", "../x", "~/.ssh/id_rsa", "output_path",
]  # fmt: skip


@contextmanager
def stdin(folder):
    (folder / "t.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    server = McpServer(folder)
    written = encoded(grafted(MESSAGES, MESSAGE_WORDS))
    lines = damaged([json.dumps(message).encode() for message in MESSAGES], BYTES)
    try:
        server.feed(json.dumps(HELLO).encode())
        server.feed(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')
        server.alive()

        def check(line):
            server.feed(line)
            server.alive()

        yield one_of(lines, written), check
    finally:
        server.close()


TARGETS = {"sql": sql, "schemas": schemas, "stdin": stdin}
