"""SQL over results and over SQLite sources: it only reads, it ends, and it takes little."""

# ruff: noqa: S608, ASYNC240  # the statements are the tests' own; /proc does not block

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from agent import agent
from doubleword_batch.errors import InputError
from doubleword_batch.isolated import process, sql
from doubleword_batch.jobs.export import query
from doubleword_batch.paths import Roots
from doubleword_batch.sources import open_source, sqlite

ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)"
LARGE = "printf('%.3000000c', 'x')"


def doubling(join, levels):
    """Views that double at every level: SQLite writes them out while it compiles."""
    levels = (f"c{n} AS ({join.format(n - 1)})" for n in range(1, levels + 1))
    return "WITH c0 AS (SELECT 1 AS x), " + ", ".join(levels)


COMPILES_FOR_EVER = {
    "joins": doubling("SELECT a.x FROM c{0} a, c{0} b", 24) + " SELECT count(*) FROM c24",
    "unions": doubling("SELECT x FROM c{0} UNION ALL SELECT x FROM c{0}", 25)
    + " SELECT count(*) FROM c25",
    "subqueries": doubling("SELECT (SELECT x FROM c{0}) + (SELECT x FROM c{0}) AS x", 25)
    + " SELECT x FROM c25",
}
NEVER_ENDS = {
    "a recursion": f"{ENDLESS} SELECT count(*) FROM r",
    "a pattern": f"SELECT count(*) FROM results a, results b WHERE {LARGE} || a.id || b.id LIKE "
    f"'{'%x' * 240}%y'",
    "a format": "SELECT length(printf('%.*c', 2000000000, 'x'))",
}
TAKES_MEMORY = {
    "arrays": f"{ENDLESS} SELECT "
    + ", ".join(f"json_group_array(printf('%.3000000c', '{c}'))" for c in "abcdefgh")
    + " FROM (SELECT n FROM r LIMIT 5000)",
    "a sort": f"{ENDLESS}, l AS (SELECT n FROM r LIMIT 5000) SELECT {LARGE} || n AS v FROM l "
    "ORDER BY v",
    "a table of its own": f"{ENDLESS}, m AS MATERIALIZED (SELECT {LARGE} || n AS v FROM r "
    "LIMIT 5000) SELECT count(*), sum(length(v)) FROM m",
    "values that differ": f"{ENDLESS} SELECT count(DISTINCT {LARGE} || n) FROM (SELECT n FROM r "
    "LIMIT 5000)",
    "a window": f"{ENDLESS} SELECT lag(v, 4999) OVER (ORDER BY n) FROM (SELECT n, {LARGE} || n "
    "AS v FROM r LIMIT 5000)",
}


@pytest.fixture
async def finished(settings, reviews):
    """An agent, and the name of its finished job of 40 rows."""
    async with agent(settings) as a:
        results = await a.runs_job(source="reviews.csv", prompt="{{ text }}")
        yield a, results["job"]


@pytest.fixture
def shop(work):
    """A database in the agent's folder, with a view that never ends."""
    with closing(sqlite3.connect(work / "shop.db")) as db:
        db.execute("CREATE TABLE orders (id INTEGER, text TEXT)")
        db.execute("INSERT INTO orders VALUES (1, 'a'), (2, 'b')")
        db.execute(f"CREATE VIEW endless AS {ENDLESS} SELECT n FROM r")
        db.commit()
    return work / "shop.db"


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(query, "_SECONDS", 1.0)
    monkeypatch.setattr(sqlite, "_SECONDS_A_ROW", 1.0)
    monkeypatch.setattr(sql, "MEMORY_BYTES", 64 << 20)


MOST_MEMORY, MOST_SECONDS = 1 << 30, 20


