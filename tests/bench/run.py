"""All figures of docs/benchmarks.md, side by side with others, in one run.

    python tests/bench/run.py [--rows 50000] [--stages build,validate,...] [--runs 3] [--dw PATH]
        [--long]

Makes its data itself, in /dev/shm where there is one, and the peers' environment with uv; the peer
`dw` (https://github.com/doublewordai/dw) is used where it is on PATH or named. Each contender runs
in a process of its own, in turns; the median run counts. `ratio` and `CPU` are ours to the peer's,
in wall and in CPU seconds: where others use the machine too, CPU is what can be compared. In
brackets behind the peak memory: what the stage added to the idle process.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import data
import growth
import startup
from dw import find_dw
from measuring import HERE, medians, peer_environment, run
from rendering import beside, heading, line, memory
from wire_server import serving

PEERS = ("openai-batch==0.3.4", "httpx", "orjson", "pydantic", "duckdb", "openai")
ROW_BYTES = 4_000
SHORT_ROW_BYTES = 200
SHORT_ROWS = 4  # for every long one
GROWTH = (50_000, 500_000)
LONGEST = 5_000_000
STAGES = (
    *("build", "validate", "upload", "download", "collect", "short", "stall", "query"),
    *("start", "local"),
)


class Bench:
    """One run: where its data lies, how often each contender runs, and the table's lines."""

    def __init__(self, folder, rows, runs, peers, dw):
        self.folder = folder
        self.rows = rows
        self._runs = runs
        self._peers = peers
        self._dw = dw

    def ours(self, stage, folder=None, *rest):
        return [sys.executable, HERE / "ours.py", stage, folder or self.folder, *rest]

    def peer(self, contender, *rest, folder=None):
        return [self._peers, HERE / "peers.py", contender, folder or self.folder, *rest]

    def dw(self, stage, *rest):
        """The contender dw, or none."""
        return {"dw": getattr(self._dw, stage)(self.folder, *rest)} if self._dw else {}

    def stage(self, name, ours, limit, peers):
        """Measure and print a line for each peer."""
        taken = medians({"ours": ours, "limit": limit, **peers}, self._runs)
        for peer in peers:
            beside(name, taken["ours"], taken["limit"], peer, taken[peer])

    def prepare(self):
        """The table, the request file and the provider's answer to it."""
        self.make(self.folder, self.rows, ROW_BYTES)
        requests, results = self.folder / "requests.jsonl", self.folder / "results.jsonl"
        sizes = (f"{p.name} {p.stat().st_size / 1e6:.0f} MB" for p in (requests, results))
        print(
            f"\n{self.rows} rows: {', '.join(sizes)}. {platform.python_implementation()} "
            f"{platform.python_version()}, {os.cpu_count()} cores, {platform.system()}; "
            f"{self._dw.version if self._dw else 'without dw, which is not on PATH'}\n"
        )

    def make(self, folder, rows, row_bytes):
        data.write_table(folder / "table.csv", rows, row_bytes)
        run(self.ours("build", folder))
        data.write_results(folder / "results.jsonl", folder / "requests.jsonl", row_bytes)

    def build(self):
        peers = {"openai-batch": self.peer("openai_batch")}
        self.stage("build", self.ours("build"), self.peer("copy"), peers)

    def validate(self):
        peers = {
            **self.dw("validate"),
            "orjson loop": self.peer("orjson_loop"),
            "pydantic": self.peer("pydantic_loop"),
        }
        self.stage("validate", self.ours("validate"), self.peer("lines_of_requests"), peers)

    def upload(self):
        with serving(self.folder / "results.jsonl") as url:
            file = f"file=@{self.folder / 'requests.jsonl'}"
            form = ["-F", "purpose=batch", "-F", file]
            curl = ["curl", "-s", "-o", os.devnull, *form, f"{url}/files"]
            peers = {
                "curl": curl,
                **self.dw("upload", url),
                "openai SDK": self.peer("openai_upload", url),
            }
            self.stage("upload", self.ours("upload", None, url), curl, peers)

    def download(self):
        with serving(self.folder / "results.jsonl") as url:
            curl = ["curl", "-s", "-o", self.folder / "curl.jsonl", f"{url}/files/file-1/content"]
            peers = {
                "curl": curl,
                **self.dw("download", url),
                "openai SDK": self.peer("openai_download", url),
            }
            self.stage("download", self.ours("download", None, url), curl, peers)

    def collect(self, name="collect + export", folder=None):
        peers = {"stdlib json": "stdlib_collect", "duckdb": "duckdb_collect"}
        self.stage(
            name,
            self.ours("collect", folder),
            self.peer("lines_of_results", folder=folder),
            {peer: self.peer(contender, folder=folder) for peer, contender in peers.items()},
        )

    def short(self):
        """The same for rows and answers of a few words."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            rows = SHORT_ROWS * self.rows
            self.make(Path(place), rows, SHORT_ROW_BYTES)
            self.collect(f"collect + export, {rows:,} short rows", Path(place))

    def stall(self):
        taken = run(self.ours("stall"))
        line(
            "longest stall of the event loop in collect + export",
            f"{taken.facts['longest'] * 1000:.0f} ms",
            peak=memory(taken),
        )

    def query(self):
        taken = run(self.ours("query"))
        line("query, first", f"{taken.seconds:.2f} s", peak=memory(taken))
        line("query, again", f"{taken.facts['again']:.3f} s")

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
            peak=f"{found['MB']} MB",
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--stages", default=",".join([*STAGES, "growth"]), help="by default: all")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dw", type=Path, help="the program; by default the one on PATH")
    parser.add_argument("--long", action="store_true", help="growth up to 5 million rows")
    chosen = parser.parse_args()
    memory_disk = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a disk in memory, for figures without one
    with tempfile.TemporaryDirectory(dir=memory_disk, prefix="bench-") as place:
        folder = Path(place)
        dw = find_dw(chosen.dw, folder / "home-of-dw")
        peers = peer_environment(folder / "peers", *PEERS)
        bench = Bench(folder, chosen.rows, chosen.runs, peers, dw)
        bench.prepare()
        heading()
        for name in chosen.stages.split(","):
            if name == "growth":
                sizes = (*GROWTH, LONGEST) if chosen.long else GROWTH
                growth.grow(sizes, folder, bench.ours)
            else:
                getattr(bench, name)()


if __name__ == "__main__":
    main()
