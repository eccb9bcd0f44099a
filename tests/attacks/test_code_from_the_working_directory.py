"""Nothing that lies in the folder in which a host or a person starts us is run as code."""

import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = 'import os\nopen(os.environ["MARK"], "w").write(os.environ.get("DOUBLEWORD_API_KEY", ""))\n'
NAMES = ("doubleword-batch", "doubleword_batch", "python", "pip", "uv", "mcp", "httpx", "json")


@pytest.fixture
def hostile(tmp_path):
    """A folder in which each name that we start or import is a package, or a program."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in NAMES:
        (folder / name).mkdir()
        for file in ("__init__.py", "__main__.py"):
            (folder / name / file).write_text(CODE, encoding="utf-8")
    return folder


@pytest.fixture
def hostile_archives(tmp_path):
    """The same names as archives that Python runs."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for name in NAMES:
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("__main__.py", CODE)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def variables(tmp_path):
    with socket.socket() as listener:  # where no index answers
        listener.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{listener.getsockname()[1]}/simple"
    return {
        **os.environ,
        "MARK": str(tmp_path / "PWNED"),
        "DOUBLEWORD_API_KEY": "sk-victims-key",
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        "PIP_INDEX_URL": nowhere,
        "UV_DEFAULT_INDEX": nowhere,
    }


def started_by(manifest):
    """The command line with which a host starts the server of a manifest."""
    content = json.loads((ROOT / manifest).read_text(encoding="utf-8"))
    server = (
        content["server"]["mcp_config"]
        if "server" in content
        else content["mcpServers"]["doubleword-batch"]
    )
    words = [w.replace("${", "\0{") for w in server["args"]]
    return [server["command"], *(str(ROOT) if w.startswith("\0") else w for w in words)]


MANIFESTS = (".claude-plugin/plugin.json", "gemini-extension.json", "manifest.json")


@pytest.mark.parametrize("manifest", MANIFESTS)
@pytest.mark.parametrize("folder", ["hostile", "hostile_archives"])
def test_a_host_in_a_hostile_folder_starts_our_server(manifest, folder, request, variables):
    program, *arguments = started_by(manifest)
    assert program == "uv"
    uv = shutil.which("uv") or shutil.which("uv", path=str(ROOT / ".uv" / "bin"))
    if uv is None:
        pytest.skip("uv is not on this machine")
    arguments.insert(1, "--no-sync")  # the environment that these tests run in
    done = subprocess.run(
        [uv, *arguments], cwd=request.getfixturevalue(folder), env=variables, input=b"",
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not Path(variables["MARK"]).exists()


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_host_starts_what_the_lock_names_and_nothing_of_its_folder(manifest):
    command = started_by(manifest)
    assert {"--frozen", "--no-env-file", "--no-dev"} <= set(command)
    assert command[command.index("python") + 1] == "-I"


@pytest.mark.parametrize("folder", ["hostile", "hostile_archives"])
def test_pulling_the_model_runs_nothing_of_the_working_directory(folder, request, variables):
    where = request.getfixturevalue(folder)
    variables["PATH"] = os.pathsep.join((".", "", variables["PATH"]))
    program = shutil.which("doubleword-batch", path=str(Path(sys.executable).parent))
    done = subprocess.run(
        [program, "local", "pull"], cwd=where, env=variables, capture_output=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert b"was not fetched" in done.stderr
    assert not Path(variables["MARK"]).exists()


@pytest.mark.parametrize(
    "script", sorted(path.name for path in (ROOT / "skill/doubleword-batch/scripts").glob("*.py"))
)
def test_a_script_of_the_skill_can_be_run_apart_from_folder_and_variables(
    script, hostile, variables
):
    """As where PYTHONPATH has an empty entry, which is the folder, for every program in Python."""
    (hostile / "argparse.py").write_text(CODE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", ROOT / "skill/doubleword-batch/scripts" / script, "--help"],
        cwd=hostile, env={**variables, "PYTHONPATH": os.pathsep}, capture_output=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not Path(variables["MARK"]).exists()


def test_a_package_client_gets_no_key_and_no_code_of_the_environment(monkeypatch, tmp_path):
    from doubleword_batch.child_environment import environment_without_keys
    from doubleword_batch.local import model_download

    for name in (
        "DOUBLEWORD_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN", "DB_PASSWORD", "DOUBLEWORD_BATCH_PROXY_KEY", "PYTHONPATH", "GH_PAT",
        "SESSION_COOKIE", "MYSQL_PWD", "SSHPASS", "SENTRY_DSN", "NPM_CONFIG__AUTH", "DATABASE_URL",
        "AZURE_STORAGE_CONNECTION_STRING", "WITHOUT_A_TELLING_NAME",
    ):  # fmt: skip
        monkeypatch.setenv(name, "sk-victims-key")
    monkeypatch.setenv("UV_INDEX_MINE_PASSWORD", "the index's own")
    monkeypatch.setenv("NO_KEYCHAIN", "1")
    monkeypatch.setenv("SWITCH", "1")
    passed = environment_without_keys(model_download._CLIENTS_OWN.match)
    assert "sk-victims-key" not in passed.values()
    assert passed["UV_INDEX_MINE_PASSWORD"] == "the index's own"
    assert passed["PATH"] == os.environ["PATH"]
    assert passed["SWITCH"] == "1"


def test_a_pip_of_this_environment_is_run_without_the_folders_of_others(monkeypatch, tmp_path):
    from doubleword_batch.local import model_download

    monkeypatch.setattr(model_download.importlib.util, "find_spec", lambda _name: True)
    name, command = next(model_download._clients(model_download._CHAT, tmp_path))
    assert name == "pip"
    assert command[:4] == [sys.executable, "-I", "-m", "pip"]


def test_a_program_of_the_working_directory_is_not_taken_for_a_client(
    monkeypatch, hostile_archives
):
    from doubleword_batch.child_environment import program_in_path

    monkeypatch.chdir(hostile_archives)
    for path in (".", "", str(hostile_archives)):
        monkeypatch.setenv("PATH", path)
        assert program_in_path("uv") is None


def test_a_program_of_a_folder_in_the_working_directory_is_not_taken_for_a_client(
    monkeypatch, tmp_path
):
    from doubleword_batch.child_environment import program_in_path

    name = "uv.exe" if os.name == "nt" else "uv"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / name).write_text("#!/bin/sh\n", encoding="utf-8", newline="\n")
    (tmp_path / "bin" / name).chmod(0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert program_in_path("uv")
    monkeypatch.setenv("PATH", "bin")
    assert program_in_path("uv") is None
