"""A refusal before the body is read, end to end: each way in says what the server said.

The local server refuses as the real one does: at the head of the request, and closes. A client that
loses that answer takes the upload for one that may have happened, and uploads again, for ever.
"""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx2
import openai
import pytest

from doubleword_batch import errors
from doubleword_batch.batch_openai import BatchOpenAI
from doubleword_batch.batch_openai.batcher import BatchingOptions
from doubleword_batch.batch_openai.proxy import proxy_running
from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.settings import Settings
from early_refusals import cases, of_largest
from faults.harness import MODEL, UPLOAD, built, status
from wire.certificates import self_signed
from wire.scripted_server import answer, serving

KINDS = {
    401: ("Authentication required", errors.AuthError, openai.AuthenticationError),
    403: ("Insufficient permissions", errors.ForbiddenError, openai.PermissionDeniedError),
    413: ("File exceeds the maximum", errors.RejectedError, openai.APIStatusError),
    429: ("No capacity", errors.RateLimitedError, openai.RateLimitError),
}
UPLOADS = pytest.mark.parametrize(("code", "size"), cases(1, 2_000, 50_000))
"""Bytes of each of the 1,000 rows' text."""
CALLS = pytest.mark.parametrize(("code", "size"), cases(300, 2_000_000, 50_000_000))

LARGEST_CALL = 5_000_000
PATIENCE_SECONDS = 180
"""Without it OpenAI's client gives up a connection after 5 s; a busy machine needs more."""

SCRIPT = Path(__file__).parents[2] / "skill/doubleword-batch/scripts/run_batch.py"


def refusal(code, **fields):
    return status(code, UPLOAD, KINDS[code][0], times=None, **fields)


@UPLOADS
async def test_a_job_that_is_refused_says_why_and_is_not_in_doubt(harness, code, size):
    harness.table(1_000, "x" * size)
    with harness.serving(refusal(code)):
        async with harness.workspace(max_retry_seconds=0) as ws:
            name = await built(ws)
            with pytest.raises(KINDS[code][1], match=KINDS[code][0]):
                await create_batch(ws, name)
            with pytest.raises(KINDS[code][1]):  # at once again: nothing has to be looked for
                await create_batch(ws, name)
        assert harness.input_files() == []


async def test_the_local_servers_own_refusals_close_before_the_body_is_read(harness):
    harness.table(1_000, "x" * 20_000)
    with harness.serving(max_file_bytes=1_000_000):
        async with harness.workspace(max_retry_seconds=0) as ws:
            name = await built(ws)
            with pytest.raises(errors.RejectedError, match="1000000 bytes"):
                await create_batch(ws, name)
        bad = {"DOUBLEWORD_API_KEY": "sk-another-key"}
        async with harness.workspace(max_retry_seconds=0, environment=bad) as ws:
            with pytest.raises(errors.AuthError):
                await create_batch(ws, name)
        reply = await anyio.to_thread.run_sync(upload_of_which_three_bytes_come, harness.server)
    assert reply.startswith(b"HTTP/1.1 401 ")


def upload_of_which_three_bytes_come(server):
    """All that the server sends until it closes the connection, whose client sends no more."""
    address = urlsplit(server.base_url)
    head = "POST /v1/files HTTP/1.1\r\nHost: {}\r\nContent-Length: 50000000\r\n\r\nabc"
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(head.format(address.netloc).encode())
        connection.settimeout(10)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("http_client", [False, True], ids=["own", "callers"])
@pytest.mark.parametrize("size", [300, 2_000_000])
@pytest.mark.parametrize("code", KINDS)
async def test_batch_openai_raises_what_the_server_said(harness, tmp_path, code, size, http_client):
    own = {"http_client": httpx2.AsyncClient(trust_env=False)} if http_client else {}
    with harness.serving(refusal(code)) as server:
        async with BatchOpenAI(
            **own,
            api_key=server.token,
            base_url=server.base_url,
            state_dir=tmp_path / "calls",
            max_retry_seconds=0,
            batch_window_seconds=0.05,
        ) as client:
            with pytest.raises(KINDS[code][2]):
                await client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "x" * size}]
                )


