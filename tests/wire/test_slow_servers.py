"""Whoever waits for long is told for what: no wait of a call passes a minute without a word."""

import logging

import anyio
import pytest

from doubleword_batch import errors
from doubleword_batch.api import transport
from doubleword_batch.local import LocalConfig, discovery, server
from wire.scripted_server import Answer, answer, serving
from wire.test_outages import ID, get

SILENT = Answer(hold=True)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(transport, "_SLOW_SECONDS", 0.05)


def words(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_call_that_gets_no_answer_says_so_once_while_it_waits(connect, caplog):
    async with serving(*[SILENT] * 20) as slow:
        client = connect(slow.base_url, timeout_seconds=0.5, max_retry_seconds=1)
        with pytest.raises(errors.TransportError):
            await get(client)
    (message,) = words(caplog)
    assert message.startswith(f"{slow.base_url} has not answered GET /batches/{ID}")


async def test_a_download_whose_head_does_not_come_says_so(connect, caplog):
    async with serving(SILENT) as slow:
        client = connect(slow.base_url, timeout_seconds=0.5, max_retry_seconds=0)
        with pytest.raises(errors.TransportError):
            await client.files.content(ID, lambda _: None)
    assert f"GET /files/{ID}/content" in words(caplog)[0]


async def test_a_download_that_has_to_go_on_says_from_where(connect, caplog):
    lines = b'{"custom_id": "a"}\n' * 3
    cut = answer(200, lines, kind="application/x-ndjson", cut_bytes=5)
    async with serving(cut, cut, answer(200, lines[:19])) as gaps:
        await connect(gaps.base_url).files.content(ID, lambda _: None)
    (message,) = [text for text in words(caplog) if "Going on" in text]
    assert message.endswith("Going on after line 2.")


async def test_a_local_server_of_another_process_that_stays_silent_is_named(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(server, "_SAID_SECONDS", 0.0)
    config = LocalConfig(home=tmp_path, executor="simulate")

    async def start():
        started = await anyio.to_thread.run_sync(server.find_or_start, tmp_path, lambda: config)
        started.stop()

    async with anyio.create_task_group() as tasks:
        with discovery.only_server(tmp_path):
            tasks.start_soon(start)
            while not words(caplog):
                await anyio.sleep(0.01)
    assert words(caplog)[0].startswith("Another process's local server does not answer yet")
