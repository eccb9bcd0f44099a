"""Clients that nobody here wrote, each whole and unmodified against the local server.

They are installed only where `DOUBLEWORD_BATCH_HOST_TOOLS` names a folder for them (CI does).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from doubleword_batch.local import LocalConfig, LocalServer
from hosts.programs import uv
from installed import installed, run_installer

CLIENTS = Path(__file__).parent / "clients"
VARIABLE = "DOUBLEWORD_BATCH_HOST_TOOLS"
NODE, JAVA, CURATOR = "openai@7.57.0", "openai-java@4.0.0", "bespokelabs-curator==0.1.31"
SECONDS = 300


@pytest.fixture(params=["doubleword", "openai"])
def server(request, tmp_path):
    config = LocalConfig(home=tmp_path / "server", executor="simulate", dialect=request.param)
    with LocalServer(config) as running:
        yield running


def run(server, home, *command):
    """What the client prints; it has the server's address and nobody's keys."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    ours = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.token, "HOME": str(home)}
    ran = subprocess.run(
        [str(word) for word in command],
        cwd=home,
        env=kept | ours | {"CURATOR_CACHE_DIR": str(home), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3_000:]
    return ran.stdout


def test_openai_node_runs_a_batch_and_shows_reasons(server, tmp_path):
    node = program("node")
    npm = program("npm")

    def install(folder):
        run_installer([npm, "install", "--silent", "--no-audit", "--no-fund", NODE], cwd=folder)

    folder = installed(VARIABLE, NODE, install)
    told = json.loads(run(server, tmp_path, node, CLIENTS / "batch.cjs", folder))
    assert told["status"] == "completed"
    assert told["counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert told["names"] == ["a", "b"]
    assert told["listed"] == [told["id"]]
    assert told["refused"][1] in {
        "400 Invalid file ID format",
        "404 No such File object: file-of-nobody",
    }


@pytest.mark.parametrize("server", ["doubleword"], indirect=True)
def test_openai_java_finds_every_object_valid(server, tmp_path):
    java, maven = program("java"), program("mvn")

    def install(folder):
        jars = f"-DoutputDirectory={folder / 'lib'}"
        repository = f"-Dmaven.repo.local={folder / 'repository'}"
        command = [maven, "-q", "-B", "-f", CLIENTS / "pom.xml", repository]
        run_installer([*command, "dependency:copy-dependencies", jars])

    jars = installed(VARIABLE, JAVA, install) / "lib" / "*"
    told = run(server, tmp_path, java, "-cp", jars, CLIENTS / "Batch.java")
    assert told.split() == ["completed", "2", "processed", "2"]


def test_curator_does_not_wait_for_ever_and_gets_each_row_its_answer(tmp_path):
    if uv() is None:
        pytest.skip("there is no uv to install it with")

    def install(folder):
        run_installer([uv(), "venv", "--quiet", "--python", sys.executable, folder / "env"])
        run_installer([uv(), "pip", "install", "--quiet", "--python", folder / "env", CURATOR])

    python = installed(VARIABLE, CURATOR, install) / "env" / "bin" / "python"
    with LocalServer(LocalConfig(home=tmp_path / "server", executor="simulate")) as server:
        told = run(server, tmp_path, python, CLIENTS / "curate.py", server.base_url)
    rows = json.loads(told.partition("rows: ")[2].splitlines()[0])
    assert [row["n"] for row in rows] == [1, 2, 3, 4, 5]
    assert len({row["answer"] for row in rows}) == 5


def program(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}")
    return found
