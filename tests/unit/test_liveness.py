"""A lock that ends with its process, and that anybody may ask about."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from doubleword_batch.liveness import LivenessLock, is_held

HOLD = """
import sys
from pathlib import Path
from doubleword_batch.liveness import LivenessLock
held = LivenessLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_lock_is_held_while_its_process_lives_and_no_longer(tmp_path, holder):
    assert is_held(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        LivenessLock.acquire(tmp_path / "lock")
    holder.kill()
    holder.wait(10)
    assert not is_held(tmp_path / "lock")
    LivenessLock.acquire(tmp_path / "lock").release()


def test_asking_neither_creates_the_file_nor_takes_the_lock(tmp_path):
    assert not is_held(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()
    held = LivenessLock.acquire(tmp_path / "lock")
    assert is_held(tmp_path / "lock")
    assert is_held(tmp_path / "lock")
    held.release()
    assert not is_held(tmp_path / "lock")


def test_a_folder_in_the_lock_s_place_is_no_lock(tmp_path):
    (tmp_path / "lock").mkdir()
    assert not is_held(tmp_path / "lock")


def test_those_who_ask_at_once_do_not_take_each_other_for_the_holder(tmp_path):
    LivenessLock.acquire(tmp_path / "lock").release()
    start, answers = threading.Barrier(8), []

    def ask():
        start.wait(10)
        answers.extend(is_held(tmp_path / "lock") for _ in range(500))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 4_000
    assert not any(answers)


def test_a_lock_is_taken_while_others_ask_about_it(tmp_path):
    LivenessLock.acquire(tmp_path / "lock").release()
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            is_held(tmp_path / "lock")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(50):
            LivenessLock.acquire(tmp_path / "lock").release()
    finally:
        stop.set()
        thread.join(10)


@pytest.mark.skipif(os.name != "posix", reason="Windows renames no folder with an open file in it")
def test_a_lock_follows_its_folder_to_another_name(tmp_path):
    (tmp_path / "before").mkdir()
    held = LivenessLock.acquire(tmp_path / "before" / "lock")
    (tmp_path / "before").rename(tmp_path / "after")
    assert is_held(tmp_path / "after" / "lock")
    held.release()
    assert not is_held(tmp_path / "after" / "lock")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows forks no processes")
def test_a_lock_ends_with_its_process_though_a_forked_one_lives_on(tmp_path):
    """Such as a worker of a pool: nobody would start another server until it has ended."""
    lock = LivenessLock.acquire(tmp_path / "lock")
    ours, of_the_child = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        of_the_child.sendall(b".")
        of_the_child.recv(1)  # until the parent closes its end
        lock.release()  # as whatever unwinds there does
        os._exit(0)
    of_the_child.close()
    with ours:
        assert ours.recv(1) == b"."
        assert is_held(tmp_path / "lock")
        lock.release()
        assert not is_held(tmp_path / "lock")
    assert os.waitpid(child, 0)[1] == 0
