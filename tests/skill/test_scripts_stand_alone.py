"""The scripts need Python 3.9 and its standard library, and leave the skill's folder as it was."""

import ast
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from doubleword_batch.cli.exit_codes import Exit
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.providers import profile
from skill.places import SCRIPTS, SKILL
from skill.results import FAST

SOURCES = sorted(SCRIPTS.rglob("*.py"))
COMMANDS = sorted(path.name for path in SCRIPTS.glob("*.py"))

STANDARD = {
    "argparse", "base64", "binascii", "collections", "contextlib", "csv", "dataclasses", "decimal",
    "codecs", "ctypes", "difflib", "enum", "errno", "fcntl", "hashlib", "http", "io", "ipaddress",
    "itertools", "json", "math", "msvcrt",
    "os", "pathlib", "random", "re", "secrets", "socket", "ssl", "stat", "struct", "sys", "time",
    "types",
    "typing", "unicodedata", "urllib", "zlib",
    "selectors", "tempfile",
    "functools",
}  # fmt: skip


def oldest_python():
    """A Python 3.9, or else 3.10, that works on this machine, if there is one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = {minor: shutil.which(f"python3.{minor}") for minor in (9, 10)}
    for python in [
        named[9], *sorted(pyenv.glob("3.9.*/bin/python")), named[10], "/usr/bin/python3",
    ]:  # fmt: skip
        if python is None or (sys.platform == "win32" and Path(python).suffix.lower() != ".exe"):
            continue  # Wine starts programs of Linux, too, and does not say how they end
        show = "import sys; print(sys.platform, sys.version_info[1])"
        with suppress(OSError):  # not there, or of another system
            asked = subprocess.run(
                [python, "-c", show], capture_output=True, text=True, check=False
            )
            if asked.stdout.split() in ([sys.platform, "9"], [sys.platform, "10"]):
                return python
    return None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_is_python_3_9_over_the_standard_library(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))

    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported <= STANDARD | {"__future__", "batchkit"}


def test_a_python_3_9_runs_the_whole_job_and_writes_the_same_files(
    work, command, environment, served, requests_of
):
    python = oldest_python()
    if python is None:
        pytest.skip("there is no Python 3.9 or 3.10 on this machine")
    same = requests_of(12, "same.jsonl").read_bytes()
    options = ("--prompt", "Say {{ text }}", "--model", "simulated-chat", "-o", "requests.jsonl")
    results = ("requests.results.jsonl", "requests.errors.jsonl")
    fault = RequestFault(fault="error", status=400, match=Match(custom_id="r3"))
    codes = []

    with served(requests=[fault]) as server:
        for arguments in (
            command("create_batch_file.py", "table.csv", *options),
            command("validate_batch_file.py", "requests.jsonl"),
            command("run_batch.py", "requests.jsonl", "--estimate"),
            command("run_batch.py", "requests.jsonl", *FAST),
            command(
                "summarize_results.py", *results, "--requests", "requests.jsonl",
                "--table", "answers.csv", "--retry", "again.jsonl",
            ),
            command("run_batch.py", "nowhere.jsonl"),
        ):  # fmt: skip
            done = subprocess.run(
                [python, *arguments[1:]], cwd=work, env=environment | server.variables,
                timeout=60, capture_output=True, encoding="utf-8", check=False,
            )  # fmt: skip
            assert "Traceback" not in done.stderr, done.stderr
            codes.append(done.returncode)

    assert codes == [0, 0, 0, 8, 8, 3]
    assert (work / "requests.jsonl").read_bytes() == same
    assert len((work / "answers.csv").read_text().splitlines()) == 13
    assert len((work / "again.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_answers_help_with_its_exit_codes(run, name):
    done = run(name, "--help")

    assert done.code == 0
    assert "exit codes:" in done.out
    assert "Python 3.9 or newer" in done.out


def test_exit_codes_mean_what_those_of_the_command_mean(run):
    shown = run("run_batch.py", "--help").out.partition("exit codes:")[2]
    codes = {int(line.split()[0]) for line in shown.splitlines() if line.strip()}

    assert codes - {code.value for code in Exit} == {9}


def test_running_a_script_leaves_nothing_in_the_skill(run):
    before = sorted(SKILL.rglob("*"))
    for name in COMMANDS:
        run(name, "--help")

    assert sorted(SKILL.rglob("*")) == before
    assert not [path for path in before if path.suffix == ".pyc"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_line_that_cannot_be_read_ends_with_its_code(run, name):
    done = run(name, "--nowhere")

    assert done.code == 2
    assert f"{name}: error: " in done.err.splitlines()[-1]


def test_the_limits_are_those_of_the_packages_profile(run):
    described = profile("doubleword")
    text = (SCRIPTS / "batchkit" / "limits.py").read_text(encoding="utf-8")

    for name in ("max_requests", "max_file_bytes", "max_request_bytes", "max_custom_id_bytes"):
        assert f"{name}: int = {getattr(described, name):_}\n".replace("= 64_", "= 64") in text
    for endpoint in described.endpoints:
        assert f'"{endpoint}"' in text


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_file_is_longer_than_can_be_read_at_once(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400
