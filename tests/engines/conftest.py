"""Batch servers that others wrote, installed from PyPI and run on this machine.

They are installed only where `DOUBLEWORD_BATCH_ENGINES` names a folder for them (CI does).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from cli.commands import Shell, serving
from engines.live_model import LiveModel
from hosts.programs import uv
from installed import find_python, installed, run_installer

START_SECONDS = 90
VARIABLE = "DOUBLEWORD_BATCH_ENGINES"


@dataclass
class Engine:
    """A running batch server: where it answers, and the name of a model that it has, if any."""

    base_url: str
    model: str = ""

    def batches(self, job):
        """Its batches that were made for a job of ours."""
        reply = httpx.get(f"{self.base_url}/batches", params={"limit": 100}, timeout=30)
        found = reply.raise_for_status().json()["data"]
        return [batch for batch in found if (batch.get("metadata") or {}).get("dwb_job") == job]


@pytest.fixture(scope="module")
def aibrix(tmp_path_factory):
    """AIBrix's metadata server, whose dry run answers each request with its own body."""
    program = _installed("aibrix==0.8.0", sys.executable) / "aibrix_metadata"
    port = _free_port()
    command = [program, "--host", "127.0.0.1", "--port", str(port), "--dry-run"]
    with _running(command, tmp_path_factory.mktemp("aibrix"), port) as base_url:
        yield Engine(base_url)


@pytest.fixture(scope="module")
def live_model():
    with serving(LiveModel()) as model:
        yield model


@pytest.fixture(scope="module")
def ogx(tmp_path_factory, live_model):
    """OGX with its own batches and files, over a model that answers live calls."""
    program = _installed("ogx==1.5.0", find_python("3.12")) / "ogx"
    folder, port = tmp_path_factory.mktemp("ogx"), _free_port()
    settings = folder / "run.yaml"
    settings.write_text(_ogx_settings(folder, live_model.base_url))
    command = [program, "run", settings, "--insecure", "--port", str(port)]
    with _running(command, folder, port) as base_url:
        yield Engine(base_url, f"live/{LiveModel.model}")


@pytest.fixture
def shell_for(tmp_path):
    """A folder and a state directory for commands that run against an engine."""

    def make(engine):
        return Shell(
            tmp_path, DOUBLEWORD_BASE_URL=engine.base_url, DOUBLEWORD_API_KEY="sk-of-the-tests"
        )

    return make


def _installed(package, python):
    """The folder of an engine's programs, in an environment of its own."""
    if uv() is None:
        pytest.skip("there is no uv to install an engine with")

    def install(folder):
        run_installer([uv(), "venv", "--quiet", "--python", python, folder / "env"])
        run_installer([uv(), "pip", "install", "--quiet", "--python", folder / "env", package])

    return installed(VARIABLE, package, install) / "env" / "bin"


@contextmanager
def _running(command, folder, port):
    """A server in a process group of its own, once it answers; ended with all that it started."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD_", "OPENAI_"))}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env=ours | {"HOME": str(folder), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    base_url = f"http://127.0.0.1:{port}/v1"
    try:
        _wait_until_it_answers(process, f"{base_url}/batches", folder / "log.txt")
        yield base_url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def _wait_until_it_answers(process, url, log):
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"it does not answer:\n{log.read_text(errors='replace')[-2_000:]}")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _ogx_settings(folder: Path, live_url: str) -> str:
    """What `ogx run` reads; YAML takes JSON."""
    table = {"backend": "sql"}
    return json.dumps(
        {
            "version": 2,
            "distro_name": "tests",
            "apis": ["batches", "files", "inference"],
            "providers": {
                "inference": [
                    {
                        "provider_id": "live",
                        "provider_type": "remote::vllm",
                        "config": {"base_url": live_url, "api_token": "none"},
                    }
                ],
                "files": [
                    {
                        "provider_id": "files",
                        "provider_type": "inline::localfs",
                        "config": {
                            "storage_dir": str(folder / "files"),
                            "metadata_store": table | {"table_name": "files_metadata"},
                        },
                    }
                ],
                "batches": [
                    {
                        "provider_id": "batches",
                        "provider_type": "inline::reference",
                        "config": {"sqlstore": table | {"table_name": "batches"}},
                    }
                ],
            },
            "storage": {
                "backends": {
                    "kv": {"type": "kv_sqlite", "db_path": str(folder / "kv.db")},
                    "sql": {"type": "sql_sqlite", "db_path": str(folder / "sql.db")},
                },
                "stores": {
                    "metadata": {"namespace": "registry", "backend": "kv"},
                    "inference": table | {"table_name": "inference"},
                    "conversations": table | {"table_name": "conversations"},
                    "prompts": table | {"table_name": "prompts"},
                    "connectors": table | {"table_name": "connectors"},
                },
            },
            "server": {"host": "127.0.0.1"},
        }
    )
