"""Our side of each stage: `python ours.py STAGE FOLDER`, one JSON line with its seconds."""

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from stopwatch import Stopwatch

PROMPT = "Classify this {{ category }} review in one word: {{ text }}"
BLOCK_BYTES = 1 << 18
TICK_SECONDS = 0.005


def build(folder):
    from doubleword_batch.paths import Roots
    from doubleword_batch.providers import profile
    from doubleword_batch.requests import RequestSpec, build_request_files
    from doubleword_batch.sources import open_source

    spec = RequestSpec("/v1/chat/completions", "m", PROMPT, params={"max_tokens": 100})
    roomy = profile("doubleword").model_copy(
        update={"max_requests": 10_000_000, "max_file_bytes": 1 << 40}
    )
    target = folder / "built"
    shutil.rmtree(target, ignore_errors=True)
    watch = Stopwatch()
    source = open_source(str(folder / "table.csv"), Roots([folder]))
    built = build_request_files(source, spec, roomy, target)
    taken = watch.taken()
    built.files[0].path.replace(folder / "requests.jsonl")
    return taken | {"requests": sum(file.requests for file in built.files)}


def validate(folder):
    from doubleword_batch.providers import profile
    from doubleword_batch.requests import validate_request_file

    watch = Stopwatch()
    report = validate_request_file(folder / "requests.jsonl", profile("doubleword"))
    return watch.taken() | {"requests": report.requests}


def collect(folder):
    """Result lines into the ledger, durably, and the table of answers as JSON Lines."""
    from doubleword_batch.jobs.export.table import Table
    from doubleword_batch.jobs.export.write_table import write_table
    from doubleword_batch.jobs.sync.collect import collect

    ws, job = _job(folder)
    watch = Stopwatch()
    asyncio.run(collect(job))
    collected = watch.seconds()
    rows = write_table(Table(job.reloaded()), folder / "answers.jsonl", "jsonl").rows
    taken = watch.taken()
    ws.store.close()
    return taken | {"collected": collected, "rows": rows}


def stall(folder):
    """The same in a server that stays responsive: the event loop's longest stall meanwhile."""
    from doubleword_batch.jobs.export.table import Table
    from doubleword_batch.jobs.export.write_table import write_table
    from doubleword_batch.jobs.store.worker_threads import in_thread
    from doubleword_batch.jobs.sync.collect import collect

    ws, job = _job(folder)
    longest = 0.0

    async def tick():
        nonlocal longest
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(TICK_SECONDS)
            longest = max(longest, time.perf_counter() - begun - TICK_SECONDS)

    async def go():
        ticking = asyncio.create_task(tick())
        await collect(job)
        table = Table(job.reloaded())
        target = folder / "answers.jsonl"
        await in_thread(lambda cancelled: write_table(table, target, "jsonl", cancelled=cancelled))
        ticking.cancel()

    watch = Stopwatch()
    asyncio.run(go())
    taken = watch.taken()
    ws.store.close()
    return taken | {"longest": longest}


def lines(folder):
    """The first half of it: result lines into the ledger."""
    from doubleword_batch.jobs.sync.collect import collect

    ws, job = _job(folder)
    watch = Stopwatch()
    asyncio.run(collect(job))
    taken = watch.taken()
    ws.store.close()
    return taken


def export(folder, form):
    """The second half of it: the table of answers, as `jsonl`, `csv` or `parquet`."""
    from doubleword_batch.jobs.export.table import Table
    from doubleword_batch.jobs.export.write_table import write_table

    ws, job = _known_job(folder)
    watch = Stopwatch()
    target = folder / f"answers.{form}"
    write_table(Table(job), target, form)
    taken = watch.taken()
    target.unlink()
    ws.store.close()
    return taken


def query(folder):
    """A first question, which makes the database, and the same once more."""
    from doubleword_batch.jobs.export.query import query_table
    from doubleword_batch.jobs.export.table import Table

    ws, job = _known_job(folder)
    sql = "SELECT category, count(*), avg(length(answer)) FROM results GROUP BY 1"
    watch = Stopwatch()
    query_table(Table(job), job.folder, sql)
    taken = watch.taken()
    again = Stopwatch()
    query_table(Table(job), job.folder, sql)
    ws.store.close()
    return taken | {"again": again.seconds()}


