"""BatchOpenAI beside autobatcher 0.12, against the same local server, in one run.

    python tests/bench/batch_openai_calls.py [--calls 1000 10000 50000] [--group 500] [--profile]

Each client runs in a process of its own; autobatcher in an environment of its own, because it wants
openai<3: uv makes it and must be on PATH, or --peer-python names an interpreter that has it. `bare`
is the same program with no client at all: its tasks and its loop are part of every other row. CPU
is the client's process, all threads. A stall is the time between two beats of the caller's loop;
its own CPU is the part that this loop, and not a busy machine, took. Prints one table.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import httpx
from measuring import peer_environment

PEERS = ("autobatcher==0.12.*", "openai<3")
SERVER = """
import sys
from pathlib import Path
from doubleword_batch.local import LocalConfig, serve
serve(LocalConfig(Path(sys.argv[1])), lambda s: print(s.base_url, s.token, flush=True))
"""

PROGRAM = """
import asyncio, json, resource, sys, time

name, base_url, key, calls, group, profile = sys.argv[1:7]
calls, group = int(calls), int(group)
options = dict(
    api_key=key, base_url=base_url, batch_size=1000, batch_window_seconds=1.0,
    poll_interval_seconds=1.0, completion_window="24h",
)

def make():
    if name == "bare":
        return None
    if name == "autobatcher":
        from autobatcher import BatchOpenAI
        return BatchOpenAI(**options)
    from doubleword_batch import BatchOpenAI
    return BatchOpenAI(**options, batch_provider="doubleword")

async def bare(gate):
    await gate
    return 1

async def measured(client):
    stalls, own = [], []
    async def heartbeat():
        while True:
            before, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.005)
            stalls.append(time.perf_counter() - before - 0.005)
            own.append(time.thread_time() - cpu)
    async def call(number):
        messages = [{"role": "user", "content": f"Question {number}: is it a good one?"}]
        return await client.chat.completions.create(model="simulated-chat", messages=messages)
    gate = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(1, gate.set_result, 1)
    beating = asyncio.create_task(heartbeat())
    await asyncio.sleep(0.05)
    stalls.clear(), own.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    tasks = []
    for number in range(calls):
        work = bare(gate) if client is None else call(number)
        tasks.append(asyncio.create_task(work))
        if number % group == group - 1:
            await asyncio.sleep(0)
    answers = await asyncio.gather(*tasks)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await asyncio.sleep(0.01)
    beating.cancel()
    assert len(answers) == calls and all(answers)
    return dict(wall=wall, cpu=cpu, stall=max(stalls), own=max(own))

async def main():
    client = make()
    if client is not None:  # what is imported and built at the first call
        await client.chat.completions.create(
            model="simulated-chat", messages=[{"role": "user", "content": "warm"}]
        )
    found = await measured(client)
    if client is not None:
        await client.close()
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))

if profile == "1":
    import cProfile, pstats
    profiler = cProfile.Profile()
    profiler.runcall(asyncio.run, main())
    pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(25)
else:
    asyncio.run(main())
"""


class Relay:
    """Passes connections on to the server and counts the bytes that come back."""

    def __init__(self, port):
        self._port = port
        self.downloaded = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait(10)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(
            self._pipe(reader, far_writer, counts=False),
            self._pipe(far_reader, writer, counts=True),
            return_exceptions=True,
        )

    async def _pipe(self, reader, writer, *, counts):
        try:
            while data := await reader.read(1 << 18):
                self.downloaded += len(data) if counts else 0
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


def output_bytes(base_url, token):
    """What all the batches' output and error files hold."""
    size = 0
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=base_url, headers=headers, timeout=120) as http:
        after = None
        while True:
            params = {"limit": 100, **({"after": after} if after else {})}
            page = http.get("/batches", params=params).raise_for_status().json()
            for batch in page["data"]:
                for kind in ("output_file_id", "error_file_id"):
                    with http.stream("GET", f"/files/{batch[kind]}/content") as content:
                        size += sum(map(len, content.iter_raw()))
            if not page["has_more"]:
                return size
            after = page["data"][-1]["id"]


def measure(name, python, calls, *, group=500, profile=False):
    """One client, one number of calls, a fresh server; its figures by name.

    The program makes its calls in groups and lets its loop turn in between: a program that makes
    50,000 tasks in one step stalls its loop by itself, whoever answers them.
    """
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, folder], stdout=subprocess.PIPE, text=True
        )
        try:
            base_url, token = server.stdout.readline().split()
            relay = Relay(httpx.URL(base_url).port)
            found = json.loads(
                subprocess.run(
                    [
                        *(python, "-c", PROGRAM, name, f"http://127.0.0.1:{relay.port}/v1"),
                        *(token, str(calls), str(group), "1" if profile else "0"),
                    ],
                    env=os.environ
                    | {"DOUBLEWORD_BATCH_HOME": f"{folder}/client", "LOGURU_LEVEL": "WARNING"},
                    stdout=subprocess.PIPE,
                    check=True,
                    timeout=900,
                ).stdout.splitlines()[-1]
            )
            whole = 0 if name == "bare" else output_bytes(base_url, token)
        finally:
            server.terminate()
            server.wait(30)
    return found | {"downloads": relay.downloaded / whole if whole else 0.0}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--group", type=int, default=500, help="calls made in one step")
    parser.add_argument("--profile", action="store_true", help="of ours alone, to stderr")
    parser.add_argument("--peer-python", help="an interpreter that has autobatcher")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pythons = {"bare": sys.executable, "ours": sys.executable}
        if arguments.profile:
            del pythons["bare"]
        else:
            pythons["autobatcher"] = arguments.peer_python or str(
                peer_environment(Path(folder) / "peer", *PEERS)
            )
        print(
            "| calls | client | CPU us/call | wall s | longest stall ms | of own CPU ms "
            "| peak MB | downloads |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for calls in arguments.calls:
            for name, python in pythons.items():
                found = measure(
                    name, python, calls, group=arguments.group, profile=arguments.profile
                )
                print(
                    f"| {calls} | {name} | {found['cpu'] / calls * 1e6:.0f} | {found['wall']:.1f} "
                    f"| {found['stall'] * 1000:.0f} | {found['own'] * 1000:.0f} "
                    f"| {found['memory']:.0f} "
                    f"| {found['downloads']:.2f}x |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