def children():
    """The queries' processes that run, with what they hold in memory at most."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
            words = status.with_name("cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        is_ours = int(fields["PPid"]) == os.getpid() and "VmHWM" in fields
        if is_ours and b"sql" in words:
            found[int(fields["Pid"])] = int(fields["VmHWM"].split()[0]) << 10
    return found


class Watch:
    """What children took at most, and how long the event loop stood still.

    A child that no limit holds is killed: it is to fail its test, and not the machine.
    """

    def __init__(self):
        self.memory, self.stalled = 0, 0.0

    async def run(self):
        while True:
            before = time.monotonic()
            await anyio.sleep(0.02)
            self.stalled = max(self.stalled, time.monotonic() - before)
            found = children()
            self.memory = max(self.memory, *found.values(), 0)
            for child in (child for child, size in found.items() if size > MOST_MEMORY):
                os.kill(child, signal.SIGKILL)


async def refused(a, job, statement):
    """The reply to a query that is refused, held to bounds of time, memory and files."""
    watch = Watch()
    began = time.monotonic()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        with anyio.fail_after(MOST_SECONDS):
            reply = await a.tries("fetch_results", job=job, query=statement, sample=0)
        tasks.cancel_scope.cancel()
    assert watch.memory < MOST_MEMORY
    assert reply.is_error, reply.text
    assert reply["error"]["code"] == "invalid_query"
    assert time.monotonic() - began < MOST_SECONDS
    assert watch.stalled < 2
    assert not children()
    return reply


@pytest.mark.parametrize("name", COMPILES_FOR_EVER)
async def test_a_statement_that_compiles_for_ever_is_stopped(finished, short, name):
    reply = await refused(*finished, COMPILES_FOR_EVER[name])
    assert "ran longer" in reply["error"]["message"] or "memory" in reply["error"]["message"]


@pytest.mark.parametrize("name", NEVER_ENDS)
async def test_a_statement_that_never_ends_is_stopped(finished, short, name):
    reply = await refused(*finished, NEVER_ENDS[name])
    assert "ran longer" in reply["error"]["message"]


@pytest.mark.parametrize("name", TAKES_MEMORY)
async def test_a_statement_that_wants_much_memory_is_refused_and_writes_no_files(
    finished, name, monkeypatch, tmp_path
):
    monkeypatch.setattr(sql, "MEMORY_BYTES", 64 << 20)
    spilled = tmp_path / "spilled"
    spilled.mkdir()
    monkeypatch.setenv("SQLITE_TMPDIR", str(spilled))
    reply = await refused(*finished, TAKES_MEMORY[name])
    assert "MiB of memory" in reply["error"]["message"]
    assert not list(spilled.iterdir())


@pytest.fixture
def little(monkeypatch):
    """Little memory, and databases that are large beside it."""
    monkeypatch.setattr(sql, "MEMORY_BYTES", 16 << 20)
    monkeypatch.setattr(sql, "SPILL_ABOVE_BYTES", 1 << 20)


LONG_TEXTS = [f"{n:03} {'long ' * 20_000}" for n in range(300)]
posix = pytest.mark.skipif(sys.platform == "win32", reason="there all is sorted in memory")


@posix
async def test_a_large_table_is_sorted_in_files_that_are_gone_afterwards(
    settings, work, reviews, little
):
    (work / "long.csv").write_text("text\n" + "\n".join(LONG_TEXTS), encoding="utf-8")
    async with agent(settings) as a:
        results = await a.runs_job(source="long.csv", prompt="{{ text[:3] }}")
        other = await a.runs_job(source="reviews.csv", prompt="{{ text }}")
        both = f'SELECT text FROM results UNION SELECT text FROM "{other["job"]}" WHERE 0'
        asked = f"SELECT count(*) n, max(length(text)) longest FROM ({both})"
        reply = await a.calls("fetch_results", job=results["job"], query=asked, sample=0)
    assert reply["query"]["rows"] == [[300, len(LONG_TEXTS[0])]]
    assert not [path for path in settings.home.rglob("*") if "etilqs" in path.name]


@posix
@pytest.mark.parametrize(
    ("times", "refusal"), [(1, None), (20, "more disk space")], ids=["fits", "too much"]
)
def test_a_large_database_is_sorted_in_files_up_to_twice_its_size(work, little, times, refusal):
    with closing(sqlite3.connect(work / "large.db")) as db:
        db.execute("CREATE TABLE texts (text TEXT)")
        db.executemany("INSERT INTO texts VALUES (?)", [(text,) for text in LONG_TEXTS])
        db.commit()
    numbers = f"WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT {times})"
    asked = f"{numbers} SELECT DISTINCT text || n AS text FROM texts, r ORDER BY 1 DESC"
    location = f"{work / 'large.db'}::{asked}"
    if refusal is None:
        source = open_source(location, Roots([work]))
        assert [row["text"][:3] for row in source.rows()] == [f"{n:03}" for n in range(299, -1, -1)]
        return
    with pytest.raises(InputError, match=refusal):
        open_source(location, Roots([work]))


@pytest.mark.skipif(sys.platform != "linux", reason="macOS holds no process to such a limit")
def test_a_child_is_held_to_its_memory_whatever_takes_it():
    takes = (
        "from doubleword_batch.isolated.limits import limit_resources; limit_resources(64 << 20)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", f"{takes}; bytearray(2 << 30)"],
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert ran.stderr.splitlines()[-1:] == ["MemoryError"]


def test_where_no_system_limits_a_process_sqlite_holds_itself_to_the_memory():
    """As on macOS, where the child's other limit is none."""
    program = (
        "from doubleword_batch.isolated import child; child.limit_resources = lambda _: None; "
        "child.main('sql', 64 << 20)"
    )
    statement = "SELECT length(printf('%.200000000c', 'x'))"
    request = {"do": "select", "sql": statement, "databases": {"main": ":memory:"}}
    request |= {"tables": [], "limits": [], "row_bytes": 1 << 20}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as run:
        end = threading.Timer(120, run.kill)
        end.start()
        run.stdin.write(json.dumps(request).encode() + b"\n")
        run.stdin.flush()
        frames = [json.loads(run.stdout.readline()) for _ in ("it is ready", "what it raised")]
        end.cancel()
        run.kill()
    assert frames[1] == {"error": ["MemoryError", ""]}


