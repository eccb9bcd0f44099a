"""The forked starts of `tests/processes.py`: they are what a start of Python is."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import processes
from processes import COMMAND, READ_AT_IMPORT, Popen, run

if sys.platform != "linux":
    pytest.skip("elsewhere every start is cold", allow_module_level=True)

SECONDS = 120
BOTH = pytest.mark.parametrize("cold", [False, True], ids=["forked", "cold"])
READ_BY_IMPORTS = """
import os, sys, threading
read = set()
class Recording(type(os.environ)):
    def __getitem__(self, name):
        read.add(name)
        return super().__getitem__(name)
os.environ.__class__ = Recording
sys.path.insert(0, sys.argv[1])
import fork_server
fork_server._import_everything()
print(*read, f"THREADS={threading.active_count()}", f"FILES={len(os.listdir('/proc/self/fd'))}")
"""


@pytest.fixture
def environment(tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD_", "OPENAI_"))}
    ours = {"DOUBLEWORD_BATCH_HOME": "state", "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate"}
    (tmp_path / "rows.csv").write_text("text\nGröße\n", encoding="utf-8")
    return kept | ours


def test_a_job_prints_the_same_bytes_forked_and_cold(environment, tmp_path):
    def journey(cold):
        environment["DOUBLEWORD_BATCH_HOME"] = str(tmp_path / f"state-{cold}")
        results = []
        for words in (
            ["create-file", "rows.csv", "-p", "Größe {{ text }}", "-m", "simulated-chat"],
            ["list", "--json"],
            ["status", "no-such-job"],
        ):
            process = Popen(
                [*COMMAND, *words],
                cold=cold,
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert ("_told" in vars(process)) is not cold
            text = b"".join(process.communicate(timeout=SECONDS))
            text = text.replace(str(cold).encode(), b"")
            results.append(
                (process.returncode, re.sub(rb"rows-[a-z0-9]+|\d+[-:T]\d\S+", b"", text))
            )
        return results

    assert journey(cold=False) == journey(cold=True)


@BOTH
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_signal_ends_it_and_its_descriptors_are_its_own(environment, tmp_path, cold, number):
    with Popen(
        [*COMMAND, "local", "--json"],
        cold=cold,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as server:
        try:
            assert server.stdout.readline().startswith(b"{")
            assert server.poll() is None
            assert os.getpgid(server.pid) == server.pid
            assert Path(f"/proc/{server.pid}/cwd").resolve() == tmp_path
            links = []
            for each in Path(f"/proc/{server.pid}/fd").iterdir():
                with suppress(FileNotFoundError):  # it was closed meanwhile
                    links.append(each.readlink())
            assert sum(str(link).startswith("pipe:") for link in links) == 2
            server.send_signal(number)
            server.wait(SECONDS)
            assert server.stderr.read() == b""
        finally:
            server.kill()
    assert server.returncode in {-signal.SIGKILL, 0, 130}
    assert (server.returncode == -signal.SIGKILL) is (number == signal.SIGKILL)


@BOTH
def test_a_reader_that_has_gone_and_a_wait_that_passes_its_limit(environment, tmp_path, cold):
    with Popen(COMMAND, cold=cold, cwd=tmp_path, env=environment, stdin=subprocess.PIPE) as server:
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(0.01)
        server.stdin.close()
        assert server.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("variables", "module", "is_forked"),
    [
        ({}, "", True),
        ({"DOUBLEWORD_API_KEY": "k", "COLUMNS": "40"}, "", True),
        ({"LC_ALL": "C"}, "", False),
        ({"PYTHONUTF8": "0"}, "", False),
        ({}, "json.py", False),
    ],
)
def test_a_start_that_a_fork_would_not_repeat_is_cold(tmp_path, variables, module, is_forked):
    if module:
        (tmp_path / module).touch()
    options = {"env": {**os.environ, **variables}, "cwd": tmp_path}
    assert processes._can_be_forked([*COMMAND, "list"], options) is is_forked
    assert not processes._can_be_forked([sys.executable, "-I", *COMMAND[1:]], options)


def test_imports_read_no_other_variable_start_no_thread_and_open_no_file():
    code = [sys.executable, "-c", READ_BY_IMPORTS, Path(processes.__file__).parent]
    seen = run(code, capture_output=True, text=True, timeout=SECONDS, check=True).stdout.split()
    *names, files, threads = sorted(seen, key=lambda word: word.startswith(("FILES=", "THREADS=")))
    assert {files, threads} == {"THREADS=1", "FILES=4"}  # its streams, and the folder itself
    others = {name for name in names if not name.startswith(READ_AT_IMPORT)}
    assert others <= {"HOME"}  # for the folder of a user's packages, which sysconfig works out
