"""The command `webhook` over real HTTP: whom it believes, what it bears, and what it tells once."""

import base64
import hashlib
import hmac
import json
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import processes
from as_doubleword import as_doubleword
from doubleword_batch import Jobs, Settings
from doubleword_batch.local import LocalConfig, LocalServer
from doubleword_batch.paths import Roots
from processes import COMMAND

KEY = b"twenty-four-bytes-of-key"
WAIT_SECONDS = 60


def headers_for(body, *, key=KEY, late=0, identity="msg_1"):
    stamp = int(time.time()) - late
    digest = hmac.new(key, f"{identity}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(stamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with LocalServer(LocalConfig(home=tmp_path_factory.mktemp("server"))) as running:
        yield running


@pytest.fixture(scope="module")
def environment(tmp_path_factory, server):
    work = tmp_path_factory.mktemp("work")
    return {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path_factory.mktemp("home")),
        **as_doubleword(server),
        "DOUBLEWORD_BATCH_ROOTS": str(work),
        "DOUBLEWORD_BATCH_WEBHOOK_SECRET": "whsec_" + base64.b64encode(KEY).decode(),
        "DOUBLEWORD_BATCH_ON_DONE": f"echo told >> {work / 'told'}",
    }


@pytest.fixture(scope="module")
def address(environment, clean_environment):
    """Where the running command takes calls."""
    process = processes.Popen(
        [*COMMAND, "webhook", "--port", "0"],
        env=clean_environment | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait(timeout=WAIT_SECONDS)
        process.stdout.close()


@pytest.fixture(scope="module")
def clean_environment():
    import os

    return {n: v for n, v in os.environ.items() if not n.startswith("DOUBLEWORD")}


def post(address, body, headers=None, path="", **more):
    return httpx.post(
        address + path,
        content=body,
        headers=headers_for(body, **more) if headers is None else headers,
        timeout=WAIT_SECONDS,
    ).status_code


def ended(batch_id="nobodys"):
    event = {"type": "batch.completed", "data": {"batch_id": f"batch_{batch_id}"}}
    return json.dumps(event).encode()


def test_a_call_of_another_secret_of_another_time_or_unsigned_is_refused(address):
    body = ended()
    assert post(address, body) == 204
    assert post(address, body, key=b"another-secret-of-24-byte") == 401
    assert post(address, body, late=3_600) == 401
    assert post(address, body, late=-3_600) == 401
    assert post(address, body, headers={}) == 401
    assert post(address, body, headers=headers_for(ended("other"))) == 401


def test_paths_of_a_tunnel_are_taken_and_other_methods_are_not(address):
    assert post(address, ended(), path="hooks/batch?x=1") == 204
    assert httpx.get(address, timeout=WAIT_SECONDS).status_code == 405


def test_a_large_body_is_refused(address):
    assert post(address, b"x" * 200_000) == 413


def test_a_slow_call_holds_up_no_other(address):
    host, port = address.removeprefix("http://").strip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda _: post(address, ended()), range(4))) == [204] * 4


async def test_the_end_is_told_once_however_often_it_is_announced(environment, address, tmp_path):
    settings = Settings.from_environment(environment)
    (settings.roots[0] / "rows.csv").write_text("text\na\nb\n", encoding="utf-8", newline="\n")
    roots = Roots(settings.roots, state_directory=settings.home, is_for_agent=True)
    async with Jobs(settings, roots=roots) as jobs:
        job = await jobs.create(
            settings.roots[0] / "rows.csv", prompt="{{ text }}", model="simulate"
        )
        (batch_id,) = (await job.submit()).batch_ids
    told = settings.roots[0] / "told"
    deadline = time.monotonic() + WAIT_SECONDS
    with ThreadPoolExecutor(2) as pool:
        while not (told.exists() and told.read_text(encoding="utf-8")):
            assert time.monotonic() < deadline
            calls = pool.map(lambda _: post(address, ended(batch_id)), range(2))  # the same twice
            assert set(calls) == {204}
    assert post(address, ended(batch_id), identity="msg_2") == 204
    assert told.read_text(encoding="utf-8").split() == ["told"]  # cmd writes the space, too
