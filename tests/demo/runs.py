"""Runs of the demo as a person starts them: the command, in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

KEEP = ("PATH", "HOME", "LANG", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "VIRTUAL_ENV")


@dataclass
class Run:
    code: int
    stdout: str
    stderr: str
    folder: Path

    @property
    def result(self):
        return json.loads(self.stdout)


@dataclass
class Demo:
    """A place to run the demo in."""

    where: Path
    home: Path

    @property
    def folder(self):
        return self.where / "doubleword-batch-demo"

    def environment(self, **variables):
        kept = {name: os.environ[name] for name in KEEP if name in os.environ}
        return kept | {"DOUBLEWORD_BATCH_HOME": str(self.home)} | variables

    def start(self, *options, **variables):
        return subprocess.Popen(
            [sys.executable, "-m", "doubleword_batch", "demo", *options],
            cwd=self.where,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, *options, timeout=60, **variables):
        variables = {"DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate"} | variables
        with self.start(*options, **variables) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            finally:
                process.kill()
        return Run(process.returncode, stdout, stderr, self.folder)


def demo_in(folder):
    """A demo with a working directory and a state directory under `folder`."""
    where = folder / "where"
    where.mkdir()
    return Demo(where, folder / "home")
