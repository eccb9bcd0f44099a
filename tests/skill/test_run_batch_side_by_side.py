"""Two runs of one file: on every system the second waits for nobody and sends nothing."""

import subprocess
import sys
import threading
import time

from skill.places import SCRIPTS
from skill.results import FAST, batches_at

_HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
from pathlib import Path
from batchkit.journal import locked
with locked(Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def _hold(path):
    return subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(SCRIPTS), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_a_file_that_another_run_holds_is_left_to_it(run, served, requests_of):
    path = requests_of(2)
    with served() as server, _hold(path) as holder:
        assert holder.stdout.readline().strip() == b"held"
        refused = run("run_batch.py", path.name, *FAST, **server.variables)
        readable = path.read_bytes()
        batches = batches_at(server)
        holder.communicate(b"")

    assert refused.code == 7
    assert "Another run of" in refused.err
    assert "Wait for it to end: it does the same work." in refused.err
    assert len(readable.splitlines()) == 2
    assert batches == []


def test_the_lock_goes_when_its_process_is_killed(run, served, requests_of):
    path = requests_of(2)
    with served() as server, _hold(path) as holder:
        assert holder.stdout.readline().strip() == b"held"
        holder.kill()
        holder.wait(30)
        done = run("run_batch.py", path.name, *FAST, **server.variables)

    assert done.code == 0, done.err


def test_two_runs_of_four_files_make_four_batches(run, served, requests_of):
    names = [requests_of(n, f"part-{n}.jsonl").name for n in range(1, 5)]  # none is another's twin
    codes = []
    with served() as server:

        def work():
            codes.append(run("run_batch.py", *names, *FAST, **server.variables).code)

        both = [threading.Thread(target=work) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(100)
        batches = batches_at(server)

    assert sorted(codes) in ([0, 0], [0, 7])  # the second came while the first ran, or after it
    assert len(batches) == 4


def test_a_result_file_that_another_program_holds_for_a_moment_is_replaced(
    run, work, served, requests_of
):
    path = requests_of(2)
    state = work / "requests.jsonl.state.json"
    with served() as server:
        assert run("run_batch.py", path.name, "--no-wait", **server.variables).code == 0
        held = state.open("rb")

        def let_go():
            time.sleep(0.5)  # as long as a scanner looks at it
            held.close()

        threading.Thread(target=let_go).start()
        done = run("run_batch.py", path.name, *FAST, **server.variables)

    assert done.code == 0, done.err
