"""All figures of the README, side by side with others, in one run.

    python tests/bench/run.py [--rows 50000] [--stages build,validate,...] [--runs 3] [--long]

Makes its data itself, in /dev/shm where there is one, and the peers' environment with uv. Each
contender runs in a process of its own, in turns; the median run counts. `ratio` is ours to the
peer's. The machine should have nothing else to do.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import data
import startup
from measuring import HERE, medians, run

PEERS = ("openai-batch==0.3.4", "httpx", "orjson", "pydantic", "duckdb", "openai")
ROW_BYTES = 4_000
GROWTH_ROW_BYTES = 200
GROWTH = (50_000, 500_000)
LONGEST = 5_000_000


class Bench:
    """One run: where its data lies, how often each contender runs, and the table's lines."""

    def __init__(self, folder, rows, runs, peers):
        self.folder = folder
        self.rows = rows
        self._runs = runs
        self._peers = peers

    def ours(self, stage, *rest, folder=None):
        return [sys.executable, HERE / "ours.py", stage, folder or self.folder, *rest]

    def peer(self, contender, *rest):
        return [self._peers, HERE / "peers.py", contender, self.folder, *rest]

    def stage(self, name, ours, limit, peers):
        """Measure and print a line for each peer."""
        taken = medians({"ours": ours, "limit": limit, **peers}, self._runs)
        mine, floor = taken["ours"], taken["limit"]
        for peer in peers:
            other = taken[peer]
            line(
                name,
                f"{mine.seconds:.2f} s",
                f"{floor.seconds:.2f} s",
                f"{peer} {other.seconds:.2f} s",
                f"{mine.seconds / other.seconds:.2f}",
                f"{mine.memory_mb:.0f} MB",
                f"{other.memory_mb:.0f} MB",
            )

    def prepare(self):
        """The table, the request file and the provider's answer to it."""
        data.write_table(self.folder / "table.csv", self.rows, ROW_BYTES)
        run(self.ours("build"))
        requests, results = self.folder / "requests.jsonl", self.folder / "results.jsonl"
        data.write_results(results, requests, ROW_BYTES)
        sizes = (f"{p.name} {p.stat().st_size / 1e6:.0f} MB" for p in (requests, results))
        print(
            f"\n{self.rows} rows: {', '.join(sizes)}. {platform.python_implementation()} "
            f"{platform.python_version()}, {os.cpu_count()} cores, {platform.platform()}\n"
        )

    def build(self):
        self.stage(
            "build",
            self.ours("build"),
            self.peer("copy"),
            {"openai-batch": self.peer("openai_batch")},
        )

    def validate(self):
        peers = {"orjson loop": "orjson_loop", "pydantic": "pydantic_loop"}
        self.stage(
            "validate",
            self.ours("validate"),
            self.peer("lines_of_requests"),
            {name: self.peer(contender) for name, contender in peers.items()},
        )

    def collect(self):
        peers = {"stdlib json": "stdlib_collect", "duckdb": "duckdb_collect"}
        self.stage(
            "collect + export",
            self.ours("collect"),
            self.peer("lines_of_results"),
            {name: self.peer(contender) for name, contender in peers.items()},
        )

    def query(self):
        taken = run(self.ours("query"))
        line("query, first", f"{taken.seconds:.2f} s", memory=f"{taken.memory_mb:.0f} MB")
        line("query, again", f"{taken.facts['again']:.3f} s")

    def upload(self):
        with wire_server(self.folder) as url:
            curl = [
                "curl",
                "-s",
                "-o",
                os.devnull,
                "-F",
                "purpose=batch",
                "-F",
                f"file=@{self.folder / 'requests.jsonl'}",
                f"{url}/files",
            ]
            self.stage(
                "upload",
                self.ours("upload", url),
                curl,
                {"openai SDK": self.peer("openai_upload", url)},
            )

    def download(self):
        with wire_server(self.folder) as url:
            curl = ["curl", "-s", "-o", self.folder / "curl.jsonl", f"{url}/files/file-1/content"]
            self.stage(
                "download",
                self.ours("download", url),
                curl,
                {"openai SDK": self.peer("openai_download", url)},
            )

    def start(self):
        ours, bare, ratio = startup.measure(9)
        line(
            "start to initialize",
            f"{ours * 1000:.0f} ms",
            peer=f"bare MCPServer {bare * 1000:.0f} ms",
            ratio=f"{ratio:.2f}",
        )

    def local(self):
        """In a process of its own: it reads the peak memory of all that it starts."""
        command = [sys.executable, HERE / "local_throughput.py", "--requests", str(self.rows)]
        names, values = subprocess.check_output(command, text=True).splitlines()[-2:]
        found = dict(
            zip(map(str.strip, names.split("|")), map(str.strip, values.split("|")), strict=True)
        )
        line(
            f"local server, {self.rows} requests",
            f"{found['all s']} s",
            peer=f"{found['requests/s']} requests/s",
            memory=f"{found['MB']} MB",
        )

    def growth(self, sizes):
        """The same work on ever more rows: time grows with them, memory does not."""
        for rows in sizes:
            with tempfile.TemporaryDirectory(dir=self.folder) as place:
                folder = Path(place)
                data.write_table(folder / "table.csv", rows, GROWTH_ROW_BYTES)
                built = run(self.ours("build", folder=folder))
                data.write_results(
                    folder / "results.jsonl", folder / "requests.jsonl", GROWTH_ROW_BYTES
                )
                taken = {"build": built}
                for stage in ("validate", "collect", "query"):
                    taken[stage] = run(self.ours(stage, folder=folder))
            for stage, one in taken.items():
                line(
                    f"{stage}, {rows:,} small rows",
                    f"{one.seconds:.2f} s",
                    memory=f"{one.memory_mb:.0f} MB",
                )


def line(stage, ours, limit="", peer="", ratio="", memory="", peer_memory=""):
    print(
        f"| {stage} | {ours} | {limit} | {peer} | {ratio} | {memory} | {peer_memory} |", flush=True
    )


@contextmanager
def wire_server(folder):
    command = [sys.executable, HERE / "wire_server.py", folder / "results.jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def peers_python(folder):
    """An environment of the peers' own."""
    environment = folder / "peers"
    python = environment / "bin" / "python"
    subprocess.run(["uv", "venv", "-q", "--python", sys.executable, environment], check=True)
    subprocess.run(["uv", "pip", "install", "-q", "--python", python, *PEERS], check=True)
    return python


def main():
    stages = ["build", "validate", "upload", "download", "collect", "query", "start", "local"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--stages", default=",".join([*stages, "growth"]), help="by default: all")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--long", action="store_true", help="growth up to 5 million rows")
    chosen = parser.parse_args()
    asked = chosen.stages.split(",")
    memory_disk = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a disk in memory, for figures without one
    with tempfile.TemporaryDirectory(dir=memory_disk, prefix="bench-") as place:
        folder = Path(place)
        bench = Bench(folder, chosen.rows, chosen.runs, peers_python(folder))
        bench.prepare()
        line("stage", "ours", "physical limit", "peer", "ratio", "peak memory", "the peer's")
        line(*["---"] * 7)
        for name in asked:
            if name == "growth":
                bench.growth((*GROWTH, LONGEST) if chosen.long else GROWTH)
            else:
                getattr(bench, name)()


if __name__ == "__main__":
    main()
