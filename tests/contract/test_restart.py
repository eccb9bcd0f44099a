"""Kills and neighbours: every request is run by one server at a time and stored once."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from contract.stand_in import Caller, Echo, jsonl, line, until
from doubleword_batch.liveness import LivenessLock
from doubleword_batch.local import bearer_token

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


def owners(tmp_path):
    """How many servers hold requests now."""
    with closing(sqlite3.connect(tmp_path / "local" / "server.sqlite3", timeout=10)) as database:
        query = "SELECT count(DISTINCT owner) FROM requests WHERE owner IS NOT NULL"
        return database.execute(query).fetchone()[0]


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


def test_a_killed_server_s_requests_go_to_the_neighbour_that_lives(spawn, tmp_path):
    first, caller = spawn()
    batch = caller.create(line("hold-1"), line("hold-2"))
    caller.wait(batch["id"], "in_progress")
    _, neighbour = spawn()
    first.kill()
    first.wait(10)
    (tmp_path / "gate").touch()
    assert_each_once(neighbour, neighbour.wait(batch["id"]), ["hold-1", "hold-2"])


def test_two_servers_on_one_state_directory_run_each_request_once(spawn, tmp_path):
    names = [f"r-hold-{n}" for n in range(8)] + [f"r{n}" for n in range(400)]
    (one, caller), (two, other) = spawn(concurrency=1), spawn(concurrency=1)
    first, second = (caller.create(*map(line, names)) for _ in range(2))
    # Each server holds some requests before any of them is let go.
    until(lambda: owners(tmp_path) == 2)
    (tmp_path / "gate").touch()

    assert_each_once(other, other.wait(first["id"]), names)
    assert_each_once(caller, caller.wait(second["id"]), names)

    begun = Counter(name for event, name, _ in log(tmp_path) if event == "begin")
    assert begun == Counter(names + names)
    assert {pid for _, _, pid in log(tmp_path)} == {str(one.pid), str(two.pid)}


def test_a_cancel_at_one_server_stops_what_runs_at_the_other(start):
    executors = Echo(), Echo()
    one, two = start(executors[0]), start(executors[1])
    batch = one.create(*(line(f"hold-{n}") for n in range(40)))
    until(lambda: executors[0].running and executors[1].running)

    two.http.post(f"/batches/{batch['id']}/cancel")

    until(lambda: not executors[0].running and not executors[1].running)
    assert one.batch(batch["id"])["status"] == "cancelled"


@pytest.fixture
def hand_over(tmp_path):
    """Make a living neighbour the owner of all that runs; calling the result lets it die."""
    with ExitStack() as stack:

        def change(*statements):
            path = tmp_path / "local" / "server.sqlite3"
            with closing(sqlite3.connect(path, timeout=10)) as database:
                for statement in statements:
                    database.execute(statement)
                database.commit()

        def hand_over(*, drop_lease):
            lock = LivenessLock.acquire(tmp_path / "local" / "owners" / "other")
            stack.callback(lock.release)
            leases = ["DELETE FROM owners"] if drop_lease else []
            change(
                *leases,
                "UPDATE requests SET owner = 'other' WHERE state = 'in_progress'",
                "INSERT INTO owners (id, lease_until) VALUES ('other', 1e12)",
            )
            return lambda: change("UPDATE owners SET lease_until = 0 WHERE id = 'other'")

        yield hand_over


def test_a_server_that_lost_its_lease_stops_what_another_may_run_now(start, hand_over):
    echo = Echo()
    caller = start(echo, lease_seconds=0.3)
    caller.create(line("hold-1"))
    until(lambda: echo.running == 1)
    hand_over(drop_lease=True)
    until(lambda: echo.running == 0)
    assert echo.calls["hold-1"] == 1


def test_a_late_result_of_a_request_that_another_holds_is_not_stored(start, hand_over):
    echo = Echo()
    caller = start(echo)
    batch = caller.create(line("hold-1"))
    until(lambda: echo.running == 1)
    let_die = hand_over(drop_lease=False)

    echo.gate.set()
    caller.wait(caller.create(line("a"))["id"])
    assert caller.batch(batch["id"])["request_counts"]["completed"] == 0

    let_die()
    assert_each_once(caller, caller.wait(batch["id"]), ["hold-1"])
    assert echo.calls["hold-1"] == 2


def test_an_upload_and_a_batch_survive_a_kill(spawn):
    first, caller = spawn()
    file = caller.post_file(jsonl([line("a")])).json()
    batch = caller.post_batch(file["id"]).json()
    first.kill()
    first.wait(10)
    _, caller = spawn()
    assert caller.http.get(f"/files/{file['id']}").json() == file
    assert_each_once(caller, caller.wait(batch["id"]), ["a"])
