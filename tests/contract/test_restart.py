"""Kills and followers: every request is run by one server at a time and stored once."""

import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from contract.stand_in import Caller, jsonl, line, until
from doubleword_batch.local import LocalConfig, LocalServer, bearer_token, discover, find_or_start

SCRIPT = Path(__file__).with_name("serve_echo.py")


@pytest.fixture
def spawn(tmp_path):
    """Start a server process: `spawn(concurrency)` gives it and a caller of it."""
    with ExitStack() as stack:

        def spawn(concurrency=4):
            process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(tmp_path), str(tmp_path / "log"),
                 str(concurrency), str(tmp_path / "gate")],
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
            stack.callback(process.stdout.close)
            stack.callback(process.wait, 10)
            stack.callback(process.kill)
            base_url = process.stdout.readline().strip()
            assert base_url, "the server process did not start"
            caller = Caller(base_url, bearer_token(tmp_path))
            stack.callback(caller.http.close)
            return process, caller

        yield spawn


def log(tmp_path):
    """The executor's log: (event, custom_id, pid) in the order of writing."""
    return [tuple(row.split()[:3]) for row in (tmp_path / "log").read_text("utf-8").splitlines()]


def assert_each_once(caller, batch, names):
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": len(names), "completed": len(names), "failed": 0}
    rows = Counter(row["custom_id"] for row in caller.lines(batch["output_file_id"]))
    assert rows == Counter(names)
    assert caller.lines(batch["error_file_id"]) == []


def test_after_sigkill_a_new_server_finishes_at_once_and_stores_each_result_once(spawn, tmp_path):
    names = [f"r{n}" for n in range(400)] + [f"hold-{n}" for n in range(8)]
    first, caller = spawn()
    batch = caller.create(*map(line, names))
    until(lambda: caller.batch(batch["id"])["request_counts"]["completed"] >= 50)

    first.send_signal(signal.SIGKILL)
    first.wait(10)
    (tmp_path / "gate").touch()
    second, caller = spawn()

    assert_each_once(caller, caller.wait(batch["id"]), names)
    begun = Counter(name for event, name, _ in log(tmp_path) if event == "begin")
    # What had been stored before the kill was not run again: only what was in hand was.
    assert sum(begun.values()) - len(names) <= 16 + 50
    assert {pid for _, _, pid in log(tmp_path)} == {str(first.pid), str(second.pid)}


def test_a_process_that_used_a_killed_server_serves_at_its_address(spawn, tmp_path):
    first, caller = spawn()
    batch = caller.create(line("a"), line("b"))
    caller.wait(batch["id"])
    config = LocalConfig(tmp_path, executor="simulate")
    standby = find_or_start(tmp_path, lambda: config)
    try:
        assert standby.running.pid == first.pid
        first.kill()
        first.wait(10)
        until(lambda: (found := discover(tmp_path)) and found.pid == os.getpid())
        assert_each_once(caller, caller.batch(batch["id"]), ["a", "b"])
        assert not standby.is_running()
    finally:
        standby.stop()
    assert discover(tmp_path) is None


def test_of_several_processes_that_want_a_server_one_starts_it(tmp_path):
    config = LocalConfig(tmp_path, executor="simulate")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: find_or_start(tmp_path, lambda: config), range(4)))
    try:
        assert len({server.running.base_url for server in found}) == 1
        assert [type(server) for server in found].count(LocalServer) == 1
    finally:
        for server in sorted(found, key=lambda server: isinstance(server, LocalServer)):
            server.stop()


def test_an_upload_and_a_batch_survive_a_kill(spawn):
    first, caller = spawn()
    file = caller.post_file(jsonl([line("a")])).json()
    batch = caller.post_batch(file["id"]).json()
    first.kill()
    first.wait(10)
    _, caller = spawn()
    assert caller.http.get(f"/files/{file['id']}").json() == file
    assert_each_once(caller, caller.wait(batch["id"]), ["a"])
