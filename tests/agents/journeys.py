"""Ten jobs as an agent does them that has never seen the source: by tools, replies and `next`.

Each takes a `Place`, checks the table at its end, and returns its `Driver`, which has counted calls
and bytes. tests/bench/figures.py prints the counts.
"""

# ruff: noqa: S608  # names of jobs

import csv
import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import duckdb

from agent import ORDER_TOOL
from agents.driver import Driver, session
from doubleword_batch.local import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.settings import Settings

LABELS = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}},
    "required": ["label"],
    "additionalProperties": False,
}
INVOICE = {
    "type": "object",
    "properties": {"vendor": {"type": "string"}, "total": {"type": "number"}},
    "required": ["vendor", "total"],
    "additionalProperties": False,
}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


@dataclass
class Place:
    """A folder that the agent may use, and a state directory."""

    work: Path
    home: Path

    @property
    def environment(self):
        return {
            "DOUBLEWORD_BATCH_HOME": str(self.home),
            "DOUBLEWORD_BATCH_ROOTS": str(self.work),
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
        }

    def session(self):
        return session(Settings.from_environment(self.environment))

    @contextmanager
    def failing(self, *faults):
        """The local server of this place, with faults in its answers."""
        config = LocalConfig(
            home=self.home, executor="simulate", faults=Faults(requests=tuple(faults))
        )
        with LocalServer(config):
            yield

    def path(self, name):
        return str(self.work / name)

    def write(self, name, text):
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def reviews(self, rows=40):
        lines = [f'a{n},"Review {n}, fine",{n % 5 + 1}' for n in range(rows)]
        self.write("reviews.csv", "\n".join(["id,text,stars", *lines]) + "\n")

    def csv(self, name):
        with (self.work / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def jsonl(self, name):
        return [json.loads(line) for line in (self.work / name).read_bytes().splitlines()]


async def classify_with_a_pilot(place: Place) -> Driver:
    """Five rows first, then all; how many of each label."""
    place.reviews()
    order = {"source": "reviews.csv", "prompt": "{{ text }}", "response_schema": LABELS}
    async with place.session() as a:
        pilot = await a.does("create_batch_file", **order, limit=5)
        assert pilot["source_rows"] == 40
        seen = await a.follows_to("fetch_results", pilot)
        assert (seen["projection"]["rows"], seen["columns"]) == (40, ["label"])
        whole = await a.does("create_batch_file", **order)
        results = await a.follows_to("fetch_results", whole, output_path=place.path("out.csv"))
        count = await a.does(
            "fetch_results",
            job=results["job"],
            query="SELECT label, count(*) AS n FROM results GROUP BY label ORDER BY label",
        )
    table = place.csv("out.csv")
    assert [row["id"] for row in table] == [f"a{n}" for n in range(40)]
    labels = [row["label"] for row in table]
    counted = [[label, labels.count(label)] for label in sorted(set(labels))]
    assert count["query"]["rows"] == counted
    return a


async def extract_from_a_folder(place: Place) -> Driver:
    """Texts of a folder, two of which fail at first, into Parquet."""
    for n in range(12):
        place.write(f"invoices/{n:02}.txt", f"Invoice {n} of Acme, total {n}.50")
    place.write("invoices/scan.tiff", b"II*\0")
    faults = (RequestFault(fault="error", match=Match(custom_id=f"r{n}")) for n in (3, 7))
    with place.failing(*faults):
        async with place.session() as a:
            created = await a.does(
                "create_batch_file",
                source="invoices",
                prompt="Extract: {{ text }}",
                response_schema=INVOICE,
            )
            assert "tiff" in " ".join(created["warnings"])
            failed = await a.follows_to("fetch_results", created)
            assert failed["ledger"] == {"ok": 10, "failed": 2}
            assert failed.next == ("retry_failed", {"job": created["job"]})
    async with place.session() as b:  # the provider is well again
        again = await b.follows(failed)
        results = await b.follows_to("fetch_results", again, output_path=place.path("out.parquet"))
    a.add(b)
    assert results["ledger"] == {"ok": 12}
    table = duckdb.read_parquet(place.path("out.parquet"))
    assert table.aggregate("count(*), count(vendor), count(total)").fetchall() == [(12, 12, 12)]
    assert [row[0] for row in table.project("name").fetchall()] == [
        f"{n:02}.txt" for n in range(12)
    ]
    return a


async def embed(place: Place) -> Driver:
    """A vector for every row."""
    place.reviews(12)
    async with place.session() as a:
        created = await a.does(
            "create_batch_file",
            source="reviews.csv",
            prompt="{{ text }}",
            endpoint="/v1/embeddings",
        )
        await a.follows_to("fetch_results", created, output_path=place.path("out.jsonl"))
    table = place.jsonl("out.jsonl")
    assert [row["id"] for row in table] == [f"a{n}" for n in range(12)]
    assert {type(value) for row in table for value in row["embedding"]} == {float}
    return a


async def send_a_broken_request_file(place: Place) -> Driver:
    """All faults of a JSONL file at once; corrected, it runs."""

    def line(number, **changes):
        body = {"model": "simulated-chat", "messages": [{"role": "user", "content": "hi"}]}
        fields = {"custom_id": f"q{number}", "method": "POST", "url": "/v1/chat/completions"}
        return json.dumps(fields | {"body": body} | changes)

    place.write("x.jsonl", "\n".join([line(1), line(1), line(3, method="GET"), "{"]))
    async with place.session() as a:
        no_job = await a.fails("create_batch", job="x.jsonl")
        tool, arguments = no_job.next
        assert (tool, arguments) == ("upload", {"path": "x.jsonl"})
        broken = await a.fails(tool, **arguments)
        assert set(broken["details"]["kinds"]) == {"custom_id_duplicate", "method", "not_json"}
        place.write("x.jsonl", "\n".join(line(number) for number in range(4)))
        uploaded = await a.does(tool, **arguments)
        await a.follows_to("fetch_results", uploaded, output_path=place.path("out.jsonl"))
    assert [row["custom_id"] for row in place.jsonl("out.jsonl")] == [f"q{n}" for n in range(4)]
    return a


async def go_on_after_a_kill(place: Place) -> Driver:
    """One session submits and dies; another one, which knows nothing, brings the table."""
    place.reviews()
    program = Path(__file__).with_name("killed_session.py")
    with anyio.fail_after(240):
        first = await anyio.run_process(
            [sys.executable, str(program), str(place.work), str(place.home)],
            cwd=place.work,
            check=False,
        )
    assert first.returncode == 9, first.stderr
    async with place.session() as a:
        listed = await a.does("list")
        results = await a.follows_to("fetch_results", listed, output_path=place.path("out.csv"))
        batches = await a.does("list", kind="batches")
    assert results["ledger"] == {"ok": 40}
    assert len(batches["lines"]) == 1
    assert all(row["answer"] for row in place.csv("out.csv"))
    a.add(Driver(a.client, **json.loads(first.stdout)))
    return a


async def compare_two_prompts(place: Place) -> Driver:
    """The same rows under two prompts, compared by one query."""
    place.reviews()
    order = {"source": "reviews.csv", "response_schema": LABELS}
    async with place.session() as a:
        short = await a.does("create_batch_file", **order, prompt="{{ text }}")
        await a.follows_to("fetch_results", short)
        long = await a.does("create_batch_file", **order, prompt="Good or bad? {{ text }}")
        await a.follows_to("fetch_results", long)
        compared = await a.does(
            "fetch_results",
            job=long["job"],
            query=f'SELECT count(*), sum(a.label = b.label) FROM results a JOIN "{short["job"]}" b '
            "ON a.id = b.id",
            output_path=place.path("compared.csv"),
        )
    ((rows, same),) = compared["query"]["rows"]
    assert rows == 40
    assert 0 <= same <= 40
    return a


async def call_functions(place: Place) -> Driver:
    """What to order, as columns."""
    place.reviews(10)
    params = {"tools": [ORDER_TOOL], "tool_choice": "required"}
    async with place.session() as a:
        created = await a.does(
            "create_batch_file", source="reviews.csv", prompt="{{ text }}", params=params
        )
        results = await a.follows_to("fetch_results", created, output_path=place.path("out.jsonl"))
    assert "tool_arguments.item" in results["columns"]
    table = place.jsonl("out.jsonl")
    assert {row["tool_name"] for row in table} == {"order"}
    assert all(isinstance(row["tool_arguments.count"], int) for row in table)
    return a


async def map_and_reduce_long_documents(place: Place) -> Driver:
    """Documents of 80 KB in pieces, each summed up, the sums put together."""
    paragraph = "A paragraph of some length about nothing in particular. " * 8
    for name in ("a", "b"):
        text = "\n\n".join(f"{n} of {name}. {paragraph}" for n in range(180))
        assert len(text) > 80_000
        place.write(f"reports/{name}.txt", text)
    async with place.session() as a:
        pieces = await a.does(
            "create_batch_file",
            source="reports",
            prompt="Sum up: {{ text }}",
            options={"chunk_chars": 8_000},
        )
        await a.follows_to("fetch_results", pieces)
        whole = await a.does(
            "create_batch_file",
            source=f"job:{pieces['job']}::SELECT name, position, answer FROM results "
            "WHERE outcome = 'ok' ORDER BY name, position",
            prompt="Put together: {{ answer }}",
            options={"group_by": "name"},
        )
        await a.follows_to("fetch_results", whole, output_path=place.path("out.jsonl"))
    table = place.jsonl("out.jsonl")
    assert [row["name"] for row in table] == ["a.txt", "b.txt"]
    assert sum(row["group_rows"] for row in table) == pieces["rows"] >= 20
    assert all(row["answer"] for row in table)
    return a


async def look_at_images(place: Place) -> Driver:
    """A column of images, two of which cannot be read: said together, then left out."""
    for name in ("a", "b"):
        place.write(f"photos/{name}.png", PNG + name.encode())
    place.write("photos/c.png", "no image")
    names = ["photos/a.png", "photos/b.png", "photos/c.png", "photos/none.png"]
    place.write("shop.csv", "name,photo\n" + "".join(f"{n},{p}\n" for n, p in enumerate(names)))
    order = {"source": "shop.csv", "prompt": "What is it?", "image_column": "photo"}
    async with place.session() as a:
        bad = await a.fails("create_batch_file", **order)
        assert [row["row"] for row in bad["details"]["rows"]] == [3, 4]
        assert "on_bad_row" in bad.text
        created = await a.does("create_batch_file", **order, options={"on_bad_row": "skip"})
        results = await a.follows_to("fetch_results", created, output_path=place.path("out.csv"))
    assert results["ledger"] == {"ok": 2, "failed": 2}
    assert [row["outcome"] for row in place.csv("out.csv")] == ["ok", "ok", "failed", "failed"]
    return a


async def make_twenty_mistakes(place: Place) -> Driver:
    """Wrong calls, each answered with what was meant; in the end the table is right."""
    place.reviews()
    good = {"source": "reviews.csv", "prompt": "{{ text }}"}
    async with place.session() as a:
        for wrong in (
            {"source": "review.csv"},
            {"source": "https://example.org/reviews.csv"},
            {"prompt": "{{ txt }}"},
            {"prompt": "Good or bad? {text}"},
            {"prompt": "@nowhere.txt"},
            {"prompt": "{{ text"},
            {"limit": 0},
            {"id_column": "key"},
            {"response_schema": "{"},
            {"params": {"stream": True}},
            {"options": {"blank": "send"}},
            {"options": {"blanks": "drop"}},
            {"output_path": "/etc/x.jsonl"},
        ):
            assert (await a.fails("create_batch_file", **(good | wrong))).text
        misplaced = await a.fails("create_batch_file", **good, max_tokens=50)
        created = await a.follows(misplaced)
        job = created["job"]
        early = await a.fails("fetch_results", job=job)
        assert early.next == ("create_batch", {"job": job})
        await a.fails("create_batch", job=job, completion_window="2h")
        misspelt = await a.fails("get_status", job=job[:-1])
        assert misspelt.next == ("get_status", {"job": job})
        await a.fails("list", status="running")
        results = await a.follows_to("fetch_results", early)
        no_table = await a.fails("fetch_results", job=job, output_path="out.txt")
        assert ".csv" in no_table.text
        wrong_column = await a.fails(
            "fetch_results", job=job, query="SELECT answr FROM results LIMIT 1"
        )
        assert "answer" in wrong_column.text
        writing = await a.fails("fetch_results", job=job, query="DELETE FROM results")
        assert writing.next[0] == "fetch_results"
        results = await a.does("fetch_results", job=job, output_path=place.path("out.csv"))
    assert results["ledger"] == {"ok": 40}
    assert [row["id"] for row in place.csv("out.csv")] == [f"a{n}" for n in range(40)]
    return a


JOURNEYS = (
    classify_with_a_pilot,
    extract_from_a_folder,
    embed,
    send_a_broken_request_file,
    go_on_after_a_kill,
    compare_two_prompts,
    call_functions,
    map_and_reduce_long_documents,
    look_at_images,
    make_twenty_mistakes,
)
