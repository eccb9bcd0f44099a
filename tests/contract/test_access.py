"""Who may speak to the local server, and how it is found."""

import http.client
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading

import httpx
import pytest

from contract.stand_in import Caller, Echo, assert_plain, line
from doubleword_batch.api import BatchClient
from doubleword_batch.errors import ConfigError, StoreError, TransportError
from doubleword_batch.liveness import LivenessLock
from doubleword_batch.local import LocalConfig, LocalServer, bearer_token, discover
from doubleword_batch.local.discovery import CHALLENGE_HEADER, is_serving, proof_of

UNKNOWN = "00000000-0000-4000-8000-000000000000"
ROUTES = ["/health", "/v1/files", "/v1/batches", "/v1/nowhere"]


def ask(caller, path, **headers):
    port = caller.http.base_url.port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        host = headers.pop("Host", f"127.0.0.1:{port}")
        connection.putrequest("GET", path, skip_host=True)
        for name, value in {"Host": host, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def test_every_route_wants_the_token(caller):
    for path in ROUTES:
        for given in (None, "Bearer wrong", "Bearer ", f"Basic {caller.server.token}", "é"):
            headers = {"Authorization": given} if given else {}
            status, answered, body = ask(caller, path, **headers)
            assert (status, body) == (401, "Authentication required"), (path, given)
            assert answered["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/v1/responses/resp_x"])
@pytest.mark.parametrize(
    ("given", "code"), [({}, "missing_authorization"), ({"Authorization": "no"}, "invalid_api_key")]
)
def test_models_and_single_requests_refuse_in_openai_s_shape(caller, path, given, code):
    status, _, body = ask(caller, path, **given)
    assert status == 401
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == code


@pytest.mark.parametrize(("host", "status"), [({}, 401), ({"Host": "evil.example"}, 403)])
def test_a_guarded_route_refuses_in_json_who_asks_for_json(caller, host, status):
    answered, _, body = ask(caller, "/v1/files", Accept="application/json", **host)
    assert answered == status
    assert json.loads(body)["error"]["message"]


def test_a_foreign_host_name_is_refused_even_with_the_token(caller):
    token = {"Authorization": f"Bearer {caller.server.token}"}
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "a@localhost", ""):
        assert ask(caller, "/v1/files", Host=host, **token)[0] == 403, host
    for host in ("127.0.0.1", "localhost", "localhost:1234", "LOCALHOST"):
        assert ask(caller, "/v1/files", Host=host, **token)[0] == 200, host


def test_no_answer_carries_a_cors_header(caller):
    token = {"Authorization": f"Bearer {caller.server.token}", "Origin": "https://evil.example"}
    for path in ("/v1/files", "/health"):
        headers = ask(caller, path, **token)[1]
        assert not [name for name in headers if name.lower().startswith("access-control")]
    preflight = caller.http.options("/files", headers={"Origin": "https://evil.example"})
    assert preflight.status_code == 405


def test_only_the_loopback_interface_listens(caller):
    # All of 127/8 leads here; a socket on 0.0.0.0 would answer on 127.0.0.2 too.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", caller.http.base_url.port), timeout=2)


