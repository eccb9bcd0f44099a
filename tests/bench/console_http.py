"""The console over a large job, over HTTP: pages, filters, sorts, searches, histograms.

Run it alone: `python tests/bench/console_http.py [--rows N]`. It makes a job of that many rows
(1,000,000 by default) whose answers are read as a provider's, starts `doubleword-batch console`
as a process of its own, and prints medians of five requests each, from the request to the last
byte of the page; in brackets the first one. Where the first one answers that something is being
prepared, it says how long that took, as the page that a person sees goes on by itself.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import anyio
import httpx

from doubleword_batch.jobs.build_source import stamp_of
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.models import Batch
from doubleword_batch.paths import Roots
from doubleword_batch.providers import profile
from doubleword_batch.sources import open_source

_ROWS = 1_000_000
_REPEATS = 5
_WAIT_SECONDS = 900
_JOB = "million"
_PREPARING = "data-reload"
_PRODUCTS = ("kettle", "lamp", "chair", "desk")
_WORDS = ("fine", "lovely", "broken", "loud", "morning", "window", "river", "orchard", "late")
_BLOCK = 5_000


def main() -> None:
    """Make the job, serve it, ask."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=_ROWS)
    rows: int = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        began = time.perf_counter()
        anyio.run(_make_job, home, _write_rows(Path(folder) / "rows.csv", rows), rows)
        print(f"{rows:,} rows built into a job and read: {time.perf_counter() - began:.0f} s")
        _ask_all(home, rows)


def _write_rows(path: Path, rows: int) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("id,product,review,stars\n")
        for n in range(rows):
            words = " ".join(_WORDS[(n * step) % len(_WORDS)] for step in range(3, 13))
            file.write(f"{n},{_PRODUCTS[n % 4]},{words} {n},{1 + n * 7 % 5}\n")
    return path