async def test_only_functions_of_a_list_may_be_called(finished):
    calls = (
        "load_extension('x')",
        "readfile('/etc/passwd')",
        "writefile('x', 'y')",
        "edit('x', 'touch y')",
        "fts3_tokenizer('simple')",
        "randomblob(1000000000)",
        "zeroblob(1000000000)",
        "sqlite_compileoption_get(1)",
        "sqlite_log(1, 'x')",
        "changes()",
        "last_insert_rowid()",
    )
    for call in calls:
        reply = await refused(*finished, f"SELECT {call}")
        assert re.search("to use function|no such function", reply["error"]["message"]), call


async def test_only_the_results_can_be_read(finished):
    for table in (
        "cells",
        "about",
        "sqlite_master",
        "sqlite_stmt",
        "dbstat",
        "pragma_user_version",
    ):
        await refused(*finished, f"SELECT * FROM {table}")


async def test_questions_that_people_ask_are_answered(finished):
    a, job = finished
    for question, rows in {
        "WITH long AS (SELECT * FROM results WHERE length(text) > 5) SELECT count(*) FROM long": [
            [40]
        ],
        "SELECT stars, count(*), avg(length(text)) OVER () > 0 FROM results GROUP BY 1 LIMIT 1": [
            [1, 8, 1]
        ],
        "SELECT j.value FROM json_each('[1, 2]') j ORDER BY 1": [[1], [2]],
        "SELECT upper(substr(id, 1, 2)) || round(1.26, 1) FROM results LIMIT 1": [["A01.3"]],
        "SELECT count(*) FROM results a JOIN results b USING (id)": [[40]],
        "SELECT row_number FROM results ORDER BY text DESC, row_number LIMIT 1": [[10]],
        "SELECT x'00', NULL, '🙂'": [["<1 bytes>", None, "🙂"]],
    }.items():
        reply = await a.calls("fetch_results", job=job, query=question, sample=0)
        assert reply["query"]["rows"] == rows, question


async def test_an_interrupted_call_ends_its_child_at_once(finished):
    a, job = finished
    with anyio.move_on_after(1.5) as scope:
        statement = f"{ENDLESS} SELECT count(*) FROM r"
        await a.tries("fetch_results", job=job, query=statement, sample=0)
    assert scope.cancelled_caught
    with anyio.fail_after(5):
        while children():
            await anyio.sleep(0.02)


