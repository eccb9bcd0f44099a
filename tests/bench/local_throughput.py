"""How fast the local server is: requests uploaded, run by the simulator, and read back.

    python tests/bench/local_throughput.py [--requests 50000] [--words 60]

The server runs in a process of its own, so that its peak memory is its own. Prints one table.
"""

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

SERVER = """
import sys
from pathlib import Path
from doubleword_batch.local import LocalConfig, serve
serve(LocalConfig(Path(sys.argv[1])), lambda s: print(s.base_url, s.token, flush=True))
"""


def write_requests(path, requests, words):
    with path.open("w", encoding="utf-8") as file:
        for number in range(requests):
            content = " ".join(f"word{(number * 31 + n) % 997}" for n in range(words))
            body = {
                "model": "simulated-chat",
                "messages": [{"role": "user", "content": content}],
                "max_tokens": 64,
            }
            row = {
                "custom_id": f"row-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
            file.write(json.dumps(row) + "\n")


def run_stages(http, path):
    """Upload, run and read back; yields the name of each stage with its seconds."""
    begin = time.perf_counter()
    with path.open("rb") as file:
        answer = http.post("/files", data={"purpose": "batch"}, files={"file": file})
    asked = {
        "input_file_id": answer.raise_for_status().json()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    yield "upload", time.perf_counter() - begin
    begin = time.perf_counter()
    batch = http.post("/batches", json=asked).raise_for_status().json()
    while batch["status"] not in {"completed", "failed"}:
        time.sleep(0.1)
        batch = http.get(f"/batches/{batch['id']}").raise_for_status().json()
    yield "run", time.perf_counter() - begin
    begin = time.perf_counter()
    with http.stream("GET", f"/files/{batch['output_file_id']}/content") as content:
        rows = sum(part.count(b"\n") for part in content.iter_raw())
    yield "read back", time.perf_counter() - begin
    if rows != batch["request_counts"]["total"]:
        raise SystemExit(f"{rows} lines came back of {batch['request_counts']}")


def measure(requests, words):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.jsonl"
        write_requests(path, requests, words)
        size = path.stat().st_size
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, folder], stdout=subprocess.PIPE, text=True
        )
        try:
            base_url, token = server.stdout.readline().split()
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=base_url, headers=headers, timeout=120) as http:
                stages = dict(run_stages(http, path))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return size, stages, memory


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--words", type=int, default=60, help="words in each prompt")
    arguments = parser.parse_args()
    size, stages, memory = measure(arguments.requests, arguments.words)
    seconds = sum(stages.values())
    names = ["requests", "input MB", *(f"{name} s" for name in stages), "all s", "requests/s", "MB"]
    values = [
        f"{arguments.requests}",
        f"{size / 1e6:.1f}",
        *(f"{value:.2f}" for value in stages.values()),
        f"{seconds:.2f}",
        f"{arguments.requests / seconds:.0f}",
        f"{memory:.0f}",
    ]
    print(" | ".join(f"{name:>11}" for name in names))
    print(" | ".join(f"{value:>11}" for value in values))


if __name__ == "__main__":
    main()