def _line(n: int) -> bytes:
    line = {"id": f"q{n}", "custom_id": f"r{n + 1}", "response": None, "error": None}
    if n % 50:
        message = {"role": "assistant", "content": f"label {n % 3}"}
        choices = [{"message": message, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 40 + n % 30, "completion_tokens": 2 + n % 7}
        line["response"] = {"status_code": 200, "body": {"choices": choices, "usage": usage}}
    else:
        line["response"] = {"status_code": 429, "body": {"error": {"message": "Too many."}}}
    return json.dumps(line).encode() + b"\n"


class _Files:
    """The provider's two files, made as they are read."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    async def content(self, file_id, sink, *, skip=0):
        wanted = [n for n in range(self._rows) if bool(n % 50) == (file_id == "output")]
        for n in wanted[skip:]:
            await sink(_line(n))


async def _make_job(home: Path, source: Path, rows: int) -> None:
    roots = Roots([source.parent])
    store = Store(home)
    client = SimpleNamespace(files=_Files(rows))
    ws = Workspace(client, profile("local"), store, roots, "local", "local")
    opened = open_source(str(source), roots)
    job = store.begin_job(
        provider="local",
        base_url="local",
        endpoint="/v1/chat/completions",
        model="m",
        fingerprint="f",
        spec=json.dumps({"prompt": "Judge {{ review }}"}),
        source_fingerprint=opened.fingerprint(),
    )
    store.add_part(
        job=job, number=1, retry_round=0, path=None, requests=rows, size_bytes=1, sha256="s"
    )
    stamp = stamp_of(opened.paths)
    store.set_job(job, name=_JOB, source=str(source), source_stamp=stamp, rows=rows)
    store.job_folder(_JOB).mkdir(parents=True)
    ledger = StoredJob.named(ws, _JOB).ledger
    for begin in range(1, rows + 1, _BLOCK):
        end = min(begin + _BLOCK, rows + 1)
        ledger.add_rows([(row, f"r{row}", 1) for row in range(begin, end)])
    failed = len(range(0, rows, 50))
    counts = {"total": rows, "completed": rows - failed, "failed": failed}
    facts = {"id": "batch-1", "status": "completed", "request_counts": counts}
    files = {"output_file_id": "output", "error_file_id": "error"}
    store.record_batch(job, store.parts(job)[0].id, Batch.model_validate(facts | files))
    await collect(StoredJob.named(ws, _JOB))
    store.close()


def _ask_all(home: Path, rows: int) -> None:
    command = [sys.executable, "-m", "doubleword_batch", "console", "--no-browser", "--json"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DOUBLEWORD_")}
    environment |= {
        "DOUBLEWORD_BATCH_HOME": str(home),
        "DOUBLEWORD_BATCH_PROVIDER": "local",
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, env=environment
    ) as process:
        try:
            address = json.loads(process.stdout.readline())["address"]
            seconds = time.perf_counter() - began
            print(f"address shown after {seconds:.2f} s, {_cpu_seconds(process.pid)} s of the CPU")
            with httpx.Client(timeout=_WAIT_SECONDS) as client:
                client.get(address).raise_for_status()
                for name, path, query in _looks(rows):
                    _ask(client, address.partition("/enter")[0], name, path, query)
        finally:
            process.terminate()
            process.wait(_WAIT_SECONDS)


def _cpu_seconds(pid: int) -> float | str:
    """What a process has taken of the processor; Linux tells it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _looks(rows: int) -> list[tuple[str, str, dict[str, object]]]:
    half = rows // 2
    answers, of = f"/jobs/{_JOB}/answers", f"/jobs/{_JOB}/histogram"
    count = f"/jobs/{_JOB}/count"
    wide: dict[str, object] = {"column": "answer", "value": "label 2"}
    return [
        ("list of jobs", "/", {}),
        ("job", f"/jobs/{_JOB}", {}),
        ("first page", answers, {}),
        ("page in the middle", answers, {"after": half}),
        ("filter by outcome", answers, {"outcome": "failed"}),
        ("filter by cause", answers, {"cause": "http_429"}),
        ("filter by value", answers, wide),
        ("filter by numbers", answers, {"column": "stars", "low": 2, "high": 4}),
        ("sort by a number", answers, {"sort": "stars", "descending": 1}),
        ("sort by a text", answers, {"sort": "review"}),
        ("sort, far down", answers, {"sort": "review", "after": half}),
        ("filter and sort", answers, {"outcome": "ok", "sort": "review"}),
        ("text that is everywhere", answers, {"text": "lovely"}),
        ("text that is nowhere", answers, {"text": "zebra"}),
        ("text that is nowhere, sorted", answers, {"text": "zebra", "sort": "review"}),
        ("text of one row, sorted", answers, {"text": f" {half}", "sort": "review"}),
        (
            "value and sort, at its end",
            answers,
            {"outcome": "failed", "sort": "answer", "descending": 1},
        ),
        ("rows that fit, counted", count, wide),
        ("text, counted", count, {"text": "zebra"}),
        ("histogram of labels", of, {"of": "answer"}),
        ("histogram of numbers", of, {"of": "id"}),
        ("histogram of texts", of, {"of": "review"}),
        ("one row", f"/jobs/{_JOB}/rows/{half}", {}),
        ("failures", f"/jobs/{_JOB}/failures", {}),
        ("judge", f"/jobs/{_JOB}/judge", {}),
    ]


def _ask(client: httpx.Client, base: str, name: str, path: str, query: dict[str, object]) -> None:
    address = f"{base}{path}?{urlencode(query)}" if query else base + path
    first, page = _timed(client, address)
    prepared = ""
    if _PREPARING in page:
        words = page.partition(_PREPARING)[2].partition("<p>")[2].partition("</p>")[0]
        began = time.perf_counter()
        while _PREPARING in page:
            if time.perf_counter() - began > _WAIT_SECONDS:
                raise SystemExit(f"{name}: not prepared within {_WAIT_SECONDS} s")
            time.sleep(0.2)
            _, page = _timed(client, address)
        prepared = f"; prepared in {time.perf_counter() - began:.1f} s: «{words}»"
    seconds = [_timed(client, address)[0] for _ in range(_REPEATS)]
    median = 1000 * statistics.median(seconds)
    print(f"{name}: {median:.0f} ms ({1000 * first:.0f} at first){prepared}", flush=True)


def _timed(client: httpx.Client, address: str) -> tuple[float, str]:
    began = time.perf_counter()
    reply = client.get(address)
    seconds = time.perf_counter() - began
    if reply.status_code != httpx.codes.OK:
        text = " ".join(reply.text.partition('role="alert"')[2].split())[:300]
        print(f"  {reply.status_code}: {text}")
    return seconds, reply.text


if __name__ == "__main__":
    main()
