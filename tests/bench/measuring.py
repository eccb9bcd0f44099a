"""Runs one piece of work in a process of its own and says what it took."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Taken:
    """What a piece of work took.

    Attributes:
        seconds: wall, without imports where the work says so, else of the whole process.
        cpu_seconds: the same of CPU.
        memory_mb: the whole process's peak.
        idle_mb: what of it was there before the work began; 0 where the work does not say.
        facts: what else the work reported.
    """

    seconds: float
    cpu_seconds: float
    memory_mb: float
    idle_mb: float
    facts: dict


def peer_environment(folder, *packages):
    """The Python of a new environment in that folder with the peers' packages.

    Raises:
        SystemExit: there is no uv to make it; the message says what to do.
    """
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise SystemExit(
            "uv is not on PATH, and the peers are installed with it. Install it (pip install uv), "
            "or start this command with it: uv run python tests/bench/..."
        )
    python = Path(folder) / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    subprocess.run([uv, "pip", "install", "-q", "--python", python, *packages], check=True)
    return python


def run(command, environment=None):
    """Run a command; the last line of its output may be JSON, as a `Stopwatch` gives it."""
    with tempfile.TemporaryFile() as stderr:
        begun = time.perf_counter()
        with subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=stderr, env=environment
        ) as process:
            output = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - begun
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            stderr.seek(0)
            words = stderr.read()[-2_000:].decode(errors="replace")
            shown = " ".join(map(str, command))
            raise SystemExit(f"{shown} ended with {process.returncode}: {words}")
    lines = output.splitlines()
    facts = json.loads(lines[-1]) if lines and lines[-1].startswith(b"{") else {}
    cpu = used.ru_utime + used.ru_stime
    return Taken(
        facts.pop("seconds", wall),
        facts.pop("cpu_seconds", cpu),
        used.ru_maxrss / 1024,
        facts.pop("idle_mb", 0.0),
        facts,
    )


def medians(contenders, runs):
    """Run the contenders in turns, so that a busy moment hits all; the median run of each.

    Args:
        contenders: name -> command.
        runs: how often each.
    """
    taken = {name: [] for name in contenders}
    for _ in range(runs):
        for name, command in contenders.items():
            taken[name].append(run(command))
    return {name: _median(runs) for name, runs in taken.items()}


def _median(runs):
    middle = statistics.median_low(taken.seconds for taken in runs)
    return next(taken for taken in runs if taken.seconds == middle)