async def test_keys_are_not_in_the_environment_of_the_child(monkeypatch):
    monkeypatch.setenv("DOUBLEWORD_API_KEY", "sk-secret")
    with process.ChildProcess("sql", memory_bytes=1 << 28) as child:
        child.frame(seconds=30)
        (pid,) = children()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"sk-secret" not in environment
    assert b"DOUBLEWORD" not in environment


def test_a_child_whose_parent_was_killed_ends_itself(tmp_path):
    program = (
        "import sys, time\n"
        "from doubleword_batch.isolated.process import ChildProcess\n"
        "child = ChildProcess('sql', memory_bytes=1 << 28)\n"
        "child.ask({'do': 'select', 'sql': sys.argv[1], 'databases': {'main': ':memory:'},\n"
        "           'tables': [], 'limits': [], 'row_bytes': 1}, seconds=30)\n"
        "print(child._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    statement = f"{ENDLESS} SELECT count(*) FROM r"
    parent = subprocess.Popen([sys.executable, "-c", program, statement], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "Z" not in state(pid):
        assert time.monotonic() < until
        time.sleep(0.02)


def state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize(
    ("selection", "code", "words"),
    [
        ("endless", "source_too_large", "may never end"),
        (f"{ENDLESS} SELECT n FROM r", "source_too_large", "may never end"),
        (f"{ENDLESS} SELECT count(*) FROM r", "invalid_query", "took longer"),
        (COMPILES_FOR_EVER["unions"], "invalid_query", "took longer|memory"),
        (TAKES_MEMORY["a sort"], "invalid_query", "memory|took longer"),
        ("SELECT zeroblob(1000000000)", "invalid_query", "not authorized"),
        ("SELECT * FROM pragma_database_list", "invalid_query", "not authorized|prohibited"),
        ("ATTACH '/etc/passwd' AS x", "which_table", "no table"),
        ("WITH t AS (SELECT 1) INSERT INTO orders SELECT 1, 2", "invalid_query", "not authorized"),
    ],
)
async def test_a_hostile_select_over_a_source_is_refused(
    settings, shop, short, monkeypatch, selection, code, words
):
    monkeypatch.setattr(sqlite, "MAX_QUERY_ROWS", 100_000)
    if words == "may never end":  # the number of its rows is what refuses it, on a slow machine too
        monkeypatch.setattr(sqlite, "_SECONDS_A_ROW", 60.0)
    before = shop.read_bytes()
    async with agent(settings) as a:
        reply = await a.fails(
            "create_batch_file", source=f"shop.db::{selection}", prompt="x {{ n }}"
        )
    assert reply["error"]["code"] == code
    assert re.search(words, reply["error"]["message"])
    assert shop.read_bytes() == before
    assert not children()


@pytest.mark.parametrize("module", ["fts5", "fts4"])
def test_a_virtual_table_of_a_source_is_not_opened_and_others_beside_it_are(work, module):
    with closing(sqlite3.connect(work / "pages.db")) as db:
        db.execute(f"CREATE VIRTUAL TABLE pages USING {module}(a, b, c)")
        db.execute("CREATE TABLE plain AS SELECT 1 AS id")
    for selection in ("pages", "SELECT a FROM pages"):
        with pytest.raises(InputError, match="virtual table") as refused:
            open_source(f"pages.db::{selection}", Roots([work]))
        assert refused.value.code == "invalid_query"
        assert "CREATE TABLE" in refused.value.hint
    assert [*open_source("pages.db::plain", Roots([work])).rows()] == [{"id": 1}]


def test_a_row_of_a_source_that_is_too_large_is_named(shop, work):
    wide = ", ".join(f"printf('%.9000000c', 'x') AS c{n}" for n in range(8))
    query = f"SELECT 1 AS id, '' AS c0 UNION ALL SELECT 2, {LARGE}"
    assert open_source(f"shop.db::{query}", Roots([work])).columns == ("id", "c0")
    with pytest.raises(InputError, match="row 1 is larger than 64 MiB") as refused:
        open_source(f"shop.db::SELECT {wide}", Roots([work]))
    assert refused.value.code == "source_too_large"
