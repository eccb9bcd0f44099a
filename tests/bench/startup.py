"""Start to `initialize`: this server against a bare MCPServer, alternating, in one run; and the
start of the console to its first page.

python tests/bench/startup.py [--runs 15]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from http.cookiejar import CookieJar

BARE = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("bare", version="1")

@server.tool()
def ping(text: str) -> str:
    "Answers."
    return text

server.run("stdio")
"""
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    },
}


def seconds_to_initialize(command, environment):
    """Wall seconds from the start of the process to its answer."""
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        taken = time.perf_counter() - began
        process.stdin.close()
        process.wait(20)
    assert "result" in answer, answer
    return taken


def seconds_to_first_page(environment):
    """Wall seconds from the start of the console's process to the page that a browser gets."""
    command = [sys.executable, "-m", "doubleword_batch", "console", "--no-browser", "--json"]
    cookies = urllib.request.HTTPCookieProcessor(CookieJar())
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, env=environment
    ) as process:
        address = json.loads(process.stdout.readline())["address"]
        browser = urllib.request.build_opener(cookies)
        browser.open(address, timeout=20).close()
        with browser.open(address.partition("/enter")[0] + "/", timeout=20) as reply:
            page = reply.read()
        taken = time.perf_counter() - began
        process.terminate()
        process.wait(20)
    assert b"<h1>Jobs</h1>" in page, page[:200]
    return taken


def measure_console(runs):
    """Median of the console's starts, on an empty state directory."""
    environment = own_environment()
    with tempfile.TemporaryDirectory() as home:
        environment["DOUBLEWORD_BATCH_HOME"] = home
        environment["DOUBLEWORD_BATCH_LOCAL_EXECUTOR"] = "simulate"
        seconds_to_first_page(environment)  # warms the bytecode and the page cache
        return statistics.median(seconds_to_first_page(environment) for _ in range(runs))


def own_environment():
    """The environment without settings of ours, and with bytecode."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DOUBLEWORD_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def measure(runs):
    """Medians of both servers and the median ratio of paired runs."""
    environment = own_environment()
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as home:
        environment["DOUBLEWORD_BATCH_HOME"] = home
        commands = ([sys.executable, "-c", BARE], [sys.executable, "-m", "doubleword_batch"])
        for command in commands:  # warm the bytecode and the page cache
            seconds_to_initialize(command, environment)
        for _ in range(runs):
            bare.append(seconds_to_initialize(commands[0], environment))
            ours.append(seconds_to_initialize(commands[1], environment))
    ratio = statistics.median(o / b for o, b in zip(ours, bare, strict=True))
    return statistics.median(ours), statistics.median(bare), ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    ours, bare, ratio = measure(runs)
    print("| stage | ours | bare MCPServer | ratio |")
    print("|---|---|---|---|")
    print(f"| start to initialize | {ours * 1000:.0f} ms | {bare * 1000:.0f} ms | {ratio:.2f} |")
    print(f"| console, start to the first page | {measure_console(runs) * 1000:.0f} ms | | |")


if __name__ == "__main__":
    main()