def test_what_it_writes_is_private(caller, tmp_path):
    caller.create(line("a"))
    assert stat.S_IMODE((tmp_path / "local").stat().st_mode) == 0o700
    files = [path for path in (tmp_path / "local").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"token", "server.sqlite3", "server.sqlite3-wal"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_the_token_stays_the_same_and_is_in_no_repr(tmp_path):
    assert bearer_token(tmp_path) == bearer_token(tmp_path)
    assert len(bearer_token(tmp_path)) >= 32
    with LocalServer(LocalConfig(tmp_path, upstream_key="k-1"), executor=Echo()) as server:
        assert server.token not in repr(server.running)
    assert "k-1" not in repr(LocalConfig(tmp_path, upstream_key="k-1"))


def test_two_creators_agree_on_one_token(tmp_path):
    start, tokens = threading.Barrier(8), []

    def create():
        start.wait(10)
        tokens.append(bearer_token(tmp_path))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(tokens) == 8
    assert len(set(tokens)) == 1


def test_a_server_is_found_until_it_stops(tmp_path):
    assert discover(tmp_path) is None
    with LocalServer(LocalConfig(tmp_path), executor=Echo()) as server:
        found = discover(tmp_path)
        assert found == server.running
        assert (found.pid, found.executor, found.note) == (os.getpid(), "simulate", Echo.note)
        caller = Caller(found.base_url, found.token)
        assert caller.http.get("/files").status_code == 200
        caller.http.close()
        assert server.token not in (tmp_path / "local" / "server.json").read_text("utf-8")
    assert discover(tmp_path) is None
    assert not (tmp_path / "local" / "server.json").exists()


FOREGROUND = """
import sys
from pathlib import Path
from doubleword_batch.local import LocalConfig, serve
serve(LocalConfig(Path(sys.argv[1])), lambda found: print(found.pid, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_in_the_foreground_is_found_and_ends_cleanly_on_a_signal(tmp_path, number):
    with subprocess.Popen(
        [sys.executable, "-c", FOREGROUND, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        try:
            pid = process.stdout.readline().strip()
            found = discover(tmp_path)
            process.send_signal(number)
            written, log = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, written, log) == (0, "", "")
    assert str(found.pid) == pid == str(process.pid)
    assert discover(tmp_path) is None


LEFT_RUNNING = """
import sys, threading
from pathlib import Path
from doubleword_batch.local import LocalConfig, LocalServer
LocalServer(LocalConfig(Path(sys.argv[1]))).start()
threading.Thread(target=threading.Event().wait, args=(1.5,)).start()  # it looks for work meanwhile
"""


def test_a_program_that_leaves_its_server_running_ends_without_a_word(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", LEFT_RUNNING, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_second_server_on_one_state_directory_is_refused(caller, tmp_path):
    with pytest.raises(StoreError) as caught:
        LocalServer(LocalConfig(tmp_path), executor=Echo()).start()
    assert caught.value.code == "store_locked"
    assert discover(tmp_path) == caller.server.running


def test_the_notice_of_a_dead_server_is_ignored_and_its_port_gets_no_token(tmp_path):
    with LocalServer(LocalConfig(tmp_path), executor=Echo()):
        notice = (tmp_path / "local" / "server.json").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as thief:
        thief.settimeout(0.2)
        port = thief.getsockname()[1]
        stolen = json.loads(notice) | {"base_url": f"http://127.0.0.1:{port}/v1"}
        (tmp_path / "local" / "server.json").write_text(json.dumps(stolen), "utf-8")
        assert discover(tmp_path) is None
        with pytest.raises(TimeoutError):
            thief.accept()


class Stranger:
    """Takes the port of a server that has ended, and keeps what it is sent."""

    def __init__(self, port, answer=b"{}"):
        self.received = b""
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.received += connection.recv(65_536)
                connection.sendall(self._answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()


@pytest.fixture
def dead(tmp_path):
    """A server that has ended, whose notice and held lock are still there: the worst case."""
    with LocalServer(LocalConfig(tmp_path), executor=Echo()) as server:
        running = server.running
        notice = (tmp_path / "local" / "server.json").read_bytes()
    (tmp_path / "local" / "server.json").write_bytes(notice)
    lock = LivenessLock.acquire(tmp_path / "local" / "advertised.lock")
    yield running
    lock.release()


def port_of(running):
    return int(running.base_url.rpartition(":")[2].removesuffix("/v1"))


@pytest.mark.parametrize("answer", [b"{}", b"[]", b"\xff", b'{"proof": "%s"}' % (b"0" * 64)])
def test_a_stranger_at_the_server_s_port_has_to_prove_itself_first(dead, tmp_path, answer):
    with Stranger(port_of(dead), answer) as stranger:
        assert discover(tmp_path) is None
    assert b"/health" in stranger.received
    assert bearer_token(tmp_path).encode() not in stranger.received


def test_a_proof_holds_for_its_own_port_only(tmp_path, start):
    """A stranger that passes the challenge on to the living server proves nothing."""
    caller = start(Echo())
    own = int(caller.http.base_url.port)
    asked = httpx.get(
        f"http://127.0.0.1:{own}/health", headers={CHALLENGE_HEADER: "abc"}, trust_env=False
    )
    token = bearer_token(tmp_path)
    proof = asked.json()["proof"]
    assert proof == proof_of(token, "abc", own, os.getpid())
    assert proof != proof_of(token, "abc", own + 1, os.getpid())
    assert token not in asked.text


async def test_a_workspace_sends_no_token_once_its_server_has_ended(tmp_path, monkeypatch):
    monkeypatch.setenv("DOUBLEWORD_BATCH_HOME", str(tmp_path))
    monkeypatch.setenv("DOUBLEWORD_BATCH_LOCAL_EXECUTOR", "simulate")
    for name in ("DOUBLEWORD_API_KEY", "OPENAI_API_KEY", "DOUBLEWORD_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with LocalServer(LocalConfig(tmp_path), executor=Echo()) as server:
        port = port_of(server.running)
        client = BatchClient(
            base_url=server.base_url,
            api_key=server.token,
            max_retry_seconds=0,
            is_there=lambda: is_serving(tmp_path, server.base_url),
        )
        assert await client.models.list()
    async with client:
        with Stranger(port, b'{"object": "list", "data": []}') as stranger:
            with pytest.raises(TransportError):
                await client.models.list()
            assert stranger.received == b""


def test_the_notice_is_gone_before_the_port_is(tmp_path):
    server = LocalServer(LocalConfig(tmp_path), executor=Echo())
    server.start()
    server._end_serving()
    assert discover(tmp_path) is None
    assert not is_serving(tmp_path, server.base_url)
    server.stop()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b"[" * 100_000])
def test_a_damaged_notice_of_a_living_server_is_ignored(tmp_path, content):
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "server.json").write_bytes(content)
    lock = LivenessLock.acquire(tmp_path / "local" / "advertised.lock")
    assert discover(tmp_path) is None
    lock.release()


def test_a_taken_port_is_a_config_error(caller, tmp_path):
    config = LocalConfig(tmp_path, port=caller.http.base_url.port)
    with pytest.raises(ConfigError) as caught:
        LocalServer(config, executor=Echo()).start()
    assert caught.value.code == "port_in_use"


def test_a_newer_database_is_refused_and_left_alone(tmp_path):
    with LocalServer(LocalConfig(tmp_path), executor=Echo()):
        pass
    database = sqlite3.connect(tmp_path / "local" / "server.sqlite3")
    database.execute("INSERT INTO migrations (name) VALUES ('9999_future')")
    database.commit()
    database.close()
    with pytest.raises(StoreError) as caught:
        LocalServer(LocalConfig(tmp_path), executor=Echo()).start()
    assert caught.value.code == "store_too_new"


def test_a_damaged_database_is_a_store_error(tmp_path):
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "server.sqlite3").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError) as caught:
        LocalServer(LocalConfig(tmp_path), executor=Echo()).start()
    assert "move it away" in caught.value.hint


def test_health_names_the_executor_and_the_process(caller):
    answer = caller.http.get(str(caller.http.base_url.copy_with(path="/health")))
    assert answer.json() == {
        "status": "ok", "executor": "simulate", "note": Echo.note, "pid": os.getpid(),
    }  # fmt: skip


def test_models_are_listed_in_openai_s_shape(caller):
    models = caller.http.get("/models").json()
    assert [model["id"] for model in models["data"]] == ["chat-1", "embed-1"]
    assert {model["object"] for model in models["data"]} == {"model"}
    assert caller.http.get("/models/chat-1").json()["id"] == "chat-1"
    unknown = caller.http.get("/models/no/such")
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("method", "path", "status", "part"),
    [
        ("GET", "/nothing", 404, "There are /v1/files, /v1/batches"),
        ("POST", "/completions", 404, "upload a file of requests"),
        ("GET", "/chat/completions", 405, "use POST"),
        ("GET", f"/batches/{UNKNOWN}/cancel", 405, "use POST"),
        ("PUT", f"/files/{UNKNOWN}", 405, "upload another one"),
        ("PUT", "/files", 405, "use GET, HEAD, POST."),
        ("PATCH", f"/batches/{UNKNOWN}", 405, "use DELETE, GET, HEAD."),
        ("GET", f"/batches/{UNKNOWN}/output", 404, "GET /v1/batches/{id}/results"),
        ("POST", "/responses/resp_x/cancel", 404, "DELETE /v1/responses/{id}"),
    ],
)
def test_what_there_is_not_names_what_there_is(caller, method, path, status, part):
    answer = caller.http.request(method, path)
    assert_plain(answer, status, part)
    as_json = caller.http.request(method, path, headers={"Accept": "application/json"})
    assert as_json.status_code == status
    assert as_json.json()["error"]["message"] == answer.text


def test_a_path_outside_v1_names_the_base_url(caller):
    address = caller.server.base_url.removesuffix("/v1")
    assert_plain(caller.http.get(f"{address}/files"), 404, "The base URL ends in /v1")


def test_who_asks_for_json_gets_the_same_reason_in_it(caller):
    plain = caller.post_file(b"{}")
    asked = {"Accept": "application/json"}
    error = caller.http.post("/files", files={"file": b"{}"}, headers=asked).json()["error"]
    assert error["message"] == plain.text
    assert error["type"] == "invalid_request_error"


def test_stopping_twice_or_before_the_start_is_not_an_error(tmp_path):
    server = LocalServer(LocalConfig(tmp_path), executor=(executor := Echo()))
    server.stop()
    server.start()
    server.stop()
    server.stop()
    assert executor.closed
    assert not server.is_running()
