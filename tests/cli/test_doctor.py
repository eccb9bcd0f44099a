"""`doctor` says what is set up, whether the provider answers, and what to do about any fault."""

import json
import os
import sqlite3
import stat
import sys
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import processes
from cli.commands import serving
from doubleword_batch.doctor import host_files, state_directory
from processes import COMMAND

KEY = "sk-do-not-show-this"


@pytest.fixture
def doctor(tmp_path):
    """Runs the command for a user who has only what the test provides."""

    work = tmp_path / "work"
    work.mkdir()

    def run(*arguments, cwd=work, **environment):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD_", "OPENAI_"))}
        kept |= dict.fromkeys(("HOME", "USERPROFILE"), str(tmp_path))
        kept["DOUBLEWORD_BATCH_HOME"] = str(tmp_path / "state")
        return processes.run(
            [*COMMAND, "doctor", *arguments],
            capture_output=True,
            env=kept | environment,
            cwd=cwd,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def findings(done):
    return {f["subject"]: f for f in json.loads(done.stdout)["findings"]}


def test_a_setup_that_works_has_nothing_wrong_and_exits_with_0(doctor):
    done = doctor("--json", DOUBLEWORD_BATCH_LOCAL_EXECUTOR="simulate")
    found = findings(done)
    assert done.returncode == 0
    assert {f["state"] for f in found.values()} <= {"ok", "note"}
    assert {name for f in found.values() for name in f} == {"subject", "state", "found", "remedy"}
    assert found["answers"]["found"].startswith("local batch server, executor simulate")
    assert found["store"]["found"] == "sound, 0 jobs"
    command = found["command"]["found"].split(": the absolute path, for hosts")[0]
    assert Path(command.removesuffix(" -m doubleword_batch")).is_file()
    assert Path(command).is_absolute()


def test_without_a_key_or_a_model_it_names_the_ways_out_and_exits_with_4(doctor):
    done = doctor()
    assert done.returncode == 4
    assert "WRONG" in done.stdout
    assert "doubleword-batch local pull" in done.stdout


def test_a_key_is_never_shown_and_an_unreachable_server_is_named(doctor):
    done = doctor(
        DOUBLEWORD_API_KEY=KEY,
        DOUBLEWORD_BASE_URL="http://127.0.0.1:9/v1",
        DOUBLEWORD_BATCH_LOG="debug",
    )
    assert done.returncode == 4
    assert "a key is set" in done.stdout
    assert "could not be reached" in done.stdout
    assert KEY not in done.stdout + done.stderr


@pytest.mark.posix("modes of files")
def test_a_state_directory_that_others_can_read_is_wrong(doctor, tmp_path):
    (tmp_path / "state").mkdir(mode=0o755)
    (tmp_path / "state").chmod(0o755)
    found = findings(doctor("--json", DOUBLEWORD_BATCH_LOCAL_EXECUTOR="simulate"))
    assert found["state"]["state"] == "wrong"
    assert found["state"]["remedy"] == f"chmod 700 {tmp_path / 'state'}"
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o755


PLACES = {
    "a file": "is not a folder",
    "a file/below": "cannot be used",
    "x" * 300: "cannot be used",
    "a pipe": "is not a folder",
    "a link": "is a link that leads nowhere",
    "a loop": "cannot be used",
}


@pytest.mark.posix("pipes, links, how long a name may be")
@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_can_be_no_state_directory_is_named_and_called_no_bug(doctor, tmp_path, place):
    (tmp_path / "a file").touch()
    os.mkfifo(tmp_path / "a pipe")
    (tmp_path / "a link").symlink_to(tmp_path / "gone")
    (tmp_path / "a loop").symlink_to(tmp_path / "a loop")
    home = tmp_path / place
    done = doctor("--json", DOUBLEWORD_BATCH_HOME=str(home))
    assert done.returncode == 4, done.stderr
    found = findings(done)
    for subject in ("state", "answers"):
        assert found[subject]["found"].startswith(f"The state directory {home} {PLACES[place]}")
        assert found[subject]["remedy"].startswith("Set DOUBLEWORD_BATCH_HOME to a folder")


def test_a_store_that_opens_and_is_damaged_is_wrong_with_what_to_do(doctor, tmp_path):
    environment = {"DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate"}
    assert findings(doctor("--json", **environment))["store"]["state"] == "ok"
    store = tmp_path / "state" / "store.sqlite3"
    with closing(sqlite3.connect(store)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((size,),) = db.execute("PRAGMA page_size")
        ((page,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'history_by_row'")
    with store.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))
    done = doctor("--json", **environment)
    found = findings(done)["store"]
    assert (done.returncode, found["state"]) == (4, "wrong")
    assert str(store) in found["remedy"]
    assert "batches stay at the provider" in found["remedy"]


@pytest.mark.posix("links")
def test_a_folder_of_other_things_is_left_as_it_is_and_another_one_is_asked_for(doctor, tmp_path):
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    (other / "sbin").symlink_to(tmp_path)
    found = findings(doctor("--json", DOUBLEWORD_BATCH_HOME=str(other)))["state"]
    assert found["found"].startswith(f"{other / 'sbin'} in the state directory is a link")
    assert found["remedy"].startswith("Set DOUBLEWORD_BATCH_HOME to a folder of your own")


def test_hosts_that_have_the_server_are_named(doctor, tmp_path):
    (tmp_path / ".cursor").mkdir()
    entry = {"mcpServers": {"doubleword-batch": {"command": "doubleword-batch"}}}
    (tmp_path / ".cursor/mcp.json").write_text(json.dumps(entry), encoding="utf-8")
    (tmp_path / ".claude.json").write_text("{}", encoding="utf-8")
    found = findings(doctor("--json", DOUBLEWORD_BATCH_LOCAL_EXECUTOR="simulate"))
    assert found["hosts"]["found"] == "set up in Cursor"


def test_a_host_that_would_hand_over_the_whole_home_folder_is_asked_for_folders(doctor, tmp_path):
    done = doctor("--json", cwd=tmp_path, DOUBLEWORD_BATCH_LOCAL_EXECUTOR="simulate")
    found = findings(done)["roots"]
    assert (done.returncode, found["state"]) == (4, "wrong")
    assert "the home folder" in found["found"]
    assert "DOUBLEWORD_BATCH_ROOTS" in found["remedy"]


class ModelsAlone(BaseHTTPRequestHandler):
    """A server of models that runs no batches."""

    def do_GET(self):
        is_known = self.path.startswith("/v1/models")
        body = json.dumps({"object": "list", "data": [{"id": "m"}]} if is_known else {}).encode()
        self.send_response(200 if is_known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing on stderr."""


def test_a_server_that_lists_models_and_runs_no_batches_is_told_from_one_that_does(doctor):
    server = ThreadingHTTPServer(("127.0.0.1", 0), ModelsAlone)
    with serving(server):
        url = f"http://127.0.0.1:{server.server_port}/v1"
        done = doctor("--json", DOUBLEWORD_API_KEY=KEY, DOUBLEWORD_BASE_URL=url)
    found = findings(done)
    assert done.returncode == 4
    assert (found["answers"]["state"], found["batches"]["state"]) == ("ok", "wrong")
    assert "404" in found["batches"]["found"]


class Dashboard(BaseHTTPRequestHandler):
    """A self-hosted control layer: web pages everywhere but under `/ai/v1`."""

    def do_GET(self):
        api = self.path.startswith("/ai/v1/")
        self.server.keys.append((self.path, self.headers["Authorization"]))
        body = b"Authentication required" if api else b"<html>Dashboard</html>"
        self.send_response(401 if api else 200)
        self.send_header("Content-Type", "text/plain" if api else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing on stderr."""


def test_the_address_of_a_dashboard_is_told_from_that_of_its_api(doctor):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dashboard)
    server.keys = []
    with serving(server):
        url = f"http://127.0.0.1:{server.server_port}"
        done = doctor("--json", DOUBLEWORD_API_KEY=KEY, DOUBLEWORD_BASE_URL=f"{url}/v1")
    found = findings(done)["answers"]
    assert found["state"] == "wrong"
    assert f"{url}/ai/v1" in found["remedy"]
    assert [key for path, key in server.keys if path.startswith("/ai/v1")] == [None]


def test_the_settings_of_claude_desktop_from_the_store_are_found_where_the_store_has_them(tmp_path):
    of_store = "AppData/Local/Packages/Claude_pzs8sxrjxfjjc/LocalCache/Roaming"
    places = [tmp_path / of_store, tmp_path / "AppData/Roaming"]
    (tmp_path / of_store).mkdir(parents=True)
    found = host_files(tmp_path, "win32")["Claude Desktop"]
    assert found == tuple(place / "Claude/claude_desktop_config.json" for place in places)
    assert len(host_files(tmp_path, "darwin")["Claude Desktop"]) == 1


@pytest.mark.parametrize(
    ("place", "state", "words"),
    [("profile/state", "ok", "to you and administrators"), ("d/state", "note", "not checked")],
)
def test_on_windows_it_says_who_may_open_the_state_directory_only_where_it_knows(
    tmp_path, monkeypatch, place, state, words
):
    home = tmp_path / place
    home.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "profile")
    finding = state_directory(home)
    assert (finding.state, words in finding.found) == (state, True)