def upload(folder, base_url):
    from doubleword_batch.api import BatchClient

    async def go():
        async with BatchClient(base_url=base_url, api_key="k") as client:
            await _greet(client)
            watch = Stopwatch()
            await client.files.upload(folder / "requests.jsonl")
            return watch.taken()

    return asyncio.run(go())


def download(folder, base_url):
    from doubleword_batch.api import BatchClient

    async def go():
        with (folder / "down.jsonl").open("wb") as output:

            async def sink(block):
                output.write(block)

            async with BatchClient(base_url=base_url, api_key="k") as client:
                await _greet(client)
                watch = Stopwatch()
                await client.files.content("file-1", sink)
                return watch.taken()

    return asyncio.run(go())


def calls(folder, base_url, number):
    """Calls of BatchOpenAI, whose answers are there at once; batches are full, so none waits."""
    from doubleword_batch import BatchOpenAI

    shutil.rmtree(folder / "home", ignore_errors=True)
    access = {"api_key": "k", "base_url": base_url, "state_dir": folder / "home"}
    options = {"batch_size": 1_000, "batch_window_seconds": 600.0, "batch_provider": "doubleword"}

    async def go():
        async with BatchOpenAI(**access, **options) as client:
            watch = Stopwatch()
            asking = (client.chat.completions.create(**_question(n)) for n in range(int(number)))
            answers = await asyncio.gather(*asking)
            return watch.taken() | {"answers": len(answers)}

    return asyncio.run(go())


def _question(number):
    text = f"Question {number:06}: is it a good one?"
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


async def _greet(client):
    """The first call imports what speaks HTTP; a server that is idle has done that."""
    await client.files.get("file-1")


class _Files:
    """The provider's files, read from the folder in blocks of whole lines."""

    def __init__(self, path):
        self._path = path

    async def content(self, _file_id, sink, *, skip=0):
        with self._path.open("rb") as lines:
            for _ in range(skip):
                lines.readline()
            while block := lines.read(BLOCK_BYTES):
                await sink(block + lines.readline())


def _workspace(folder):
    from doubleword_batch.jobs.job import Workspace
    from doubleword_batch.jobs.store.job_store import Store
    from doubleword_batch.paths import Roots
    from doubleword_batch.providers import profile

    client = SimpleNamespace(files=_Files(folder / "results.jsonl"))
    store = Store(folder / "home")
    return Workspace(client, profile("local"), store, Roots([folder]), "bench", "local")


def _known_job(folder):
    from doubleword_batch.jobs.job import StoredJob

    ws = _workspace(folder)
    return ws, StoredJob.named(ws, "bench")


def _job(folder):
    """A submitted job over the table, its one batch completed and not yet read."""
    from doubleword_batch.jobs.build_source import stamp_of
    from doubleword_batch.jobs.job import StoredJob
    from doubleword_batch.models import Batch

    shutil.rmtree(folder / "home", ignore_errors=True)
    ws = _workspace(folder)
    table = folder / "table.csv"
    with (folder / "requests.jsonl").open("rb") as lines:
        rows = sum(1 for _ in lines)
    job = ws.store.begin_job(
        provider="local",
        base_url="local",
        endpoint="/v1/chat/completions",
        model="m",
        fingerprint="f",
        spec='{"prompt": "p"}',
        source_fingerprint="f",
    )
    part = ws.store.add_part(
        job=job, number=1, retry_round=0, path=None, requests=rows, size_bytes=1, sha256="s"
    )
    stamp = stamp_of((table,))
    ws.store.set_job(job, name="bench", source=str(table), source_stamp=stamp, rows=rows)
    ws.store.job_folder("bench").mkdir(parents=True)
    known = StoredJob.named(ws, "bench")
    for start in range(1, rows + 1, 10_000):
        numbers = range(start, min(start + 10_000, rows + 1))
        known.ledger.add_rows([(number, f"r{number}", 1) for number in numbers])
    counts = {"total": rows, "completed": rows, "failed": 0}
    ended = {"id": "b", "status": "completed", "output_file_id": "o", "request_counts": counts}
    ws.store.record_batch(job, part, Batch.model_validate(ended))
    return ws, known


if __name__ == "__main__":
    stage, place, *rest = sys.argv[1:]
    print(json.dumps(globals()[stage](Path(place), *rest)))