@CALLS
async def test_the_proxy_passes_on_what_the_server_said(harness, code, size):
    options = BatchingOptions(batch_window_seconds=0.2, max_retry_seconds=0)
    with harness.serving(refusal(code)):
        settings = Settings.from_environment(harness.environment())
        async with (
            proxy_running(settings, options=options) as proxy,
            openai.AsyncOpenAI(
                base_url=proxy.base_url, api_key="anything", max_retries=0, timeout=PATIENCE_SECONDS
            ) as program,
        ):
            raised = await asyncio.gather(*calls_of(program, size), return_exceptions=True)
    assert all(isinstance(error, KINDS[code][2]) for error in raised), raised


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def refusing_over_tls(certificate, monkeypatch, code):
    """A server with a certificate that refuses every upload at its head; gives the settings."""
    context, trusted = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    refusal = replace(answer(code, KINDS[code][0].encode(), kind="text/plain"), refuse=0)
    async with serving(*[refusal] * 100, tls=context) as server:
        yield {
            "DOUBLEWORD_API_KEY": "sk-of-the-test",
            "DOUBLEWORD_BASE_URL": server.base_url,
            "DOUBLEWORD_BATCH_PROVIDER": "generic",
        }


def calls_of(client, size):
    """Calls whose bodies come to that many bytes, each as large as servers take."""
    texts = [f"{at} " + "x" * min(size - at, LARGEST_CALL) for at in range(0, size, LARGEST_CALL)]
    return [
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}])
        for text in texts
    ]


@pytest.mark.parametrize("code", of_largest(413, 429))
async def test_batch_openai_raises_what_is_said_to_fifty_megabytes(harness, tmp_path, code):
    with harness.serving(refusal(code)) as server:
        async with BatchOpenAI(
            api_key=server.token,
            base_url=server.base_url,
            state_dir=tmp_path / "calls",
            max_retry_seconds=0,
            batch_window_seconds=0.5,
        ) as client:
            raised = await asyncio.gather(*calls_of(client, 50_000_000), return_exceptions=True)
    assert len(raised) > 1
    assert all(isinstance(error, KINDS[code][2]) for error in raised)


@CALLS
async def test_batch_openai_raises_what_is_said_over_tls(
    certificate, monkeypatch, tmp_path, code, size
):
    async with (
        refusing_over_tls(certificate, monkeypatch, code) as settings,
        BatchOpenAI(
            api_key=settings["DOUBLEWORD_API_KEY"],
            base_url=settings["DOUBLEWORD_BASE_URL"],
            batch_provider="generic",
            state_dir=tmp_path / "calls",
            max_retry_seconds=0,
            batch_window_seconds=0.5,
        ) as client,
    ):
        raised = await asyncio.gather(*calls_of(client, size), return_exceptions=True)
    assert all(isinstance(error, KINDS[code][2]) for error in raised), raised


@CALLS
async def test_the_proxy_passes_on_what_is_said_over_tls(
    certificate, monkeypatch, tmp_path, code, size
):
    options = BatchingOptions(batch_window_seconds=0.2, max_retry_seconds=0)
    async with refusing_over_tls(certificate, monkeypatch, code) as variables:
        settings = Settings.from_environment(
            variables | {"DOUBLEWORD_BATCH_HOME": str(tmp_path / "home")}
        )
        async with (
            proxy_running(settings, options=options) as proxy,
            openai.AsyncOpenAI(
                base_url=proxy.base_url, api_key="anything", max_retries=0, timeout=PATIENCE_SECONDS
            ) as program,
        ):
            raised = await asyncio.gather(*calls_of(program, size), return_exceptions=True)
    assert all(isinstance(error, KINDS[code][2]) for error in raised), raised


def run_script(folder, size, environment):
    """The skill's script, with a file of 1,000 rows of that many bytes."""
    line = '{"custom_id":"r%d","method":"POST","url":"/v1/chat/completions","body":{"model":"m",'
    line += '"messages":[{"role":"user","content":"%s"}]}}\n'
    requests = folder / "requests.jsonl"
    requests.write_text("".join(line % (n, "x" * size) for n in range(1_000)), encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(requests), "--patience", "0"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE_SECONDS,
        check=False,
    ).stderr


@UPLOADS
def test_the_skills_script_says_what_the_server_said(harness, code, size):
    with harness.serving(refusal(code)):
        told = run_script(harness.work, size, harness.environment())
    assert f"with {code}" in told
    assert KINDS[code][0] in told
    assert "Traceback" not in told


@UPLOADS
async def test_the_skills_script_says_what_is_said_over_tls(
    certificate, monkeypatch, tmp_path, code, size
):
    async with refusing_over_tls(certificate, monkeypatch, code) as settings:
        told = await anyio.to_thread.run_sync(run_script, tmp_path, size, settings)
    assert f"with {code}" in told
    assert KINDS[code][0] in told
    assert "Traceback" not in told
