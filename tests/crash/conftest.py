"""A server in a process of its own, shared by all cases, and processes that run and die."""

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from crash.scenario import TABLES
from doubleword_batch.jobs.store.job_store import Store

HERE = Path(__file__).parent
KILLED = -9
RUNS = 12


@dataclass
class Server:
    base_url: str
    token: str
    http: httpx.Client

    def get(self, path, **params):
        reply = self.http.get(path, params=params)
        reply.raise_for_status()
        return reply.json()


class Runner:
    """Runs orders one after the other, each in a new process."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, HERE / "driver.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def run(self, order):
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=30)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("server")
    process = subprocess.Popen(
        [sys.executable, HERE / "serve.py", home],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        found = json.loads(process.stdout.readline())
        headers = {"Authorization": f"Bearer {found['token']}"}
        with httpx.Client(base_url=found["base_url"], headers=headers, timeout=30) as http:
            yield Server(**found, http=http)
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


@pytest.fixture(scope="session")
def runner():
    running = Runner()
    yield running
    running.close()


class Case:
    """One job of ten rows in three parts, one of four rows that is cancelled, and their store."""

    def __init__(self, folder, name, server, runner):
        self.home, self.work, self.name = folder / "home", folder / "work", name
        self._server, self._runner = server, runner
        self.work.mkdir(parents=True)
        rows = "".join(f'{n},"row {n}, é\n☕"\n' for n in range(1, 11))
        (self.work / "rows.csv").write_text("id,text\n" + rows, encoding="utf-8")
        (self.work / "held.csv").write_text("text\na\nb\nc\n", encoding="utf-8")

    def run(self, runner=None, **until):
        """Run the scenario until it is done or dies; returns the exit status."""
        order = {
            "home": str(self.home),
            "work": str(self.work),
            "case": self.name,
            "base_url": self._server.base_url,
            "token": self._server.token,
        }
        status = (runner or self._runner).run({**order, **until})
        assert status in {0, KILLED}, (self.work / "stderr.txt").read_text(encoding="utf-8")
        return status

    def tables(self):
        return {name: (self.work / name).read_bytes() for name in TABLES}

    def steps(self):
        return set(json.loads((self.work / "steps.json").read_text()))

    def account(self):
        """What the server and the store hold of this case: compared with an undisturbed run's."""
        store = Store(self.home)
        try:
            return {job.name.partition("-")[0]: self._of(store, job) for job in store.jobs()}
        finally:
            store.close()

    def _of(self, store, job):
        parts, batch_runs = store.parts(job.id), store.batch_runs(job.id)
        batches = self._server.get("/batches", search=job.name, limit=100)["data"]
        files = self._server.get("/files", search=job.name, purpose="batch", limit=100)["data"]
        tokens = [self._server.get(f"/batches/{b['id']}/analytics") for b in batches]
        outcomes = "SELECT row, outcome FROM ledger WHERE job = ? ORDER BY row"
        return {
            "parts": len(parts),
            "batches": sorted(b["metadata"]["dwb_part"] for b in batches),
            "batch_runs": sorted(a.batch_id for a in batch_runs)
            == sorted(b["id"] for b in batches),
            "files": len(files),
            "tokens": sum(t["total_tokens"] for t in tokens),
            "ledger": store.query(outcomes, (job.id,)),
            "unnamed": store.query("SELECT count(*) FROM jobs WHERE name IS NULL"),
            "left": sorted(p.name for p in (self.home / "jobs").glob(".building-*")),
        }


@pytest.fixture(scope="session")
def new_case(tmp_path_factory, server, runner):
    def new(name):
        return Case(tmp_path_factory.mktemp("case"), name, server, runner)

    return new


@pytest.fixture(scope="session")
def undisturbed(new_case):
    """A case that nothing happened to: what every other one must come to."""
    case = new_case("undisturbed")
    assert case.run() == 0
    return case


@pytest.fixture
def ends_like(undisturbed):
    def check(case):
        for _ in range(RUNS):
            if case.run() == 0:
                break
        assert case.tables() == undisturbed.tables()
        assert case.account() == undisturbed.account()

    return check
