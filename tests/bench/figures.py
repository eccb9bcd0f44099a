"""The figures of docs/benchmarks.md that need no peer package, from one run.

    python tests/bench/figures.py [--runs 15] [--requests 50000] [--journeys]

Start to `initialize` against a bare MCPServer; start of the console; bytes of all tool definitions;
bytes of every reply of the demo (with the executor that the environment names); calls and bytes of
the ten journeys of tests/agents; the local server's throughput. With --journeys, only those.
"""

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import startup
from mcp.client.client import Client

from doubleword_batch.mcp_server import build_server
from doubleword_batch.settings import Settings

HERE = Path(__file__).parent


async def definition_bytes():
    """Bytes of all tool definitions, as compact JSON."""
    with tempfile.TemporaryDirectory() as home:
        settings = Settings.from_environment({"DOUBLEWORD_BATCH_HOME": home})
        async with Client(build_server(settings)) as client:
            tools = (await client.list_tools()).tools
    shown = [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in tools]
    return len(json.dumps(shown, separators=(",", ":"), ensure_ascii=False).encode())


def demo_replies():
    """What the demo reports of itself."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "doubleword_batch", "demo", "--json"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ,
            timeout=900,
            check=True,
        )
    return json.loads(done.stdout)


async def journeys():
    """Calls, bytes read and the largest reply of each of the ten journeys: (name, counts)."""
    sys.path.insert(0, str(HERE.parent))
    module = importlib.import_module("agents.journeys")
    counted = []
    for journey in module.JOURNEYS:
        with tempfile.TemporaryDirectory() as folder:
            place = module.Place(Path(folder, "work"), Path(folder, "home"))
            place.work.mkdir()
            with contextlib.chdir(place.work):
                counted.append((journey.__name__, await journey(place)))
    return counted


def print_journeys(counted):
    """A table of the journeys and their sums."""
    print("\n| journey | calls | bytes read | largest reply |\n|---|---|---|---|")
    for name, agent in counted:
        words = name.replace("_", " ")
        print(f"| {words} | {agent.calls} | {agent.received_bytes:,} | {agent.largest_bytes:,} |")
    agents = [agent for _, agent in counted]
    calls = sum(agent.calls for agent in agents)
    received = sum(agent.received_bytes for agent in agents)
    largest = max(agent.largest_bytes for agent in agents)
    print(f"| all ten | {calls} | {received:,} ({received / calls:,.0f} a call) | {largest:,} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--journeys", action="store_true")
    options = parser.parse_args()
    if options.journeys:
        print_journeys(asyncio.run(journeys()))
        return
    ours, bare, ratio = startup.measure(options.runs)
    console = startup.measure_console(options.runs)
    definitions = asyncio.run(definition_bytes())
    demo = demo_replies()
    largest = max(call["reply_bytes"] for call in demo["calls"])
    print(f"{platform.platform()}, {os.cpu_count()} cores, CPython {platform.python_version()}\n")
    print("| figure | measured | goal |\n|---|---|---|")
    print(
        f"| start to `initialize`, beside a bare `MCPServer` | {ours * 1000:.0f} ms beside "
        f"{bare * 1000:.0f} ms: {ratio:.2f}x | 1.1x |"
    )
    print(f"| start of the console to its first page | {console * 1000:.0f} ms | 1,000 ms |")
    print(
        f"| all tool definitions | {definitions:,} bytes, {definitions / 4:,.0f} tokens | 1,800 |"
    )
    print(f"| largest reply of the demo, text and structure | {largest:,} bytes | 2,048 |")
    print(
        f"| all replies of the demo, {demo['rows']} rows | {demo['reply_bytes']:,} bytes, "
        f"{demo['reply_tokens']:,} tokens | 2,000 |"
    )
    print_journeys(asyncio.run(journeys()))
    sys.stdout.flush()
    throughput = HERE / "local_throughput.py"
    subprocess.run([sys.executable, throughput, "--requests", str(options.requests)], check=True)


if __name__ == "__main__":
    main()
