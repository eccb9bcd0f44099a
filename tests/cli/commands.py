"""Runs the command as a real process, as a shell would."""

import json
import os
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import processes
from processes import COMMAND

SECONDS = 180  # at most: under Wine a start alone takes long on a busy machine
ROWS = "id,text\n1,good\n2,bad\n3,so so\n"


class Shell:
    """A folder to work in, a state directory, and an environment without anybody's keys."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.home = folder / "state"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD", "OPENAI"))},
            "DOUBLEWORD_BATCH_HOME": str(self.home),
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
            "PYTHONWARNINGS": "error",
            **environment,
        }

    def write(self, name, text):
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    def start(self, *arguments, **options):
        return processes.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, *arguments, stdin="", **environment):
        return processes.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )

    def json(self, *arguments, code=0, **environment):
        """Run with --json; returns the object on stdout."""
        ended = self.run(*arguments, "--json", **environment)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    @contextmanager
    def hosted(self, **environment):
        """The same folder where the provider costs money: a local server under its name."""
        with self.local() as server:
            self.environment |= {
                "DOUBLEWORD_BATCH_PROVIDER": "doubleword",
                "DOUBLEWORD_BASE_URL": server["base_url"],
                "DOUBLEWORD_API_KEY": server["token"],
                "DOUBLEWORD_BATCH_HOME": str(self.folder / "elsewhere"),
                **environment,
            }
            yield self

    @contextmanager
    def local(self, *arguments):
        """`doubleword-batch local` in a process of its own; yields what it announced."""
        server = self.start("local", "--json", "--show-token", *arguments)
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.terminate()
            server.communicate(timeout=SECONDS)


@contextmanager
def serving(server):
    """An `http.server` that answers in its own thread while the block runs."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
